"""REPET: what repeats is the background, what does not is the foreground, mostly the voice.

Needs whole pieces of music: these are offline references.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.spectra import Transform

SHORTEST_PERIOD, LONGEST_PERIOD = 1.0, 10.0
"""Seconds between which a period is looked for; of a piece at most a third."""
HIGH_PASS_HZ = 100.0
"""Below which voices have nothing: all of it is background, as in the papers."""
TINY = 1e-12

Magnitudes = NDArray[np.float64]


def beat_spectrum(magnitudes: Magnitudes) -> NDArray[np.float64]:
    """How alike a piece is to itself after every lag: (channels, frames, bins) to (frames,), 1 at lag 0.

    The autocorrelation of every bin's power, unbiased, averaged over bins, as Rafii and Pardo (2013) do.
    """
    power = np.mean(magnitudes**2, axis=0)
    frames = power.shape[0]
    spectrum = np.fft.rfft(power, 2 * frames, axis=0)
    lags = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:frames].mean(axis=1) / np.arange(frames, 0, -1)
    result: NDArray[np.float64] = lags / max(lags[0], TINY)
    return result


def repeating_period(magnitudes: Magnitudes, frames_a_second: float) -> int | None:
    """The period in frames; None where the piece is shorter than three of the shortest."""
    lags = beat_spectrum(magnitudes)
    first = round(SHORTEST_PERIOD * frames_a_second)
    last = min(round(LONGEST_PERIOD * frames_a_second), len(lags) // 3)
    return first + int(np.argmax(lags[first:last])) if last > first else None


def repeating_magnitudes(magnitudes: Magnitudes, period: int) -> Magnitudes:
    """The median of all periods, repeated, never above the mixture."""
    channels, frames, bins = magnitudes.shape
    count = -(-frames // period)
    padded = np.full((channels, count * period, bins), np.nan)
    padded[:, :frames] = magnitudes
    segment = np.nanmedian(padded.reshape(channels, count, period, bins), axis=1)
    return np.minimum(np.tile(segment, (1, count, 1))[:, :frames], magnitudes)


class Repet:
    """REPET with one period a piece.

    Z. Rafii, B. Pardo, "REpeating Pattern Extraction Technique (REPET): a simple method for music/voice
    separation", IEEE TASLP 21(1), 2013.

    Args:
        config: "analysis" and "hop", in samples.
        sample_rate: Hz.
    """

    def __init__(self, config: Mapping[str, int], sample_rate: int) -> None:
        self._transform = Transform(config["analysis"], config["analysis"], config["hop"])
        self._rate = sample_rate

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, samples) to foreground and repeating. What is too short to repeat is background."""
        spectra = self._transform.whole(mix)
        magnitudes = np.abs(spectra)
        background = self.background(magnitudes)
        mask = (background + TINY) / (magnitudes + TINY)
        bin_hz = self._rate / self._transform.analysis
        mask[..., : int(HIGH_PASS_HZ / bin_hz) + 1] = 1.0
        repeating = self._transform.signal(mask * spectra, mix.shape[-1])
        return np.stack([mix - repeating, repeating]).astype(np.float32)

    def background(self, magnitudes: Magnitudes) -> Magnitudes:
        """What repeats of (channels, frames, bins), never above them."""
        period = repeating_period(magnitudes, self._rate / self._transform.hop)
        return magnitudes if period is None else repeating_magnitudes(magnitudes, period)


class RepetSim(Repet):
    """REPET-SIM: frames repeat where similar ones are, not after a period.

    Z. Rafii, B. Pardo, "Music/voice separation using the similarity matrix", ISMIR 2012. Every frame's
    background is the median of those like it (cosine similarity, at least `APART` away), by librosa's
    `nn_filter`.
    """

    APART = 1.0
    """Seconds between a frame and those it is compared with, as in the paper."""

    def background(self, magnitudes: Magnitudes) -> Magnitudes:
        """What similar frames have in common of (channels, frames, bins), never above them."""
        import librosa.decompose
        import librosa.segment

        frames = magnitudes.shape[1]
        apart = max(1, round(self.APART * self._rate / self._transform.hop))
        if frames < 3 * apart:
            return magnitudes
        # A frame of silence has no direction; a trace of noise has, and is like no other.
        noise = TINY * np.random.default_rng(0).random(magnitudes.shape[1:])
        likeness = librosa.segment.recurrence_matrix(
            (magnitudes.mean(axis=0) + noise).T, width=apart, metric="cosine", sparse=True
        )
        flat = np.ascontiguousarray(magnitudes.transpose(0, 2, 1)).reshape(-1, frames)
        alike = librosa.decompose.nn_filter(flat, rec=likeness, aggregate=np.median)
        alike = alike.reshape(magnitudes.shape[0], -1, frames).transpose(0, 2, 1)
        return np.minimum(alike, magnitudes)
