"""Demucs: a U-Net on the waveform, with gated convolutions and an LSTM where it is narrowest. Not causal.

A. Défossez, N. Usunier, L. Bottou, F. Bach, "Music source separation in the waveform domain", 2019
(arXiv:1911.13254), section 4, after "Demucs: deep extractor for music sources with extra unlabeled data
remixed", 2019 (arXiv:1909.01174). A layer of the encoder is a strided convolution, a ReLU and a 1x1
convolution that a gated linear unit halves again; its counterpart in the decoder adds the layer's output to
what comes from below, looks at three neighbours with a gated convolution, and spreads them by a transposed
convolution, rectified but for the last. A transposed kernel of twice the stride overlaps evenly. Names of
weights are those of the demucs package, version 2, whose later `Demucs` class gives the same output from
them.

The paper's loss is the L1 of the samples (section 4.3): `[loss] l1 = 1.0`, the default.
"""

from __future__ import annotations

from math import ceil
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.resampling import Resampler
from rtsep.spec import STEMS

SHIFT_SECONDS = 0.5
"""How far the estimates of `DemucsConfig.shifts` lie apart in all."""


class DemucsConfig(BaseModel):
    """Sizes of a Demucs, by default those of the paper's section 4.

    Attributes:
        sample_rate, channels, stems: what goes in and comes out.
        width: channels of the first layer; 64 in the journal's version, 100 in the first.
        growth: what each layer's channels are against those of the one above.
        depth: layers of the encoder, and of the decoder.
        kernel, stride: of the convolutions from layer to layer.
        context: taps of the decoder's gated convolutions; odd.
        lstm_layers: of the bidirectional LSTM between encoder and decoder; 0 for none.
        resample: the network works at twice the rate.
        normalise: the mixture's mean and spread are taken out, and put back after.
        rescale: what the spread of fresh weights is drawn towards (section 4.2); 0 leaves them as they are.
        shifts: how many estimates of shifted mixtures are averaged once it is trained (section 4.4, where the
            shifts are random; here they lie evenly in half a second).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = Field(STEMS, min_length=1)
    width: int = Field(64, ge=1)
    growth: float = Field(2.0, ge=1.0)
    depth: int = Field(6, ge=1, le=12)
    kernel: int = Field(8, ge=1)
    stride: int = Field(4, ge=1)
    context: int = Field(3, ge=1)
    lstm_layers: int = Field(2, ge=0)
    resample: bool = True
    normalise: bool = True
    rescale: float = Field(0.1, ge=0.0)
    shifts: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernel < self.stride:
            raise ValueError(f"kernel {self.kernel} would skip samples: at least the stride, {self.stride}")
        if self.context % 2 == 0:
            raise ValueError(f"context must be odd, not {self.context}")
        return self


class Demucs(OfflineNetwork):
    """All stems at once, from waveform to waveform."""

    architecture = "demucs"
    title = "Demucs"
    chunk_seconds = 12.0
    overlap_seconds = 3.0
    config: DemucsConfig

    def __init__(self, config: DemucsConfig) -> None:
        super().__init__(config)
        c = config
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        inputs, width, outputs = c.channels, c.width, len(c.stems) * c.channels
        for layer in range(c.depth):
            self.encoder.append(
                nn.Sequential(
                    nn.Conv1d(inputs, width, c.kernel, c.stride),
                    nn.ReLU(),
                    nn.Conv1d(width, 2 * width, 1),
                    nn.GLU(dim=1),
                )
            )
            decoder = [
                nn.Conv1d(width, 2 * width, c.context, padding=c.context // 2),
                nn.GLU(dim=1),
                nn.ConvTranspose1d(width, outputs, c.kernel, c.stride),
            ]
            if layer:
                decoder.append(nn.ReLU())
            self.decoder.insert(0, nn.Sequential(*decoder))
            inputs = outputs = width
            width = int(c.growth * width)
        self.lstm = Memory(inputs, c.lstm_layers) if c.lstm_layers else None
        self.up, self.down = Resampler(1, 2), Resampler(2, 1)
        if c.rescale:
            rescale(self, c.rescale)

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples)."""
        c, samples = self.config, mix.shape[-1]
        mean, spread = mix.new_zeros(()), mix.new_ones(())
        if c.normalise:
            # With one sample there is no spread to take out.
            mono = mix.mean(dim=1, keepdim=True)
            mean = mono.mean(dim=-1, keepdim=True)
            spread = 1e-5 + mono.std(dim=-1, keepdim=True, correction=min(1, samples - 1))
        x = (mix - mean) / spread
        missing = self.padded_length(samples) - samples
        x = functional.pad(x, (missing // 2, missing - missing // 2))
        if c.resample:
            x = self.up(x)
        passed = []
        for layer in self.encoder:
            x = layer(x)
            passed.append(x)
        if self.lstm is not None:
            x = self.lstm(x)
        for layer in self.decoder:
            x = layer(x + centre(passed.pop(), x.shape[-1]))
        if c.resample:
            x = self.down(x)
        stems = centre(x, samples).unflatten(1, (len(c.stems), c.channels))
        return stems * spread.unsqueeze(1) + mean.unsqueeze(1) if c.normalise else stems

    def forward(self, mix: Tensor) -> Tensor:
        """Separate a whole signal: (channels, samples) to (stems, channels, samples).

        With several `shifts` the mean of what the network makes of the mixture, each time begun later.
        """
        shifts, samples = self.config.shifts, mix.shape[-1]
        farthest = round(SHIFT_SECONDS * self.config.sample_rate)
        total = mix.new_zeros(())
        for index in range(shifts):
            late = index * farthest // shifts
            total = total + self.estimate(functional.pad(mix, (late, 0)).unsqueeze(0))[0, ..., late:]
        return total.reshape(len(self.config.stems), self.config.channels, samples) / shifts

    def padded_length(self, samples: int) -> int:
        """So many samples, or the next more from which no layer leaves any over."""
        c = self.config
        length = padded_length(2 * samples if c.resample else samples, c.kernel, c.stride, c.depth)
        return ceil(length / 2) if c.resample else length


class Memory(nn.Module):
    """A bidirectional LSTM over (batch, channels, steps), made as wide again as it was by a linear layer.

    Args:
        width: channels.
        layers: of the LSTM.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers, bidirectional=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        recalled, _ = self.lstm(x.permute(2, 0, 1))
        narrowed: Tensor = self.linear(recalled)
        return narrowed.permute(1, 2, 0)


def padded_length(length: int, kernel: int, stride: int, depth: int) -> int:
    """The shortest length, at least this one, that strided convolutions and their counterparts keep."""
    steps = length
    for _ in range(depth):
        steps = max(1, ceil((steps - kernel) / stride) + 1)
    for _ in range(depth):
        steps = (steps - 1) * stride + kernel
    return steps


def centre(x: Tensor, length: int) -> Tensor:
    """The middle of the last axis; of an odd surplus the larger half is cut from the end."""
    surplus = x.shape[-1] - length
    return x[..., surplus // 2 : surplus // 2 + length]


def rescale(network: nn.Module, reference: float) -> None:
    """Draw the spread of every convolution's weights half the way, in decibels, to a reference.

    Défossez et al., section 4.2: with the usual initial weights the output is too quiet, and grows too
    slowly.
    """
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d | nn.ConvTranspose2d):
                scale = (layer.weight.std() / reference).sqrt()
                layer.weight /= scale
                if layer.bias is not None:
                    layer.bias /= scale
