"""Real transforms of stems in single precision, and the frequency scales that go with them.

torch's transforms do this several times as fast as numpy's, which compute in double precision as soon as
anything they are multiplied with does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

Audio = NDArray[np.float32]
Spectrum = NDArray[np.complex64]


def rfft(audio: NDArray[np.floating], length: int | None = None) -> Spectrum:
    """Spectra of (..., samples), padded with zeros to `length` if that is given: (..., bins)."""
    planar = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    return torch.fft.rfft(planar, n=length).numpy()


def irfft(spectrum: Spectrum, length: int) -> Audio:
    """(..., bins) back to float32 (..., length)."""
    planar = torch.from_numpy(np.ascontiguousarray(spectrum, dtype=np.complex64))
    return torch.fft.irfft(planar, n=length).numpy()


@lru_cache(maxsize=16)
def octaves(bins: int) -> NDArray[np.float64]:
    """log2 of the frequencies of `bins` bins up to 22.05 kHz; everything below 20 Hz counts as 20 Hz."""
    scale = np.log2(np.maximum(np.linspace(0.0, 22050.0, bins), 20.0))
    scale.flags.writeable = False
    return scale


def amplitudes(decibels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Decibels of every bin to float32 factors of amplitude."""
    exponent = np.multiply(decibels, np.log(10.0) / 20.0).astype(np.float32)
    return np.exp(exponent, out=exponent)
