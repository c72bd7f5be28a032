"""Cumulative norms: the paper's up to the horizon, sound for ever after, the same in both forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rtsep.dsp.cumulative import FLOOR
from rtsep.separators.cumulative_norm import Ladder, normalise, normalise_step, step_weights


def parallel(x: Tensor, horizon: int) -> Tensor:
    return normalise(x, Ladder(x.shape[1], horizon, x.device))


def streamed(x: Tensor, horizon: int, frames: int) -> Tensor:
    """`x` in steps of `frames`, the last one shorter."""
    count = torch.zeros(x.shape[0], 1)
    mean, var = torch.zeros(x.shape[0], 1, 1), torch.zeros(x.shape[0], 1, 1)
    weights, parts = step_weights(count, frames, horizon), []
    for start in range(0, x.shape[1], frames):
        part = x[:, start : start + frames]
        if float(count[0]) < horizon or part.shape[1] != frames:
            weights = step_weights(count, part.shape[1], horizon)
        y, mean, var = normalise_step(part, mean, var, weights)
        mean, var = mean[:, -1:], var[:, -1:]
        count = (count + part.shape[1]).clamp(max=horizon)
        # A step past the horizon has the weights of the horizon.
        if float(count[0]) >= horizon:
            weights = step_weights(count, frames, horizon)
        parts.append(y)
    return torch.cat(parts, dim=1)


def reference(x: np.ndarray, horizon: int) -> np.ndarray:
    """One signal, (frames, channels), by the recurrences in double precision."""
    x = x.astype(np.float64)
    moments = zip(x.mean(axis=1).tolist(), x.var(axis=1).tolist(), strict=True)
    mean = var = 0.0
    means, variances = np.empty(len(x)), np.empty(len(x))
    for k, (m, v) in enumerate(moments):
        share = 1.0 / min(k + 1, horizon)
        var = (1.0 - share) * (var + share * (m - mean) ** 2) + share * v
        mean += share * (m - mean)
        means[k], variances[k] = mean, var
    return (x - means[:, None]) / np.sqrt(np.maximum(variances, FLOOR))[:, None]


def test_up_to_the_horizon_it_is_the_papers() -> None:
    x = torch.randn(1, 200, 6) * torch.linspace(0.1, 3.0, 200)[:, None] + 0.7
    found = parallel(x, horizon=200)[0].numpy()
    for k in (0, 1, 50, 199):
        seen = x[0, : k + 1].double()
        wanted = (x[0, k] - seen.mean()) / seen.var(unbiased=False).sqrt()
        np.testing.assert_allclose(found[k], wanted.numpy(), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("horizon", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("frames", [1, 3, 8, 50])
def test_both_forms_follow_the_recurrence(horizon: int, frames: int) -> None:
    generator = torch.Generator().manual_seed(horizon)
    level = 0.1 + torch.rand(2, 333, 1, generator=generator)
    x = level * (torch.randn(2, 333, 5, generator=generator) + torch.randn(2, 333, 1, generator=generator))
    whole, stream = parallel(x, horizon), streamed(x, horizon, frames)
    for index in range(2):
        wanted = reference(x[index].numpy(), horizon)
        np.testing.assert_allclose(whole[index], wanted, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(stream[index], wanted, rtol=1e-5, atol=2e-5)


def test_ten_minutes_do_not_wear_it_out() -> None:
    seconds, rate, horizon, frames = 600, 44100 / 64, 5512, 16
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(int(seconds * rate)) / rate
    # An offset larger than the signal, drifting; verses, breaks in silence, and a loud ending.
    level = 0.2 * (1.2 + torch.sin(2 * math.pi * time / 47)) * (torch.sin(2 * math.pi * time / 170) > -0.9)
    level[int(580 * rate) :] *= 8.0
    offset = 1.0 + 0.5 * torch.sin(2 * math.pi * time / 211)
    x = level[:, None] * torch.randn(len(time), 4, generator=generator) + offset[:, None]
    wanted = reference(x.numpy(), horizon)
    np.testing.assert_allclose(parallel(x[None], horizon)[0], wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(streamed(x[None], horizon, frames)[0], wanted, rtol=1e-4, atol=1e-4)


def test_past_the_horizon_a_change_is_forgotten() -> None:
    horizon = 100
    x = torch.randn(1, 3000, 8, generator=torch.Generator().manual_seed(2))
    x[:, :1000] = 50.0 * x[:, :1000] + 20.0
    late = parallel(x, horizon)[:, -200:]
    assert abs(float(late.mean())) < 0.1 and abs(float(late.std()) - 1.0) < 0.1


@pytest.mark.parametrize("value", [0.0, 3.7, -1e4])
def test_constants_give_no_nan(value: float) -> None:
    x = torch.full((1, 500, 3), value)
    for y in (parallel(x, 100), streamed(x, 100, 8)):
        assert torch.isfinite(y).all()
        # What rounding leaves of a constant, in units of the floor.
        assert y.abs().max() <= abs(value) * 2.0**-22 / math.sqrt(FLOOR)


def test_rows_of_weights_and_the_past_make_one() -> None:
    for count in (0, 3, 10, 16):
        weights = step_weights(torch.tensor([[float(count)]]), 5, horizon=16)[0].double()
        # The weight of the past is what the same rule gives to one frame that stands for all of it.
        past = torch.ones(5, dtype=torch.float64)
        for row in range(5):
            for k in range(row + 1):
                past[row] *= 1.0 - 1.0 / min(count + k + 1, 16)
        np.testing.assert_allclose(weights.sum(dim=1) + past, np.ones(5), atol=1e-6)


def test_it_can_be_trained() -> None:
    x = torch.randn(1, 40, 3, dtype=torch.float32, requires_grad=True)
    target = torch.randn(1, 40, 3)
    loss = (parallel(x, 16) * target).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    direction = torch.randn_like(x)
    with torch.no_grad():
        step = 1e-3 * direction
        moved = ((parallel(x + step, 16) - parallel(x - step, 16)) * target).sum()
    assert float(moved) == pytest.approx(float((gradient * step).sum() * 2), rel=0.02, abs=1e-4)
