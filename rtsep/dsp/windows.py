"""Analysis and synthesis windows that reconstruct perfectly, symmetric or asymmetric.

An asymmetric pair (Mauler and Martin, "A low delay, variable resolution, perfect reconstruction
spectral analysis-synthesis system for speech enhancement", EUSIPCO 2007) looks far into the past for
frequency resolution and synthesises only the newest samples for low latency: the latency of
overlap-add is the synthesis window's length, whatever the analysis window's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import UsageError


def hann(length: int) -> NDArray[np.float64]:
    """Periodic Hann window of `length` samples."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)


def asymmetric_pair(
    analysis: int, synthesis: int, hop: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Analysis and synthesis windows whose overlap-add at `hop` is exactly one.

    The analysis window rises over `analysis - synthesis / 2` samples as a long square-root Hann does
    and falls over the last `synthesis / 2` as a short one; the synthesis window, laid on the last
    `synthesis` samples of the frame, is the short Hann divided by the analysis window. With
    `analysis == synthesis` both are the square-root Hann.

    Args:
        analysis: samples in a frame; at least `synthesis`.
        synthesis: samples that overlap-add uses, an even number: the algorithmic latency.
        hop: samples between frames; `synthesis` must be a multiple of it, two times at least.

    Returns:
        (analysis,) and (synthesis,) float32; the product over the last `synthesis` samples,
        overlap-added at `hop`, is one.

    Raises:
        UsageError: when the three sizes cannot reconstruct.
    """
    if synthesis % 2 or synthesis < 2 or analysis < synthesis:
        raise UsageError(f"window: synthesis {synthesis} must be even and at most analysis {analysis}")
    if hop < 1 or synthesis % hop or synthesis // hop < 2:
        raise UsageError(f"window: hop {hop} must divide synthesis {synthesis} at least twice")
    half = synthesis // 2
    rise = analysis - half
    window = np.empty(analysis)
    window[:rise] = np.sqrt(hann(2 * rise)[:rise])
    window[rise:] = np.sqrt(hann(synthesis)[half:])
    product = hann(synthesis) * (2.0 * hop / synthesis)
    tail = window[analysis - synthesis :]
    # Where the analysis window is zero (the frame's very first sample, when both lengths are equal)
    # the product is zero as well: nothing is lost by a synthesis window of zero there.
    safe = np.where(tail > 0.0, tail, 1.0)
    return window.astype(np.float32), np.where(tail > 0.0, product / safe, 0.0).astype(np.float32)
