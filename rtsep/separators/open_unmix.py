"""Open-Unmix: a bidirectional LSTM for each stem, and a Wiener filter over all of them. Not causal.

F.-R. Stöter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix - A Reference Implementation for Music Source
Separation", Journal of Open Source Software 4(41), 2019, in the form and with the names of its PyTorch
package, whose published weights load as they are. It is here as a reference: what a network of this kind
reaches when it may hear the future.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.griffin_lim import griffin_lim
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.wiener import wiener
from rtsep.spec import STEMS

RESIDUAL = "residual"
"""Name of the additional stem: what the networks leave of the mixture."""


class OpenUnmixConfig(BaseModel):
    """Sizes of the networks, and what is done with what they estimate.

    Attributes:
        sample_rate: Hz.
        channels: 1 or 2.
        targets: the stems that have a network, in output order.
        frame: samples of a frame, with a Hann window; even.
        hop: samples between frames.
        bins: of the spectrum that the networks are given, from zero up; at most frame / 2 + 1.
        width: of the dense layers.
        depth: layers of the LSTM.
        bidirectional: the LSTM also runs backwards, each direction with half the width.
        iterations: rounds of the Wiener filter; see `rtsep.separators.wiener`.
        residual: one more stem, what the networks leave of the mixture.
        excerpt: frames that share a spatial covariance in the Wiener filter.
        griffin_lim: rounds in which the stems' phases are made to fit their magnitudes, last; none leaves
            those of the mixture or, after the Wiener filter, its own. See `rtsep.separators.griffin_lim`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1, le=2)
    targets: tuple[Annotated[str, Field(pattern=r"^[\w -]+$")], ...] = Field(STEMS, min_length=1)
    frame: int = Field(4096, ge=4, multiple_of=2)
    hop: int = Field(1024, ge=1)
    bins: int = Field(1487, ge=1)
    width: int = Field(512, ge=2, multiple_of=2)
    depth: int = Field(3, ge=1)
    bidirectional: bool = True
    iterations: int = Field(1, ge=0)
    residual: bool = False
    excerpt: int = Field(300, ge=1)
    griffin_lim: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop > self.frame // 2:
            raise ValueError(f"hop {self.hop} must be at most half a frame, {self.frame // 2}")
        if self.bins > self.all_bins:
            raise ValueError(f"a frame of {self.frame} samples has {self.all_bins} bins, not {self.bins}")
        if len(self.stems) == 1 and self.iterations:
            raise ValueError("a single target has nothing to be filtered against: residual, or no iterations")
        if len(set(self.stems)) != len(self.stems):
            raise ValueError("targets must be distinct, and none may be called 'residual' beside it")
        return self

    @property
    def all_bins(self) -> int:
        """Bins of a whole spectrum."""
        return self.frame // 2 + 1

    @property
    def stems(self) -> tuple[str, ...]:
        """What comes out: the targets, and the residual."""
        return (*self.targets, RESIDUAL) if self.residual else self.targets


class TargetNetwork(nn.Module):
    """Estimates the magnitudes of one stem from those of the mixture.

    Args:
        config: its sizes.
    """

    def __init__(self, config: OpenUnmixConfig) -> None:
        super().__init__()
        channels, bins, all_bins, width = config.channels, config.bins, config.all_bins, config.width
        self.bins = bins
        self.input_mean = nn.Parameter(torch.zeros(bins))
        self.input_scale = nn.Parameter(torch.ones(bins))
        self.fc1 = nn.Linear(channels * bins, width, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.lstm: nn.Module = nn.LSTM(
            width,
            width // 2 if config.bidirectional else width,
            config.depth,
            bidirectional=config.bidirectional,
            batch_first=True,
        )
        self.fc2 = nn.Linear(2 * width, width, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.fc3 = nn.Linear(width, channels * all_bins, bias=False)
        self.bn3 = nn.BatchNorm1d(channels * all_bins)
        self.output_scale = nn.Parameter(torch.ones(all_bins))
        self.output_mean = nn.Parameter(torch.ones(all_bins))

    def forward(self, mix: Tensor) -> Tensor:
        """Magnitudes (batch, channels, all bins, frames) in, the stem's out, of the same shape."""
        mix = mix.permute(0, 3, 1, 2)  # batch, frames, channels, bins
        x = (self.emphasise(mix)[..., : self.bins] + self.input_mean) * self.input_scale
        x = torch.tanh(each_frame(self.bn1, self.fc1(x.flatten(2))))
        x = self.fc2(torch.cat((x, self.recall(x)), dim=-1))
        x = functional.relu(each_frame(self.bn2, x))
        x = each_frame(self.bn3, self.fc3(x)).unflatten(-1, mix.shape[2:])
        mask = functional.relu(x * self.output_scale + self.output_mean)
        return (mask * mix).permute(0, 2, 3, 1)

    def emphasise(self, mix: Tensor) -> Tensor:
        """What the network hears of magnitudes (batch, frames, channels, all bins): here, what they are."""
        return mix

    def recall(self, x: Tensor) -> Tensor:
        """What all frames together say of each: (batch, frames, width), in and out."""
        recalled: Tensor = self.lstm(x)[0]
        return recalled


class OpenUnmix(OfflineNetwork):
    """All stems of a song from its waveform.

    Attributes:
        config: as given.
        spec: rate, channels and stems.
        targets: the network of each stem, by its name.
    """

    architecture = "umx-reference"
    title = "Open-Unmix"
    target_network: ClassVar[type[TargetNetwork]] = TargetNetwork
    window: Tensor
    config: OpenUnmixConfig

    def __init__(self, config: OpenUnmixConfig) -> None:
        super().__init__(config)
        self.targets = nn.ModuleDict({name: self.target_network(config) for name in config.targets})
        # Not a weight: it follows the model to a GPU, and files do not carry it.
        self.register_buffer("window", torch.hann_window(config.frame), persistent=False)

    def estimate(self, mix: Tensor) -> Tensor:
        """What goes into the Wiener filter, as sound: each estimated magnitude with the mixture's phase.

        This is what the networks are trained on.

        Args:
            mix: (batch, channels, samples), longer than half a frame.

        Returns:
            (batch, targets, channels, samples).
        """
        batch, channels, samples = mix.shape
        spectra = self._analyse(mix.flatten(0, 1)).unflatten(0, (batch, channels))
        magnitudes = spectra.abs()
        estimates = torch.stack([network(magnitudes) for network in self.targets.values()], dim=1)
        phased = estimates.float() * torch.sgn(spectra).unsqueeze(1)
        waves = self._synthesise(phased.flatten(0, 2), samples)
        return waves.unflatten(0, (batch, len(self.targets), channels))

    @torch.no_grad()
    def begin(self, mixes: Tensor) -> None:
        """Take each bin's mean and spread from mixtures (batch, channels, samples), as the package does."""
        magnitudes = self._analyse(mixes.flatten(0, 1)).abs()[:, : self.config.bins]
        bins = magnitudes.transpose(0, 1).flatten(1)
        mean, spread = bins.mean(dim=1), bins.std(dim=1)
        # No bin may be blown up out of all proportion.
        scale = 1.0 / spread.clamp_min(1e-4 * float(spread.max())).clamp_min(1e-8)
        for network in self.targets.values():
            network.input_mean.copy_(-mean)  # type: ignore[operator, union-attr]
            network.input_scale.copy_(scale)  # type: ignore[operator, union-attr]

    def forward(self, mix: Tensor) -> Tensor:
        """Separate a whole signal.

        Args:
            mix: (channels, samples), any length from one up.

        Returns:
            (stems, channels, samples), aligned with `mix`. Its sum is near `mix`, not equal to it.
        """
        c = self.config
        samples = mix.shape[-1]
        # Frames are centred and reflect what lies at the ends, for which there must be half a frame.
        padded = functional.pad(mix, (0, max(c.frame - samples, 0)))
        # In double precision: the Wiener filter magnifies what its input is off by.
        spectra = self._analyse(padded.double())
        magnitudes = spectra.abs().to(self.window.dtype).unsqueeze(0)
        estimates = torch.cat([network(magnitudes) for network in self.targets.values()])
        stems = torch.cat(
            [
                wiener(part, whole, c.iterations, c.residual)
                for part, whole in zip(
                    estimates.split(c.excerpt, dim=-1), spectra.split(c.excerpt, dim=-1), strict=True
                )
            ],
            dim=-1,
        ).to(self.window.dtype.to_complex())
        waves = griffin_lim(stems, c.hop, self.window, padded.shape[-1], c.griffin_lim)
        return waves[..., :samples]

    def _analyse(self, signal: Tensor) -> Tensor:
        """(signals, samples) to complex (signals, bins, frames)."""
        c = self.config
        return torch.stft(
            signal,
            c.frame,
            c.hop,
            window=self.window.to(signal.dtype),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )

    def _synthesise(self, spectra: Tensor, samples: int) -> Tensor:
        """Complex (signals, bins, frames) to (signals, samples)."""
        c = self.config
        waves: Tensor = torch.istft(spectra, c.frame, c.hop, window=self.window, center=True, length=samples)
        return waves


def each_frame(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch norm of (batch, frames, features), over batch and frames alike."""
    normed: Tensor = norm(x.flatten(0, 1))
    return normed.unflatten(0, x.shape[:2])
