"""The FFT against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.dsp.fft import FFTPlan
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing

SIZES = [2**k for k in range(1, 14)]


def noise(n: int, seed: int = 0) -> NDArray[np.complex64]:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(n) + 1j * rng.standard_normal(n)).astype(np.complex64)


@pytest.mark.parametrize("n", SIZES)
def test_forward_equals_numpy(n: int) -> None:
    x = noise(n)
    expected = np.fft.fft(x.astype(np.complex128))
    FFTPlan(n).forward(x)
    assert np.abs(x - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("n", SIZES)
def test_inverse_equals_numpy(n: int) -> None:
    x = noise(n)
    expected = np.fft.ifft(x.astype(np.complex128))
    FFTPlan(n).inverse(x)
    assert np.abs(x - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("n", [16, 512, 2048])
def test_every_impulse_becomes_its_exponential(n: int) -> None:
    # An error in one twiddle or one index shows in some impulse, however small it is beside noise.
    plan = FFTPlan(n)
    k = np.arange(n)
    for position in range(0, n, max(1, n // 128)):
        x = np.zeros(n, np.complex64)
        x[position] = 1
        plan.forward(x)
        assert np.abs(x - np.exp(-2j * np.pi * position * k / n)).max() < 5e-7


def test_round_trip_and_reuse() -> None:
    plan = FFTPlan(2048)
    for seed in range(5):
        x = noise(2048, seed)
        y = x.copy()
        plan.forward(y)
        plan.inverse(y)
        assert np.abs(y - x).max() < 2e-6


@pytest.mark.parametrize("n", [-8, 0, 1, 3, 1000, 2047])
def test_other_sizes_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        FFTPlan(n)


def test_wrong_arguments_are_refused() -> None:
    plan = FFTPlan(16)
    with pytest.raises(ValueError, match="16 points, got 8"):
        plan.forward(noise(8))
    with pytest.raises(TypeError):
        plan.forward(noise(16).astype(np.complex128))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        plan.inverse(noise(32)[::2])


def test_no_allocation() -> None:
    plan = FFTPlan(2048)
    x = np.zeros(2048, np.complex64)
    assert_allocates_nothing(lambda: plan.forward(x))
