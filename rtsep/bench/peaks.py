"""What one core of this machine can do at best: read memory, and multiply."""

from __future__ import annotations

import numpy as np

from rtsep.bench.timing import repeat
from rtsep.dsp.kernel import Floats, kernel

SIZE = 384
"""Rows and columns of the matrices that are multiplied: they fit a core's cache, and keep it busy."""


@kernel("float32(float32[::1])", reorder=True)
def _total(values: Floats) -> np.float32:
    total = np.float32(0.0)
    for k in range(values.shape[0]):
        total += values[k]
    return total


def bandwidth(size: int, repeats: int) -> float:
    """GB/s at which a core reads `size` bytes over and over: a cache's, where they fit into one."""
    values = np.ones(max(size // 4, 1024), np.float32)
    fastest = float(np.percentile(repeat(lambda: _total(values), repeats, warm_up=5), 10.0))
    return values.nbytes / (fastest * 1e6)


def multiplications(repeats: int) -> float:
    """Multiply-accumulates in 1e9/s of a product of two float32 matrices, by numpy's BLAS.

    One thread, if the environment says so before numpy is imported, as `rtsep.bench.probe.ask` does.
    """
    a, b = (np.random.default_rng(k).standard_normal((SIZE, SIZE)).astype(np.float32) for k in range(2))
    out = np.empty_like(a)
    fastest = float(np.percentile(repeat(lambda: np.matmul(a, b, out=out), repeats, warm_up=5), 10.0))
    return SIZE**3 / (fastest * 1e6)
