"""What a batch is and how it becomes a loss: the seam between the loop and what is learnt.

The loop knows nothing of either. It draws examples, has an objective make batches of them (in the workers)
and loss of those (where the network is). A loss is a mean over what a batch holds, and `weight` says of how
much: so a step's batch may be cut into parts, for other processes or one after the other, and their weighted
mean is the loss of the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from rtsep.separators.mask_network import MaskNetwork, masks_of
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.spec import STEMS
from rtsep.training.losses import Scene, weighted
from rtsep.training.mask_loss import importance
from rtsep.training.mask_loss import loss as mask_loss
from rtsep.training.mixing import Example
from rtsep.training.statistics import Statistics, StatisticsExtractor, join

Autocast = Callable[[], AbstractContextManager[Any]]
"""Opens a context in which matrix products may be computed in a narrower type."""
B = TypeVar("B")


class Objective(Protocol[B]):
    """From examples to a loss. `B` is a dataclass of tensors whose first axis is the batch.

    Attributes:
        unit: of the loss, as it is written behind a number.
    """

    unit: str

    def prepare(self, examples: Sequence[Example], numbers: Sequence[int]) -> B:
        """A batch on the CPU. Called by workers, without gradients.

        `numbers` are the examples', counted over the whole run: what takes turns goes by them.
        """

    def weight(self, batch: B) -> float:
        """How much `loss` is the mean of."""

    def loss(self, network: nn.Module, batch: B) -> Tensor:
        """The mean loss, of one element. `batch` is on the network's device."""

    def begin(self, network: nn.Module, batches: Sequence[B]) -> None:
        """Set what a fresh network should take from the data before its first step."""


def moved(batch: B, device: torch.device) -> B:
    """The same batch on another device."""
    names = [field.name for field in fields(batch)]  # type: ignore[arg-type]
    moved_ones = {name: getattr(batch, name).to(device) for name in names}
    return replace(batch, **moved_ones)  # type: ignore[type-var]


class MaskObjective:
    """Masks against sums over bands: fast, for networks that decide masks.

    See `rtsep.training.statistics` and `rtsep.training.mask_loss`.

    Args:
        network: whose windows and bands the sums are for; a copy is kept.
        autocast: around the network.
        windows: synthesis windows that examples take by turns; the network's own if none.
        scale_free: how much of the loss is SI-SDR.
        silent_parts: how much is added for what silent parts are given.
    """

    unit = " dB"

    def __init__(
        self,
        network: MaskNetwork,
        autocast: Autocast,
        windows: tuple[int, ...] = (),
        scale_free: float = 0.0,
        silent_parts: float = 0.0,
    ) -> None:
        frozen = copy.deepcopy(network).cpu().requires_grad_(False)
        self._extract = StatisticsExtractor(frozen, windows)
        self._autocast = autocast
        self._scale_free, self._silent_parts = scale_free, silent_parts
        c = network.config
        self._segment = round(c.sample_rate / (c.hop * c.phases))
        self._vocals = vocals_of(network.spec.stems)

    def prepare(self, examples: Sequence[Example], numbers: Sequence[int]) -> Statistics:
        """Sums over the bands of every frame."""
        windows = len(self._extract.windows)
        return join(
            [
                self._extract(torch.from_numpy(e.parts), torch.from_numpy(e.groups), number % windows)
                for e, number in zip(examples, numbers, strict=True)
            ]
        )

    def weight(self, batch: Statistics) -> float:
        """Known parts; those with vocals count twice."""
        return float(importance(batch.groups, self._vocals, 2.0).sum())

    def loss(self, network: nn.Module, batch: Statistics) -> Tensor:
        """Mean level of the error, dB of the mixture."""
        masks = masks_of(network)
        assert masks is not None
        with self._autocast():
            logits = masks.decide_phase(batch.features)
        return mask_loss(logits, batch, self._segment, self._vocals, self._scale_free, self._silent_parts)

    def begin(self, network: nn.Module, batches: Sequence[Statistics]) -> None:
        """Start from the data's own mean and spread of every band; both are then learnt on."""
        _normalise_masks(network, torch.cat([batch.features for batch in batches]).flatten(0, 1))


@dataclass(frozen=True)
class Waveforms:
    """A batch of mixtures by their known parts.

    Attributes:
        parts: (batch, parts, channels, samples); unused ones are zero. The mixture is their sum.
        groups: (batch, parts, stems); 1 where a part contains a stem, all zero where unused.
    """

    parts: Tensor
    groups: Tensor


class WaveformObjective:
    """Stems against known parts, sample by sample or spectrum by spectrum, for every network.

    Args:
        terms: weights of the losses; see `rtsep.training.losses.weighted`.
        vocals: how much a part with vocals counts against one without.
        sample_rate: Hz.
        autocast: around the network.
        stems: the network's.
    """

    unit = ""

    def __init__(
        self,
        terms: dict[str, float],
        vocals: float,
        sample_rate: int,
        autocast: Autocast,
        stems: tuple[str, ...] = STEMS,
    ) -> None:
        self._terms = terms
        self._weight = vocals
        self._vocals = vocals_of(stems)
        self._segment = sample_rate
        self._autocast = autocast

    def prepare(self, examples: Sequence[Example], numbers: Sequence[int]) -> Waveforms:
        """The examples' parts, stacked."""
        return Waveforms(
            torch.stack([torch.from_numpy(e.parts) for e in examples]),
            torch.stack([torch.from_numpy(e.groups) for e in examples]),
        )

    def weight(self, batch: Waveforms) -> float:
        """Known parts; those with vocals count as often as they should."""
        return float(self._importance(batch.groups).sum())

    def loss(self, network: nn.Module, batch: Waveforms) -> Tensor:
        """Mean over known parts of the weighted terms."""
        mix = batch.parts.sum(dim=1)
        with self._autocast():
            stems = stems_of(network, mix)
        stems = stems.float()
        estimate = torch.einsum("bps,bsct->bpct", batch.groups, stems)
        scene = Scene(estimate, batch.parts, mix, self._segment)
        values = weighted(scene, mix - stems.sum(dim=1), self._terms)
        importance = self._importance(batch.groups)
        loss: Tensor = (values * importance).sum() / importance.sum()
        if isinstance(network, OfflineNetwork):
            own = network.own_loss(stems, batch.parts, batch.groups)
            loss = loss if own is None else loss + own
        return loss

    def begin(self, network: nn.Module, batches: Sequence[Waveforms]) -> None:
        """As the architecture's authors begin: inputs normalised by the data's mean and spread."""
        mixes = torch.cat([batch.parts.sum(dim=1) for batch in batches])
        with torch.no_grad():
            masks = masks_of(network)
            if masks is not None:
                frames = torch.view_as_real(masks.analyse(mixes))
                heard, _ = masks.hear(frames, masks.init_state(len(mixes)))
                _normalise_masks(masks, heard.flatten(0, 1))
            elif isinstance(network, OfflineNetwork):
                network.begin(mixes)

    def _importance(self, groups: Tensor) -> Tensor:
        return importance(groups, self._vocals, self._weight)


def vocals_of(stems: tuple[str, ...]) -> int | None:
    """Where the vocals stand among the stems, if they are one."""
    return stems.index("vocals") if "vocals" in stems else None


def stems_of(network: nn.Module, mix: Tensor) -> Tensor:
    """A batch of mixtures (batch, channels, samples) to stems (batch, stems, channels, samples).

    Offline networks are trained without what follows them, such as Open-Unmix's Wiener filter.
    """
    stems: Tensor = network.estimate(mix) if isinstance(network, OfflineNetwork) else network(mix)
    return stems


def _normalise_masks(network: nn.Module, features: Tensor) -> None:
    masks = masks_of(network)
    assert masks is not None
    with torch.no_grad():
        masks.input_mean.copy_(features.mean(0))
        masks.input_scale.copy_(1.0 / features.std(0).clamp_min(1e-3))
        # The masks start as the stems' rough shares, not as noise.
        masks.soften(0.5)
