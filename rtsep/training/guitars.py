"""Guitars that play themselves: a backing that open corpora lack and most records have.

Strings are those of K. Karplus, A. Strong, "Digital Synthesis of Plucked-String and Drum Timbres", Computer
Music Journal 7(2), 1983, with a fractional delay for tuning and a slide for bends; an amplifier is a bend in
the signal between two filters, a cabinet the second of them. What is drawn: chords or a line in some key,
in eighths or longer, muted or ringing, clean to heavily distorted, once or doubled to both sides.
"""

from __future__ import annotations

from typing import cast

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from rtsep.training.augmentation import Audio, db, until_it_sounds

RATE = 44100
SCALES = ((0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11), (0, 3, 5, 6, 7, 10))
CHORDS = ((0, 7), (0, 7, 12), (0, 7, 12, 16), (0, 7, 12, 15), (0, 12), (0, 4, 7, 12, 16), (0, 3, 7, 12, 15))
LOWEST_HZ = 73.4
"""The low string of a guitar tuned down a tone."""

Line = NDArray[np.float32]


def guitar(samples: int, rng: np.random.Generator) -> Audio:
    """A guitar part: float32 (2, samples), its loudest sample at one."""
    return until_it_sounds(lambda: _part(samples, rng))


def _part(samples: int, rng: np.random.Generator) -> Audio:
    doubled = rng.random() < 0.5
    drive = rng.uniform(0.0, 45.0) if rng.random() < 0.75 else None
    state = rng.bit_generator.state
    takes = []
    for take in range(2 if doubled else 1):
        # The second take plays the same notes, not quite alike.
        rng.bit_generator.state = state
        dry = _play(samples, rng, np.random.default_rng(int(rng.integers(1 << 31)) + take))
        takes.append(_amplify(dry, drive, rng))
    if doubled:
        spread = rng.uniform(0.3, 1.0)
        out = np.stack((takes[0] + (1.0 - spread) * takes[1], takes[1] + (1.0 - spread) * takes[0]))
    else:
        pan = rng.uniform(-0.8, 0.8)
        out = np.stack((takes[0] * (1.0 - max(pan, 0.0)), takes[0] * (1.0 + min(pan, 0.0))))
    return cast(Audio, out)


def _play(samples: int, score: np.random.Generator, hand: np.random.Generator) -> Line:
    """The strings alone. `score` draws what is played, `hand` how exactly."""
    out = np.zeros(samples, np.float32)
    scale = SCALES[int(score.integers(len(SCALES)))]
    key = LOWEST_HZ * 2.0 ** (int(score.integers(12)) / 12.0)
    lead = score.random() < 0.2
    chord = CHORDS[int(score.integers(len(CHORDS)))]
    eighth = 30.0 / score.uniform(70.0, 180.0)
    lengths = np.array([1, 2, 4, 8]) * eighth
    odds = score.dirichlet((1.0, 1.0, 0.7, 0.5))
    muted = score.random() < 0.3
    rest = score.uniform(0.0, 0.25)
    brightness = score.uniform(0.2, 0.9)
    degree = 0
    at = -score.uniform(0.0, 1.0)
    while at * RATE < samples:
        length = float(score.choice(lengths, p=odds))
        if lead or score.random() < 0.4:
            degree = int(np.clip(degree + score.integers(-3, 4), 0, 2 * len(scale)))
        root = scale[degree % len(scale)] + 12 * (degree // len(scale)) + (12 if lead else 0)
        bend = score.choice((-2.0, 2.0)) * score.random() if lead and score.random() < 0.15 else 0.0
        palm = muted and score.random() < 0.7
        silent = score.random() < rest
        notes = (0,) if lead else chord
        start = at + hand.uniform(0.0, 0.012)
        at += length
        if silent:
            continue
        strum = hand.uniform(0.0, 0.02)
        for k, interval in enumerate(notes):
            hz = key * 2.0 ** ((root + interval + hand.normal(0.0, 0.03)) / 12.0)
            if hz > 1400.0:
                continue
            decay = 0.12 if palm else hand.uniform(1.5, 5.0)
            _pluck(
                out,
                int((start + strum * k) * RATE),
                int((start + length * (0.7 if palm else 0.98)) * RATE),
                hz,
                bend,
                decay,
                brightness * (0.4 if palm else 1.0),
                hand.standard_normal(int(RATE / hz) + 2).astype(np.float32),
            )
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def _pluck(
    out: Line, start: int, end: int, hz: float, bend: float, decay: float, brightness: float, noise: Line
) -> None:
    """Add one string: struck at `start`, damped at `end`, bent by `bend` semitones meanwhile.

    `noise` is what it is struck with, a period long or more.
    """
    longest = int(RATE / hz * 1.2) + 4
    string = np.zeros(longest, np.float32)
    loss = 10.0 ** (-3.0 / (decay * hz))
    smooth = 0.5 * (1.0 - brightness)
    write = 0
    struck = noise.shape[0]
    last = np.float32(0.0)
    low = np.float32(0.0)
    total = min(end + 4000, out.shape[0]) - start
    for n in range(total):
        semitones = bend * min(n / max(end - start, 1) * 3.0, 1.0)
        period = RATE / (hz * 2.0 ** (semitones / 12.0)) - smooth
        whole = int(period)
        part = np.float32(period - whole)
        a = string[(write - whole) % longest]
        b = string[(write - whole - 1) % longest]
        value = a + part * (b - a)
        filtered = np.float32((1.0 - smooth) * value + smooth * last)
        last = value
        damp = loss if start + n < end else loss * 0.97
        fresh = np.float32(damp) * filtered
        if n < struck:
            low += np.float32(0.2 + 0.7 * brightness) * (noise[n] - low)
            fresh += low
        string[write] = fresh
        write = (write + 1) % longest
        if start + n >= 0:
            out[start + n] += fresh


def _amplify(dry: Line, drive: float | None, rng: np.random.Generator) -> Line:
    """Through an amplifier `drive` dB beyond where it begins to bend, and its cabinet; None is acoustic."""
    if drive is None:
        return _filter(dry, rng.uniform(60.0, 120.0), rng.uniform(5000.0, 14000.0), rng)
    tight = _filter(dry, rng.uniform(80.0, 250.0), 12000.0, rng)
    pushed = tight / max(float(np.sqrt(np.mean(tight * tight))), 1e-6) * 0.3 * db(drive)
    lean = rng.uniform(0.0, 0.4)
    bent = np.tanh(pushed + lean) - np.tanh(lean)
    return _filter(bent.astype(np.float32), rng.uniform(60.0, 110.0), rng.uniform(3000.0, 6500.0), rng)


def _filter(line: Line, low_hz: float, high_hz: float, rng: np.random.Generator) -> Line:
    """A band from `low_hz` to `high_hz` with steep sides and a few humps."""
    n = scipy.fft.next_fast_len(len(line) + 4096, real=True)
    hz = np.linspace(0.0, RATE / 2.0, n // 2 + 1) + 1.0
    gain = 1.0 / np.sqrt(1.0 + (low_hz / hz) ** 4) / np.sqrt(1.0 + (hz / high_hz) ** 8)
    for _ in range(3):
        centre, height = rng.uniform(np.log2(100.0), np.log2(5000.0)), rng.uniform(-8.0, 8.0)
        gain *= 10.0 ** (height / 20.0 * np.exp(-0.5 * ((np.log2(hz) - centre) / 0.4) ** 2))
    spectrum = scipy.fft.rfft(line, n) * gain.astype(np.float32)
    return cast(Line, scipy.fft.irfft(spectrum, n)[: len(line)].astype(np.float32))
