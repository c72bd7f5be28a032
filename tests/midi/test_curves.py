"""Curves rise, keep their ends, and can be read back for a motor fader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.midi.curves import Curve, Point

FEW = settings(max_examples=30, deadline=None)
THROWS = st.floats(0.0, 1.0)
SHAPES = ["linear", "exponential", "logarithmic", "s", [(0.0, 0.1), (0.3, 0.2), (1.0, 0.9)]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@FEW
@given(THROWS, THROWS)
def test_curves_rise_and_are_read_back(shape: object, first: float, second: float) -> None:
    curve = Curve(shape)  # type: ignore[arg-type]
    low, high = sorted((first, second))
    assert 0.0 <= curve(low) <= curve(high) <= 1.0
    # Where a curve is flat many throws have one place: what counts is the place.
    assert curve(curve.inverse(curve(low))) == pytest.approx(curve(low), abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_ends_are_ends(shape: str) -> None:
    curve = Curve(shape)  # type: ignore[arg-type]
    assert (curve(0.0), curve(1.0)) == pytest.approx((0.0, 1.0), abs=1e-15)
    assert (curve(-1.0), curve(2.0)) == pytest.approx((0.0, 1.0), abs=1e-15)


def test_shapes_are_what_they_are_called() -> None:
    assert Curve("exponential")(0.5) < 0.5 < Curve("logarithmic")(0.5)
    assert Curve("s")(0.1) < 0.1 and Curve("s")(0.9) > 0.9
    points = Curve([(0.0, 0.0), (0.5, 0.8), (1.0, 1.0)])
    assert points(0.25) == pytest.approx(0.4) and points.inverse(0.9) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "points",
    [
        [(0.0, 0.0)],
        [(0.1, 0.0), (1.0, 1.0)],
        [(0.0, 0.0), (0.9, 1.0)],
        [(0.0, 0.0), (0.5, 0.5), (0.5, 0.6), (1.0, 1.0)],
        [(0.0, 0.5), (1.0, 0.5)],
        [(0.0, 0.0), (1.0, 1.5)],
    ],
)
def test_points_that_make_no_curve_are_refused(points: list[Point]) -> None:
    with pytest.raises(ValueError, match="points"):
        Curve(points)
