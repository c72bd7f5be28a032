"""The loss: how loud the error is, in decibels, second by second.

SDR is a logarithm, and so is this: each known part of each second counts by the logarithm of its
error's energy, so that a quiet voice matters as much as a loud one. Below a floor nothing more is won.
The floor is low where a part sounds and high where it is silent: with the same low one for both, seconds
without a voice have more decibels to give than seconds with it, and a network in doubt learns to say
nothing. The same is asked of a spectrum whitened by the mixture's own average, because the ear hears
errors at 10 kHz that hold a thousandth of the energy of the bass.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtsep.training.statistics import Statistics

SOUNDING_FLOOR = 0.6
"""Share of a part's own energy below which its error matters little: SDR beyond 2 dB.

The lower, the more the logarithm bends, and the more a network that cannot tell bets on one answer. The
higher, the nearer to a squared error, which asks for the mean of what may be."""
SILENT_FLOOR = 0.1
"""Share of the mixture below which what is left in a silent part hardly matters."""
FAINT = 0.02
"""Share of the mixture at which a part is half way between silent and sounding."""
WHITE_SHARE = 0.25
LOWEST = np.float32(-30.0)
TINY = np.float32(1e-20)
"""Below these a mask or slope means nothing, and numbers too small to be normal cost a hundred times more."""

Floats = NDArray[np.float32]

# numba's OpenMP layer would share torch's pool and reset its size; the two then spin against each other.
numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]


class _BandError(torch.autograd.Function):
    """Energy of each part's error in each frame, summed over bands flat and weighted.

    One pass over the logits forward and one back. As a chain of tensor operations the same takes some
    fifteen passes over arrays of stems x channels x bands a frame, and more time than the network.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, statistics: Statistics, weights: Tensor) -> Tensor:
        arrays = (
            logits.detach().float().contiguous().numpy(),
            statistics.groups.numpy(),
            statistics.mixture.numpy(),
            statistics.cross.numpy(),
            statistics.target.numpy(),
            weights.numpy(),
        )
        batch, time, parts = statistics.target.shape[:3]
        error = np.zeros((batch, time, parts, 2), np.float32)
        _sum_error(*arrays, error)
        ctx.arrays = arrays
        ctx.dtype = logits.dtype
        return torch.from_numpy(error)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        upstream = gradients[0].contiguous().numpy()
        logits, groups, mixture, cross, target, weights = ctx.arrays
        downstream = np.empty_like(logits)
        _differentiate_error(logits, groups, mixture, cross, target, weights, upstream, downstream)
        return torch.from_numpy(downstream).to(ctx.dtype), None, None


@numba.njit(cache=True, fastmath=True, inline="always")
def _softmax(logits: Floats, c: int, k: int, masks: Floats) -> None:
    """Across the stems of one frame (stems, channels, bands), for one channel and band."""
    highest = logits[0, c, k]
    for s in range(1, logits.shape[0]):
        highest = max(highest, logits[s, c, k])
    total = np.float32(0.0)
    for s in range(logits.shape[0]):
        masks[s] = np.exp(max(logits[s, c, k] - highest, LOWEST))
        total += masks[s]
    for s in range(logits.shape[0]):
        masks[s] /= total


@numba.njit(nogil=True, cache=True, fastmath=True, parallel=True)
def _sum_error(
    logits: Floats,
    groups: Floats,
    mixture: Floats,
    cross: Floats,
    target: Floats,
    weights: Floats,
    error: Floats,
) -> None:
    batch, time, stems, channels, bands = logits.shape
    parts = groups.shape[1]
    for index in numba.prange(batch * time):
        b, t = index // time, index % time
        masks = np.empty(stems, np.float32)
        for c in range(channels):
            for k in range(bands):
                _softmax(logits[b, t], c, k, masks)
                x, weight = mixture[b, t, c, k], weights[b, k]
                for p in range(parts):
                    mask = np.float32(0.0)
                    for s in range(stems):
                        mask += groups[b, p, s] * masks[s]
                    e = max(mask * (mask * x - 2.0 * cross[b, t, p, c, k]) + target[b, t, p, c, k], 0.0)
                    error[b, t, p, 0] += e
                    error[b, t, p, 1] += e * weight


@numba.njit(nogil=True, cache=True, fastmath=True, parallel=True)
def _differentiate_error(
    logits: Floats,
    groups: Floats,
    mixture: Floats,
    cross: Floats,
    target: Floats,
    weights: Floats,
    upstream: Floats,
    downstream: Floats,
) -> None:
    batch, time, stems, channels, bands = logits.shape
    parts = groups.shape[1]
    for index in numba.prange(batch * time):
        b, t = index // time, index % time
        masks = np.empty(stems, np.float32)
        slopes = np.empty(stems, np.float32)
        for c in range(channels):
            for k in range(bands):
                _softmax(logits[b, t], c, k, masks)
                slopes[:] = 0.0
                x, weight = mixture[b, t, c, k], weights[b, k]
                for p in range(parts):
                    mask = np.float32(0.0)
                    for s in range(stems):
                        mask += groups[b, p, s] * masks[s]
                    r = cross[b, t, p, c, k]
                    slope = upstream[b, t, p, 0] + upstream[b, t, p, 1] * weight
                    slope *= 2.0 * (mask * x - r)
                    for s in range(stems):
                        slopes[s] += groups[b, p, s] * slope
                mean = np.float32(0.0)
                for s in range(stems):
                    mean += masks[s] * slopes[s]
                for s in range(stems):
                    slope = masks[s] * (slopes[s] - mean)
                    downstream[b, t, s, c, k] = slope if abs(slope) > TINY else np.float32(0.0)


def band_error(logits: Tensor, statistics: Statistics, weights: Tensor) -> Tensor:
    """What `_BandError` computes, as tensor operations: (batch, time, parts, 2), flat and weighted."""
    masks = torch.softmax(logits.float(), dim=2)
    shares = torch.einsum("bps,btsck->btpck", statistics.groups, masks)
    error = shares * (shares * statistics.mixture.unsqueeze(2) - 2.0 * statistics.cross) + statistics.target
    return _energy(error.clamp_min(0.0), weights)


def importance(groups: Tensor, vocals: int | None, weight: float) -> Tensor:
    """How much each known part counts: (batch, parts, stems) to (batch, parts), 0 where a part is unused.

    Args:
        groups: 1 where a part contains a stem.
        vocals: which stem they are, if they are one.
        weight: of parts with vocals, against 1 for those without.
    """
    known = groups.amax(dim=2)
    return known if vocals is None else known * (1.0 + (weight - 1.0) * groups[:, :, vocals])


def loss(logits: Tensor, statistics: Statistics, frames: int, vocals: int | None = 0) -> Tensor:
    """Mean over known parts and segments of `frames` frames of the error's level, in dB of the mixture.

    Parts with vocals, the stem at that place, count twice.
    """
    x = statistics.mixture
    whiteness = x.mean(dim=(1, 2))
    weights = 1.0 / (whiteness + 1e-4 * whiteness.mean(dim=-1, keepdim=True) + 1e-12)
    # Compiled for processors; a GPU has the bandwidth for the chain of operations.
    error: Tensor = (
        _BandError.apply(logits, statistics, weights)
        if logits.device.type == "cpu"
        else band_error(logits, statistics, weights)
    )
    reference = _segments(_energy(x.unsqueeze(2), weights), frames)
    reference = reference + 1e-3 * reference.mean(dim=1, keepdim=True) + 1e-9
    share = _segments(_energy(statistics.target, weights), frames) / reference
    levels = 10.0 * torch.log10(_segments(error, frames) / reference + floor(share))
    levels = (1.0 - WHITE_SHARE) * levels[..., 0] + WHITE_SHARE * levels[..., 1]
    # A voice is what most listeners mute: it counts twice.
    counted = importance(statistics.groups, vocals, 2.0)
    return (levels * counted.unsqueeze(1)).sum() / (counted.sum() * levels.shape[1])


def floor(share: Tensor) -> Tensor:
    """Error, as a share of the mixture, below which nothing is won, by the part's own share of it."""
    return SOUNDING_FLOOR * share + SILENT_FLOOR * FAINT / (FAINT + share)


def _energy(power: Tensor, weights: Tensor) -> Tensor:
    """(batch, time, parts, channels, bands) summed flat and weighted: (batch, time, parts, 2)."""
    return torch.stack(
        (power.sum(dim=(3, 4)), (power * weights[:, None, None, None]).sum(dim=(3, 4))), dim=-1
    )


def _segments(energy: Tensor, frames: int) -> Tensor:
    """Sum (batch, time, parts, 2) over runs of `frames`; what does not fill a run at the end is left out."""
    batch, time, parts, _ = energy.shape
    whole = max(time // frames, 1)
    return energy[:, : whole * frames].reshape(batch, whole, -1, parts, 2).sum(dim=2)
