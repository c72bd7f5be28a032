"""SI-SDR: how well a stem was separated, whatever its level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import UsageError

Audio = NDArray[np.floating]
FLOOR = 1e-12
"""Energy ratios end here, at 120 dB, so that every figure is finite."""


def si_sdr(target: Audio, estimate: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio.

    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey, "SDR - half-baked or well done?", ICASSP 2019: with
    a = <e, s> / <s, s> it is 10 log10(|a s|^2 / |a s - e|^2). One gain serves all channels, so that a
    stem that has moved in the stereo image is not forgiven. Means are not taken out.

    Args:
        target, estimate: (channels, samples), a whole song.

    Returns:
        dB between -120 and 120; NaN when the target is silent.

    Raises:
        UsageError: when the shapes differ, or there are no samples.
    """
    if target.shape != estimate.shape:
        raise UsageError(f"cannot compare {target.shape} with {estimate.shape}")
    if target.shape[-1] == 0:
        raise UsageError("cannot measure a signal without samples")
    s = np.asarray(target, dtype=np.float64)
    e = np.asarray(estimate, dtype=np.float64)
    energy = float(np.sum(s * s))
    if energy <= 0.0:
        return float("nan")
    aligned = float(np.sum(e * s)) / energy * s
    error = float(np.sum(np.square(aligned - e)))
    signal = float(np.sum(np.square(aligned)))
    if signal <= 0.0:
        return -120.0
    ratio = signal / max(error, FLOOR * signal)
    return 10.0 * float(np.log10(max(ratio, FLOOR)))
