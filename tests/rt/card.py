"""Calls the native callback as a sound card would: through its C function pointer, block by block."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from rtsep.rt.callback import callback_address
from rtsep.rt.port import RealtimePort

CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
)
_GUARD = np.float32(12345.0)


class Card:
    """Input planar float32 (channels, n) to output planar; frames are never timed, only counted."""

    def __init__(self, port: RealtimePort) -> None:
        self.port = port
        self._callback = CALLBACK(callback_address())

    def play(
        self,
        audio: NDArray[np.float32],
        flags: int = 0,
        time_info: ctypes.Array[ctypes.c_double] | None = None,
    ) -> NDArray[np.float32]:
        """One callback; checks that it writes all of its buffer, and nothing beyond it."""
        frames = audio.shape[1]
        source = np.ascontiguousarray(audio.T, np.float32)
        before = source.copy()
        target = np.full(((frames + 8) * self.port.out_channels), _GUARD, np.float32)
        info = ctypes.cast(time_info, ctypes.c_void_p) if time_info is not None else None
        address = source.ctypes.data, target.ctypes.data
        assert self._callback(*address, frames, info, flags, self.port.address) == 0
        assert np.array_equal(source, before, equal_nan=True)
        written = target[: frames * self.port.out_channels]
        assert not (written == _GUARD).any()
        assert (target[written.size :] == _GUARD).all()
        return written.reshape(frames, self.port.out_channels).T.copy()
