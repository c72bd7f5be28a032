"""SI-SDR on signals whose figures are known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.evaluation.scale_invariant import si_sdr
from rtsep.spec import UsageError
from tests.evaluation.test_metrics import noise, orthogonal


@settings(deadline=None, max_examples=30)
@given(
    level=st.floats(-30.0, 60.0),
    gain=st.floats(0.01, 10.0),
    sign=st.sampled_from([-1.0, 1.0]),
    channels=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_known_errors_at_any_level(level: float, gain: float, sign: float, channels: int, seed: int) -> None:
    target = noise(seed, 1, channels)
    estimate = target + orthogonal(target, seed + 1) * 10.0 ** (-level / 20.0)
    assert si_sdr(target, sign * gain * estimate) == pytest.approx(level, abs=1e-6)


def test_one_gain_serves_both_channels() -> None:
    """A stem that has moved to the left is not the stem."""
    target = noise(0)
    moved = target * np.array([[1.0], [0.0]])
    assert -1.0 < si_sdr(target, moved) < 1.0


def test_nothing_and_everything() -> None:
    target = noise(0)
    assert si_sdr(target, target) == pytest.approx(120.0)
    assert si_sdr(target, np.zeros_like(target)) == -120.0
    assert si_sdr(target, orthogonal(target, 1)) == pytest.approx(-120.0)
    assert math.isnan(si_sdr(np.zeros_like(target), target))


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match="cannot compare"):
        si_sdr(noise(0), noise(0)[:1])
    with pytest.raises(UsageError, match="without samples"):
        si_sdr(np.zeros((2, 0)), np.zeros((2, 0)))
