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
NEARLY_PERFECT = 1e-3
"""Share of a part's energy that its error may have for nothing when the scale is free: SDR beyond 30 dB."""
NEARLY_SILENT = 1e-2
"""Share of the mixture below which nothing is won by what else is kept out of a silent part: 20 dB."""
SILENT = 1e-5
"""Share of the mixture below which a part has no SDR."""
LOWEST = np.float32(-30.0)
TINY = np.float32(1e-20)
NOTHING = 1e-20
"""Below these a mask or slope means nothing, and numbers too small to be normal cost a hundred times more."""

Floats = NDArray[np.float32]

# numba's OpenMP layer would share torch's pool and reset its size; the two then spin against each other.
numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]


class _BandProducts(torch.autograd.Function):
    """Energy of each part's estimate in each frame, and its product with the truth, over all bands.

    Each is summed flat and weighted: (batch, time, parts, 4) is energy, weighted energy, product, weighted
    product. The error's energy, and SDR with or without a free scale, are made of these and the truth's.

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
            weights.numpy(),
        )
        batch, time, parts = statistics.target.shape[:3]
        products = np.zeros((batch, time, parts, 4), np.float32)
        _sum_products(*arrays, products)
        ctx.arrays = arrays
        ctx.dtype = logits.dtype
        return torch.from_numpy(products)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        upstream = gradients[0].contiguous().numpy()
        logits, groups, mixture, cross, weights = ctx.arrays
        downstream = np.empty_like(logits)
        _differentiate_products(logits, groups, mixture, cross, weights, upstream, downstream)
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
def _sum_products(
    logits: Floats,
    groups: Floats,
    mixture: Floats,
    cross: Floats,
    weights: Floats,
    products: Floats,
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
                    energy, product = mask * mask * x, mask * cross[b, t, p, c, k]
                    products[b, t, p, 0] += energy
                    products[b, t, p, 1] += energy * weight
                    products[b, t, p, 2] += product
                    products[b, t, p, 3] += product * weight


@numba.njit(nogil=True, cache=True, fastmath=True, parallel=True)
def _differentiate_products(
    logits: Floats,
    groups: Floats,
    mixture: Floats,
    cross: Floats,
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
                    slope = upstream[b, t, p, 0] + upstream[b, t, p, 1] * weight
                    slope *= np.float32(2.0) * mask * x
                    along = upstream[b, t, p, 2] + upstream[b, t, p, 3] * weight
                    slope += along * cross[b, t, p, c, k]
                    for s in range(stems):
                        slopes[s] += groups[b, p, s] * slope
                mean = np.float32(0.0)
                for s in range(stems):
                    mean += masks[s] * slopes[s]
                for s in range(stems):
                    slope = masks[s] * (slopes[s] - mean)
                    downstream[b, t, s, c, k] = slope if abs(slope) > TINY else np.float32(0.0)


def band_products(logits: Tensor, statistics: Statistics, weights: Tensor) -> Tensor:
    """What `_BandProducts` computes, as tensor operations: (batch, time, parts, 4)."""
    masks = torch.softmax(logits.float(), dim=2)
    shares = torch.einsum("bps,btsck->btpck", statistics.groups, masks)
    energy = _energy(shares.square() * statistics.mixture.unsqueeze(2), weights)
    return torch.cat((energy, _energy(shares * statistics.cross, weights)), dim=-1)


def importance(groups: Tensor, vocals: int | None, weight: float) -> Tensor:
    """How much each known part counts: (batch, parts, stems) to (batch, parts), 0 where a part is unused.

    Args:
        groups: 1 where a part contains a stem.
        vocals: which stem they are, if they are one.
        weight: of parts with vocals, against 1 for those without.
    """
    known = groups.amax(dim=2)
    return known if vocals is None else known * (1.0 + (weight - 1.0) * groups[:, :, vocals])


def loss(
    logits: Tensor,
    statistics: Statistics,
    frames: int,
    vocals: int | None = 0,
    scale_free: float = 0.0,
    silent_parts: float = 0.0,
) -> Tensor:
    """Mean over known parts of how far their estimates are off, in dB. Parts with vocals count twice.

    Args:
        logits: (batch, time, stems, channels, bands).
        statistics: of the batch.
        frames: of a second, by which levels are taken.
        vocals: which stem they are, if they are one.
        scale_free: how much of the loss is negative SI-SDR over whole excerpts; the rest is the error's level
            against the mixture's, second by second. A network that cannot tell makes a squared error least
            by giving little; SI-SDR does not ask how loud an estimate is.
        silent_parts: how much is added for what silent parts are given, second by second: SI-SDR says nothing
            of them, so that with it alone a voice that is heard where none is would cost nothing.
    """
    x = statistics.mixture
    whiteness = x.mean(dim=(1, 2))
    weights = 1.0 / (whiteness + 1e-4 * whiteness.mean(dim=-1, keepdim=True) + 1e-12)
    # Compiled for processors; a GPU has the bandwidth for the chain of operations.
    products: Tensor = (
        _BandProducts.apply(logits, statistics, weights)
        if logits.device.type == "cpu"
        else band_products(logits, statistics, weights)
    )
    whole = _energy(x.unsqueeze(2), weights)
    truth = _energy(statistics.target, weights)
    counted = importance(statistics.groups, vocals, 2.0)
    total = logits.new_zeros((), dtype=torch.float32)
    for weight, level in ((1.0 - scale_free, _levels), (silent_parts, _levels_of_silence)):
        if weight > 0.0:
            by_second = (_segments(energy, frames) for energy in (products, truth, whole))
            total = total + weight * _mean(level(*by_second), counted)
    if scale_free > 0.0:
        ratios = _si_sdr(*(energy.sum(dim=1, keepdim=True) for energy in (products, truth, whole)))
        total = total - scale_free * _mean(ratios, counted)
    return total


def _levels(products: Tensor, truth: Tensor, whole: Tensor) -> Tensor:
    """The error's level against the mixture's, dB, flat and white: (batch, segments, parts, 2)."""
    error, share = _shares(products, truth, whole)
    return 10.0 * torch.log10(error + floor(share))


def _levels_of_silence(products: Tensor, truth: Tensor, whole: Tensor) -> Tensor:
    """The error's level above `NEARLY_SILENT`, dB, as far as a part is silent. Shapes as `_levels`."""
    error, share = _shares(products, truth, whole)
    return FAINT / (FAINT + share) * 10.0 * torch.log10(error / NEARLY_SILENT + 1.0)


def _shares(products: Tensor, truth: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of the error and of the truth, as shares of the mixture's. Shapes as `_levels`."""
    error = (products[..., :2] - 2.0 * products[..., 2:] + truth).clamp_min(0.0)
    reference = whole + 1e-3 * whole.mean(dim=1, keepdim=True) + 1e-9
    return error / reference, truth / reference


def _si_sdr(products: Tensor, truth: Tensor, whole: Tensor) -> Tensor:
    """SI-SDR, dB, as `rtsep.training.losses.si_sdr` has it: 0 where a part is silent. Shapes as `_levels`."""
    energy, product = products[..., :2], products[..., 2:]
    power = product.square() / (truth + NOTHING)
    least = 1e-6 * energy + NOTHING
    error = (energy - power).clamp_min(0.0)
    ratio = 10.0 * torch.log10((power + least) / (error + NEARLY_PERFECT * power + least))
    return torch.where(truth > SILENT * whole + NOTHING, ratio, 0.0)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Of (batch, segments, parts, 2), flat and white, over what counts."""
    joined = (1.0 - WHITE_SHARE) * values[..., 0] + WHITE_SHARE * values[..., 1]
    return (joined * counted.unsqueeze(1)).sum() / (counted.sum() * values.shape[1])


def floor(share: Tensor) -> Tensor:
    """Error, as a share of the mixture, below which nothing is won, by the part's own share of it."""
    return SOUNDING_FLOOR * share + SILENT_FLOOR * FAINT / (FAINT + share)


def _energy(power: Tensor, weights: Tensor) -> Tensor:
    """(batch, time, parts, channels, bands) summed flat and weighted: (batch, time, parts, 2)."""
    return torch.stack(
        (power.sum(dim=(3, 4)), (power * weights[:, None, None, None]).sum(dim=(3, 4))), dim=-1
    )


def _segments(energy: Tensor, frames: int) -> Tensor:
    """Sum (batch, time, parts, kinds) over runs of `frames`; a shorter rest at the end is left out."""
    batch, time, parts, kinds = energy.shape
    whole = max(time // frames, 1)
    return energy[:, : whole * frames].reshape(batch, whole, -1, parts, kinds).sum(dim=2)
