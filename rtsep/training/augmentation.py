"""What is done to a stem before it goes into a mixture.

Every function takes and returns float32 (2, samples) and draws from the generator it is given.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

Audio = NDArray[np.float32]


def rms(audio: Audio) -> float:
    """Root mean square over both channels, of the part that sounds (blocks of 4096 above -60 dB)."""
    usable = audio.shape[1] // 4096 * 4096
    if usable == 0:
        return float(np.sqrt(np.mean(np.square(audio)) + 1e-12))
    power = np.mean(np.square(audio[:, :usable]).reshape(2, -1, 4096), axis=(0, 2))
    sounding = power[power > 1e-6]
    return float(np.sqrt(sounding.mean())) if sounding.size else 0.0


def db(value: float) -> float:
    """Decibels to a factor of amplitude."""
    return float(10.0 ** (value / 20.0))


def change_speed(audio: Audio, factor: float, samples: int) -> Audio:
    """Play `factor` times faster, pitch and tempo together, and keep the first `samples`."""
    resampled = soxr.resample(audio.T, 1000.0 * factor, 1000.0, quality="MQ").T[:, :samples]
    if resampled.shape[1] < samples:
        resampled = np.pad(resampled, ((0, 0), (0, samples - resampled.shape[1])))
    return np.ascontiguousarray(resampled, dtype=np.float32)


def shape_spectrum(audio: Audio, rng: np.random.Generator) -> Audio:
    """A smooth random equaliser, and now and then a steep filter, in one transform.

    Up to 10 dB either way at six frequencies. A quarter of the draws lose what is above or below some
    frequency as well: there are drums without cymbals and voices through telephones, and a network must
    tell them by how they move, not by where they lie.
    """
    bins = audio.shape[1] // 2 + 1
    anchors = np.geomspace(60.0, 16000.0, 6)
    curve = rng.uniform(-10.0, 10.0, 6)
    octaves = np.log2(np.maximum(np.linspace(0.0, 22050.0, bins), 20.0))
    gain = np.interp(octaves, np.log2(anchors), curve)
    kind = rng.random()
    slope = rng.uniform(12.0, 48.0)
    if kind < 0.17:
        gain -= slope * np.maximum(octaves - np.log2(rng.uniform(800.0, 10000.0)), 0.0)
    elif kind < 0.25:
        gain -= slope * np.maximum(np.log2(rng.uniform(80.0, 500.0)) - octaves, 0.0)
    spectrum = np.fft.rfft(audio) * (10.0 ** (np.maximum(gain, -90.0) / 20.0))
    return np.fft.irfft(spectrum, n=audio.shape[1]).astype(np.float32)


def add_room(audio: Audio, rng: np.random.Generator) -> Audio:
    """A stereo tail of decaying noise, different in each ear, after a short gap."""
    seconds = rng.uniform(0.2, 1.6)
    length = int(44100 * seconds)
    time = np.arange(length) / length
    tail = rng.standard_normal((2, length)) * np.exp(-6.9 * time)
    # Air and walls swallow high frequencies: a one-pole low-pass in the frequency domain.
    n = 1 << int(np.ceil(np.log2(audio.shape[1] + length)))
    colour = 1.0 / (1.0 + np.linspace(0.0, 22050.0, n // 2 + 1) / rng.uniform(1500.0, 8000.0))
    tail[:, : int(44100 * rng.uniform(0.005, 0.06))] = 0.0
    wet = np.fft.irfft(np.fft.rfft(audio, n) * np.fft.rfft(tail, n) * colour, n)[:, : audio.shape[1]]
    level = rms(wet.astype(np.float32))
    if level == 0.0:
        return audio
    return (audio + wet * (rms(audio) / level * db(rng.uniform(-18.0, -3.0)))).astype(np.float32)


def dissolve(audio: Audio, rng: np.random.Generator, widest: float = 1.0) -> Audio:
    """Little but the reverberation of a sound, seconds long and as loud: a voice becomes a pad.

    Records have such pads. The convolution goes round, so that the excerpt is in the middle of one from its
    first sample on. Its width is drawn up to `widest`: 0 in the middle, 1 with nothing in common between the
    ears.
    """
    samples = audio.shape[1]
    seconds = rng.uniform(1.0, 5.0)
    length = min(int(44100 * seconds), samples)
    middle, side = rng.standard_normal((2, length)) * np.exp(-6.9 * np.arange(length) / (44100 * seconds))
    side *= rng.uniform(0.0, widest)
    tail = np.stack((middle + side, middle - side))
    spectrum = np.fft.rfft(audio) * np.fft.rfft(tail, samples)
    octaves = np.log2(np.maximum(np.linspace(0.0, 22050.0, samples // 2 + 1), 20.0))
    fall = rng.uniform(3.0, 18.0) * np.maximum(octaves - np.log2(rng.uniform(500.0, 5000.0)), 0.0)
    wet = np.fft.irfft(spectrum * 10.0 ** (-fall / 20.0), n=samples).astype(np.float32)
    level = rms(audio)
    # Thousands of reflections add up: back to where the sound was. Some of it stays near.
    wet *= np.float32(level / max(rms(wet), 1e-6))
    mixed = wet + audio * np.float32(db(rng.uniform(-30.0, -3.0)))
    return mixed * np.float32(level / max(rms(mixed), 1e-6))


def widen(audio: Audio, rng: np.random.Generator, widest: float = 1.0) -> Audio:
    """Spread a narrow sound: double it to either side, or turn its phases apart between the ears.

    Voices in records are doubled, chorused and widened; recordings of one singer are not, and a network that
    has heard only these takes whatever is not in the middle for backing.
    """
    samples = audio.shape[1]
    amount = rng.uniform(0.2, 1.0) * widest
    if rng.random() < 0.5:
        wide = np.zeros_like(audio)
        for ear in range(2):
            late = int(rng.uniform(0.0, 0.03) * 44100)
            copy = change_speed(audio, float(rng.uniform(0.994, 1.006)), samples)
            wide[ear, late:] = copy[ear, : samples - late]
        mixed = audio * (1.0 - 0.5 * amount) + wide * amount
    else:
        frequencies = np.linspace(0.0, 1.0, samples // 2 + 1)
        anchors = np.linspace(0.0, 1.0, int(rng.integers(20, 400)))
        turn = np.stack(
            [np.interp(frequencies, anchors, rng.uniform(-np.pi, np.pi, len(anchors))) for _ in range(2)]
        )
        mixed = np.fft.irfft(np.fft.rfft(audio) * np.exp(1j * amount * turn), n=samples)
    return np.ascontiguousarray(mixed, dtype=np.float32)


def place(audio: Audio, rng: np.random.Generator) -> Audio:
    """Swap channels, flip polarity, or narrow and tilt the image a little."""
    if rng.random() < 0.5:
        audio = audio[::-1]
    if rng.random() < 0.5:
        audio = -audio
    if rng.random() < 0.2:
        mono = audio.mean(axis=0)
        pan = rng.uniform(-0.5, 0.5)
        audio = np.stack((mono * (1.0 - max(pan, 0.0)), mono * (1.0 + min(pan, 0.0))))
    return np.ascontiguousarray(audio, dtype=np.float32)
