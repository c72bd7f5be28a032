"""How much of what was heard lately went to one stem: what `MaskNetwork` and its fused step share.

A mask in doubt takes a little of everything. In music without a voice that little is heard as damage; where
somebody sings, as a voice that is left. One frame does not tell the two apart, some seconds do: the share
of a stem in them is an expander's side chain, and what the expander moves is the stem's logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAINT = 1e-12
"""Energy below which there was nothing of which a stem could have a share."""
LEAST_SHARE = 1e-6
"""The least share that is told from none: -60 dB."""


def weights_of_bands(
    triangles: NDArray[np.float32], bin_hz: float, low_hz: float, high_hz: float
) -> NDArray[np.float32]:
    """How many bins each band stands for, (bands,) float32; none where its middle lies outside the limits.

    Args:
        triangles: (bands, bins), as `band_interpolation` gives them.
        bin_hz: between two bins.
        low_hz, high_hz: of what counts. Basses and cymbals would outweigh or thin out any voice.
    """
    bins = triangles.sum(axis=1, dtype=np.float64)
    middles = triangles.astype(np.float64) @ np.arange(triangles.shape[1]) / bins * bin_hz
    return np.where((low_hz <= middles) & (middles <= high_hz), bins, 0.0).astype(np.float32)
