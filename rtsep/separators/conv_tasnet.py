"""Causal Conv-TasNet: masks on a learned transform with windows of a millisecond.

Y. Luo, N. Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for speech
separation", IEEE/ACM TASLP 27(8), 2019 (arXiv:1809.07454), in its causal form: cumulative layer norm and
convolutions that look only back. Stereo in and out with several stems follows A. Defossez, N. Usunier,
L. Bottou, F. Bach, "Music source separation in the waveform domain", 2019 (arXiv:1911.13254).

Masks on a learned transform do not make the stems sum to the mixture. What the sum lacks is shared out
equally (S. Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement",
ICASSP 2019, arXiv:1811.08521), in training too: with all stems at unity, nothing is lost.

Arrays run (batch, frames, features): a frame's features lie together, so that a step is a chain of plain
matrix products, and the past of a convolution is shifted in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.dsp.cumulative import horizon
from rtsep.separators.cumulative_norm import (
    MAX_HORIZON,
    Ladder,
    moments,
    normalise,
    normalise_step,
    scaled,
    step_weights,
)
from rtsep.separators.network import CausalNetwork, State
from rtsep.spec import STEMS, StreamSpec


class ConvTasNetConfig(BaseModel):
    """Sizes of a causal Conv-TasNet; the paper's letters in brackets.

    Attributes:
        sample_rate, channels, stems: the stream.
        hop: samples a step; a multiple of half the window.
        window: samples of a frame of the encoder and decoder [L], even; frames start every L / 2.
        filters: features of a frame [N].
        bottleneck: channels between blocks [B].
        hidden: channels inside a block [H].
        skip: channels of the skip path [Sc].
        kernel: taps of a depthwise convolution [P].
        blocks: blocks in a repeat, dilated by 1, 2, 4, ... [X].
        repeats: of those blocks [R].
        norm_seconds: horizon of the cumulative norms: how long they are cumulative, and how slowly
            they forget from then on. Close to the length of training's excerpts it lets the network
            meet nothing on stage that it has not met there.
        balance: what the stems are made of those that the network tells apart: a row for each, all columns
            sum to one; none leaves them as they are. A network that learnt by a loss without a scale gives
            one stem too little and another too much.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = STEMS
    hop: int = Field(256, ge=1)
    window: int = Field(64, ge=2)
    filters: int = Field(256, ge=1)
    bottleneck: int = Field(128, ge=1)
    hidden: int = Field(256, ge=1)
    skip: int = Field(128, ge=1)
    kernel: int = Field(3, ge=2)
    blocks: int = Field(8, ge=1, le=16)
    repeats: int = Field(3, ge=1)
    norm_seconds: float = Field(8.0, gt=0.0)
    balance: tuple[tuple[float, ...], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.window % 2:
            raise ValueError(f"window must be even, not {self.window}")
        if self.hop % self.stride:
            raise ValueError(f"hop {self.hop} must be a multiple of half the window, {self.stride}")
        if self.horizon > MAX_HORIZON:
            raise ValueError(f"norm_seconds {self.norm_seconds:g} is more frames than can be counted")
        if self.balance:
            sizes = {len(self.balance), *(len(row) for row in self.balance)}
            if sizes != {len(self.stems)}:
                raise ValueError(f"balance must have {len(self.stems)} rows of {len(self.stems)} numbers")
            sums = [sum(column) for column in zip(*self.balance, strict=True)]
            if not all(abs(one - 1.0) < 1e-6 for one in sums):
                raise ValueError("balance: every column must sum to one, or stems do not sum to the mixture")
        return self

    @property
    def stride(self) -> int:
        """Samples between frames."""
        return self.window // 2

    @property
    def horizon(self) -> int:
        """Horizon of the norms in frames."""
        return horizon(self.norm_seconds, self.sample_rate, self.stride)

    @property
    def receptive_field(self) -> int:
        """Samples of the past, the newest included, that reach a sample through the convolutions."""
        frames = 1 + self.repeats * (self.kernel - 1) * (2**self.blocks - 1)
        return (frames - 1) * self.stride + self.window


class _Block(nn.Module):
    """1x1 convolution, dilated depthwise convolution, and one product for both ways out."""

    def __init__(self, config: ConvTasNetConfig, dilation: int, last: bool) -> None:
        super().__init__()
        self.dilation = dilation
        # What the last block would hand on has no taker.
        self.residual = 0 if last else config.bottleneck
        self.expand = nn.Linear(config.bottleneck, config.hidden)
        self.expand_prelu = nn.PReLU()
        bound = config.kernel**-0.5
        self.taps = nn.Parameter(torch.empty(config.kernel, config.hidden).uniform_(-bound, bound))
        self.taps_bias = nn.Parameter(torch.zeros(config.hidden))
        self.depth_prelu = nn.PReLU()
        self.project = nn.Linear(config.hidden, self.residual + config.skip)

    @property
    def past(self) -> int:
        """Frames of its past that the convolution needs."""
        return (self.taps.shape[0] - 1) * self.dilation

    def opened(self, x: Tensor) -> Tensor:
        """Up to the first norm."""
        return self.expand_prelu(self.expand(x))

    def convolved(self, context: Tensor) -> Tensor:
        """From the first norm, with `past` frames in front, up to the second."""
        return self.depth_prelu(_convolved(context, self.taps, self.taps_bias, self.dilation))

    def closed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """From the second norm: what the next block takes, and this one's share of the skip path."""
        y = self.project(y)
        if not self.residual:
            return x, y
        residual, skip = y.split((self.residual, y.shape[-1] - self.residual), dim=-1)
        return x + residual, skip


def _convolved(context: Tensor, taps: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Depthwise convolution of frames that have their past in front of them."""
    frames = context.shape[1] - (taps.shape[0] - 1) * dilation
    y = bias
    for tap, weight in enumerate(taps.unbind()):
        start = tap * dilation
        y = y + weight * context[:, start : start + frames]
    return y


def _activated(x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """PReLU in float32, and the moments of its frames."""
    y = functional.prelu(x.float(), slope)
    return y, *moments(y)


def _convolved_whole(
    y: Tensor, mean: Tensor, var: Tensor, taps: Tensor, bias: Tensor, slope: Tensor, dilation: int
) -> tuple[Tensor, Tensor, Tensor]:
    """First norm of a whole signal, convolution, PReLU, and the moments of its frames."""
    past = (taps.shape[0] - 1) * dilation
    context = functional.pad(scaled(y, mean, var), (0, 0, past, 0))
    return _activated(_convolved(context, taps, bias, dilation), slope)


class _Between(NamedTuple):
    """What a block does between its matrix products: a dozen passes over memory, or three compiled ones."""

    activated: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    convolved: Callable[..., tuple[Tensor, Tensor, Tensor]]
    scaled: Callable[[Tensor, Tensor, Tensor], Tensor]


_AS_WRITTEN = _Between(_activated, _convolved_whole, scaled)


class ConvTasNet(CausalNetwork):
    """Masks a learned transform of the waveform with stacks of dilated causal convolutions."""

    domain = "waveform"
    architecture = "conv-tasnet"

    _balance: Tensor | None

    def __init__(self, config: ConvTasNetConfig) -> None:
        super().__init__()
        self.config = config
        stems, samples = len(config.stems), config.channels * config.window
        # A frame is whole one stride after its first half came.
        self.spec = StreamSpec(config.sample_rate, config.channels, config.stems, config.hop, config.stride)
        self.encoder = nn.Linear(samples, config.filters, bias=False)
        self.bottleneck = nn.Linear(config.filters, config.bottleneck)
        count = config.repeats * config.blocks
        self.blocks = nn.ModuleList(
            _Block(config, 2 ** (index % config.blocks), last=index == count - 1) for index in range(count)
        )
        self.masks_prelu = nn.PReLU()
        self.masks = nn.Linear(config.skip, stems * config.filters)
        self.decoder = nn.Linear(config.filters, samples, bias=False)
        balance = torch.tensor(config.balance) if config.balance else None
        self.register_buffer("_balance", balance, persistent=False)
        self._compiled: _Between | None = None

    def compile_training(self) -> None:
        """See `Compilable`. Blocks of one dilation share what is compiled."""
        self._compiled = _Between(
            torch.compile(_activated, dynamic=False),
            torch.compile(_convolved_whole, dynamic=False),
            torch.compile(scaled, dynamic=False),
        )

    def forward(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), aligned."""
        samples, stride = mix.shape[-1], self.config.stride
        # One stride of silence behind the last whole one completes the last frame.
        strides = -(-samples // stride) + 1
        mix = functional.pad(mix, (stride, strides * stride - samples))
        ladder = Ladder(strides, self.config.horizon, mix.device)

        # What is compiled is so for one length.
        between = self._compiled if self.training and self._compiled else _AS_WRITTEN
        features = self._encode(mix)
        x = self.bottleneck(normalise(features, ladder)).float()
        skips = x.new_zeros(())
        for block in self._blocks():
            y, *of_frames = between.activated(block.expand(x), block.expand_prelu.weight)
            y, *of_frames = between.convolved(
                y,
                *ladder.statistics(*of_frames),
                block.taps,
                block.taps_bias,
                block.depth_prelu.weight,
                block.dilation,
            )
            x, skip = block.closed(x, between.scaled(y, *ladder.statistics(*of_frames)))
            # In float32 whatever the products' type: sixteen bits would lose what the blocks add.
            skips = skips + skip.float()
        heads, tails = self._decode(features, skips)
        late = functional.pad(tails[:, :-1], (0, 0) * 3 + (1, 0))
        stems = self._consistent(heads + late, mix[..., :-stride])
        return stems[..., stride : stride + samples]

    def init_state(self, batch: int = 1) -> State:
        """Zero state.

        `input`: (batch, channels, stride), the newest samples. `overlap`: (batch, stems, channels, stride),
        second half of the newest frame. `frames`: (batch, 1), how many the norms have seen, up to their
        horizon. `norms`: (batch, 1, 2 norms), mean and variance of each in turn. `past.<i>`: (batch, frames,
        hidden), what block i's convolution looks back on.
        """
        c = self.config
        zeros = self.encoder.weight.new_zeros
        state = {
            "input": zeros(batch, c.channels, c.stride),
            "overlap": zeros(batch, len(c.stems), c.channels, c.stride),
            "frames": zeros(batch, 1),
            "norms": zeros(batch, 1, 2 * (1 + 2 * len(self.blocks))),
        }
        for index, block in enumerate(self._blocks()):
            state[f"past.{index}"] = zeros(batch, block.past, c.hidden)
        return state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One hop: (batch, channels, hop) to (batch, stems, channels, hop), `spec.delay` samples late."""
        horizon, stride = self.config.horizon, self.config.stride
        frames = x.shape[-1] // stride
        weights = step_weights(state["frames"], frames, horizon)
        statistics = _Statistics(state["norms"], weights)

        mix = torch.cat((state["input"], x), dim=-1)
        features = self._encode(mix)
        hidden = self.bottleneck(statistics.normalise(features))
        after: State = {}
        skips = features.new_zeros(())
        for index, block in enumerate(self._blocks()):
            y = statistics.normalise(block.opened(hidden))
            context = torch.cat((state[f"past.{index}"], y), dim=1)
            after[f"past.{index}"] = context[:, frames:]
            y = statistics.normalise(block.convolved(context))
            hidden, skip = block.closed(hidden, y)
            skips = skips + skip
        heads, tails = self._decode(features, skips)
        late = torch.cat((state["overlap"].unsqueeze(1), tails[:, :-1]), dim=1)
        stems = self._consistent(heads + late, mix[..., :-stride])
        now: State = {
            "input": mix[..., -stride:],
            "overlap": tails[:, -1],
            "frames": (state["frames"] + frames).clamp(max=horizon),
            "norms": statistics.after(),
        }
        return stems, now | after

    def steps(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """See `CausalNetwork.steps`: a step takes any number of strides."""
        return self.step(x, state)

    def _blocks(self) -> list[_Block]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _encode(self, mix: Tensor) -> Tensor:
        """(batch, channels, (frames + 1) stride) to features (batch, frames, filters)."""
        halves = mix.unflatten(-1, (-1, self.config.stride)).transpose(1, 2)
        frames = torch.cat((halves[:, :-1], halves[:, 1:]), dim=-1)
        return functional.relu(self.encoder(frames.flatten(2)))

    def _decode(self, features: Tensor, skips: Tensor) -> tuple[Tensor, Tensor]:
        """First and second halves of all frames, (batch, frames, stems, channels, stride) each."""
        c = self.config
        masks = torch.sigmoid(self.masks(self.masks_prelu(skips)))
        masked = masks.unflatten(-1, (len(c.stems), c.filters)) * features.unsqueeze(2)
        frames = self.decoder(masked).unflatten(-1, (c.channels, c.window))
        return frames[..., : c.stride], frames[..., c.stride :]

    def _consistent(self, halves: Tensor, mix: Tensor) -> Tensor:
        """Lay frames end to end, share out what the stems lack of the mixture, and balance them."""
        stems = halves.permute(0, 2, 3, 1, 4).flatten(3)
        missing = mix.unsqueeze(1) - stems.sum(dim=1, keepdim=True)
        stems = stems + missing / len(self.config.stems)
        if self._balance is None:
            return stems
        return torch.matmul(self._balance, stems.flatten(2)).unflatten(2, stems.shape[2:])


class _Statistics:
    """Hands each norm of a step its mean and variance, and gathers what they become."""

    def __init__(self, norms: Tensor, weights: Tensor) -> None:
        # One split, one concatenation and one slice for all norms: in a graph every operator costs
        # about a microsecond, however small.
        self._before = iter(norms.split(1, dim=2))
        self._after: list[Tensor] = []
        self._weights = weights

    def normalise(self, x: Tensor) -> Tensor:
        y, mean, var = normalise_step(x, next(self._before), next(self._before), self._weights)
        self._after += (mean, var)
        return y

    def after(self) -> Tensor:
        return torch.cat(self._after, dim=2)[:, -1:]
