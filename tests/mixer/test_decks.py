"""The crossfader's curves, and what it lets through of whom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.mixer.decks import CUT_WIDTH, DeckSection, crossfade
from rtsep.mixer.mixer import Mixer

places = st.floats(0.0, 1.0)


@given(places)
def test_constant_power_is_constant_and_a_cut_has_one_deck_in_full(position: float) -> None:
    first, second = crossfade(position)
    assert first**2 + second**2 == pytest.approx(1.0)
    first, second = crossfade(position, cut=True)
    assert max(first, second) == 1.0 and min(first, second) >= 0.0


@given(places, places, st.booleans())
def test_both_curves_are_mirrored_and_go_one_way(a: float, b: float, cut: bool) -> None:
    assert crossfade(1.0 - a, cut) == pytest.approx(crossfade(a, cut)[::-1], abs=1e-12)
    low, high = sorted((a, b))
    assert crossfade(low, cut)[0] >= crossfade(high, cut)[0]
    assert crossfade(low, cut)[1] <= crossfade(high, cut)[1]


@pytest.mark.parametrize("cut", [False, True])
def test_an_end_is_exactly_one_deck(cut: bool) -> None:
    assert crossfade(0.0, cut) == (1.0, 0.0) and crossfade(1.0, cut) == (0.0, 1.0)
    assert crossfade(-1.0, cut) == (1.0, 0.0) and crossfade(2.0, cut) == (0.0, 1.0)
    assert crossfade(CUT_WIDTH, True) == crossfade(1.0 - CUT_WIDTH, True) == (1.0, 1.0)


def test_a_swapped_stem_is_on_the_other_side_and_the_dry_signal_is_not() -> None:
    section = DeckSection([0.0, -20.0], [False, True], position=0.0)
    levels = np.full(6, np.nan)
    section.levels(levels)
    # Two stems of the first deck, two of the second, the two inputs.
    assert list(levels) == [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    section.position = 1.0
    section.levels(levels)
    assert list(levels) == [0.0, 1.0, 1.0, 0.0, 0.0, pytest.approx(0.1)]


def test_sends_and_sum_are_behind_the_crossfader_and_strips_and_meters_before_it() -> None:
    mixer = Mixer(stems=1, channels=2, hop=64, ramp=1, decks=2)
    mixer.set_crossfader(np.array([1.0, 0.25, 1.0, 0.25]))
    mixer.set_sends(np.array([1.0, 1.0]))
    strips = np.stack([np.full((2, 64), value, np.float32) for value in (0.5, 0.8)])
    own, out = np.zeros_like(strips), np.zeros((2, 64), np.float32)
    for _ in range(2):
        mixer.process(strips, own, out)
    assert np.array_equal(own, strips)
    assert np.allclose(out, 0.5 + 0.25 * 0.8) and np.allclose(mixer.bus, out)
    peak, square = np.zeros(3, np.float32), np.zeros(3, np.float32)
    mixer.meters.read(peak, square)
    assert list(peak[:2]) == [np.float32(0.5), np.float32(0.8)]
    assert np.allclose(mixer.cross_dry(strips), 0.5 + 0.25 * 0.8)
    # As much of a hop as there is.
    mixer.process(strips[:, :, :10], own[:, :, :10], out[:, :10])
    assert np.allclose(mixer.cross_dry(strips[:, :, :10]), 0.7)


def test_one_deck_passes_no_crossfader() -> None:
    mixer = Mixer(stems=2, channels=2, hop=16, ramp=1)
    mixer.set_crossfader(np.zeros(3))
    strips, out = np.ones((2, 2, 16), np.float32), np.zeros((2, 16), np.float32)
    mixer.process(strips, None, out)
    assert np.array_equal(out, np.full((2, 16), 2.0, np.float32))
    dry = np.ones((1, 2, 16), np.float32)
    assert np.shares_memory(mixer.cross_dry(dry), dry)
