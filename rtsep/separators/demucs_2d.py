"""Demucs in two dimensions: its layers on a spectrogram, and masks for its output. Not causal.

R. Henning, A. Choudhry, M. Ma, "Deep learning based music source separation", SCSU Journal of Student
Scholarship 1(2), 2021, sections "Facebook's Demucs" and "Comparison between 1D and 2D domains": four layers
with kernels of eight and strides of four, on Spleeter's spectrogram. It was the best of their six. What the
text leaves open is decided as follows. The LSTM runs along time, in every row of frequencies that is left,
with the same weights. The input is normalised as Demucs normalises its own, and the output goes through a
sigmoid.

As with Spleeter the loss is the L1 of masked spectrograms: `[loss] magnitude_l1 = 1.0`.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.demucs import Memory, padded_length, rescale
from rtsep.separators.spectral_masks import SpectralMaskConfig, SpectralMaskNetwork


class Demucs2DConfig(SpectralMaskConfig):
    """Sizes of the layers; see `rtsep.separators.spectral_masks.SpectralMaskConfig`.

    Attributes:
        width, growth, depth, kernel, stride, context, lstm_layers, rescale: as in
            `rtsep.separators.demucs.DemucsConfig`, along both axes.
    """

    width: int = Field(64, ge=1)
    growth: float = Field(2.0, ge=1.0)
    depth: int = Field(4, ge=1, le=8)
    kernel: int = Field(8, ge=1)
    stride: int = Field(4, ge=1)
    context: int = Field(3, ge=1)
    lstm_layers: int = Field(2, ge=0)
    rescale: float = Field(0.1, ge=0.0)

    @model_validator(mode="after")
    def _layers(self) -> Self:
        if self.kernel < self.stride:
            raise ValueError(f"kernel {self.kernel} would skip bins: at least the stride, {self.stride}")
        if self.context % 2 == 0:
            raise ValueError(f"context must be odd, not {self.context}")
        return self


class DemucsLayers2D(nn.Module):
    """The layers: (batch, inputs, bins, frames) to (batch, outputs, bins, frames).

    Args:
        config: their sizes.
        inputs, outputs: channels.
    """

    def __init__(self, config: Demucs2DConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        c = config
        self._strides = (c.kernel, c.stride, c.depth)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        width = c.width
        for layer in range(c.depth):
            self.encoder.append(
                nn.Sequential(
                    nn.Conv2d(inputs, width, c.kernel, c.stride),
                    nn.ReLU(),
                    nn.Conv2d(width, 2 * width, 1),
                    nn.GLU(dim=1),
                )
            )
            decoder = [
                nn.Conv2d(width, 2 * width, c.context, padding=c.context // 2),
                nn.GLU(dim=1),
                nn.ConvTranspose2d(width, outputs, c.kernel, c.stride),
            ]
            if layer:
                decoder.append(nn.ReLU())
            self.decoder.insert(0, nn.Sequential(*decoder))
            inputs = outputs = width
            width = int(c.growth * width)
        self.lstm = Memory(inputs, c.lstm_layers) if c.lstm_layers else None
        if c.rescale:
            rescale(self, c.rescale)

    def forward(self, x: Tensor) -> Tensor:
        """Any sizes; the input's mean and spread are taken out first."""
        bins, frames = x.shape[2:]
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        spread = x.std(dim=(1, 2, 3), keepdim=True)
        x = (x - mean) / (1e-5 + spread)
        pads = [padded_length(size, *self._strides) - size for size in (frames, bins)]
        x = functional.pad(x, [side for pad in pads for side in (pad // 2, pad - pad // 2)])
        passed = []
        for layer in self.encoder:
            x = layer(x)
            passed.append(x)
        if self.lstm is not None:
            batch, _, rows, _ = x.shape
            x = self.lstm(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, rows)).transpose(1, 2)
        for layer in self.decoder:
            x = layer(x + _centre(passed.pop(), x.shape[2], x.shape[3]))
        return _centre(x, bins, frames)


class Demucs2D(SpectralMaskNetwork):
    """All stems' masks at once."""

    architecture = "demucs-2d"
    title = "Demucs in two dimensions"
    config: Demucs2DConfig

    def __init__(self, config: Demucs2DConfig) -> None:
        super().__init__(config)
        self.layers = DemucsLayers2D(config, config.channels, len(config.stems) * config.channels)

    def masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to (batch, stems, channels, bins, frames)."""
        return torch.sigmoid(self.layers(magnitudes)).unflatten(1, (-1, self.config.channels))


def _centre(x: Tensor, bins: int, frames: int) -> Tensor:
    top, left = (x.shape[2] - bins) // 2, (x.shape[3] - frames) // 2
    return x[:, :, top : top + bins, left : left + frames]
