"""What is done to a stem before it goes into a mixture.

Every function takes and returns float32 (2, samples) and draws from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import soxr

from rtsep.training.spectra import Audio, amplitudes, irfft, octaves, rfft


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


def until_it_sounds(play: Callable[[], Audio]) -> Audio:
    """What `play` draws, float32 with its loudest sample at one; drawn again while it rests throughout."""
    while True:
        played = play()
        loudest = float(np.abs(played).max())
        if loudest > 1e-3:
            return cast(Audio, (played / loudest).astype(np.float32))


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
    scale = octaves(bins)
    gain = np.interp(scale, np.log2(anchors), curve)
    kind = rng.random()
    slope = rng.uniform(12.0, 48.0)
    if kind < 0.17:
        gain -= slope * np.maximum(scale - np.log2(rng.uniform(800.0, 10000.0)), 0.0)
    elif kind < 0.25:
        gain -= slope * np.maximum(np.log2(rng.uniform(80.0, 500.0)) - scale, 0.0)
    return irfft(rfft(audio) * amplitudes(np.maximum(gain, -90.0)), audio.shape[1])


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
    wet = irfft(rfft(audio, n) * rfft(tail, n) * colour.astype(np.float32), n)[:, : audio.shape[1]]
    level = rms(wet)
    if level == 0.0:
        return audio
    return audio + wet * np.float32(rms(audio) / level * db(rng.uniform(-18.0, -3.0)))


def saturate(audio: Audio, rng: np.random.Generator, hardest: float = 1.0) -> Audio:
    """Drive a sound into a soft limit, as loud as before: from a warm tape to a distorted guitar.

    Up to 36 dB times `hardest` above the level that would stay clean. Half of the hard ones go on through a
    loudspeaker's low-pass.
    """
    level = rms(audio)
    if level == 0.0:
        return audio
    drive = rng.uniform(0.0, 36.0 * hardest)
    hot = np.tanh(audio * np.float32(db(drive - 12.0) / level))
    if drive > 18.0 and rng.random() < 0.5:
        spectrum = rfft(hot)
        fall = 18.0 * np.maximum(octaves(spectrum.shape[1]) - np.log2(rng.uniform(3000.0, 7000.0)), 0.0)
        hot = irfft(spectrum * amplitudes(-fall), audio.shape[1])
    return hot * np.float32(level / max(rms(hot), 1e-6))


def harmonise(audio: Audio, rng: np.random.Generator) -> Audio:
    """Sing a chord: one or two copies at consonant intervals, softer, later, to the side.

    The copies are played faster or slower: they drift out of time, as a choir that sings other words.
    """
    samples = audio.shape[1]
    mixed = audio.copy()
    steps = rng.choice(
        np.array([-12, -9, -8, -5, -4, -3, 3, 4, 5, 7, 8, 9, 12]), int(rng.integers(1, 3)), False
    )
    for semitones in steps:
        factor = float(2.0 ** (semitones / 12.0))
        copy = change_speed(audio, factor, samples)
        late = int(rng.uniform(0.0, 0.05) * 44100)
        pan = rng.uniform(-0.7, 0.7)
        gains = np.array([[1.0 - max(pan, 0.0)], [1.0 + min(pan, 0.0)]], dtype=np.float32)
        mixed[:, late:] += (copy[:, : samples - late] * gains) * np.float32(db(rng.uniform(-10.0, 0.0)))
    return mixed


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
    spectrum = rfft(audio) * rfft(tail, samples)
    scale = octaves(samples // 2 + 1)
    fall = rng.uniform(3.0, 18.0) * np.maximum(scale - np.log2(rng.uniform(500.0, 5000.0)), 0.0)
    wet = irfft(spectrum * amplitudes(-fall), samples)
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
        angle = (amount * turn).astype(np.float32)
        turned = np.empty(angle.shape, np.complex64)
        turned.real, turned.imag = np.cos(angle), np.sin(angle)
        mixed = irfft(rfft(audio) * turned, samples)
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
