"""The measurement against effects whose lateness is known, and against those that have none to speak of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.effects.measurement import LONGEST_LAG_SECONDS, Lateness, measure
from rtsep.spec import UsageError
from tests.effects.streams import HOP, RATE, Audio

Process = Callable[[Audio], Audio]


class Filter:
    """A finite impulse response, streamed."""

    def __init__(self, taps: list[float] | np.ndarray) -> None:
        self._taps = np.asarray(taps, np.float64)
        self._past = np.zeros((2, len(self._taps) - 1))

    def __call__(self, block: Audio) -> Audio:
        whole = np.concatenate([self._past, block], axis=1)
        self._past = whole[:, block.shape[1] :]
        return np.stack([np.convolve(row, self._taps, "valid") for row in whole]).astype(np.float32)


class Withholding:
    """Keeps back its first samples, and gives the rest in uneven portions when told to."""

    def __init__(self, samples: int, jitter: int = 0, inside: Process | None = None) -> None:
        self._left = samples
        self._jitter = jitter
        self._rng = np.random.default_rng(3)
        self._kept: Audio = np.zeros((2, 0), np.float32)
        self._inside = inside or (lambda block: block)

    def __call__(self, block: Audio) -> Audio:
        block = self._inside(block)
        dropped = min(self._left, block.shape[1])
        self._left -= dropped
        whole = np.concatenate([self._kept, block[:, dropped:]], axis=1)
        keep = min(int(self._rng.integers(0, self._jitter + 1)), whole.shape[1]) if self._jitter else 0
        self._kept = whole[:, whole.shape[1] - keep :]
        return whole[:, : whole.shape[1] - keep]


def delay(samples: int) -> Filter:
    return Filter([0.0] * samples + [1.0])


def decay(samples: int) -> np.ndarray:
    """A minimum-phase filter that rings for long: one pole."""
    return 0.99 ** np.arange(samples)


def windowed_sinc(half: int) -> np.ndarray:
    """A linear-phase low pass of length 2 half + 1, late by `half`."""
    n = np.arange(-half, half + 1)
    return np.sinc(0.1 * n) * np.hanning(2 * half + 3)[1:-1]


def found(process: Process) -> Lateness:
    return measure(process, 2, HOP, RATE)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, int(LONGEST_LAG_SECONDS * RATE)), st.integers(0, 3000))
def test_any_delay_is_found_to_the_sample(lag: int, shortfall: int) -> None:
    """Also where the effect withholds more than it is late, as if it were wrong about itself."""
    past: list[Audio] = [np.zeros((2, lag), np.float32)]

    def later(block: Audio) -> Audio:
        whole = np.concatenate([past[0], block], axis=1)
        past[0] = whole[:, block.shape[1] :]
        return whole[:, : block.shape[1]]

    result = found(Withholding(shortfall, inside=later))
    assert result.shortfall == shortfall and result.delay == lag


def test_portions_that_are_uneven_are_waited_for() -> None:
    result = found(Withholding(500, jitter=30))
    assert 500 < result.shortfall <= 530 and result.lag == -500


def test_a_linear_phase_filter_is_late_by_half_its_length() -> None:
    assert found(Filter(windowed_sinc(300))) == Lateness(0, 300)


@pytest.mark.parametrize(
    "taps",
    [decay(1500), np.convolve(decay(800), decay(800)), np.array([1.0, 0.0, 0.5])],
    ids=["one pole", "two poles", "echo"],
)
def test_a_minimum_phase_filter_is_not_late(taps: np.ndarray) -> None:
    assert found(Filter(taps)) == Lateness(0, 0)


def test_polarity_and_distortion_do_not_hide_a_delay() -> None:
    inside = delay(700)
    assert found(lambda block: np.tanh(-20.0 * inside(block))) == Lateness(0, 700)


def test_an_envelope_will_do_where_the_waveform_is_another() -> None:
    """Every sample's sign is thrown anew: nothing correlates but how loud it is."""
    rng = np.random.default_rng(1)
    inside = delay(4000)
    result = found(lambda block: (inside(block) * rng.choice([-1.0, 1.0], block.shape)).astype(np.float32))
    assert result.shortfall == 0 and abs(result.lag - 4000) < 0.005 * RATE
    steady = found(lambda block: rng.standard_normal(block.shape).astype(np.float32))
    assert steady == Lateness(0, 0)


def test_who_is_meant_to_be_late_is_not_listened_to() -> None:
    assert measure(delay(900), 2, HOP, RATE, listen=False) == Lateness(0, 0)
    assert measure(Withholding(900), 2, HOP, RATE, listen=False) == Lateness(900, 0)


def moving() -> Process:
    calls = iter(range(10**6))
    lines = [delay(100), delay(200)]

    def process(block: Audio) -> Audio:
        first, second = (line(block) for line in lines)
        return first if next(calls) < 375 else second

    return process


@pytest.mark.parametrize(
    ("process", "why"),
    [
        (lambda block: block[:, :0], "gives no sound in 8 s"),
        (lambda block: block[:, : HOP - 1], "falls behind further and further"),
        (lambda block: np.concatenate([block, block], axis=1), "more samples than it takes"),
        (lambda block: block * np.float32("nan"), "not numbers"),
        (moving(), "does not stand still: 100 samples, then 200"),
    ],
)
def test_what_cannot_be_compensated_is_refused_with_the_reason(process: Process, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        found(process)
