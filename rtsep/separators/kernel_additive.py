"""Kernel additive modelling: sources that differ in which neighbouring bins of the spectrogram are alike.

A. Liutkus, D. FitzGerald, Z. Rafii, B. Pardo, L. Daudet, "Kernel additive models for source separation", IEEE
Trans. Signal Processing 62(16), 2014: a source is described by a kernel, the set of bins whose power is about
that of the bin in its middle. Kernel backfitting (their algorithm 1) goes round: the power of every source is
the median of its present estimate over its kernel, and a multichannel Wiener filter of these powers and of
spatial covariances makes the next estimates.

The kernels are their families: a line along time for steady tones, one along frequency for drums, bins a
period apart for what repeats (the period found as REPET does), and a small cross for the voice, which is
steady neither way for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.spectra import Transform
from rtsep.separators.hpss import fitting
from rtsep.separators.repet import repeating_period

PERIODS = 3
"""Repetitions on either side that a bin is compared with."""
TINY = 1e-10

Powers = NDArray[np.float64]
Spectra = NDArray[np.complex128]


class KernelAdditive:
    """Kernel backfitting on pieces of music.

    Args:
        config: "analysis" and "hop" in samples; "iterations" of the backfitting; "steady" frames and "wide"
            bins, the lengths of the two lines, and "cross", the reach of the voice's kernel from its middle.
        sample_rate: Hz.
    """

    def __init__(self, config: Mapping[str, int], sample_rate: int) -> None:
        self._transform = Transform(config["analysis"], config["analysis"], config["hop"])
        self._rate = sample_rate
        self._config = config

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, samples) to vocals, percussive, harmonic and repeating, which add up to `mix`."""
        spectra = self._transform.whole(mix)
        kernels = self._kernels(np.abs(spectra))
        estimates = np.repeat(spectra[None] / len(kernels), len(kernels), axis=0)
        for _ in range(self._config["iterations"]):
            present = np.mean(np.abs(estimates) ** 2, axis=1)
            powers = np.stack([median(power) for power, median in zip(present, kernels, strict=True)])
            estimates = wiener(spectra, estimates, powers + TINY)
        stems = self._transform.signal(estimates, mix.shape[-1])
        return stems.astype(np.float32)

    def _kernels(self, magnitudes: NDArray[np.float64]) -> list[Callable[[Powers], Powers]]:
        """The medians over the kernels: vocals, percussive, harmonic, repeating."""
        from scipy.ndimage import median_filter

        frames, bins = magnitudes.shape[1:]
        reach = min(self._config["cross"], fitting(frames, frames) // 2)
        wide, steady = fitting(self._config["wide"], bins), fitting(self._config["steady"], frames)
        cross = np.zeros((2 * reach + 1, 2 * reach + 1), bool)
        cross[reach], cross[:, reach] = True, True
        period = repeating_period(magnitudes, self._rate / self._transform.hop)
        return [
            lambda power: median_filter(power, footprint=cross),
            lambda power: median_filter(power, size=(1, wide)),
            lambda power: median_filter(power, size=(steady, 1)),
            lambda power: periodic_median(power, period),
        ]


def periodic_median(power: Powers, period: int | None) -> Powers:
    """The median of every bin and those up to `PERIODS` periods away, as far as the piece goes.

    Args:
        power: (frames, bins).
        period: in frames; None for a piece that does not repeat, in which nothing is a repetition.
    """
    if period is None:
        return np.zeros_like(power)
    result = np.empty_like(power)
    for phase in range(period):
        own = power[phase::period]
        for index in range(len(own)):
            near = own[max(index - PERIODS, 0) : index + PERIODS + 1]
            result[phase + index * period] = np.median(near, axis=0)
    return result


def wiener(mix: Spectra, estimates: Spectra, powers: Powers) -> Spectra:
    """The multichannel Wiener filter with spatial covariances of the present estimates.

    Of the local Gaussian model: source j has in every bin the covariance v_j R_j, where R_j depends on the
    frequency alone and is the mean of y_j y_j^H / v_j over time, of trace C.

    Args:
        mix: (channels, frames, bins).
        estimates: (sources, channels, frames, bins), those of the previous round.
        powers: (sources, frames, bins), above zero.

    Returns:
        (sources, channels, frames, bins), their sum the mixture.
    """
    sources, channels = estimates.shape[:2]
    weighted = estimates / powers[:, None]
    covariance = np.einsum("jctf,jdtf->jfcd", weighted, estimates.conj(), optimize=True)
    trace = np.trace(covariance, axis1=-2, axis2=-1).real[..., None, None]
    identity = np.eye(channels)
    spatial = np.where(trace > TINY, covariance * channels / np.maximum(trace, TINY), identity)
    # A little of everywhere: a source in the very middle has a covariance that cannot be inverted.
    spatial = 0.99 * spatial + 0.01 * identity
    result = np.empty_like(estimates)
    for f in range(mix.shape[-1]):
        total = np.einsum("jt,jcd->tcd", powers[..., f], spatial[:, f])
        whitened = np.linalg.solve(total, mix[..., f].T[..., None])[..., 0]
        result[..., f] = np.einsum("jt,jcd,td->jct", powers[..., f], spatial[:, f], whitened, optimize=True)
    result += (mix - result.sum(axis=0)) / sources
    return result
