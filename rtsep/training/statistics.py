"""What a masking network must know of an example, summed over each band.

Let X be a bin of the mixture, T_p the same bin of known part p, and m_p the mask of that part (the sum
of its stems' masks). The error is |m_p X - T_p|^2 = m_p^2 |X|^2 - 2 m_p Re(X* T_p) + |T_p|^2: a
quadratic in the mask whose three coefficients do not depend on the network. A band's bins share their
mask, so the coefficients can be summed over the band once, and the loss and its gradient then cost a
few values a band instead of stems x channels x bins complex ones. (Where bands are wide the mask is
interpolated between their centres; summing with the same triangles takes it as constant across each.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtsep.dsp.windows import asymmetric_pair
from rtsep.separators.mask_network import MaskNetwork

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """A batch, ready for the loss.

    Attributes:
        features: (batch, time, views * bands), the network's input before normalisation.
        mixture: |X|^2, (batch, time, channels, bands).
        cross: Re(X* T_p), (batch, time, parts, channels, bands).
        target: |T_p|^2, (batch, time, parts, channels, bands).
        groups: (batch, parts, stems); 1 where a part contains a stem.
    """

    features: Tensor
    mixture: Tensor
    cross: Tensor
    target: Tensor
    groups: Tensor


class StatisticsExtractor:
    """Turns waveforms of known parts into `Statistics` for one network's bands.

    Args:
        network: whose frames, bands and features.
        windows: lengths of the synthesis windows that a call may choose from; the network's own if none.

    Raises:
        UsageError: for a length that makes no pair with the network's analysis window.
    """

    def __init__(self, network: MaskNetwork, windows: tuple[int, ...] = ()) -> None:
        self.network = network
        c = network.config
        self.windows = [
            torch.from_numpy(asymmetric_pair(c.analysis, w, w // 2)[0]) for w in windows or (c.synthesis,)
        ]
        triangles = network.to_bins.numpy()  # (bands, bins), at most two bands a bin
        self.lower = np.argmax(triangles > 0.0, axis=0).astype(np.int64)
        self.share = triangles[self.lower, np.arange(triangles.shape[1])].astype(np.float32)
        self.rotate = network.config.channels == 2 and network.config.stereo == "mid-side"

    @torch.no_grad()
    def __call__(self, parts: Tensor, groups: Tensor, window: int = 0) -> Statistics:
        """parts: (parts, channels, samples); groups: (parts, stems); the window's number. A batch of one."""
        used = int(groups.amax(dim=1).sum())
        every = self.network.config.phases
        # (parts, time, channels, bins)
        spectra = self.network.analyse(parts[:used], every, self.windows[window])
        heard = torch.view_as_real(spectra.sum(dim=0, keepdim=True))
        # A song that is there as a whole has one level; a stream begins to learn it with every excerpt.
        features, _ = self.network.hear(heard, self.network.init_state(1), every)
        _, time, channels, _ = spectra.shape
        bands = self.network.bands
        mixture = np.zeros((time, channels, bands), np.float32)
        cross = np.zeros((time, parts.shape[0], channels, bands), np.float32)
        target = np.zeros_like(cross)
        _sum_bands(spectra.numpy(), self.lower, self.share, self.rotate, mixture, cross, target)
        return Statistics(
            features,
            torch.from_numpy(mixture)[None],
            torch.from_numpy(cross)[None],
            torch.from_numpy(target)[None],
            groups[None],
        )


def join(batch: list[Statistics]) -> Statistics:
    """Batches of one to one batch."""
    return Statistics(*(torch.cat([getattr(b, f) for b in batch]) for f in Statistics.__dataclass_fields__))


@numba.njit(nogil=True, cache=True, fastmath=True)
def _sum_bands(
    spectra: NDArray[np.complex64],
    lower: NDArray[np.int64],
    share: Floats,
    rotate: bool,
    mixture: Floats,
    cross: Floats,
    target: Floats,
) -> None:
    """One pass over the bins of (parts, time, channels, bins), into the three sums.

    Bin k gives `share[k]` of itself to band `lower[k]` and the rest to the next; `rotate` turns left
    and right into mid and side, with equal total power.
    """
    parts, frames, channels, bins = spectra.shape
    turned = np.empty((parts, channels), np.complex64)
    half = np.float32(0.5**0.5)
    for t in range(frames):
        for k in range(bins):
            for p in range(parts):
                if rotate:
                    left, right = spectra[p, t, 0, k], spectra[p, t, 1, k]
                    turned[p, 0] = (left + right) * half
                    turned[p, 1] = (left - right) * half
                else:
                    for c in range(channels):
                        turned[p, c] = spectra[p, t, c, k]
            band, low = lower[k], share[k]
            high = np.float32(1.0) - low
            for c in range(channels):
                x = turned[0, c]
                for p in range(1, parts):
                    x = x + turned[p, c]
                power = x.real * x.real + x.imag * x.imag
                mixture[t, c, band] += low * power
                if high > 0.0:
                    mixture[t, c, band + 1] += high * power
                for p in range(parts):
                    y = turned[p, c]
                    product = x.real * y.real + x.imag * y.imag
                    energy = y.real * y.real + y.imag * y.imag
                    cross[t, p, c, band] += low * product
                    target[t, p, c, band] += low * energy
                    if high > 0.0:
                        cross[t, p, c, band + 1] += high * product
                        target[t, p, c, band + 1] += high * energy
