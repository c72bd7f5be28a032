"""An audio callback in Python beside the native one, while a thread of the same process holds the GIL.

Both are paced by the clock, a block at a time, and copy the block. A block is missed when the callback begins
later than the block after it was due: a sound card would have played a gap.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit

from rtsep.rt.clock import clock_ns, now_ns, sleep_until

HOLD_SECONDS = 0.025


@contextlib.contextmanager
def gil_held() -> Iterator[None]:
    """A thread that keeps the interpreter for 25 ms at a time, as a long sort does."""
    stopping = threading.Event()
    numbers = list(range(200_000, 0, -1))

    def hold() -> None:
        while not stopping.is_set():
            until = time.perf_counter() + HOLD_SECONDS
            while time.perf_counter() < until:
                sorted(numbers)
            time.sleep(0.001)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def python_missed(block: int, rate: int, seconds: float) -> tuple[int, int]:
    """Blocks due and blocks missed of a callback in Python."""
    period, blocks = block * 1_000_000_000 // rate, max(1, round(seconds * rate / block))
    source, target = np.ones((block, 2), np.float32), np.zeros((block, 2), np.float32)
    due, missed = now_ns(), 0
    for _ in range(blocks):
        due += period
        sleep_until(due)
        target[:] = source
        behind = now_ns() - due
        if behind > period:
            # A device does not wait: what is due by now is lost.
            lost = behind // period
            missed += lost
            due += lost * period
    return blocks + missed, missed


@njit("int64(float32[:, ::1], float32[:, ::1], int64, int64, int64)", nogil=True, cache=True)
def _native(source: Any, target: Any, due: int, period: int, blocks: int) -> int:
    missed = 0
    for _ in range(blocks):
        due += period
        sleep_until(due)
        for frame in range(source.shape[0]):
            for channel in range(source.shape[1]):
                target[frame, channel] = source[frame, channel]
        behind = clock_ns() - due
        if behind > period:
            lost = behind // period
            missed += lost
            due += lost * period
    return missed


def native_missed(block: int, rate: int, seconds: float) -> tuple[int, int]:
    """The same of compiled code that needs no interpreter, as rtsep's callback is."""
    period, blocks = block * 1_000_000_000 // rate, max(1, round(seconds * rate / block))
    source, target = np.ones((block, 2), np.float32), np.zeros((block, 2), np.float32)
    missed = int(_native(source, target, now_ns(), period, blocks))
    return blocks + missed, missed
