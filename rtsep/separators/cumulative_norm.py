"""Cumulative layer norm that stays sound for as long as a stream runs.

Luo and Mesgarani's cLN (arXiv:1809.07454, section II-C) normalises frame k by the mean and variance of
all channels of the frames up to k. Written as sums and a count it fails on a stage: after minutes the
sums have outgrown float32's precision, and after hours a change of song hardly moves them. Here:

- what is kept is the mean and the variance themselves, updated by what a frame differs from them, so
  that nothing grows and no large numbers cancel;
- the count stops at a horizon K. Up to frame K this is exactly the paper's cLN; from there on the past
  fades with time constant K. With n(k) = min(k, K) the recurrences are, for a frame of mean m, variance v,

      mean(k) = mean(k-1) + (m - mean(k-1)) / n
      var(k)  = (1 - 1/n) (var(k-1) + (m - mean(k-1))^2 / n) + v / n

  the mean and variance of all samples so far under the weights of that average.

An update smaller than half a unit in the last place of what it updates is lost, so a statistic settles
within about K 2^-25 / (frames per step) of its true value, relatively: below 1e-4 for K up to a few
thousand steps, and less when the signal moves.

Both forms, whole signals and a few frames at a time, weigh the past with the same closed expression:
frame j weighs exp(r (max(i, K) - max(j, K))) / min(i, K) at frame i >= j, where r = log(1 - 1/K).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsep.dsp.cumulative import FLOOR

MAX_HORIZON = 2**24
"""Frames beyond which float32 cannot count."""


class Ladder:
    """Weights for a whole signal: solves the recurrence in log2(frames) vectorised steps.

    After step s each frame holds the weighted sum of the 2^s frames up to it (Hillis and Steele, "Data
    parallel algorithms", CACM 29(12), 1986). The factors depend on the frames' indices alone, so that one
    ladder serves all norms of a network, and backpropagation keeps nothing else.
    """

    def __init__(self, frames: int, horizon: int, device: torch.device) -> None:
        index = torch.arange(1, frames + 1, dtype=torch.float64, device=device)
        capped, beyond = index.clamp(max=horizon), index.clamp(min=horizon)
        rate = _rate(horizon)
        self.share = (1.0 / capped).float()
        self._rungs: list[tuple[int, Tensor]] = []
        shift = 1
        while shift < frames:
            fade = torch.exp(rate * (beyond[shift:] - beyond[:-shift])) * capped[:-shift] / capped[shift:]
            self._rungs.append((shift, fade.float()))
            shift *= 2

    def scan(self, x: Tensor) -> Tensor:
        """y(k) = (1 - share(k)) y(k-1) + x(k) along the last axis, from y(0) = 0."""
        for shift, fade in self._rungs:
            x = torch.cat((x[..., :shift], x[..., shift:] + fade * x[..., :-shift]), dim=-1)
        return x

    def statistics(self, frame_mean: Tensor, frame_var: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of all frames up to each, from those of the frames alone, (batch, frames, 1)."""
        of_frame, spread = frame_mean.squeeze(2), frame_var.squeeze(2)
        mean = self.scan(self.share * of_frame)
        before = torch.cat((torch.zeros_like(mean[:, :1]), mean[:, :-1]), dim=1)
        var = self.scan(self.share * (spread + (1.0 - self.share) * (of_frame - before).square()))
        return mean.unsqueeze(2), var.unsqueeze(2)


def step_weights(count: Tensor, frames: int, horizon: int) -> Tensor:
    """Weight of each frame of a step in the statistics after each of them.

    Args:
        count: (batch, 1), frames before the step, at most `horizon`.
        frames: in the step.
        horizon: K.

    Returns:
        (batch, frames, frames), lower triangular; what a row lacks to one is the weight of the past.
    """
    index = count + torch.arange(1, frames + 1, dtype=count.dtype, device=count.device)
    capped, beyond = index.clamp(max=horizon), index.clamp(min=horizon)
    # Later frames weigh nothing; their exponential must not overflow before it is masked.
    fade = torch.exp(_rate(horizon) * (beyond.unsqueeze(2) - beyond.unsqueeze(1)).clamp(min=0.0))
    lower = torch.ones(frames, frames, dtype=count.dtype, device=count.device).tril()
    return lower * fade / capped.unsqueeze(2)


def _rate(horizon: int) -> float:
    # A horizon of one frame forgets everything: any number whose exponential is zero, but a finite one,
    # since it is multiplied by zero frames too.
    return math.log1p(-1.0 / horizon) if horizon > 1 else -1e4


def normalise(x: Tensor, ladder: Ladder) -> Tensor:
    """cLN over the last axis of a whole signal (batch, frames, channels), from silence.

    There is no gain and no bias: what follows a norm is linear and has its own.
    """
    return scaled(x, *ladder.statistics(*moments(x)))


def normalise_step(x: Tensor, mean: Tensor, var: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for the next frames of a stream.

    Args:
        x: (batch, frames, channels).
        mean, var: (batch, 1, 1), the statistics before.
        weights: (batch, frames, frames) of `step_weights`.

    Returns:
        The normalised frames, and mean and variance after each of them, (batch, frames, 1).
    """
    frame_mean, frame_var = moments(x)
    # First and second moment about the old mean, relative to their old values: rows of weights need
    # not reach one exactly for the statistics to stay where they are when nothing changes.
    drift = frame_mean - mean
    shift = weights @ drift
    spread = weights @ (frame_var + drift * drift - var)
    mean_now = mean + shift
    var_now = var + spread - shift * shift
    return scaled(x, mean_now, var_now), mean_now, var_now


def scaled(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Frames (batch, frames, channels) to mean zero and variance one by these, (batch, frames, 1) each."""
    # Rounding can leave a variance a little below zero when all channels are alike: the floor holds it.
    return (x - mean) / torch.sqrt(var.clamp(min=FLOOR))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each frame by itself, in float32, (batch, frames, 1)."""
    x = x.float()
    mean = x.mean(dim=2, keepdim=True)
    centred = x - mean
    return mean, (centred * centred).mean(dim=2, keepdim=True)
