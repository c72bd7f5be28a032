"""The metrics on signals whose figures are known beforehand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.evaluation.metrics import (
    LOWEST_EDGE,
    chunk_energy,
    chunk_sdr,
    damage,
    median_attenuation,
    median_sdr,
    remaining,
    sounding_chunks,
    third_octaves,
)
from rtsep.spec import UsageError

Audio = NDArray[np.float64]
SECOND = 8000


def noise(seed: int, seconds: int = 1, channels: int = 2) -> Audio:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, seconds * SECOND))


def tone(frequency: float, channels: int = 2) -> Audio:
    wave = 0.1 * np.sin(2.0 * np.pi * frequency * np.arange(SECOND) / SECOND)
    return np.tile(wave, (channels, 1))


def orthogonal(target: Audio, seed: int) -> Audio:
    """Noise of the target's energy that shares nothing with it."""
    other = noise(seed, target.shape[1] // SECOND, target.shape[0])
    other -= np.sum(other * target) / np.sum(target * target) * target
    return other * np.sqrt(np.sum(target * target) / np.sum(other * other))


# -- SDR ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    sdr=st.floats(-30.0, 60.0),
    channels=st.integers(1, 3),
    seed=st.integers(0, 1000),
    level=st.floats(0.1, 10.0),
)
def test_sdr_of_a_known_error(sdr: float, channels: int, seed: int, level: float) -> None:
    target = level * noise(seed, 1, channels)
    estimate = target + orthogonal(target, seed + 1) * 10.0 ** (-sdr / 20.0)
    assert chunk_sdr(target, estimate, SECOND) == pytest.approx([sdr], abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(gain=st.floats(-3.0, 0.99), seed=st.integers(0, 1000))
def test_sdr_of_a_wrong_level_is_not_forgiven(gain: float, seed: int) -> None:
    target = noise(seed)
    assert median_sdr(target, gain * target, SECOND) == pytest.approx(
        -20.0 * math.log10(1.0 - gain), abs=1e-6
    )


def test_each_chunk_has_its_own_sdr_and_the_median_is_taken() -> None:
    target = noise(0, 3)
    error = np.concatenate(
        [orthogonal(target[:, k * SECOND : (k + 1) * SECOND], 9) * 10.0 ** (-k) for k in range(3)], axis=1
    )
    assert chunk_sdr(target, target + error, SECOND) == pytest.approx([0.0, 20.0, 40.0])
    assert median_sdr(target, target + error, SECOND) == pytest.approx(20.0)


def test_chunks_in_which_the_target_is_silent_do_not_count() -> None:
    target = noise(0, 3)
    target[:, SECOND : 2 * SECOND] *= 1e-6
    assert sounding_chunks(target, SECOND).tolist() == [True, False, True]
    assert chunk_sdr(target, 0.9 * target, SECOND) == pytest.approx([20.0, 20.0])


def test_a_chunk_sounds_from_minus_50_db_on() -> None:
    flat = np.ones((2, SECOND))
    assert sounding_chunks(flat * 10.0 ** (-49.9 / 20.0), SECOND).all()
    assert not sounding_chunks(flat * 10.0 ** (-50.1 / 20.0), SECOND).any()


def test_a_perfect_estimate_is_finite() -> None:
    target = noise(0)
    assert median_sdr(target, target, SECOND) == pytest.approx(120.0)


def test_an_incomplete_last_chunk_is_left_out_and_a_short_signal_is_one_chunk() -> None:
    assert chunk_energy(np.ones((2, 25)), 10).tolist() == [20.0, 20.0]
    assert chunk_energy(np.ones((2, 7)), 10).tolist() == [14.0]
    assert chunk_sdr(noise(0)[:, :100], 0.9 * noise(0)[:, :100], SECOND) == pytest.approx([20.0])


def test_single_precision_is_summed_in_double() -> None:
    assert chunk_energy(np.full((1, 1 << 22), 0.1, np.float32), 1 << 22)[0] == pytest.approx(
        (1 << 22) * float(np.float32(0.1)) ** 2, rel=1e-12
    )


# -- muting -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(gain=st.floats(-2.0, 3.0), channels=st.integers(1, 3), seed=st.integers(0, 1000))
def test_what_a_scaled_estimate_leaves(gain: float, channels: int, seed: int) -> None:
    target = noise(seed, 1, channels)
    expected = max(20.0 * math.log10(max(abs(1.0 - gain), 1e-9)), -120.0)
    assert remaining(target, gain * target) == pytest.approx(expected, abs=1e-5)
    assert median_attenuation(target, gain * target, SECOND) == pytest.approx(-expected, abs=1e-5)


def test_taking_out_nothing_or_all() -> None:
    target = noise(0)
    assert remaining(target, np.zeros_like(target)) == pytest.approx(0.0, abs=1e-12)
    assert remaining(target, target) == pytest.approx(-120.0)


def test_other_music_taken_with_it_does_not_count() -> None:
    """Attenuation is about the stem; what else is lost shows in SDR and damage."""
    target, backing = tone(500.0), tone(2000.0)
    assert remaining(target, 0.9 * target + backing) == pytest.approx(-20.0, abs=1e-3)


def test_a_band_that_was_missed_is_not_made_up_for_by_another() -> None:
    """Taking nothing of one octave and twice of another is no attenuation, though on the whole it cancels."""
    low, high = tone(300.0), tone(2400.0)
    target, estimate = low + high, 2.0 * high
    assert np.sum(target * estimate) == pytest.approx(np.sum(target * target))
    assert remaining(target, estimate) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("frequency", [63.0, 250.0, 1000.0, 3150.0])
def test_bands_count_by_their_energy(frequency: float) -> None:
    """All of a loud tone is taken and none of a quieter one far from it: the quieter one's share remains."""
    loud, quiet = tone(500.0), 0.1 * tone(frequency)
    share = 10.0 * math.log10(0.01 / 1.01)
    assert remaining(loud + quiet, loud) == pytest.approx(share, abs=1e-6)


def test_attenuation_is_the_median_over_chunks_that_sound() -> None:
    target = noise(0, 5)
    gains = np.repeat([0.9, 0.5, 0.0, 0.99, 0.5], SECOND)
    target[:, 4 * SECOND :] = 0.0
    # 20, 6.02, 0 and 40 dB
    assert median_attenuation(target, gains * target, SECOND) == pytest.approx((20.0 + 6.0206) / 2, abs=1e-3)


def test_bands_are_thirds_of_octaves_down_to_twenty_hertz() -> None:
    starts = third_octaves(22051)  # a second at 44.1 kHz
    assert starts[0] == 0 and LOWEST_EDGE <= starts[1] < 1.3 * LOWEST_EDGE
    assert np.all(np.diff(starts) > 0) and starts[-1] < 22050
    assert starts[2:] / starts[1:-1] == pytest.approx(2.0 ** (1 / 3), rel=0.05)


@settings(deadline=None, max_examples=60)
@given(samples=st.integers(1, 400))
def test_signals_of_any_length_can_be_measured(samples: int) -> None:
    starts = third_octaves(samples // 2 + 1)
    assert starts[0] == 0 and np.all(np.diff(starts) > 0) and starts[-1] <= samples // 2
    target = np.random.default_rng(samples).standard_normal((2, samples))
    assert remaining(target, 0.5 * target) == pytest.approx(-6.0206, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(level=st.floats(-60.0, 0.0), seed=st.integers(0, 1000))
def test_damage_is_what_was_removed_against_the_music(level: float, seed: int) -> None:
    music = noise(seed)
    removed = orthogonal(music, seed + 1) * 10.0 ** (level / 20.0)
    assert damage(music, removed) == pytest.approx(level, abs=1e-6)


def test_no_damage_is_finite() -> None:
    assert damage(noise(0), np.zeros((2, SECOND))) == pytest.approx(-120.0)


# -- nothing to measure -------------------------------------------------------------------------------


def test_a_target_that_never_sounds_has_no_figures_and_no_warnings() -> None:
    silence = np.zeros((2, 2 * SECOND), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(median_sdr(silence, silence, SECOND))
        assert math.isnan(median_attenuation(silence, silence + 1.0, SECOND))
        assert math.isnan(remaining(silence, silence + 1.0))
        assert math.isnan(damage(silence, silence + 1.0))
        assert chunk_sdr(silence, silence, SECOND).shape == (0,)


def test_a_silent_channel_gives_no_warnings() -> None:
    target = noise(0)
    target[1] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert remaining(target, 0.9 * target) == pytest.approx(-20.0, abs=1e-6)
        assert remaining(tone(1000.0), 0.0 * tone(1000.0)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("measure", [chunk_sdr, median_sdr, median_attenuation])
def test_signals_must_have_one_shape_and_samples(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(UsageError, match=r"cannot compare \(2, 8000\) with \(1, 8000\)"):
        measure(noise(0), noise(0)[:1], SECOND)
    with pytest.raises(UsageError, match="without samples"):
        measure(np.zeros((2, 0)), np.zeros((2, 0)), SECOND)


def test_remaining_must_have_one_shape_and_samples() -> None:
    with pytest.raises(UsageError, match="cannot compare"):
        remaining(noise(0), noise(0)[:, 1:])
    with pytest.raises(UsageError, match="without samples"):
        remaining(np.zeros((2, 0)), np.zeros((2, 0)))
