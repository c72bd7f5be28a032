"""Ramps: smooth, exact, and blind to how the stream is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.dsp.gains import STEEPEST, Ramp, db_to_linear, linear_to_db
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing


def filled(ramp: Ramp, samples: int) -> NDArray[np.float32]:
    gains = np.full((ramp.count, samples), np.nan, np.float32)
    ramp.fill(gains)
    return gains


def test_ramp_leaves_and_arrives_softly_and_lands_exactly() -> None:
    ramp = Ramp(1, 100)
    ramp.set(np.array([0.1]))
    gains = filled(ramp, 130)[0]
    way = np.arange(1, 101) / 100
    assert gains[:100] == pytest.approx(1.0 - 0.9 * way**2 * (3.0 - 2.0 * way), abs=1e-7)
    # Within 1 % of a raised cosine, as it says.
    assert np.abs(gains[:100] - (1.0 - 0.9 * (0.5 - 0.5 * np.cos(np.pi * way)))).max() < 0.01
    assert (gains[99:] == np.float32(0.1)).all()
    assert ramp.value(0) == 0.1


@settings(deadline=None)
@given(
    length=st.integers(1, 300),
    blocks=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    goals=st.lists(st.floats(-4, 4), min_size=2, max_size=5),
)
def test_any_chunking_gives_the_same_samples(length: int, blocks: list[int], goals: list[float]) -> None:
    total = sum(blocks)
    whole, cut = Ramp(2, length), Ramp(2, length)
    for goal in goals:
        for ramp in (whole, cut):
            ramp.set(np.array([goal, -goal]))
        assert np.array_equal(filled(whole, total), np.hstack([filled(cut, n) for n in blocks]))
        assert np.array_equal(whole.left, cut.left)


@settings(deadline=None)
@given(
    length=st.integers(1, 200),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 150)), min_size=1, max_size=20),
)
def test_slope_never_exceeds_full_scale_over_the_length(
    length: int, changes: list[tuple[float, int]]
) -> None:
    ramp = Ramp(1, length)
    pieces = [np.ones((1, 1), np.float32)]
    for goal, samples in changes:
        ramp.set(np.array([goal]))
        pieces.append(filled(ramp, samples))
    line = np.hstack(pieces)[0].astype(np.float64)
    assert np.abs(np.diff(line)).max() <= STEEPEST / length + 1.2e-7
    assert line.min() >= 0
    assert line.max() <= 1


def test_setting_the_present_target_does_not_restart() -> None:
    ramp = Ramp(1, 10)
    goal = np.array([0.0])
    ramp.set(goal)
    filled(ramp, 5)
    ramp.set(goal)
    assert filled(ramp, 5)[0, -1] == 0


def test_goals_that_are_not_finite_are_ignored() -> None:
    ramp = Ramp(3, 4)
    ramp.set(np.array([math.nan, math.inf, 0.5]))
    assert list(filled(ramp, 4)[:, -1]) == [1.0, 1.0, 0.5]


def test_every_change_takes_the_time_that_it_was_given() -> None:
    ramp = Ramp(3, 100)
    ramp.set(np.array([0.0, 0.0, 1.0]), np.array([10, 40, 5]))
    gains = filled(ramp, 60)
    assert [int(np.argmax(row == 0.0)) for row in gains[:2]] == [9, 39]
    assert (gains[2] == 1.0).all()
    # The gain that does not change is not hurried, and the next change has a time of its own.
    ramp.set(np.array([1.0, 0.0, 0.5]))
    assert ramp.moving
    assert (filled(ramp, 100)[:, -1] == np.float32([1.0, 0.0, 0.5])).all()
    assert not ramp.moving


def test_a_ramp_under_way_can_be_hurried_from_where_it_is() -> None:
    ramp = Ramp(1, 10_000)
    ramp.set(np.array([0.0]))
    before = filled(ramp, 5000)[0]
    ramp.hurry(0, 100)
    after = filled(ramp, 200)[0]
    assert abs(after[0] - before[-1]) < STEEPEST / 100
    assert after[98] > 0.0 == after[99]
    ramp.set(np.array([1.0]), np.array([50]))
    ramp.hurry(0, 100)
    assert filled(ramp, 50)[0, -1] == 1.0


def test_land_skips_what_is_left() -> None:
    ramp = Ramp(1, 1000, initial=0.25)
    assert filled(ramp, 1) == 0.25
    ramp.set(np.array([2.0]))
    ramp.land()
    assert (filled(ramp, 3) == 2.0).all()


def test_impossible_ramps_are_refused() -> None:
    with pytest.raises(UsageError, match="0 samples"):
        Ramp(4, 0)
    with pytest.raises(UsageError, match="0 gains"):
        Ramp(0, 10)
    with pytest.raises(ValueError, match="expected 2"):
        Ramp(2, 10).set(np.zeros(3))
    with pytest.raises(ValueError, match="expected 2"):
        Ramp(2, 10).fill(np.zeros((1, 8), np.float32))


def test_no_allocation() -> None:
    ramp = Ramp(4, 1000)
    gains = np.zeros((4, 512), np.float32)
    goals = np.zeros(4)

    def move() -> None:
        goals[0] = 1.0 - goals[0]
        ramp.set(goals)
        ramp.fill(gains)

    assert_allocates_nothing(move)


def test_decibels() -> None:
    assert db_to_linear(0.0) == 1.0
    assert db_to_linear(-math.inf) == 0.0
    assert db_to_linear(20.0) == pytest.approx(10.0)
    assert linear_to_db(0.0) == -math.inf
    assert linear_to_db(-0.5) == pytest.approx(-6.0206, abs=1e-4)
    for bad in (math.nan, math.inf):
        with pytest.raises(UsageError, match="not a level"):
            db_to_linear(bad)


@given(st.floats(-120, 60))
def test_decibels_go_there_and_back(level: float) -> None:
    assert linear_to_db(db_to_linear(level)) == pytest.approx(level, abs=1e-9)
