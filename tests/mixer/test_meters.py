"""Meters gather between readings, over any number of blocks."""

from __future__ import annotations

import numpy as np
import pytest

from rtsep.mixer.meters import Meters


def test_peaks_and_mean_squares_over_blocks() -> None:
    rng = np.random.default_rng(0)
    stems = rng.standard_normal((3, 2, 500)).astype(np.float32)
    total = stems.sum(0)
    meters = Meters(3)
    for span in (slice(0, 1), slice(1, 300), slice(300, 500)):
        meters.gather(stems[:, :, span], total[:, span])
    peak, mean_square = np.empty(4, np.float32), np.empty(4, np.float32)
    meters.read(peak, mean_square)
    signals = [*stems, total]
    assert np.array_equal(peak, np.array([np.abs(s).max() for s in signals]))
    assert mean_square == pytest.approx([np.mean(np.square(s, dtype=np.float64)) for s in signals])


def test_reading_begins_anew_and_nothing_gathered_is_zero() -> None:
    meters = Meters(1)
    ones = np.ones((1, 1, 8), np.float32)
    meters.gather(ones, ones[0])
    peak, mean_square = np.empty(2, np.float32), np.empty(2, np.float32)
    meters.read(peak, mean_square)
    assert list(peak) == list(mean_square) == [1.0, 1.0]
    meters.read(peak, mean_square)
    assert list(peak) == list(mean_square) == [0.0, 0.0]
    meters.gather(ones * np.float32(-0.5), ones[0] * np.float32(0.25))
    meters.read(peak, mean_square)
    assert list(peak) == [0.5, 0.25]
    assert list(mean_square) == [0.25, 0.0625]


def test_reset_forgets() -> None:
    meters = Meters(1)
    ones = np.ones((1, 1, 8), np.float32)
    meters.gather(ones, ones[0])
    meters.reset()
    assert meters.samples == 0
    assert not meters.peak.any()
    assert not meters.square.any()


def test_wrong_arguments_are_refused() -> None:
    meters = Meters(2)
    audio = np.zeros((2, 1, 8), np.float32)
    with pytest.raises(ValueError, match="expected 2 stems"):
        meters.gather(audio[:1], audio[0])
    with pytest.raises(ValueError, match="expected 2 stems"):
        meters.gather(audio, audio[0, :, :4])
    with pytest.raises(ValueError, match="expected"):
        meters.read(np.zeros(2, np.float32), np.zeros(3, np.float32))
