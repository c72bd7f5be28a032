"""Models of the demucs package, by the package itself: hybrid and transformer Demucs, and bags of them. Not
causal.

A. Défossez, "Hybrid spectrogram and waveform source separation", 2021 (arXiv:2111.03600); S. Rouard, F.
Massa, A. Défossez, "Hybrid transformers for music source separation", ICASSP 2023 (arXiv:2211.08553).
Nothing of theirs is written again here: this is what makes such a model one of rtsep's, with weights that
are no pickle. It needs the extra `demucs`. What Demucs was before is `rtsep.separators.demucs`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.spec import STEMS, BackendError, ModelError

QUIETEST = 1e-8
"""Added to a mixture's spread: silence has none to be divided by."""


class MemberConfig(BaseModel):
    """One network of the package's.

    Attributes:
        model: its class.
        arguments: of the constructor; fractions as text, such as "39/5".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Literal["Demucs", "HDemucs", "HTDemucs"]
    arguments: dict[str, Any] = Field(default_factory=dict)


class DemucsPackageConfig(BaseModel):
    """A model of the package, or a bag of them.

    Attributes:
        sample_rate, channels: what goes in and comes out.
        sources: in the order of the members' outputs.
        members: the networks.
        weights: how much each member counts for each source; none: all alike.
        segment: seconds that a member hears at once, in place of its own.
        overlap: share of a segment that is cross-faded with the next.
        shifts: how many estimates of the mixture at random shifts are averaged; 0 takes it as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1, le=2)
    sources: tuple[str, ...] = Field(("drums", "bass", "other", "vocals"), min_length=1)
    members: tuple[MemberConfig, ...] = Field(min_length=1)
    weights: tuple[tuple[float, ...], ...] | None = None
    segment: float | None = Field(default=None, gt=0.0)
    overlap: float = Field(0.25, ge=0.0, lt=1.0)
    shifts: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        wanted = (len(self.members), len(self.sources))
        if self.weights is not None and (
            len(self.weights) != wanted[0] or any(len(row) != wanted[1] for row in self.weights)
        ):
            raise ValueError(f"weights must be {wanted[0]} lists, one a member, of {wanted[1]} each")
        if self.weights is not None and any(sum(column) <= 0.0 for column in zip(*self.weights, strict=True)):
            raise ValueError("weights must leave every source somebody who counts")
        return self

    @property
    def stems(self) -> tuple[str, ...]:
        """What comes out: the known stems in their usual order, then the others."""
        known = [stem for stem in STEMS if stem in self.sources]
        return (*known, *(source for source in self.sources if source not in known))


class DemucsPackage(OfflineNetwork):
    """A bag of the package's models, of one or more.

    Raises:
        BackendError: when the package is not there, or cannot be loaded.
        ModelError: when a member cannot be made with its arguments, or is of other sources than the config's.
    """

    architecture = "demucs-package"
    title = "Demucs, by its package"
    config: DemucsPackageConfig

    def __init__(self, config: DemucsPackageConfig) -> None:
        super().__init__(config)
        known = package_classes()
        self.members = nn.ModuleList()
        for member in config.members:
            arguments = {name: _from_json(value) for name, value in member.arguments.items()}
            about = {
                "sources": list(config.sources),
                "audio_channels": config.channels,
                "samplerate": config.sample_rate,
            }
            try:
                self.members.append(known[member.model](**about | arguments))
            except (TypeError, ValueError, AssertionError) as error:
                raise ModelError(f"{member.model} cannot be made with these arguments: {error}") from None
            if any(name in arguments and arguments[name] != value for name, value in about.items()):
                raise ModelError(f"{member.model} has other sources, channels or rate than its config says")
        self._order = [config.sources.index(stem) for stem in config.stems]

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), with gradients.

        Each member hears the whole, of any length in training; a transformer that is trained hears no more
        than its segment.
        """
        weights = self._weights(mix)
        stems = torch.stack([member(mix) for member in self.members])
        weighted = (stems * weights[:, None, :, None, None]).sum(dim=0)
        return weighted[:, self._order]

    @torch.no_grad()
    def forward(self, mix: Tensor) -> Tensor:
        """Separate a whole signal as the package's own command does: normalised, in segments that overlap.

        Args:
            mix: (channels, samples), any length from one up.

        Returns:
            (stems, channels, samples), aligned with `mix`.
        """
        from demucs.apply import BagOfModels, apply_model

        c = self.config
        mono = mix.mean(dim=0)
        mean, spread = mono.mean(), mono.std(correction=0) + QUIETEST
        weights = [list(row) for row in c.weights] if c.weights is not None else None
        bag = BagOfModels(cast(Any, list(self.members)), weights, c.segment)
        found: Tensor = apply_model(
            bag, ((mix - mean) / spread).unsqueeze(0), shifts=c.shifts, split=True, overlap=c.overlap
        )
        return (found[0] * spread + mean)[self._order]

    def _weights(self, like: Tensor) -> Tensor:
        """(members, sources), whose sum over the members is one."""
        c = self.config
        rows = c.weights if c.weights is not None else [[1.0] * len(c.sources)] * len(c.members)
        weights = like.new_tensor(rows)
        return weights / weights.sum(dim=0)


def package_classes() -> dict[str, type[nn.Module]]:
    """The package's networks by name. Raises BackendError when it is not there, or cannot be loaded."""
    try:
        from demucs.demucs import Demucs
        from demucs.hdemucs import HDemucs
        from demucs.htdemucs import HTDemucs
    except (ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise BackendError(
            f"Demucs' released models need the demucs package: pip install 'rtsep[demucs]' ({reason})"
        ) from None
    return {"Demucs": Demucs, "HDemucs": HDemucs, "HTDemucs": HTDemucs}


def to_json(value: Any) -> Any:
    """An argument of a constructor as JSON can hold it; see `MemberConfig`."""
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    return list(value) if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value.replace("/", "", 1).isdigit() and "/" in value:
        return Fraction(value)
    return value
