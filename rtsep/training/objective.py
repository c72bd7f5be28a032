"""The loss: how loud the error is, in decibels, second by second.

SDR is a logarithm, and so is this: each known part of each second counts by the logarithm of its
error's energy, so that a quiet voice matters as much as a loud one, down to a floor some 30 dB below
the mixture, where a part that should be silent is silent enough. The same is asked of a spectrum
whitened by the mixture's own average, because the ear hears errors at 10 kHz that hold a thousandth of
the energy of the bass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rtsep.training.statistics import Statistics

FLOOR = 10.0**-3.0
WHITE_SHARE = 0.25


def masked_error(logits: Tensor, statistics: Statistics) -> Tensor:
    """Energy of each known part's error in each band.

    Args:
        logits: (batch, time, stems, channels, bands), before the softmax across stems.

    Returns:
        (batch, time, parts, channels, bands), not negative.
    """
    masks = torch.softmax(logits, dim=2)
    batch, time, stems, channels, bands = masks.shape
    grouped = torch.bmm(
        statistics.groups.repeat_interleave(time, dim=0), masks.reshape(batch * time, stems, channels * bands)
    ).view(batch, time, -1, channels, bands)
    error = grouped.square() * statistics.mixture.unsqueeze(2)
    error = error - 2.0 * grouped * statistics.cross + statistics.target
    return error.clamp_min(0.0)


def loss(logits: Tensor, statistics: Statistics, frames: int) -> Tensor:
    """Mean over known parts and segments of `frames` frames of the error's level, in dB against the mixture."""
    error = masked_error(logits, statistics)
    whiteness = statistics.mixture.mean(dim=(1, 2), keepdim=True)
    weights = 1.0 / (whiteness + 1e-4 * whiteness.mean(dim=-1, keepdim=True) + 1e-12)
    known = statistics.groups.amax(dim=2)
    # A voice is what most listeners mute: it counts twice. Two complementary parts share one error.
    importance = known * (1.0 + statistics.groups[:, :, 0])
    flat = _level(error, statistics.mixture, None, frames)
    white = _level(error, statistics.mixture, weights, frames)
    levels = (1.0 - WHITE_SHARE) * flat + WHITE_SHARE * white
    return (levels * importance.unsqueeze(1)).sum() / (importance.sum() * levels.shape[1])


def _level(error: Tensor, mixture: Tensor, weights: Tensor | None, frames: int) -> Tensor:
    """(batch, segments, parts): 10 log10 of error over mixture, floored."""
    if weights is not None:
        error = error * weights.unsqueeze(2)
        mixture = mixture * weights
    e = _segments(error.sum(dim=(3, 4)), frames)
    x = _segments(mixture.sum(dim=(2, 3)).unsqueeze(2), frames)
    reference = x + 1e-3 * x.mean(dim=1, keepdim=True) + 1e-9
    return 10.0 * torch.log10(e / reference + FLOOR)


def _segments(energy: Tensor, frames: int) -> Tensor:
    """Sum (batch, time, parts) over runs of `frames`; what does not fill a run at the end is left out."""
    batch, time, parts = energy.shape
    whole = max(time // frames, 1)
    return energy[:, : whole * frames].reshape(batch, whole, -1, parts).sum(dim=2)
