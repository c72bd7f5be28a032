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
    """What is left of a stem when its estimate is taken out, in dB of the stem; lower is better.

    The estimate is projected on the target: what muting takes away of the stem itself, whatever
    else it takes with it. With estimate = target nothing is left; with estimate = 0, 0 dB.
    """
    t = np.asarray(target, dtype=np.float64)
    energy = float(np.sum(t * t))
    if energy <= 0.0:
        return float("nan")
    share = float(np.sum(t * np.asarray(estimate, dtype=np.float64))) / energy
    return 20.0 * float(np.log10(max(abs(1.0 - share), 1e-6)))


def median_attenuation(target: Audio, estimate: Audio, chunk: int) -> float:
    """Median over sounding chunks of how far muting attenuates the stem, in dB; higher is better."""
    sounding = np.flatnonzero(sounding_chunks(target, chunk))
    chunk = min(chunk, target.shape[-1])
    cuts = [slice(int(k) * chunk, (int(k) + 1) * chunk) for k in sounding]
    values = [-remaining(target[:, cut], estimate[:, cut]) for cut in cuts]
    return float(np.median(values)) if values else float("nan")


def damage(mixture: Audio, removed: Audio) -> float:
    """What muting takes from music in which the stem is silent: energy removed, in dB of the mixture."""
    whole = float(np.sum(np.square(mixture, dtype=np.float64)))
    if whole <= 0.0:
        return float("nan")
    return 10.0 * float(np.log10(max(float(np.sum(np.square(removed, dtype=np.float64))) / whole, 1e-12)))
