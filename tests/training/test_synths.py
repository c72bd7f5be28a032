"""Synthesisers that play themselves: in tune, not all alike, and filtered (see also `test_guitars.py`)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from rtsep.training.synths import _low_pass, _modulate, _oscillate, synth

RATE = 44100


def test_seeds_differ_and_some_are_wide() -> None:
    played = [synth(2 * RATE, np.random.default_rng(seed)) for seed in range(12)]
    assert not np.allclose(played[0], played[1])
    likeness = [np.corrcoef(part)[0, 1] for part in played]
    assert max(likeness) > 0.95 and min(likeness) < 0.8


@pytest.mark.parametrize("pulse", [0.0, 0.25])
@pytest.mark.parametrize("hz", [55.0, 440.0, 3000.0])
def test_an_oscillator_is_in_tune_and_hardly_folds_back(hz: float, pulse: float) -> None:
    line = _oscillate(np.full(RATE, hz, np.float32), 0.3, pulse)
    assert abs(float(line.mean())) < 0.02
    power = np.square(np.abs(np.fft.rfft(line * np.hanning(RATE))))
    tone = np.arange(RATE // 2 + 1) / hz
    off = np.abs(tone - np.round(tone)) * hz
    # A second holds a bin for each hertz, and the window spreads a tone over a few of them. With its corners
    # left sharp, 8 % of the highest would fold back.
    assert power[off > 4.0].sum() < 0.004 * power[off <= 4.0].sum()
    assert abs(int(np.argmax(power[int(0.9 * hz) : int(1.1 * hz)])) + int(0.9 * hz) - hz) <= 1.0


def test_a_modulated_sine_has_the_side_bands_of_bessel() -> None:
    """Chowning, equation 1: the amplitude of the k-th is the Bessel function of order k of the depth."""
    hz, ratio, depth = 1000.0, 0.25, 1.5
    line = _modulate(np.full(RATE, hz, np.float32), 0.25, ratio, np.full(RATE, depth, np.float32))
    amplitude = 2.0 * np.abs(np.fft.rfft(line)) / RATE
    # Orders below -4 would come out mirrored at 0 Hz.
    for k in range(-2, 4):
        found = amplitude[int(hz + k * ratio * hz)]
        assert found == pytest.approx(0.5 * abs(scipy.special.jv(k, depth)), abs=0.02), k


def test_a_filter_keeps_what_is_below_and_takes_what_is_above() -> None:
    t = np.arange(RATE) / RATE
    cutoff = np.full(RATE, 1000.0, np.float32)
    levels = []
    for hz in (100.0, 10000.0):
        line = np.sin(2.0 * np.pi * hz * t).astype(np.float32)
        _low_pass(line, cutoff, 1.4)
        levels.append(20.0 * np.log10(np.sqrt(2.0 * np.square(line[RATE // 2 :]).mean())))
    # Two poles: 12 dB an octave.
    assert abs(levels[0]) < 0.1 and levels[1] < -38.0
