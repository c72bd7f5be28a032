"""Cumulative norms: what `rtsep.separators.cumulative_norm` and its fused step share."""

from __future__ import annotations

FLOOR = 1e-8
"""Least variance that is divided by: the square of the level below which a signal counts as silent."""


def horizon(seconds: float, sample_rate: int, stride: int) -> int:
    """Frames, `stride` samples apart, from which on the past fades: those in so many seconds, or one."""
    return max(1, round(seconds * sample_rate / stride))
