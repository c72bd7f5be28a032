"""Songs of any length through an offline model, in chunks that are cross-faded.

Chunks of C samples begin every C - V samples; over the V samples that two share, the stems of the earlier one
fade out linearly as those of the later one fade in. The last chunk is as long as the others: it reaches back
into what has been separated already, and only its new part is used. A song of at most C samples is a single
chunk, and equal to what the network makes of the whole.

What is held is a chunk, the past that the last one may need, and their stems, however long the song.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.base import OfflineModel
from rtsep.spec import ModelError


class ChunkedFeed:
    """Feeds an offline model with blocks of any length and gives back its stems, aligned.

    Args:
        model: says how long chunks and cross-fades are.

    What `push` has returned so far, plus `finish`, is exactly as long as what was pushed.
    """

    def __init__(self, model: OfflineModel) -> None:
        self._model = model
        channels, stems = model.spec.channels, len(model.spec.stems)
        self._past: NDArray[np.float32] = np.zeros((channels, 0), np.float32)
        self._pending: list[NDArray[np.float32]] = []
        self._held = 0  # samples in `_pending`
        self._fading: NDArray[np.float32] = np.zeros((stems, channels, 0), np.float32)
        self._given = 0

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Feed the next samples.

        Args:
            block: (channels, samples), any length.

        Returns:
            (stems, channels, n): those that are now complete; often none.

        Raises:
            ModelError: when the model's output is not finite.
        """
        chunk, step = self._model.chunk, self._model.chunk - self._model.overlap
        self._pending.append(np.array(block, np.float32))
        self._held += block.shape[1]
        done = [self._fading[..., :0]]
        # One sample more than a chunk: else it may be the last one, which `finish` does.
        while self._held > chunk:
            waiting = np.concatenate(self._pending, axis=1)
            stems = self._faded(self._separate(waiting[:, :chunk]))
            done.append(stems[..., :step])
            self._fading = stems[..., step:].copy()
            self._past = waiting[:, :step]
            self._pending, self._held = [waiting[:, step:]], waiting.shape[1] - step
        return self._give(done)

    def finish(self) -> NDArray[np.float32]:
        """The rest, (stems, channels, n)."""
        if not self._held:
            return self._fading[..., :0]
        waiting = np.concatenate(self._pending, axis=1)
        reach = max(self._model.chunk - self._held, 0)
        before = self._past[:, self._past.shape[1] - min(reach, self._past.shape[1]) :]
        stems = self._separate(np.concatenate([before, waiting], axis=1))[..., before.shape[1] :]
        self._pending, self._held = [], 0
        return self._give([self._faded(stems)])

    def _faded(self, stems: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fade from the end of the previous chunk's stems into these, in place."""
        length = self._fading.shape[-1]
        if length:
            rise = (np.arange(length, dtype=np.float32) + 0.5) / length
            stems[..., :length] = (1.0 - rise) * self._fading + rise * stems[..., :length]
        return stems

    def _separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        stems = np.array(self._model.separate(mix), np.float32)
        if not np.isfinite(stems).all():
            seconds = self._given / self._model.spec.sample_rate
            raise ModelError(f"the model gave samples that are not numbers, after {seconds:.1f} s")
        return stems

    def _give(self, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        whole = np.concatenate(parts, axis=-1)
        self._given += whole.shape[-1]
        return whole
