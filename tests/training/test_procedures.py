"""The four mixing procedures: what sums to what, and what never passes full scale."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rtsep.spec import UsageError
from rtsep.training.procedures import Procedure, combine

PROCEDURES = get_args(Procedure)
LOUD = st.floats(-3.0, 3.0, width=32)
SONGS = st.lists(
    st.lists(arrays.arrays(np.float32, (2, 5), elements=LOUD), min_size=1, max_size=3), min_size=1, max_size=4
)
"""One to four stems of one to three instruments, up to three times full scale."""


def total(signals: list[np.ndarray]) -> np.ndarray:
    return np.sum(np.stack(signals), axis=0, dtype=np.float64)


@pytest.mark.parametrize("procedure", PROCEDURES)
@settings(deadline=None, max_examples=40)
@given(song=SONGS)
def test_shares_sum_to_the_mixture(procedure: Procedure, song: list[list[np.ndarray]]) -> None:
    mixed = combine(song, procedure)
    assert np.abs(total(list(mixed.shares)) - mixed.mixture).max() < 1e-5
    assert len(mixed.stems) == len(song)


@pytest.mark.parametrize("procedure", ["sum", "adaptive"])
@settings(deadline=None, max_examples=40)
@given(song=SONGS)
def test_stems_themselves_sum_to_the_mixture(procedure: Procedure, song: list[list[np.ndarray]]) -> None:
    mixed = combine(song, procedure)
    assert np.abs(total(list(mixed.stems)) - mixed.mixture).max() < 1e-5 and mixed.gain == 1.0


@pytest.mark.parametrize("procedure", ["scale", "adaptive"])
@settings(deadline=None, max_examples=40)
@given(song=SONGS)
def test_nothing_passes_full_scale(procedure: Procedure, song: list[list[np.ndarray]]) -> None:
    mixed = combine(song, procedure)
    assert max(np.abs(signal).max() for signal in (mixed.mixture, *mixed.stems)) <= 1.0


@settings(deadline=None, max_examples=40)
@given(song=SONGS)
def test_an_average_is_no_louder_than_its_loudest_instrument(song: list[list[np.ndarray]]) -> None:
    mixed = combine(song, "average")
    loudest = max(np.abs(signal).max() for stem in song for signal in stem)
    assert max(np.abs(signal).max() for signal in (mixed.mixture, *mixed.stems)) <= loudest * (1.0 + 1e-5)


@settings(deadline=None, max_examples=40)
@given(song=SONGS)
def test_scaling_and_adaptive_rescaling_differ_in_the_stems_level_alone(
    song: list[list[np.ndarray]],
) -> None:
    scaled, adapted = combine(song, "scale"), combine(song, "adaptive")
    assert np.allclose(scaled.mixture, adapted.mixture, atol=1e-6)
    for share, stem in zip(scaled.shares, adapted.stems, strict=True):
        assert np.allclose(share, stem, atol=1e-6)


def test_the_four_on_two_stems_by_hand() -> None:
    guitars, drums = [np.full((1, 2), 0.75, np.float32)] * 2, [np.full((1, 2), 0.5, np.float32)]
    expected = {
        "sum": (2.0, (1.5, 0.5)),
        "average": (0.625, (0.75, 0.5)),
        "scale": (1.0, (1.0, 0.5)),  # the guitars to 1, then the sum of 1.5 to 1
        "adaptive": (1.0, (2.0 / 3.0, 1.0 / 3.0)),
    }
    for procedure in PROCEDURES:
        mixed = combine([guitars, drums], procedure)
        mixture, stems = expected[procedure]
        assert mixed.mixture[0, 0] == pytest.approx(mixture, abs=1e-5)
        assert [stem[0, 0] for stem in mixed.stems] == pytest.approx(stems, abs=1e-5)


@pytest.mark.parametrize("procedure", ["scale", "adaptive"])
def test_what_is_soft_enough_is_left_alone(procedure: Procedure) -> None:
    soft = [[np.full((2, 3), 0.25, np.float32)], [np.full((2, 3), -0.5, np.float32)]]
    mixed = combine(soft, procedure)
    assert np.array_equal(mixed.mixture, np.full((2, 3), -0.25, np.float32))
    assert all(np.array_equal(stem, signals[0]) for stem, signals in zip(mixed.stems, soft, strict=True))


def test_mistakes() -> None:
    with pytest.raises(UsageError, match="no mixing procedure 'max'; there are sum, average"):
        combine([[np.zeros((2, 3), np.float32)]], "max")  # type: ignore[arg-type]
    for nothing in ([], [[]]):
        with pytest.raises(UsageError, match="at least one"):
            combine(nothing, "sum")
