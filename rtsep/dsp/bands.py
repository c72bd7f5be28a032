"""Bands: every bin its own at low frequencies, wider and wider ones above.

Harmonics of voices and basses are told apart bin by bin, but above a few kilohertz neighbouring bins
carry the same decision; merging them makes the input and output layers of a network several times
smaller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import ModelError


def band_centres(
    bins: int, bin_hz: float, linear_below: float, bandwidth: float, wide: int
) -> NDArray[np.float64]:
    """Centre of every band, in bins: one a bin up to `linear_below` Hz, then `wide` spaced geometrically.

    Raises:
        ModelError: when the limits do not fit the spectrum.
    """
    top = min(bandwidth / bin_hz, bins - 1.0)
    first = int(linear_below / bin_hz)
    if not 0 < first < top or wide < 1:
        raise ModelError(f"bands: {linear_below:g} Hz to {bandwidth:g} Hz with {wide} wide bands do not fit")
    above = np.geomspace(first, top, wide + 1)[1:]
    centres = np.concatenate([np.arange(first + 1.0), above])
    if np.any(np.diff(above) < 1.0) or above[0] - first < 1.0:
        raise ModelError(f"bands: {wide} wide bands above {linear_below:g} Hz are narrower than a bin")
    return centres


def band_interpolation(bins: int, centres: NDArray[np.float64]) -> NDArray[np.float32]:
    """Triangles between neighbouring centres: (bands, bins) float32, each column sums to one.

    Multiplying band values by it interpolates them linearly over the bins; bins above the last
    centre take its value, so a mask is full-band whatever the bandwidth.
    """
    positions = np.arange(bins, dtype=np.float64)
    identity = np.eye(len(centres))
    return np.stack([np.interp(positions, centres, row) for row in identity]).astype(np.float32)


def band_average(bins: int, centres: NDArray[np.float64]) -> NDArray[np.float32]:
    """Mean over each triangle: (bins, bands) float32, each column sums to one.

    Bins above the last centre are left out: the input is cropped to the bandwidth.
    """
    triangles = band_interpolation(bins, centres)
    triangles[:, int(np.floor(centres[-1])) + 1 :] = 0.0
    return (triangles / triangles.sum(axis=1, keepdims=True)).T.astype(np.float32)
