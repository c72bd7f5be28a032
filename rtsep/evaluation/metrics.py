"""How well a stem was separated, and how well muting it works.

All take float arrays (channels, samples). Chunk-wise SDR is the energy ratio per chunk over all
channels, 10 log10(|s|^2 / |s - e|^2), with its median over chunks in which the target sounds: the
same quantity as BSSEval v4's image SDR of that chunk, without its distortion filters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import UsageError

Audio = NDArray[np.floating]
SOUNDING_DB = -50.0
"""A chunk sounds when its level is above this, in dB of full scale."""
LOWEST_EDGE = 20
"""Bins below which third octaves would hold too few of them to tell a gain from chance."""


def chunk_energy(audio: Audio, chunk: int) -> NDArray[np.float64]:
    """Energy of every whole chunk, over all channels: (chunks,). A signal shorter than one is one chunk."""
    chunk = min(chunk, audio.shape[-1])
    if chunk == 0:
        raise UsageError("cannot measure a signal without samples")
    whole = audio.shape[-1] // chunk * chunk
    blocks = np.asarray(audio[:, :whole], dtype=np.float64).reshape(audio.shape[0], -1, chunk)
    energy: NDArray[np.float64] = np.einsum("cks,cks->k", blocks, blocks)
    return energy


def sounding_chunks(target: Audio, chunk: int) -> NDArray[np.bool_]:
    """Which chunks the target sounds in."""
    chunk = min(chunk, target.shape[-1])
    level = chunk_energy(target, chunk) / (chunk * target.shape[0])
    sounding: NDArray[np.bool_] = level > 10.0 ** (SOUNDING_DB / 10.0)
    return sounding


def chunk_sdr(target: Audio, estimate: Audio, chunk: int) -> NDArray[np.float64]:
    """SDR in dB of each chunk in which the target sounds."""
    if target.shape != estimate.shape:
        raise UsageError(f"cannot compare {target.shape} with {estimate.shape}")
    sounding = sounding_chunks(target, chunk)
    signal = chunk_energy(target, chunk)[sounding]
    error = chunk_energy(target - estimate, chunk)[sounding]
    sdr: NDArray[np.float64] = 10.0 * np.log10(signal / np.maximum(error, 1e-12 * signal))
    return sdr


def median_sdr(target: Audio, estimate: Audio, chunk: int) -> float:
    """Median of `chunk_sdr`; NaN when the target never sounds."""
    sdr = chunk_sdr(target, estimate, chunk)
    return float(np.median(sdr)) if sdr.size else float("nan")


def remaining(target: Audio, estimate: Audio) -> float:
    """What is left of a stem when its estimate is taken out of the mixture, in dB; lower is better.

    Taking the estimate out leaves the true accompaniment and the residual r = target - estimate. In each
    third-octave band b the least-squares gain alpha_b = <r_b, t_b> / <t_b, t_b> of the target t in the
    residual tells how much of the stem is still to be heard there: what else is in the residual does not
    count, but a band that was missed does, and is not made up for by one of which too much was taken.
    The result is the level of sum_b alpha_b^2 E_b against sum_b E_b, where E_b = <t_b, t_b>.
    Chance adds to it about the residual's energy in a band over twice its channels and bins.

    With estimate = target nothing is left (the scale ends at -120 dB), with estimate = 0 it is 0 dB, and
    with estimate = g target it is 20 log10 |1 - g|.

    Args:
        target, estimate: (channels, samples), about a second: gains are taken as constant over it.

    Returns:
        dB; NaN when the target is silent.

    Raises:
        UsageError: when the shapes differ, or there are no samples.
    """
    if target.shape != estimate.shape:
        raise UsageError(f"cannot compare {target.shape} with {estimate.shape}")
    if target.shape[-1] == 0:
        raise UsageError("cannot measure a signal without samples")
    t = np.fft.rfft(np.asarray(target, dtype=np.float64))
    r = np.fft.rfft(np.asarray(target, dtype=np.float64) - np.asarray(estimate, dtype=np.float64))
    starts = third_octaves(t.shape[-1])
    energy = np.add.reduceat(np.sum(t.real**2 + t.imag**2, axis=0), starts)
    shared = np.add.reduceat(np.sum(r.real * t.real + r.imag * t.imag, axis=0), starts)
    heard = energy > 0.0
    if not heard.any():
        return float("nan")
    share = float(np.sum(shared[heard] ** 2 / energy[heard]) / np.sum(energy))
    return 10.0 * float(np.log10(max(share, 1e-12)))


def third_octaves(bins: int) -> NDArray[np.intp]:
    """First bin of each band of a spectrum, ascending: (bands,), beginning with 0.

    Edges lie a third of an octave apart, downwards from the spectrum's end; below `LOWEST_EDGE` bins, which
    is 20 Hz for a spectrum of one second, all is one band.
    """
    octaves = max(float(np.log2(max(bins - 1, 1) / LOWEST_EDGE)), 0.0)
    edges = (bins - 1) * 2.0 ** (-np.arange(1, int(3.0 * octaves) + 1) / 3.0)
    return np.concatenate(([0], np.ceil(edges[::-1]).astype(np.intp)))


def median_attenuation(target: Audio, estimate: Audio, chunk: int) -> float:
    """How far muting attenuates the stem, in dB; higher is better.

    Args:
        target, estimate: (channels, samples) of the stem.
        chunk: samples of a chunk; a second's worth, see `remaining`.

    Returns:
        Median of -`remaining` over the chunks in which the target sounds; NaN when it never does.

    Raises:
        UsageError: when the shapes differ, or there are no samples.
    """
    if target.shape != estimate.shape:
        raise UsageError(f"cannot compare {target.shape} with {estimate.shape}")
    sounding = np.flatnonzero(sounding_chunks(target, chunk))
    chunk = min(chunk, target.shape[-1])
    cuts = [slice(int(k) * chunk, (int(k) + 1) * chunk) for k in sounding]
    values = [-remaining(target[:, cut], estimate[:, cut]) for cut in cuts]
    return float(np.median(values)) if values else float("nan")


def damage(mixture: Audio, removed: Audio) -> float:
    """What muting takes from music in which the stem is silent: energy removed, in dB of the mixture.

    Args:
        mixture: (channels, samples) without the stem.
        removed: the stem's estimate there, all of it wrong.

    Returns:
        dB, lower is better, never below -120; NaN when the mixture is silent.
    """
    whole = float(np.sum(np.square(mixture, dtype=np.float64)))
    if whole <= 0.0:
        return float("nan")
    return 10.0 * float(np.log10(max(float(np.sum(np.square(removed, dtype=np.float64))) / whole, 1e-12)))
