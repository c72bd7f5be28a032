"""How loud a stream has been, from its spectra: what `MaskNetwork` and its fused step share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

QUIET = 1e-8
"""Power below which a band counts as silent: about -80 dB for one bin of a full-scale frame."""
SOUNDING = 1e-6
"""Mean square below which a frame says nothing of how loud the music is: -60 dB."""


def mean_square_scale(window: NDArray[np.floating]) -> float:
    """From the energy of a frame's `rfft` to the mean square of its samples, by Parseval.

    Half the spectrum is there, and the analysis window has taken its share.
    """
    return float(2.0 / (len(window) * np.sum(np.square(window, dtype=np.float64))))


def mean_square(decibels: float) -> float:
    """Of a level in dB of full scale."""
    return float(10.0 ** (decibels / 10.0))


def kept(hop: int, seconds: float, sample_rate: int) -> float:
    """What a running sum with that time constant keeps from one hop to the next."""
    return math.exp(-hop / (seconds * sample_rate))
