"""The level of what was learnt without one."""

from __future__ import annotations

from torch import Tensor


def as_loud_as(mix: Tensor, stems: Tensor) -> Tensor:
    """Stems times the one factor with which their sum comes nearest to the mixture.

    SI-SDR knows no level and no sign, and a decoder trained by it learns any; what the stems are to each
    other comes from masks and is kept.

    Args:
        mix: (channels, samples).
        stems: (stems, channels, samples).

    Returns:
        As `stems`. Silence stays silence.
    """
    whole = stems.sum(dim=0)
    return stems * ((whole * mix).sum() / whole.square().sum().clamp_min(1e-20))
