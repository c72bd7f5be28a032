"""What every offline network is: one that takes a whole piece of a song at once, and cannot stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

from pydantic import BaseModel
from torch import Tensor, nn

from rtsep.spec import AudioSpec


class OfflineNetwork(nn.Module, ABC):
    """Stems of a song from its waveform, with the future at hand.

    A subclass says what it is called, makes `spec` of its config, and implements `estimate`; the rest has
    defaults. Its config class has the fields or properties `sample_rate`, `channels` and `stems`.

    Attributes:
        architecture: key into `rtsep.separators.catalogue`.
        title: the same as people call it.
        chunk_seconds: what is separated at once; longer songs go in several chunks.
        overlap_seconds: cross-fade of two chunks: about as far as the network hears.
        config: as given.
        spec: rate, channels and stems.
    """

    architecture: ClassVar[str]
    title: ClassVar[str]
    chunk_seconds: ClassVar[float] = 30.0
    overlap_seconds: ClassVar[float] = 3.0
    config: BaseModel

    def __init__(self, config: BaseModel) -> None:
        super().__init__()
        self.config = config
        self.spec = audio_spec(config)

    @abstractmethod
    def estimate(self, mix: Tensor) -> Tensor:
        """What is trained: (batch, channels, samples) to (batch, stems, channels, samples), any length."""

    def forward(self, mix: Tensor) -> Tensor:
        """Separate a whole signal, with whatever follows the network once it is trained.

        Args:
            mix: (channels, samples), any length from one up.

        Returns:
            (stems, channels, samples), aligned with `mix`.
        """
        return self.estimate(mix.unsqueeze(0))[0]

    def begin(self, mixes: Tensor) -> None:
        """Take what a fresh network should know of the data, from mixtures (batch, channels, samples)."""
        return

    def own_loss(self, stems: Tensor, parts: Tensor, groups: Tensor) -> Tensor | None:
        """What the architecture's authors add to the loss on the stems; None for nothing.

        Called after `estimate` on the same batch, which may have kept what it needs for this.

        Args:
            stems: (batch, stems, channels, samples), what `estimate` gave.
            parts: (batch, parts, channels, samples), the known parts of the mixture, whose sum it is.
            groups: (batch, parts, stems), 1 where a part contains a stem; all zero where a part is unused.

        Returns:
            One element, or None.
        """
        return None

    def responses(self) -> dict[str, Tensor]:
        """What it has learnt by frequency, to be drawn: gains from zero to half the rate, by name."""
        return {}


def audio_spec(config: BaseModel) -> AudioSpec:
    """What a network of this config takes and gives."""
    sizes = cast(Any, config)
    return AudioSpec(sizes.sample_rate, sizes.channels, tuple(sizes.stems))
