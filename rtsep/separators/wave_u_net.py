"""Wave-U-Net: a U-Net that halves the waveform's rate by leaving samples out. Not causal.

D. Stoller, S. Ewert, S. Dixon, "Wave-U-Net: a multi-scale neural network for end-to-end audio source
separation", ISMIR 2018 (arXiv:1806.03185), section 3. A layer of the encoder is a convolution, of whose
output every other step goes down; one of the decoder doubles the rate by interpolation, which cannot alias
as transposed convolutions do, and looks at that beside what the encoder had. All three of the paper's
betterments are here, and on by default:

- additivity (section 3.2.1): all stems but the last are estimated, and that is what they leave of the
  mixture;
- context (section 3.2.2): convolutions see no padding, and the input is longer than what is separated;
- learnt up-sampling (section 3.2.4): a step between two others is a weighted mean of them, by a weight a
  channel.

The paper's loss is the squared error of the samples (section 3): `[loss] mse = 1.0`.

The 2-D form is that of R. Henning, A. Choudhry, M. Ma, "Deep learning based music source separation", SCSU
Journal of Student Scholarship 1(2), 2021, section "Comparison between 1D and 2D domains": the same layers on
a spectrogram with kernels of 5x5, whose output are masks. A spectrogram of 1024 bins cannot be halved twelve
times; here it is six. Its convolutions are padded, since there is nothing beyond a spectrogram's lowest and
highest bin to give as context.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.spectral_masks import SpectralMaskConfig, SpectralMaskNetwork
from rtsep.spec import STEMS


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"must be odd, not {value}")
    return value


Odd = Annotated[int, Field(ge=1), AfterValidator(_odd)]
"""A number of taps that has a middle."""
SLOPE = 0.2
"""Of the leaky rectifiers."""


class WaveUNetConfig(BaseModel):
    """Sizes of a Wave-U-Net, by default those of the paper's table 1.

    Attributes:
        sample_rate, channels, stems: what goes in and comes out.
        levels: layers of the encoder, and of the decoder [L].
        filters: channels of the first layer, and how many each further one has more [Fc].
        down_kernel: taps of the encoder's convolutions; odd [fd].
        up_kernel: taps of the decoder's; odd [fu].
        context: the input is longer than the output, by what the convolutions need; else they are padded.
        upsampling: "learned" or "linear".
        output: "difference" makes the last stem what the others leave of the mixture; "direct" estimates all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = Field(STEMS, min_length=2)
    levels: int = Field(12, ge=1, le=16)
    filters: int = Field(24, ge=1)
    down_kernel: Odd = 15
    up_kernel: Odd = 5
    context: bool = True
    upsampling: Literal["learned", "linear"] = "learned"
    output: Literal["difference", "direct"] = "difference"


class WaveUNet2DConfig(SpectralMaskConfig):
    """Sizes of the 2-D form; see `rtsep.separators.spectral_masks.SpectralMaskConfig`.

    Attributes:
        levels: layers of the encoder, and of the decoder; each halves time and frequency.
        filters: channels of the first layer, and how many each further one has more.
        kernel: taps of all convolutions along either axis; odd.
        upsampling, output: as in `WaveUNetConfig`.
    """

    stems: tuple[str, ...] = Field(STEMS, min_length=2)
    levels: int = Field(6, ge=1, le=10)
    filters: int = Field(24, ge=1)
    kernel: Odd = 5
    upsampling: Literal["learned", "linear"] = "learned"
    output: Literal["difference", "direct"] = "difference"


class Between(nn.Module):
    """Puts a step between every two of each axis: a weighted mean of its neighbours.

    Args:
        channels: each has a weight of its own for each axis.
        dimensions: axes behind the channels.
        learned: the weights are; else all means are plain.
    """

    def __init__(self, channels: int, dimensions: int, learned: bool) -> None:
        super().__init__()
        self.dimensions = dimensions
        # Through a sigmoid: both neighbours start alike, and neither can weigh less than nothing.
        weights = torch.zeros(dimensions, channels)
        self.weights = nn.Parameter(weights) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, n, ...) to (batch, channels, 2 n - 1, ...)."""
        for axis in range(self.dimensions):
            x = x.transpose(2 + axis, -1)
            before, after = x[..., :-1], x[..., 1:]
            if self.weights is None:
                between = 0.5 * (before + after)
            else:
                share = torch.sigmoid(self.weights[axis]).reshape(-1, *[1] * self.dimensions)
                between = share * before + (1.0 - share) * after
            woven = torch.stack((before, between), dim=-1).flatten(-2)
            x = torch.cat((woven, x[..., -1:]), dim=-1).transpose(2 + axis, -1)
        return x


class WaveLayers(nn.Module):
    """The layers of either form, without what follows the last.

    Args:
        dimensions: 1, over (batch, channels, steps), or 2, over (batch, channels, bins, frames).
        inputs, outputs: channels.
        levels, filters, down_kernel, up_kernel: as in `WaveUNetConfig`.
        padded: whether convolutions are, so that every layer keeps its sizes.
        learned: whether up-sampling is.
    """

    def __init__(
        self,
        dimensions: Literal[1, 2],
        inputs: int,
        outputs: int,
        levels: int,
        filters: int,
        kernels: tuple[int, int],
        padded: bool,
        learned: bool,
    ) -> None:
        super().__init__()
        self.dimensions, self.levels, self.padded = dimensions, levels, padded
        self.kernels = kernels
        convolution = nn.Conv1d if dimensions == 1 else nn.Conv2d

        def layer(before: int, after: int, kernel: int) -> nn.Module:
            return convolution(before, after, kernel, padding=kernel // 2 if padded else 0)

        widths = [filters * (level + 1) for level in range(levels + 1)]
        self.down = nn.ModuleList(
            layer(before, after, kernels[0]) for before, after in zip([inputs, *widths], widths, strict=False)
        )
        self.between = nn.ModuleList(Between(width, dimensions, learned) for width in reversed(widths[1:]))
        self.up = nn.ModuleList(
            layer(below + beside, beside, kernels[1])
            for below, beside in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )
        self.last = convolution(widths[0] + inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, ...) to (batch, outputs, ...): of one axis, the middle, by `lengths`."""
        mix, passed = x, []
        for convolution in self.down[:-1]:
            x = functional.leaky_relu(convolution(x), SLOPE)
            passed.append(x)
            x = x[..., ::2] if self.dimensions == 1 else x[..., ::2, ::2]
        x = functional.leaky_relu(self.down[-1](x), SLOPE)
        for between, convolution in zip(self.between, self.up, strict=True):
            beside = passed.pop()
            x = between(x)
            if self.padded:
                # Behind the last step there is none to weigh it with.
                missing = [wide - narrow for wide, narrow in zip(beside.shape[2:], x.shape[2:], strict=True)]
                x = functional.pad(x, [side for m in reversed(missing) for side in (0, m)], mode="replicate")
            x = torch.cat((_middle(beside, x.shape[-1]), x), dim=1)
            x = functional.leaky_relu(convolution(x), SLOPE)
        decided: Tensor = self.last(torch.cat((_middle(mix, x.shape[-1]), x), dim=1))
        return decided

    def lengths(self, wanted: int) -> tuple[int, int]:
        """Steps of input and output, where the output has at least as many as are wanted, of one axis."""
        down, up = (kernel - 1 for kernel in self.kernels)
        if self.padded:
            whole = -(-wanted // 2**self.levels) * 2**self.levels
            return whole, whole
        narrowest = wanted
        for _ in range(self.levels):
            narrowest = -(-(narrowest + up + 1) // 2)
        output = narrowest = max(narrowest, 2)
        length = narrowest + down
        for _ in range(self.levels):
            output = 2 * output - 1 - up
            length = 2 * length - 1 + down
        return length, output


class WaveUNet(OfflineNetwork):
    """All stems at once, from waveform to waveform."""

    architecture = "wave-u-net"
    title = "Wave-U-Net"
    chunk_seconds = 12.0
    overlap_seconds = 1.0
    config: WaveUNetConfig

    def __init__(self, config: WaveUNetConfig) -> None:
        super().__init__(config)
        c = config
        self.layers = WaveLayers(
            1,
            c.channels,
            _estimated(c.stems, c.output) * c.channels,
            c.levels,
            c.filters,
            (c.down_kernel, c.up_kernel),
            not c.context,
            c.upsampling == "learned",
        )

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), each within [-1, 1]."""
        c, samples = self.config, mix.shape[-1]
        length, output = self.layers.lengths(samples)
        before = (length - output) // 2
        x = self.layers(functional.pad(mix, (before, length - before - samples)))[..., :samples]
        stems = torch.tanh(x).unflatten(1, (-1, c.channels))
        if c.output == "difference":
            stems = torch.cat((stems, mix.unsqueeze(1) - stems.sum(dim=1, keepdim=True)), dim=1)
        return stems


class WaveUNet2D(SpectralMaskNetwork):
    """All stems' masks at once. With "difference" they sum to one, and the last one may be of any size."""

    architecture = "wave-u-net-2d"
    title = "Wave-U-Net in two dimensions"
    config: WaveUNet2DConfig

    def __init__(self, config: WaveUNet2DConfig) -> None:
        super().__init__(config)
        c = config
        self.layers = WaveLayers(
            2,
            c.channels,
            _estimated(c.stems, c.output) * c.channels,
            c.levels,
            c.filters,
            (c.kernel, c.kernel),
            True,
            c.upsampling == "learned",
        )

    def masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to (batch, stems, channels, bins, frames)."""
        c = self.config
        bins, frames = magnitudes.shape[2:]
        pads = [self.layers.lengths(size)[0] - size for size in (bins, frames)]
        x = self.layers(functional.pad(magnitudes, (0, pads[1], 0, pads[0])))[..., :bins, :frames]
        masks = torch.sigmoid(x).unflatten(1, (-1, c.channels))
        if c.output == "difference":
            masks = torch.cat((masks, 1.0 - masks.sum(dim=1, keepdim=True)), dim=1)
        return masks


def _estimated(stems: tuple[str, ...], output: str) -> int:
    return len(stems) - (output == "difference")


def _middle(x: Tensor, length: int) -> Tensor:
    """The middle of the last axis, which is the only one where convolutions are not padded."""
    surplus = x.shape[-1] - length
    return x[..., surplus // 2 : surplus // 2 + length]
