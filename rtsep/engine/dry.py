"""The dry signal: the input, delayed as the separator delays the stems."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.kernel import Floats, kernel


@kernel("void(float32[:,::1], float32[:,:], float32[:,::1])")
def _push(history: Floats, block: Floats, delayed: Floats) -> None:
    """Shift (channels, delay + hop) left by a hop, append the block, copy out the oldest hop."""
    channels, hop = block.shape
    length = history.shape[1]
    for c in range(channels):
        for i in range(length - hop):
            history[c, i] = history[c, i + hop]
        for i in range(hop):
            history[c, length - hop + i] = block[c, i]
        for i in range(hop):
            delayed[c, i] = history[c, i]


class DryDelay:
    """Gives for each hop the one that lines up with what the separator makes of it.

    Args:
        channels, hop: of the stream.
        delay: samples by which the stems trail the input.
    """

    def __init__(self, channels: int, hop: int, delay: int) -> None:
        self._history = np.zeros((channels, delay + hop), np.float32)
        self._delayed: NDArray[np.float32] = np.zeros((channels, hop), np.float32)

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in a hop (channels, hop); returns the delayed hop, overwritten by the next call."""
        _push(self._history, block, self._delayed)
        return self._delayed
