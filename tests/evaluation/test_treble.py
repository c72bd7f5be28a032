"""What is said of the treble: levels that are known, and no treble where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtsep.evaluation.treble import treble_energy, treble_ratio
from rtsep.spec import UsageError

RATE = 44100


def tone(hertz: float, level: float = 0.1) -> np.ndarray:
    return np.tile(level * np.sin(2.0 * np.pi * hertz * np.arange(RATE) / RATE), (2, 1))


def test_energy_is_mean_power_above_the_edge() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 2 * RATE))
    expected = 0.01 * (1.0 - 12000.0 / (RATE / 2.0))
    assert treble_energy(noise, RATE) == pytest.approx(expected, rel=0.02)
    assert treble_energy(tone(15000.0), RATE) == pytest.approx(0.005, rel=0.01)


def test_a_loud_low_note_does_not_leak() -> None:
    assert 10.0 * math.log10(treble_energy(tone(100.0, 0.9), RATE)) < -60.0


@pytest.mark.parametrize("gain", [0.01, 0.5, 2.0])
def test_gain_above_the_edge_is_read_off(gain: float) -> None:
    truth = tone(1000.0) + tone(15000.0)
    estimate = tone(1000.0) + gain * tone(15000.0)
    assert treble_ratio(truth, estimate, RATE) == pytest.approx(20.0 * math.log10(gain), abs=0.05)


def test_nothing_to_lose_is_not_a_number() -> None:
    assert math.isnan(treble_ratio(np.zeros((2, 100)), np.ones((2, 100)), RATE))
    assert math.isnan(treble_ratio(np.ones((2, 3000)), np.ones((2, 3000)), 16000))  # ends at 8 kHz
    assert treble_ratio(tone(15000.0), np.zeros((2, RATE)), RATE) == pytest.approx(-120.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match="cannot compare"):
        treble_ratio(np.ones((2, 5)), np.ones((1, 5)), RATE)
    with pytest.raises(UsageError, match="without samples"):
        treble_ratio(np.ones((2, 0)), np.ones((2, 0)), RATE)
