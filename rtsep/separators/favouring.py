"""A stem is favoured by masks while it is there, in torch; see `rtsep.dsp.presence`.

The share of the stem's energy in the mixture's, by the masks as the network gives them, is known from running
sums of two lengths. The larger of the two counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsep.dsp.presence import FAINT, LEAST_SHARE
from rtsep.separators.presence import Presence


def energies(masks: Tensor, powers: Tensor, stem: int, weights: Tensor) -> Tensor:
    """Of the stem and of the mixture, (..., 2).

    Args:
        masks: (..., stems, channels, bands), summing to one over the stems.
        powers: (..., channels, bands), of the signals that the masks act on.
        stem: its place.
        weights: (bands,).
    """
    mask = masks[..., stem, :, :]
    counted = powers * weights
    return torch.stack(((mask * mask * counted).sum(dim=(-2, -1)), counted.sum(dim=(-2, -1))), dim=-1)


def logits_of(sums: Tensor, presence: Presence) -> Tensor:
    """What is added to the stem's logits, (...): from running sums of `energies`, (..., memories, 2)."""
    shares = sums[..., 0] / sums[..., 1].clamp_min(FAINT)
    decibels = (10.0 / math.log(10.0)) * torch.log(shares.amax(dim=-1).clamp_min(LEAST_SHARE))
    there = (decibels - presence.from_db) / (presence.to_db - presence.from_db)
    return presence.logits * there.clamp(0.0, 1.0)


def favoured(masks: Tensor, stem: int, logits: Tensor) -> Tensor:
    """Masks as the softmax would have given them, had `logits`, (...), been added to the stem's.

    (..., stems, channels, bands), still summing to one.
    """
    more = torch.exp(logits)[..., None, None, None]
    own = torch.arange(masks.shape[-3], device=masks.device) == stem
    grown = torch.where(own[:, None, None], masks * more, masks)
    return grown / (1.0 + masks[..., stem : stem + 1, :, :] * (more - 1.0))
