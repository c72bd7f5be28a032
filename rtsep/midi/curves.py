"""How the throw of a control becomes a place of the parameter, both 0 to 1, and back for motor faders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

CurveName = Literal["linear", "exponential", "logarithmic", "s"]
Point = tuple[float, float]

_STEEPNESS = 3.0


class Curve:
    """A rising curve from (0, 0) to (1, 1), or one through points.

    Args:
        shape: "linear"; "exponential" rises late, (e^3x - 1) / (e^3 - 1); "logarithmic" is its mirror image
            and rises early; "s" is 3 x^2 - 2 x^3, fine at both ends; or points (throw, place), joined by
            lines.

    Raises:
        ValueError: when the points do not begin at throw 0, end at throw 1, and rise in both.
    """

    def __init__(self, shape: CurveName | Sequence[Point] = "linear") -> None:
        self.shape = shape
        if not isinstance(shape, str):
            check_points(shape)
            self._throws, self._places = (np.array(side, float) for side in zip(*shape, strict=True))

    def __call__(self, throw: float) -> float:
        """The place of a control that stands at `throw`; beyond is the nearer end."""
        x = min(max(throw, 0.0), 1.0)
        if self.shape == "linear":
            return x
        if self.shape == "exponential":
            return _exponential(x)
        if self.shape == "logarithmic":
            return 1.0 - _exponential(1.0 - x)
        if self.shape == "s":
            return x * x * (3.0 - 2.0 * x)
        return float(np.interp(x, self._throws, self._places))

    def inverse(self, place: float) -> float:
        """Where a control must stand for a place."""
        y = min(max(place, 0.0), 1.0)
        if self.shape == "linear":
            return y
        if self.shape == "exponential":
            return _logarithm(y)
        if self.shape == "logarithmic":
            return 1.0 - _logarithm(1.0 - y)
        if self.shape == "s":
            return 0.5 - math.sin(math.asin(1.0 - 2.0 * y) / 3.0)
        return float(np.interp(y, self._places, self._throws))


def check_points(points: Sequence[Point]) -> None:
    """Raises a ValueError when a curve cannot go through these points."""
    if len(points) < 2 or points[0][0] != 0.0 or points[-1][0] != 1.0:
        raise ValueError("a curve's points begin at throw 0 and end at throw 1")
    if not all(0.0 <= x <= 1.0 and 0.0 <= y <= 1.0 for x, y in points):
        raise ValueError("a curve's points are between 0 and 1")
    if not all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(points)):
        raise ValueError("a curve's points rise from one to the next, in throw and in place")


def _exponential(x: float) -> float:
    return math.expm1(_STEEPNESS * x) / math.expm1(_STEEPNESS)


def _logarithm(y: float) -> float:
    return math.log1p(y * math.expm1(_STEEPNESS)) / _STEEPNESS
