"""Soft takeover: no jump, ever, and the end is always reached."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.midi.takeover import Takeover

FEW = settings(max_examples=30, deadline=None)
STEPS = st.integers(0, 127).map(lambda step: step / 127)
STEP = 1.0 / 127.0


def play(takeover: Takeover, moves: list[float], parameter: float) -> list[float]:
    """Where the parameter stands after each move."""
    stood = []
    for control in moves:
        wanted = takeover.move(control, parameter)
        if wanted is not None:
            parameter = wanted
            takeover.left(parameter, wanted == control)
        stood.append(parameter)
    return stood


def sweep(first: int, last: int) -> list[float]:
    return [n / 127 for n in (range(first, last + 1) if first <= last else range(first, last - 1, -1))]


@FEW
@given(st.integers(0, 127), st.lists(st.integers(0, 127), min_size=1, max_size=4), STEPS)
def test_a_hand_that_skips_no_step_never_makes_it_jump(
    first: int, turns: list[int], parameter: float
) -> None:
    moves = [first / 127]
    for turn in turns:
        moves += sweep(round(moves[-1] * 127), turn)
    stood = [parameter, *play(Takeover("pickup"), moves, parameter)]
    assert max(abs(b - a) for a, b in itertools.pairwise(stood)) <= 2 * STEP + 1e-9


@FEW
@given(st.integers(0, 127), STEPS)
def test_scaling_moves_at_once_never_backwards_and_arrives_at_the_end(first: int, parameter: float) -> None:
    stood = [parameter, *play(Takeover("scale"), sweep(first, 127), parameter)]
    assert all(b >= a - STEP - 1e-9 for a, b in itertools.pairwise(stood))
    if first < 127 or abs(first / 127 - parameter) <= STEP:
        assert stood[-1] == pytest.approx(1.0)
    if first < 126 and parameter < 1.0 and abs(first / 127 - parameter) > 2 * STEP:
        assert stood[2] > parameter


@FEW
@given(STEPS, STEPS)
def test_jumping_follows_always(control: float, parameter: float) -> None:
    assert Takeover("jump").move(control, parameter) == control


def test_pickup_waits_until_the_control_passes() -> None:
    assert play(Takeover("pickup"), [0.2, 0.3, 0.45, 0.6, 0.7], 0.5) == [0.5, 0.5, 0.5, 0.6, 0.7]


def test_who_moves_the_parameter_takes_it_out_of_the_hand() -> None:
    takeover = Takeover("pickup")
    assert play(takeover, [0.5, 0.6], 0.5) == [0.5, 0.6]
    assert takeover.together
    # A snapshot has put it at 0.2.
    assert play(takeover, [0.61, 0.7], 0.2) == [0.2, 0.2]
    assert play(takeover, [0.5, 0.19], 0.2) == [0.2, 0.19]


def test_a_fast_hand_that_skips_steps_keeps_hold() -> None:
    assert play(Takeover("pickup"), [0.5, 0.9, 0.1], 0.5) == [0.5, 0.9, 0.1]
