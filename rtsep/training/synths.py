"""Synthesisers that play themselves: lines and chords that glide, are chopped and swept, and are no voice.

What a network that has heard few of them takes for singing. A bank of oscillators, of which several, slightly
out of tune, are wide: sawtooths or pulses, their corners rounded by the polynomials of V. Välimäki,
A. Huovilainen, "Antialiasing Oscillators in Subtractive Synthesis", IEEE Signal Processing Magazine 24(2),
2007, or sines that turn each other's phase (J. Chowning, "The Synthesis of Complex Audio Spectra by Means of
Frequency Modulation", JAES 21(7), 1973). Then a low-pass with a resonance (the trapezoidal state-variable
filter of A. Simper, "Linear Trapezoidal Integrated SVF", Cytomic, 2013), echoes and a room. What is drawn: a
line or chords in some key, glides up or down to a note, notes cut into repeats, how far each opens the
filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numba
import numpy as np
from numpy.typing import NDArray

from rtsep.training.augmentation import Audio, add_room, until_it_sounds

RATE = 44100
SCALES = ((0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11), (0, 3, 5, 7, 10))
CHORDS = ((0, 7, 12), (0, 3, 7), (0, 4, 7), (0, 3, 7, 10), (0, 4, 7, 11), (0, 5, 12), (0, 7, 14))
_LOWEST_HZ = 55.0

Line = NDArray[np.float32]


@dataclass(frozen=True)
class _Score:
    """A part, sample by sample: where its pitch is, how loud it is, how far its filter is open."""

    hz: Line
    loudness: Line
    opening: Line
    """0 to 1."""
    chord: tuple[int, ...]
    """Semitones above the pitch that sound with it."""


def synth(samples: int, rng: np.random.Generator) -> Audio:
    """A synthesiser's part: float32 (2, samples), its loudest sample at one."""
    return until_it_sounds(lambda: _echo(_sound(_write(samples, rng), rng), rng))


def _write(samples: int, rng: np.random.Generator) -> _Score:
    """What is played."""
    hz, loudness, opening = (np.zeros(samples, np.float32) for _ in range(3))
    scale = SCALES[int(rng.integers(len(SCALES)))]
    key = _LOWEST_HZ * 2.0 ** (rng.integers(36) / 12.0)
    sixteenth = 15.0 / rng.uniform(70.0, 160.0)
    odds = rng.dirichlet((1.0, 1.0, 1.0, 0.4))
    rest, gliding, chopped = rng.uniform(0.0, 0.3), rng.uniform(0.0, 0.8) ** 2, rng.uniform(0.0, 0.7) ** 2
    attack, release = rng.uniform(0.001, 0.03), 10.0 ** rng.uniform(-2.0, -0.3)
    held, fall = rng.choice((0.0, 1.0)) * rng.uniform(0.2, 1.0), 10.0 ** rng.uniform(-1.3, 0.0)
    closing = 10.0 ** rng.uniform(-1.3, 0.3)
    degree = int(rng.integers(7))
    before: float | None = None
    at = -rng.uniform(0.0, 1.0)
    while at * RATE < samples:
        length = float(rng.choice(np.array([1, 2, 4, 16]), p=odds)) * sixteenth
        degree = int(np.clip(degree + rng.integers(-4, 5), 0, 2 * len(scale)))
        semitones = scale[degree % len(scale)] + 12 * (degree // len(scale)) + rng.normal(0.0, 0.02)
        start, at = at, at + length
        if rng.random() < rest:
            before = None
            continue
        glide = rng.uniform(0.03, 0.6) * length if rng.random() < gliding else 0.0
        # From the note before, or from far away.
        source = semitones + rng.uniform(-24.0, 12.0)
        if before is not None and rng.random() < 0.6:
            source = before
        # Cut into repeats: each begins its envelope anew.
        repeats = int(rng.integers(2, 9)) if length > 1.5 * sixteenth and rng.random() < chopped else 1
        gate = rng.uniform(0.3, 0.95)
        bright = rng.uniform(0.4, 1.0)
        for k in range(repeats):
            step = length / repeats
            first, end = (int((start + k * step) * RATE), int((start + (k + gate) * step) * RATE))
            tail = min(end + int(4.0 * release * RATE), samples)
            begin = max(first, 0)
            if tail <= begin:
                continue
            t = np.arange(begin - first, tail - first, dtype=np.float32) / RATE
            sounding = np.minimum(t / attack, 1.0) * (held + (1.0 - held) * np.exp(-t / fall))
            sounding *= np.exp(-np.maximum(t - (end - first) / RATE, 0.0) / release)
            through = np.clip((t + k * step) / max(glide, 1e-3), 0.0, 1.0)
            # A new note takes the line over: it has one voice, or one chord.
            hz[begin:tail] = key * 2.0 ** ((semitones + (source - semitones) * (1.0 - through)) / 12.0)
            loudness[begin:tail] = sounding
            loudness[tail:] = 0.0
            opening[begin:tail] = bright * np.exp(-t / closing)
        before = semitones
    chord = CHORDS[int(rng.integers(len(CHORDS)))] if rng.random() < 0.4 else (0,)
    return _Score(np.maximum(hz, 20.0), loudness, opening, chord)


def _sound(score: _Score, rng: np.random.Generator) -> Audio:
    """How it sounds: oscillators through a filter, (2, samples)."""
    samples = len(score.hz)
    voices = int(rng.choice((1, 2, 3)))
    cents, width = rng.uniform(2.0, 25.0), rng.uniform(0.0, 1.0)
    modulated = rng.random() < 0.25
    ratio, depth = float(rng.choice((0.5, 1.0, 1.0, 2.0, 3.0, 3.5))), rng.uniform(0.3, 6.0)
    pulse = rng.choice((0.0, rng.uniform(0.05, 0.5)))
    vibrato = rng.choice((0.0, rng.uniform(0.0, 0.4)))
    wave = np.sin(2.0 * np.pi * rng.uniform(3.0, 8.0) * np.arange(samples) / RATE)
    hz = score.hz * 2.0 ** (vibrato / 12.0 * wave)
    out = np.zeros((2, samples), np.float32)
    for interval in score.chord:
        for voice in range(voices):
            side = (2.0 * voice / (voices - 1) - 1.0) if voices > 1 else 0.0
            tuned = (hz * 2.0 ** ((interval + side * cents / 100.0) / 12.0)).astype(np.float32)
            phase = float(rng.random())
            if modulated:
                line = _modulate(tuned, phase, ratio, np.float32(depth) * score.opening)
            else:
                line = _oscillate(tuned, phase, float(pulse))
            out[0] += np.float32(1.0 - width * max(side, 0.0)) * line
            out[1] += np.float32(1.0 + width * min(side, 0.0)) * line
    out *= score.loudness
    lowest = 10.0 ** rng.uniform(2.0, 3.3)
    octaves, damping = rng.uniform(0.0, 6.0), 10.0 ** rng.uniform(-0.9, 0.3)
    cutoff = np.minimum(lowest * 2.0 ** (octaves * score.opening), 18000.0).astype(np.float32)
    drive = rng.choice((0.0, rng.uniform(0.5, 4.0)))
    for side in range(2):
        _low_pass(out[side], cutoff, damping)
    if drive > 0.0:
        out = np.tanh(drive * out / max(float(np.abs(out).max()), 1e-6)).astype(np.float32)
    return cast(Audio, out)


@numba.njit(nogil=True, cache=True)
def _rounded(phase: float, step: float) -> float:
    """What takes the corner off a jump by two at phase 0: a parabola over a sample to either side of it."""
    if phase < step:
        x = phase / step
        return x + x - x * x - 1.0
    if phase > 1.0 - step:
        x = (phase - 1.0) / step
        return x * x + x + x + 1.0
    return 0.0


@numba.njit(nogil=True, cache=True)
def _oscillate(hz: Line, phase: float, pulse: float) -> Line:
    """A sawtooth, or a pulse that is up for the share `pulse` of its period, without its mean."""
    out = np.empty(hz.shape[0], np.float32)
    for n in range(hz.shape[0]):
        step = hz[n] / RATE
        value = 2.0 * phase - 1.0 - _rounded(phase, step)
        if pulse > 0.0:
            # The difference of two sawtooths.
            other = phase + pulse
            other -= np.floor(other)
            value -= 2.0 * other - 1.0 - _rounded(other, step)
        out[n] = 0.5 * value
        phase += step
        phase -= np.floor(phase)
    return out


@numba.njit(nogil=True, cache=True)
def _modulate(hz: Line, phase: float, ratio: float, depth: Line) -> Line:
    """A sine whose phase another one turns by up to `depth` radians, at `ratio` times its frequency."""
    out = np.empty(hz.shape[0], np.float32)
    other = 0.0
    for n in range(hz.shape[0]):
        step = hz[n] / RATE
        out[n] = 0.5 * np.sin(2.0 * np.pi * phase + depth[n] * np.sin(2.0 * np.pi * other))
        phase += step
        phase -= np.floor(phase)
        other += ratio * step
        other -= np.floor(other)
    return out


@numba.njit(nogil=True, cache=True)
def _low_pass(line: Line, cutoff: Line, damping: float) -> None:
    """In place; `damping` 2 has no resonance, 0.1 a strong one."""
    a = b = 0.0
    for n in range(line.shape[0]):
        g = np.tan(np.pi * cutoff[n] / RATE)
        first = 1.0 / (1.0 + g * (g + damping))
        rest = line[n] - b
        middle = first * a + g * first * rest
        low = b + g * first * a + g * g * first * rest
        a, b = 2.0 * middle - a, 2.0 * low - b
        line[n] = low


def _echo(dry: Audio, rng: np.random.Generator) -> Audio:
    """Repeats that go from side to side, and a room, or neither."""
    out = dry.copy()
    if rng.random() < 0.4:
        delay, left = int(rng.uniform(0.1, 0.5) * RATE), rng.uniform(0.2, 0.6)
        for k in range(1, 4):
            if k * delay < dry.shape[1]:
                repeat = dry if k % 2 == 0 else dry[::-1]
                out[:, k * delay :] += np.float32(left**k) * repeat[:, : -k * delay]
    return add_room(out, rng) if rng.random() < 0.6 else out
