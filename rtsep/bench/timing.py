"""Times of something done over and over."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50.0, 99.0, 99.9)


def repeat(
    step: Callable[[], object],
    times: int,
    warm_up: int = 20,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> NDArray[np.float64]:
    """Milliseconds of each of `times` calls, one right after the other, after a warm-up.

    `clock` gives nanoseconds: with `time.thread_time_ns`, what others took of the processor is not counted.
    """
    for _ in range(warm_up):
        step()
    taken = np.empty(times)
    gc.collect()
    for k in range(times):
        began = clock()
        step()
        taken[k] = clock() - began
    return taken / 1e6


def summary(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """Percentiles, largest and, as what a quiet machine would have taken, the tenth percentile."""
    row = {f"p{p:g}_ms": float(np.percentile(milliseconds, p)) for p in PERCENTILES}
    return {"p10_ms": float(np.percentile(milliseconds, 10.0)), **row, "max_ms": float(milliseconds.max())}


def pin(threads: int = 1) -> int | None:
    """Hold the process to its last core, the one that interrupts use least; None where that cannot be."""
    if threads > 1 or not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def milliseconds(row: dict[str, Any], key: str) -> str:
    """A cell of a table; empty where it was not measured."""
    value = row.get(key)
    return "" if value is None else f"{value:.3f}"


def cost(milliseconds: NDArray[np.float64], each_ms: float) -> dict[str, float]:
    """Real-time factors of runs over `each_ms` of sound: the mean, and of the quiet tenth."""
    return {
        "real_time_factor": float(np.mean(milliseconds)) / each_ms,
        "rtf_p10": float(np.percentile(milliseconds, 10.0)) / each_ms,
    }
