"""Spleeter's U-Net: a network of twelve layers for each stem, on spectrograms or on the waveform. Not causal.

R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source separation
tool with pre-trained models", JOSS 5(50), 2020, with the layers of A. Jansson, E. Humphrey, N. Montecchio,
R. Bittner, A. Kumar, T. Weyde, "Singing voice separation with deep U-Net convolutional networks", ISMIR
2017, section 3. Six convolutions of 5x5 halve time and frequency, six transposed ones double them again and
see, beside what comes from below, what the encoder had there. As in Spleeter's code the encoder hands over
its convolutions as they are, before norm and activation; the decoder rectifies before its norm; the last map
becomes a mask for each channel by a convolution of 4x4 with holes.

Both are trained on the L1 of masked spectrograms: `[loss] magnitude_l1 = 1.0`.

The 1-D form is that of R. Henning, A. Choudhry, M. Ma, "Deep learning based music source separation", SCSU
Journal of Student Scholarship 1(2), 2021, section "Comparison between 1D and 2D domains", which gives no
more than that the layers are 1-D and work on the waveform. Here the last transposed convolution keeps the
first layer's channels, since a single one could carry no stereo, and what comes out are samples, not masks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.spectral_masks import SpectralMaskConfig, SpectralMaskNetwork
from rtsep.spec import STEMS

FILTERS = (16, 32, 64, 128, 256, 512)
KERNEL, STRIDE = 5, 2
LAST_KERNEL, LAST_DILATION = 4, 2
SLOPE = 0.2
"""Of the leaky rectifiers in the encoder."""
DROPOUT, DROPPING_LAYERS = 0.5, 3
"""Share of values that the first layers of the decoder drop in training."""
_CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
}
_NORM: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


class SpleeterConfig(SpectralMaskConfig):
    """The 2-D form; see `rtsep.separators.spectral_masks.SpectralMaskConfig`.

    Attributes:
        filters: channels of the encoder's layers; each halves time and frequency.
        softmax: the stems' masks sum to one, as in Spleeter's model of five stems; else each is a sigmoid.
    """

    filters: tuple[int, ...] = Field(FILTERS, min_length=1)
    softmax: bool = False


class Spleeter1DConfig(BaseModel):
    """The 1-D form.

    Attributes:
        sample_rate, channels, stems: what goes in and comes out.
        filters: channels of the encoder's layers; each halves the rate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = Field(STEMS, min_length=1)
    filters: tuple[int, ...] = Field(FILTERS, min_length=1)


class UNet(nn.Module):
    """One stem's network.

    Args:
        dimensions: 1, over (batch, channels, steps), or 2, over (batch, channels, bins, frames).
        channels: in and out.
        filters: of the encoder's layers.
        narrowest: channels of the last map.
    """

    def __init__(
        self, dimensions: Literal[1, 2], channels: int, filters: tuple[int, ...], narrowest: int
    ) -> None:
        super().__init__()
        self.dimensions, self.multiple = dimensions, STRIDE ** len(filters)
        convolution, transposed, norm = _CONVOLUTION[dimensions], _TRANSPOSED[dimensions], _NORM[dimensions]
        self.down = nn.ModuleList(
            convolution(before, after, KERNEL, STRIDE) for before, after in pairwise((channels, *filters))
        )
        # Nothing follows the innermost convolution in the encoder, so it has no norm.
        self.down_norms = nn.ModuleList(_like_keras(norm(width)) for width in filters[:-1])
        rising = (*reversed(filters), narrowest)
        widths = [rising[0], *(2 * width for width in rising[1:-1])]
        self.up = nn.ModuleList(
            transposed(width, after, KERNEL, STRIDE, padding=1)
            for width, after in zip(widths, rising[1:], strict=True)
        )
        self.up_norms = nn.ModuleList(_like_keras(norm(width)) for width in rising[1:])
        reach = LAST_DILATION * (LAST_KERNEL - 1) // 2
        self.last = convolution(narrowest, channels, LAST_KERNEL, dilation=LAST_DILATION, padding=reach)
        for layer in (*self.down, *self.up, self.last):
            nn.init.kaiming_uniform_(cast(Tensor, layer.weight), nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ...), any sizes, to the same: what the masks or the samples are made of."""
        sizes = x.shape[2:]
        x = functional.pad(x, _each_axis([(0, -size % self.multiple) for size in sizes]))
        passed: list[Tensor] = []
        for index, convolution in enumerate(self.down):
            # The surplus lies behind, as TensorFlow's "same" puts it for even sizes.
            x = convolution(functional.pad(x, (1, 2) * self.dimensions))
            passed.append(x)
            if index < len(self.down_norms):
                x = functional.leaky_relu(self.down_norms[index](x), SLOPE)
        passed.pop()
        for index, (transposed, norm) in enumerate(zip(self.up, self.up_norms, strict=True)):
            wider = [STRIDE * size for size in x.shape[2:]]
            x = norm(functional.relu(_cut(transposed(x), wider)))
            if index < DROPPING_LAYERS and index < len(self.up) - 1:
                x = functional.dropout(x, DROPOUT, self.training)
            if passed:
                x = torch.cat((passed.pop(), x), dim=1)
        return _cut(self.last(x), sizes)


class Spleeter(SpectralMaskNetwork):
    """A mask for each stem by a network of its own."""

    architecture = "spleeter"
    title = "Spleeter's U-Net"
    config: SpleeterConfig

    def __init__(self, config: SpleeterConfig) -> None:
        super().__init__(config)
        self.networks = nn.ModuleList(UNet(2, config.channels, config.filters, 1) for _ in config.stems)

    def masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to (batch, stems, channels, bins, frames)."""
        logits = torch.stack([network(magnitudes) for network in self.networks], dim=1)
        return torch.softmax(logits, dim=1) if self.config.softmax else torch.sigmoid(logits)


class Spleeter1D(OfflineNetwork):
    """Each stem's samples by a network of its own."""

    architecture = "spleeter-1d"
    title = "Spleeter's U-Net in one dimension"
    chunk_seconds = 12.0
    overlap_seconds = 0.5
    config: Spleeter1DConfig

    def __init__(self, config: Spleeter1DConfig) -> None:
        super().__init__(config)
        c = config
        self.networks = nn.ModuleList(UNet(1, c.channels, c.filters, c.filters[0]) for _ in c.stems)

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples)."""
        return torch.stack([network(mix) for network in self.networks], dim=1)


def _like_keras(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    # Its momentum is left at torch's, ten times as quick: after a short run the statistics are there too.
    norm.eps = 1e-3
    return norm


def _cut(x: Tensor, sizes: torch.Size | list[int]) -> Tensor:
    for axis, size in enumerate(sizes, start=2):
        x = x.narrow(axis, 0, size)
    return x


def _each_axis(pads: list[tuple[int, int]]) -> list[int]:
    """Padding of each axis in order, as `functional.pad` takes it: the last axis first."""
    return [side for pair in reversed(pads) for side in pair]
