"""Peak and mean-square meters of the stems and their sum, gathered between two readings."""

from __future__ import annotations

import numpy as np

from rtsep.dsp.kernel import Doubles, Floats, kernel


@kernel("void(float32[:, :, :], float32[:, :], float32[::1], float64[::1])", reorder=True)
def accumulate(stems: Floats, total: Floats, peak: Floats, square: Doubles) -> None:
    """Add stems (stems, channels, samples), and their sum in the last row, to peaks and sums of squares."""
    rows = stems.shape[0] + 1
    for row in range(rows):
        audio = stems[row] if row < rows - 1 else total
        channels, samples = audio.shape
        highest = peak[row]
        energy = 0.0
        for c in range(channels):
            for i in range(samples):
                value = audio[c, i]
                highest = max(highest, abs(value))
                energy += float(value) * float(value)
        peak[row] = highest
        square[row] += energy


@kernel("void(float32[::1], float64[::1], int64, float32[:], float32[:])")
def hand_out(peak: Floats, square: Doubles, samples: int, peak_out: Floats, mean_square: Floats) -> None:
    """Copy the meters out, sums divided by `samples` (zero if none), and set them to zero."""
    for row in range(peak.shape[0]):
        peak_out[row] = peak[row]
        mean_square[row] = square[row] / max(samples, 1)
        peak[row] = 0.0
        square[row] = 0.0


class Meters:
    """Peaks and sums of squares of the stems, and of their sum, since they were last read.

    Written and read by one thread; what other threads or processes see is what that one publishes.

    Attributes:
        peak: (stems + 1,) float32, highest absolute sample; the last row is the sum's.
        square: (stems + 1,) float64, sum of squares.
        samples: samples (frames times channels) in each row.
    """

    def __init__(self, stems: int) -> None:
        """Args:
        stems: how many.
        """
        self.peak = np.zeros(stems + 1, np.float32)
        self.square = np.zeros(stems + 1, np.float64)
        self.samples = 0

    def gather(self, stems: Floats, total: Floats) -> None:
        """Take in stems (stems, channels, n) and their sum (channels, n), float32, any strides.

        Raises:
            ValueError: for shapes that do not fit.
        """
        if stems.shape[0] + 1 != self.peak.shape[0] or stems.shape[1:] != total.shape:
            raise ValueError(f"expected {self.peak.shape[0] - 1} stems, got {stems.shape} and {total.shape}")
        accumulate(stems, total, self.peak, self.square)
        self.samples += total.shape[0] * total.shape[1]

    def reset(self) -> None:
        """Forget what was gathered."""
        self.peak.fill(0.0)
        self.square.fill(0.0)
        self.samples = 0

    def read(self, peak: Floats, mean_square: Floats) -> None:
        """Hand out the meters and start to gather anew.

        Args:
            peak: (stems + 1,) float32, overwritten with peaks in linear amplitude.
            mean_square: (stems + 1,) float32, overwritten with mean squares; zero if nothing was gathered.

        Raises:
            ValueError: for other shapes.
        """
        if peak.shape != self.peak.shape or mean_square.shape != self.peak.shape:
            raise ValueError(f"expected {self.peak.shape}, got {peak.shape} and {mean_square.shape}")
        hand_out(self.peak, self.square, self.samples, peak, mean_square)
        self.samples = 0
