"""Counts what a call allocates, so that tests can demand that it be nothing."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable


def peak_and_growth(call: Callable[[], object], times: int = 1000) -> tuple[int, int]:
    """Run `call` `times` times after warming up.

    numpy reports its arrays' memory to tracemalloc, so an array made and dropped inside a call shows
    in the peak even though it does not show in the growth.

    Returns:
        Bytes by which the peak exceeded the starting point, and bytes kept at the end.
    """
    for _ in range(3):
        call()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        call()
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(times):
            call()
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    return peak - start, end - start


def assert_allocates_nothing(call: Callable[[], object], times: int = 1000) -> None:
    """Fail if `call` makes an array (or anything above the size of a few tuples) or keeps memory."""
    for _ in range(3):
        peak, growth = peak_and_growth(call, times)
        # What a thread of the test runner makes meanwhile is counted too, but is not there every time.
        if peak < 1024 and growth < times:
            return
    # Shape tuples and integers come and go in a call; an array's data would be kilobytes.
    assert peak < 1024, f"a call allocates {peak} bytes"
    # Python's own free lists may take in an object or two once; a leak would be at least `times` bytes.
    assert growth < times, f"{times} calls keep {growth} bytes"
