"""The worker's side of a recording: hops into a ring, every one at its time, whatever was lost before it."""

from __future__ import annotations

import numpy as np

from rtsep.dsp.kernel import Floats
from rtsep.rt.ring import RingBuffer


class Tape:
    """Puts stems and mix, interleaved, where a recorder fetches them.

    What could not be recorded, since the ring was full or it was never heard, is silence of the same
    length in the recording: what follows stays in time. Nothing here waits or allocates.

    Args:
        ring: (stems + 1) x channels wide; only this writes to it.
        stems, channels, hop: of the stream.

    Attributes:
        end: frames that the recording is long, once all of it has been written.
        lost: frames of them that had no room when they came.
    """

    def __init__(self, ring: RingBuffer, stems: int, channels: int, hop: int) -> None:
        self._ring = ring
        self._channels = channels
        self._frames = np.zeros((hop, (stems + 1) * channels), np.float32)
        self._silence = np.zeros_like(self._frames)
        self._owed = 0
        self.end = 0
        self.lost = 0

    def record(self, stems: Floats, mix: Floats) -> None:
        """Take a hop: (stems, channels, hop) and (channels, hop)."""
        width, hop = self._channels, self._frames.shape[0]
        for s in range(stems.shape[0]):
            self._frames[:, s * width : (s + 1) * width] = stems[s].T
        self._frames[:, stems.shape[0] * width :] = mix.T
        self.end += hop
        self._pay()
        missing = hop if self._owed else hop - self._ring.push(self._frames)
        self._owed += missing
        self.lost += missing

    def skip_to(self, frame: int) -> None:
        """Go on at a later frame of the recording; silence until there. An earlier one changes nothing."""
        self._owed += max(frame - self.end, 0)
        self.end = max(frame, self.end)
        self._pay()

    def _pay(self) -> None:
        """Write the silence that is owed, as far as there is room."""
        while self._owed:
            count = min(self._owed, self._silence.shape[0])
            written = self._ring.push(self._silence[:count])
            self._owed -= written
            if written < count:
                return
