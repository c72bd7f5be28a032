"""What the 2-D networks share: a mask for each bin of the mixture's spectrogram, and the mixture's phase.

The transform, the cut-off and the ratio masks are Spleeter's: R. Hennequin, A. Khlif, F. Voituret, M.
Moussallam, "Spleeter: a fast and efficient music source separation tool with pre-trained models", JOSS
5(50), 2020, and its configuration of four stems.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.spec import STEMS

SILENT = 1e-10
"""Added to a power under a root or a quotient: no slope is infinite, and silence has shares too."""


class SpectralMaskConfig(BaseModel):
    """The spectrogram, and what is done with estimates of it.

    Attributes: sample_rate, channels, stems: what goes in and comes out. frame: samples of a frame, with a
        Hann window; even. hop: samples between frames. bins: of the spectrogram that is masked, from zero
        up; what lies above is in no stem. exponent: once it is trained, a stem gets its estimate's share, to
        this power, of all estimates: two is
            a Wiener filter's. 0 leaves the estimates as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = Field(STEMS, min_length=1)
    frame: int = Field(4096, ge=4, multiple_of=2)
    hop: int = Field(1024, ge=1)
    bins: int = Field(1024, ge=1)
    exponent: float = Field(2.0, ge=0.0)

    @model_validator(mode="after")
    def _spectrogram(self) -> Self:
        if self.hop > self.frame // 2:
            raise ValueError(f"hop {self.hop} must be at most half a frame, {self.frame // 2}")
        if self.bins > self.frame // 2 + 1:
            raise ValueError(
                f"a frame of {self.frame} samples has {self.frame // 2 + 1} bins, not {self.bins}"
            )
        return self


class SpectralMaskNetwork(OfflineNetwork):
    """Masks of the mixture's spectrogram. A subclass implements `masks`.

    A song is separated in pieces of Spleeter's length, 512 frames.
    """

    chunk_seconds = 11.9
    overlap_seconds = 1.5
    window: Tensor
    config: SpectralMaskConfig

    def __init__(self, config: SpectralMaskConfig) -> None:
        super().__init__(config)
        # Not a weight: it follows the model to a GPU, and files do not carry it.
        self.register_buffer("window", torch.hann_window(config.frame), persistent=False)

    @abstractmethod
    def masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to (batch, stems, channels, bins, frames), of any sign and size."""

    def estimate(self, mix: Tensor) -> Tensor:
        """Each stem's masked spectrogram as sound: (batch, channels, samples) to (batch, stems, ...)."""
        spectra = self._analyse(mix)
        return self._synthesise(self._masked(spectra), mix.shape[-1])

    def forward(self, mix: Tensor) -> Tensor:
        """Separate a whole signal, by ratio masks: (channels, samples) to (stems, channels, samples)."""
        spectra = self._analyse(mix.unsqueeze(0))
        stems = self._masked(spectra)
        if self.config.exponent:
            powers = (stems.real.square() + stems.imag.square()) ** (0.5 * self.config.exponent)
            count = len(self.config.stems)
            shares = (powers + SILENT / count) / (powers.sum(dim=1, keepdim=True) + SILENT)
            below = spectra[:, None, :, : self.config.bins]
            stems = functional.pad(shares[:, :, :, : self.config.bins] * below, self._above(stems))
        return self._synthesise(stems, mix.shape[-1])[0]

    def _masked(self, spectra: Tensor) -> Tensor:
        """Complex (batch, channels, all bins, frames) to that of the stems, (batch, stems, ...)."""
        below = spectra[:, :, : self.config.bins]
        masks = self.masks(torch.sqrt(below.real.square() + below.imag.square() + SILENT))
        masked = masks.float() * below.unsqueeze(1)
        return functional.pad(masked, self._above(spectra))

    def _above(self, whole: Tensor) -> tuple[int, ...]:
        """Padding that gives bins above the cut-off back, as nothing."""
        return (0, 0, 0, self.config.frame // 2 + 1 - self.config.bins)

    def _analyse(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to complex (batch, channels, all bins, frames)."""
        c = self.config
        padded = functional.pad(mix, (c.frame // 2, c.frame // 2 + c.hop))
        spectra = torch.stft(
            padded.flatten(0, 1), c.frame, c.hop, window=self.window, center=False, return_complex=True
        )
        return spectra.unflatten(0, mix.shape[:2])

    def _synthesise(self, spectra: Tensor, samples: int) -> Tensor:
        """Complex (batch, stems, channels, all bins, frames) to (batch, stems, channels, samples)."""
        c = self.config
        waves = torch.istft(
            spectra.flatten(0, 2), c.frame, c.hop, window=self.window, center=True, length=samples
        )
        return waves.unflatten(0, spectra.shape[:3])
