"""Open-Unmix in the time domain: its memory in the middle of a Wave-U-Net, for each stem. Not causal.

K. George, K. Li, G. Min, J. Seong, "Singing vocal source separation with deep neural networks", section 2.2:
Open-Unmix combined with Wave-U-Net, so that phases are learnt too. They give no sizes. Those of the U-Net are
of D. Stoller, S. Ewert, S. Dixon, "Wave-U-Net: a multi-scale neural network for end-to-end audio source
separation", ISMIR 2018 (arXiv:1806.03185), table 1; those between its halves are Open-Unmix's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.open_unmix import each_frame
from rtsep.spec import STEMS

SLOPE = 0.2
"""Of the leaky rectifiers below zero."""


class WaveformOpenUnmixConfig(BaseModel):
    """Sizes of the networks.

    Attributes:
        sample_rate: Hz.
        channels: 1 or 2.
        stems: one network each, in output order.
        levels: halvings of the rate [L].
        features: level i has i times as many [Fc].
        down_kernel, up_kernel: taps of the convolutions [fd, fu], odd.
        width: of the dense layers in the middle.
        depth: layers of the LSTM.
        bidirectional: the LSTM also runs backwards, each direction with half the width.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1, le=2)
    stems: tuple[Annotated[str, Field(pattern=r"^[\w -]+$")], ...] = Field(STEMS, min_length=1)
    levels: int = Field(12, ge=1, le=16)
    features: int = Field(24, ge=1)
    down_kernel: int = Field(15, ge=1)
    up_kernel: int = Field(5, ge=1)
    width: int = Field(512, ge=2, multiple_of=2)
    depth: int = Field(3, ge=1)
    bidirectional: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.down_kernel % 2 == 0 or self.up_kernel % 2 == 0:
            raise ValueError("kernels must be odd")
        if len(set(self.stems)) != len(self.stems):
            raise ValueError("stems must be distinct")
        return self


class StemNetwork(nn.Module):
    """One stem's waveform from the mixture's.

    Args:
        config: its sizes.
    """

    def __init__(self, config: WaveformOpenUnmixConfig) -> None:
        super().__init__()
        c = config
        sizes = [c.channels, *(c.features * (level + 1) for level in range(c.levels))]
        deep, width = sizes[-1], c.width
        self.input_mean = nn.Parameter(torch.zeros(c.channels, 1))
        self.input_scale = nn.Parameter(torch.ones(c.channels, 1))
        self.down = nn.ModuleList(
            nn.Conv1d(before, after, c.down_kernel, padding=c.down_kernel // 2)
            for before, after in pairwise(sizes)
        )
        self.fc1 = nn.Linear(deep, width, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.lstm = nn.LSTM(
            width,
            width // 2 if c.bidirectional else width,
            c.depth,
            bidirectional=c.bidirectional,
            batch_first=True,
        )
        self.fc2 = nn.Linear(2 * width, width, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.fc3 = nn.Linear(width, deep, bias=False)
        self.bn3 = nn.BatchNorm1d(deep)
        # From the deepest level up: what comes from below, and what the level itself had.
        inputs = [deep, *reversed(sizes[2:])]
        self.up = nn.ModuleList(
            nn.Conv1d(below + own, own, c.up_kernel, padding=c.up_kernel // 2)
            for below, own in zip(inputs, reversed(sizes[1:]), strict=True)
        )
        self.out = nn.Conv1d(sizes[1] + c.channels, c.channels, 1)
        self.output_scale = nn.Parameter(torch.ones(c.channels, 1))

    def forward(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) in and out; samples are a multiple of two to the levels."""
        x = scaled = (mix + self.input_mean) * self.input_scale
        skips = []
        for convolution in self.down:
            x = functional.leaky_relu(convolution(x), SLOPE)
            skips.append(x)
            x = x[..., ::2]
        x = self._remember(x.transpose(1, 2)).transpose(1, 2)
        for convolution in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="linear")
            x = functional.leaky_relu(convolution(torch.cat((x, skips.pop()), dim=1)), SLOPE)
        wave: Tensor = self.out(torch.cat((x, scaled), dim=1)) * self.output_scale / self.input_scale
        return wave

    def _remember(self, x: Tensor) -> Tensor:
        """Open-Unmix's middle: (batch, frames, features) in and out."""
        x = torch.tanh(each_frame(self.bn1, self.fc1(x)))
        x = self.fc2(torch.cat((x, self.lstm(x)[0]), dim=-1))
        x = functional.relu(each_frame(self.bn2, x))
        return functional.relu(each_frame(self.bn3, self.fc3(x)))


class WaveformOpenUnmix(OfflineNetwork):
    """All stems of a song from its waveform, a network for each.

    Attributes:
        config: as given.
        networks: by stem.
    """

    architecture = "umx-waveform"
    title = "Open-Unmix in the time domain"
    config: WaveformOpenUnmixConfig

    def __init__(self, config: WaveformOpenUnmixConfig) -> None:
        super().__init__(config)
        self.networks = nn.ModuleDict({stem: StemNetwork(config) for stem in config.stems})

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), any length."""
        samples = mix.shape[-1]
        padded = functional.pad(mix, (0, -samples % 2**self.config.levels))
        waves = [network(padded)[..., :samples] for network in self.networks.values()]
        return torch.stack(waves, dim=1)

    @torch.no_grad()
    def begin(self, mixes: Tensor) -> None:
        """Take the channels' mean and spread from mixtures (batch, channels, samples)."""
        channels = mixes.transpose(0, 1).flatten(1)
        for network in self.networks.values():
            network.input_mean[:, 0] = -channels.mean(dim=1)  # type: ignore[index, operator, union-attr]
            network.input_scale[:, 0] = 1.0 / channels.std(dim=1).clamp_min(1e-4)  # type: ignore[index, operator, union-attr]
