"""Demands of a call that it make no arrays and keep no memory, whatever small objects it passes through."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

WARM_UP = 500
"""Calls before counting: Python keeps some freed objects for later, and a full collection empties that
store; refilling it looks like a leak until it is full."""
NOISE_BYTES = 4
"""What may be left of a call on average: that store is never quite still, and the smallest object is seven
times as large."""


TRIES = 3
"""What is counted is the whole process's: a message to a thread of the test runner shows as well, but not
every time, as what a call itself does would."""


def assert_keeps_nothing(call: Callable[[], object], times: int = 500) -> None:
    """Nothing is left over from a call."""
    for _ in range(TRIES):
        _, growth = _peak_and_growth(call, times)
        if growth < times * NOISE_BYTES:
            return
    assert growth < times * NOISE_BYTES, f"{times} calls keep {growth} bytes"


def assert_makes_no_array(call: Callable[[], object], smallest: int, times: int = 500) -> None:
    """Nothing is left over, and at no time is there as much more memory as the smallest array holds.

    Args:
        call: what to run.
        smallest: bytes of the smallest array that `call` has to do with; well above the two kilobytes or
            so of small objects that a call into a Python wrapper passes through.
        times: calls.
    """
    assert smallest >= 4096
    for _ in range(TRIES):
        peak, growth = _peak_and_growth(call, times)
        if peak < smallest and growth < times * NOISE_BYTES:
            return
    assert peak < smallest, f"a call allocates {peak} bytes"
    assert growth < times * NOISE_BYTES, f"{times} calls keep {growth} bytes"


def _peak_and_growth(call: Callable[[], object], times: int) -> tuple[int, int]:
    gc.collect()
    # A collection in the midst of it would hide a leak of cycles, and empty Python's store again.
    gc.disable()
    tracemalloc.start()  # numpy reports the memory of arrays to it
    try:
        for _ in range(WARM_UP):
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
