"""An audio callback in Python beside the native one, while a thread of the same process holds the GIL.

Both are paced by the clock, a block at a time, and copy the block. A block is missed when the callback begins
later than the block after it was due: a sound card would have played a gap.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np

from rtsep.io.null import NullDriver
from rtsep.rt.port import RealtimePort

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
    period, missed = block / rate, 0
    source, target = np.ones((block, 2), np.float32), np.zeros((block, 2), np.float32)
    blocks = max(1, round(seconds / period))
    due = time.perf_counter()
    for _ in range(blocks):
        due += period
        if (left := due - time.perf_counter()) > 0.0:
            time.sleep(left)
        target[:] = source
        behind = time.perf_counter() - due
        if behind > period:
            # A device does not wait: what is due by now is lost.
            lost = int(behind / period)
            missed += lost
            due += lost * period
    return blocks, min(missed, blocks)


def native_missed(block: int, rate: int, seconds: float) -> tuple[int, int]:
    """The same of the native callback, from its own counters."""
    port = RealtimePort(2, 2, 1 << 16, block, sample_rate=rate)
    source = np.ones((2, round(seconds * rate)), np.float32)
    driver = NullDriver(rate, block, source, capture_seconds=0.0)
    driver.open()
    longest = 0
    blocks = max(1, round(seconds * rate / block))
    began = time.monotonic()
    driver.start(port)
    driver.wait()
    taken = time.monotonic() - began
    longest = port.counters()["max_callback_gap_ns"]
    driver.close()
    # The pump catches up what it was late with; its longest gap says how much that was at worst.
    missed = max(0, int(longest * 1e-9 * rate / block) - 1)
    return max(blocks, int(taken * rate / block)), missed
