"""What keeps the samples of an effect in order: delay lines, a queue for uneven output, and a crossfade."""

from __future__ import annotations

import numpy as np

from rtsep.dsp.gains import Ramp
from rtsep.dsp.kernel import Floats, Integers, kernel


@kernel("void(float32[:, :, ::1], int64, float32[:, :, :], float32[:, :, :])")
def _delay(history: Floats, position: int, block: Floats, delayed: Floats) -> None:
    """Swap a block with what lies as far behind as the ring is long; `delayed` may be `block`."""
    count, channels, length = history.shape
    for s in range(count):
        for c in range(channels):
            at = position
            for i in range(block.shape[2]):
                newest = block[s, c, i]
                delayed[s, c, i] = history[s, c, at]
                history[s, c, at] = newest
                at += 1
                if at == length:
                    at = 0


@kernel("void(float32[:, ::1], int64[::1], float32[:, :], float32[:, :])")
def _exchange(queue: Floats, filled: Integers, block: Floats, out: Floats) -> None:
    """Append `block` to the queue, and take `out` from its front."""
    held, taken = filled[0], out.shape[1]
    added = block.shape[1]
    for c in range(queue.shape[0]):
        for i in range(added):
            queue[c, held + i] = block[c, i]
        for i in range(taken):
            out[c, i] = queue[c, i]
        for i in range(held + added - taken):
            queue[c, i] = queue[c, i + taken]
    filled[0] = held + added - taken


@kernel("void(float32[:, :], float32[:, :], float32[:, ::1], float32[:, :])")
def _crossfade(dry: Floats, wet: Floats, wetness: Floats, out: Floats) -> None:
    for c in range(out.shape[0]):
        for i in range(out.shape[1]):
            gain = wetness[0, i]
            # At either end it is one or the other, bit for bit.
            if gain == 1.0:
                out[c, i] = wet[c, i]
            elif gain == 0.0:
                out[c, i] = dry[c, i]
            else:
                out[c, i] = dry[c, i] + (wet[c, i] - dry[c, i]) * gain


class DelayLine:
    """Delays a stream of `count` signals by a fixed number of samples, in blocks of any length.

    Args:
        count, channels: of the stream.
        delay: samples; 0 delays nothing.
    """

    def __init__(self, count: int, channels: int, delay: int) -> None:
        self.delay = delay
        self._history = np.zeros((count, channels, max(delay, 1)), np.float32)
        self._position = 0

    def push(self, block: Floats, delayed: Floats) -> None:
        """Take in (count, channels, n) and give as many, older; both may be the same array."""
        if self.delay == 0:
            if delayed is not block:
                delayed[:] = block
            return
        _delay(self._history, self._position, block, delayed)
        self._position = (self._position + block.shape[2]) % self.delay


class Queue:
    """Evens out a plug-in that gives less than it takes at first: every block in gives a block out.

    Args:
        channels, hop: of a block.
        shortfall: the most samples by which what has come in may lag behind what is to go out; so
            many zeros come first.
    """

    def __init__(self, channels: int, hop: int, shortfall: int) -> None:
        self.shortfall = shortfall
        self._queue = np.zeros((channels, shortfall + 4 * hop), np.float32)
        self._filled = np.array([shortfall], np.int64)

    def reset(self) -> None:
        """Silence, as at first."""
        self._queue.fill(0.0)
        self._filled[0] = self.shortfall

    def exchange(self, block: Floats, out: Floats) -> bool:
        """Take in what came, (channels, any n), and give (channels, hop) in order.

        Returns:
            False, and nothing done, when there is too little for that, or no room.
        """
        ahead = int(self._filled[0]) + block.shape[1]
        if ahead < out.shape[1] or ahead > self._queue.shape[1]:
            return False
        _exchange(self._queue, self._filled, block, out)
        return True


class Crossfade:
    """Goes between the dry and the wet signal without a click.

    Args:
        hop: samples of the longest block.
        ramp: samples that the way takes.
        wet: where it begins.
    """

    def __init__(self, hop: int, ramp: int, wet: bool) -> None:
        self._ramp = Ramp(1, ramp, 1.0 if wet else 0.0)
        self._goal = np.ones(1)
        self._wetness = np.ones((1, hop), np.float32)

    def set(self, wet: bool) -> None:
        """Begin to go there."""
        self._goal[0] = 1.0 if wet else 0.0
        self._ramp.set(self._goal)

    def mix(self, dry: Floats, wet: Floats, out: Floats) -> None:
        """Write (channels, n) of what is heard; `out` may be either of the two."""
        self._ramp.fill(self._wetness, out.shape[1])
        _crossfade(dry, wet, self._wetness, out)
