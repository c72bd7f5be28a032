"""Runaway stems are caught, nothing clicks, and what is well is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.mixer.guard import LIMIT, Guard
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing

HOP = 64


def smooth(shape: tuple[int, ...], samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Slow sines: (…, samples), with a first difference far below any click."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples)
    frequency = rng.uniform(1e-3, 3e-3, shape)[..., None]
    return (0.5 * np.sin(2 * np.pi * (frequency * t + rng.uniform(0, 1, shape)[..., None]))).astype(
        np.float32
    )


def run(guard: Guard, stems: NDArray[np.float32], dry: NDArray[np.float32]) -> NDArray[np.float32]:
    out = stems.copy()
    for i in range(0, stems.shape[2], HOP):
        guard.sanitise(out[:, :, i : i + HOP], dry[:, i : i + HOP])
    return out


def test_sane_stems_are_untouched() -> None:
    stems = smooth((4, 2), HOP * 10)
    guard = Guard(4, 2, 100)
    out = run(guard, stems, stems.sum(0))
    assert np.array_equal(out.view(np.uint32), stems.view(np.uint32))
    assert guard.replaced == 0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 8.1, -1e30])
@pytest.mark.parametrize("where", [(0, 0, 0), (3, 1, HOP - 1), (2, 0, 17)])
def test_one_bad_sample_replaces_the_hop(poison: float, where: tuple[int, int, int]) -> None:
    stems = smooth((4, 2), HOP) * np.float32(0.25)
    dry = stems.sum(0)
    stems[where] = poison
    guard = Guard(4, 2, 1)
    assert guard.sanitise(stems, dry)
    assert guard.replaced == 1
    assert np.array_equal(stems[3], dry)
    assert not stems[:3].any()


@settings(deadline=None, max_examples=60)
@given(
    bad=st.lists(st.booleans(), min_size=2, max_size=25),
    ramp=st.integers(30, 300),
    poison=st.sampled_from([np.nan, np.inf, 1e20]),
    channels=st.integers(1, 2),
    gains=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_stems_always_sum_to_the_mixture_and_never_step(
    bad: list[bool], ramp: int, poison: float, channels: int, gains: list[float]
) -> None:
    # A hop of health at the front, so that a stream is under way before the first bad one.
    hops = [False, *bad]
    stems = smooth((4, channels), HOP * len(hops))
    dry = stems.sum(0)
    poisoned = stems.copy()
    for f, is_bad in enumerate(hops):
        if is_bad:
            poisoned[f % 4, :, f * HOP + 5 : f * HOP + 9] = poison
    guard = Guard(4, channels, ramp)
    out = run(guard, poisoned, dry)
    assert guard.replaced == sum(hops)
    assert np.abs(out.sum(0) - dry).max() < 2e-6
    # The stems themselves move at most 0.5 * 2 pi * 0.003 a sample and the mixture four times that; on
    # top, the fades' slope over what they bridge, at most 0.5 + 2 in each of tail and fade.
    steepest = 4 * 0.5 * 2 * np.pi * 3e-3 + 2 * 2.5 / ramp
    assert np.abs(np.diff(out, axis=2)).max() <= steepest
    mixed = np.tensordot(np.array(gains), out, 1)
    assert np.abs(np.diff(mixed, axis=1)).max() <= 4 * steepest


def test_recovers_bit_for_bit_one_fade_after() -> None:
    stems = smooth((4, 2), HOP * 12)
    dry = stems.sum(0)
    poisoned = stems.copy()
    poisoned[1, 0, HOP * 3 + 1] = np.nan
    out = run(Guard(4, 2, 100), poisoned, dry)
    assert np.array_equal(out[:, :, : HOP * 3], stems[:, :, : HOP * 3])
    assert np.array_equal(out[:, :, HOP * 4 + 99 :], stems[:, :, HOP * 4 + 99 :])
    assert not np.array_equal(out[:, :, HOP * 4 : HOP * 4 + 99], stems[:, :, HOP * 4 : HOP * 4 + 99])


def test_a_long_failure_becomes_the_mixture_itself_after_one_fade() -> None:
    stems = smooth((3, 1), HOP * 12)
    dry = stems.sum(0)
    poisoned = stems.copy()
    poisoned[:, :, HOP * 3 :] = np.nan
    out = run(Guard(3, 1, 3 * HOP), poisoned, dry)
    assert out[0, 0, HOP * 6 - 3] != 0.0
    assert not out[:2, :, HOP * 6 :].any()
    assert np.array_equal(out[2, :, HOP * 6 :], dry[:, HOP * 6 :])


def test_stems_that_do_not_sum_to_the_mixture_do_not_step_either() -> None:
    stems = smooth((2, 1), HOP * 12)
    dry = np.zeros((1, HOP * 12), np.float32)
    poisoned = stems.copy()
    poisoned[0, 0, HOP * 4 : HOP * 7] = np.inf
    out = run(Guard(2, 1, 100), poisoned, dry)
    assert np.abs(np.diff(out, axis=2)).max() < 0.5 * 2 * np.pi * 3e-3 + 2 * 0.5 / 100


def test_a_mixture_that_is_not_finite_counts_as_silence() -> None:
    stems = np.full((2, 1, HOP), np.nan, np.float32)
    dry = np.ones((1, HOP), np.float32)
    dry[0, 10] = np.nan
    guard = Guard(2, 1, 1)
    assert guard.sanitise(stems, dry)
    assert np.isfinite(stems).all()
    assert stems[1, 0, 10] == 0.0
    assert stems[1, 0, 11] == 1.0


def test_a_mixture_beyond_full_scale_raises_the_limit() -> None:
    stems = np.full((2, 1, HOP), 3 * LIMIT, np.float32)
    guard = Guard(2, 1, 1)
    assert not guard.sanitise(stems.copy(), np.full((1, HOP), 4.0, np.float32))
    assert guard.sanitise(stems.copy(), np.full((1, HOP), 2.0, np.float32))


def test_reset_is_as_new() -> None:
    stems = smooth((2, 1), HOP * 4)
    dry = stems.sum(0)
    poisoned = stems.copy()
    poisoned[0, 0, HOP * 2] = np.nan
    guard = Guard(2, 1, 100)
    first = run(guard, poisoned, dry)
    guard.reset()
    assert guard.replaced == 0
    assert np.array_equal(run(guard, poisoned, dry), first)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="ramp of 0"):
        Guard(2, 1, 0)
    with pytest.raises(UsageError, match="limit"):
        Guard(2, 1, 10, limit=0.0)
    with pytest.raises(ValueError, match="expected"):
        Guard(2, 1, 10).sanitise(np.zeros((3, 1, 8), np.float32), np.zeros((1, 8), np.float32))
    with pytest.raises(ValueError, match="expected"):
        Guard(2, 1, 10).sanitise(np.zeros((2, 1, 8), np.float32), np.zeros((1, 9), np.float32))


def test_no_allocation() -> None:
    stems, dry = np.zeros((4, 2, 512), np.float32), np.zeros((2, 512), np.float32)
    guard = Guard(4, 2, 1000)

    def hop() -> None:
        stems[1, 0, 3] = np.nan
        guard.sanitise(stems, dry)
        guard.sanitise(stems, dry)

    assert_allocates_nothing(hop)
