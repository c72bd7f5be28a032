"""`rtsep.StemBoard`: a pedalboard with a separator inside, whose effects are each a stem's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import soxr
from numpy.typing import NDArray

from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.effects.parameters import MASTER
from rtsep.engine.offline import open_feed, open_model, separate_array
from rtsep.engine.separator import resampled, with_channels
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import AudioSpec, UsageError

Audio = NDArray[np.float32]

BLOCK = 1024
"""Samples in which stems go through their effects when streamed, whatever the caller's blocks are."""

FLUSH_SECONDS = 10.0
"""How much silence an effect is given, at most, to give back what it withheld."""


class StemBoard:
    """Separates, puts every stem through its own effects, and sums: called like a `pedalboard.Pedalboard`.

        board = rtsep.StemBoard("live", vocals=[Reverb(wet_level=0.4)], drums=[Compressor(-20, 4)])
        board["vocals"].append(Delay(0.25, mix=0.3))       # lists, as a Pedalboard is one
        out = board(audio, 44100)                          # a whole recording
        out = board(block, 44100, reset=False)             # the next block of a stream

    With `reset=False` a stream is continued, and what is complete is returned: as with pedalboard's own late
    effects that is less than was given at first, and aligned with it to the sample; `flush` gives the rest.
    All of it together is what the whole recording would have become.

    Args:
        model: a model's name, or the folder of one; causal or offline.
        backend, device, threads: as `rtsep.load` takes them.
        chains: pedalboard's plug-ins by stem, and by "master" for the sum.

    Raises:
        UsageError: for a stem that the model does not have, or without pedalboard.
        ModelError, BackendError: as `rtsep.load`.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        backend: str = DEFAULT_BACKEND,
        device: str = "cpu",
        threads: int = 1,
        **chains: Iterable[Any],
    ) -> None:
        # Here and not above: the rest of rtsep needs no pedalboard.
        from rtsep.effects.plugins import plain_board

        self._model = open_model(model, backend=backend, device=device, threads=threads)
        stems = self._model.spec.stems
        for name in chains:
            if name not in (*stems, MASTER):
                self.close()
                raise UsageError(f"no stem '{name}': this model has {', '.join(stems)}, and {MASTER}")
        self._boards = {name: plain_board(chains.get(name, ())) for name in (*stems, MASTER)}
        self._stream: _Stream | None = None

    @property
    def spec(self) -> AudioSpec:
        """Rate, channels and stems of the model."""
        return self._model.spec

    def __getitem__(self, stem: str) -> Any:
        """The `Pedalboard` of a stem, or of "master": a list of plug-ins, to be changed at will."""
        if stem not in self._boards:
            raise UsageError(f"no stem '{stem}': this model has {', '.join(self.spec.stems)}, and {MASTER}")
        return self._boards[stem]

    def __call__(
        self, audio: NDArray[Any], sample_rate: float, buffer_size: int = 8192, reset: bool = True
    ) -> Audio:
        """The same as `process`."""
        return self.process(audio, sample_rate, buffer_size, reset)

    def process(
        self, audio: NDArray[Any], sample_rate: float, buffer_size: int = 8192, reset: bool = True
    ) -> Audio:
        """Separate, affect, and sum.

        Args:
            audio: (samples,), (1 or 2 channels, samples) or (samples, 2 channels).
            sample_rate: of `audio`, Hz. Effects work at the model's.
            buffer_size: of a whole recording, the samples that effects are given at once.
            reset: a whole recording by itself; otherwise the next block of a stream.

        Returns:
            float32 of the same layout: as long as `audio`, or, of a stream, what is now complete.

        Raises:
            UsageError: for other shapes, a rate that is not positive or changes within a stream, or an effect
                that pedalboard cannot stream.
        """
        rate = round(sample_rate)
        if rate <= 0:
            raise UsageError(f"a sample rate of {sample_rate} Hz is not possible")
        given = np.asarray(audio, np.float32)
        planar, turned = _planar(given)
        if reset:
            self._stream = None
            made = self._whole(planar, rate, buffer_size)
        else:
            if self._stream is None:
                self._stream = _Stream(self._model, self._boards, rate, planar.shape[0])
            made = self._stream.push(planar, rate)
        if given.ndim == 1:
            return made[0]
        return np.ascontiguousarray(made.T) if turned else made

    def flush(self) -> Audio:
        """End the stream: (channels, samples) that were still under way; none if there was no stream."""
        if self._stream is None:
            return np.zeros((self.spec.channels, 0), np.float32)
        stream, self._stream = self._stream, None
        return stream.finish()

    def reset(self) -> None:
        """Forget the stream and what effects have heard."""
        self._stream = None
        for board in self._boards.values():
            board.reset()

    def close(self) -> None:
        """Release the device that the network runs on."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _whole(self, planar: Audio, rate: int, buffer_size: int) -> Audio:
        spec = self.spec
        if planar.shape[1] == 0:
            return planar
        mix = with_channels(resampled(planar, rate, spec.sample_rate), spec.channels)
        total = np.zeros_like(mix)
        for name, stem in zip(spec.stems, separate_array(self._model, mix), strict=True):
            total += self._boards[name].process(
                np.ascontiguousarray(stem), spec.sample_rate, buffer_size, reset=True
            )
        total = self._boards[MASTER].process(total, spec.sample_rate, buffer_size, reset=True)
        back = resampled(with_channels(total, planar.shape[0]), spec.sample_rate, rate)
        return _with_length(back, planar.shape[1])


class _Affected:
    """A board in a stream: what has come out of it and was not yet taken."""

    def __init__(self, board: Any, channels: int, rate: int) -> None:
        board.reset()
        self._board, self._rate = board, rate
        self.taken = 0
        self.given = 0
        self.ready: Audio = np.zeros((channels, 0), np.float32)
        self._held: Audio = np.zeros((channels, 0), np.float32)

    def push(self, block: Audio) -> None:
        self.taken += block.shape[1]
        self._held = np.concatenate([self._held, block], axis=1)
        whole = self._held.shape[1] // BLOCK * BLOCK
        for at in range(0, whole, BLOCK):
            piece = np.ascontiguousarray(self._held[:, at : at + BLOCK])
            made = self._board.process(piece, self._rate, BLOCK, reset=False)
            self.given += made.shape[1]
            self.ready = np.concatenate([self.ready, made], axis=1)
        self._held = self._held[:, whole:]

    def finish(self) -> None:
        """Silence, until all that was pushed has come out."""
        due = self.taken
        silence = np.zeros((self.ready.shape[0], BLOCK), np.float32)
        for _ in range(int(FLUSH_SECONDS * self._rate) // BLOCK):
            if self.given >= due:
                break
            self.push(silence)
        self.ready = self.ready[:, : max(0, self.ready.shape[1] - (self.given - due))]

    def take(self, count: int) -> Audio:
        block, self.ready = self.ready[:, :count], self.ready[:, count:]
        return block


class _Stream:
    """One stream through a StemBoard."""

    def __init__(self, model: Any, boards: dict[str, Any], rate: int, channels: int) -> None:
        from rtsep.effects.plugins import refuse_unstreamed

        for board in boards.values():
            refuse_unstreamed(board)
        spec = model.spec
        self._spec, self._rate, self._channels = spec, rate, channels
        self._feed = open_feed(model)
        self._stems = [_Affected(boards[name], spec.channels, spec.sample_rate) for name in spec.stems]
        self._master = _Affected(boards[MASTER], spec.channels, spec.sample_rate)
        self._taken = self._given = 0
        self._inward = self._outward = None
        if rate != spec.sample_rate:
            self._inward = soxr.ResampleStream(rate, spec.sample_rate, channels, "float32", "VHQ")
            self._outward = soxr.ResampleStream(spec.sample_rate, rate, channels, "float32", "VHQ")

    def push(self, planar: Audio, rate: int) -> Audio:
        if rate != self._rate or planar.shape[0] != self._channels:
            raise UsageError("rate and channels must stay what they were: call reset() between streams")
        self._taken += planar.shape[1]
        mix = with_channels(self._resample(self._inward, planar), self._spec.channels)
        return self._counted(self._affect(self._feed.push(mix)))

    def finish(self) -> Audio:
        empty = np.zeros((self._channels, 0), np.float32)
        rest = with_channels(self._resample(self._inward, empty, True), self._spec.channels)
        stems = np.concatenate([self._feed.push(rest), self._feed.finish()], axis=-1)
        made = [self._affect(stems)]
        for stem in self._stems:
            stem.finish()
        made.append(self._affect(stems[..., :0]))
        self._master.finish()
        made.append(self._back(self._master.take(self._master.ready.shape[1]), True))
        return _with_length(np.concatenate(made, axis=1), self._taken - self._given)

    def _affect(self, stems: Audio) -> Audio:
        for affected, stem in zip(self._stems, stems, strict=True):
            affected.push(stem)
        common = min(affected.ready.shape[1] for affected in self._stems)
        total = np.zeros((self._spec.channels, common), np.float32)
        for affected in self._stems:
            total += affected.take(common)
        self._master.push(total)
        return self._back(self._master.take(self._master.ready.shape[1]))

    def _back(self, made: Audio, last: bool = False) -> Audio:
        return self._resample(self._outward, with_channels(made, self._channels), last)

    def _counted(self, made: Audio) -> Audio:
        made = made[:, : self._taken - self._given]
        self._given += made.shape[1]
        return made

    @staticmethod
    def _resample(resampler: Any, planar: Audio, last: bool = False) -> Audio:
        if resampler is None:
            return planar
        return np.ascontiguousarray(resampler.resample_chunk(np.ascontiguousarray(planar.T), last=last).T)


def _planar(given: Audio) -> tuple[Audio, bool]:
    """(channels, samples), and whether it came the other way round."""
    if given.ndim == 1:
        return given[np.newaxis], False
    if given.ndim == 2 and given.shape[0] in (1, 2):
        return given, False
    if given.ndim == 2 and given.shape[1] == 2:
        return np.ascontiguousarray(given.T), True
    raise UsageError(f"expected (samples,) or (1 or 2 channels, samples) of audio, not {given.shape}")


def _with_length(audio: Audio, samples: int) -> Audio:
    short = max(samples - audio.shape[1], 0)
    return np.pad(audio[:, :samples], ((0, 0), (0, short)))
