"""The Conv-TasNet of the Cadenza challenges, causal, so that its published weights can run live.

The network is that of the clarity challenge recipes (recipes/cad2, "causal" and norm "cLN"): Y. Luo,
N. Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for speech separation", IEEE/ACM
TASLP 27(8), 2019, section II, for stereo and without a skip path, as in A. Defossez, N. Usunier, L. Bottou,
F. Bach, "Music source separation in the waveform domain", 2019 (arXiv:1911.13254). Its norm takes the mean
and variance of each frame by itself over the channels, so that unlike the paper's it has no past; masks are
rectified, not bounded, and nothing makes the stems sum to the mixture.

Published sizes take about 96 GFLOP a second of audio: a GPU's work, or a file's, rather than a CPU core's.

rtsep's own network of this kind is `rtsep.separators.conv_tasnet`. Arrays run (batch, frames, features).
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.network import CausalNetwork, State
from rtsep.spec import StreamSpec

FLOOR = 1e-8
"""Added to a frame's variance before it is divided by."""


class CadenzaTasNetConfig(BaseModel):
    """Sizes of the network; the recipe's letters in brackets.

    Attributes:
        sample_rate, channels, stems: the stream [samplerate, audio_channels, C].
        hop: samples a step; a multiple of half the window.
        window: samples of a frame [L], even; frames start every L / 2.
        filters: features of a frame [N].
        bottleneck: channels between blocks [B].
        hidden: channels inside a block [H].
        kernel: taps of a depthwise convolution [P].
        blocks: blocks in a repeat, dilated by 1, 2, 4, ... [X].
        repeats: of those blocks [R].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = ("vocals", "accompaniment")
    hop: int = Field(320, ge=1)
    window: int = Field(20, ge=2, multiple_of=2)
    filters: int = Field(256, ge=1)
    bottleneck: int = Field(256, ge=1)
    hidden: int = Field(512, ge=1)
    kernel: int = Field(3, ge=2)
    blocks: int = Field(10, ge=1, le=16)
    repeats: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop % self.stride:
            raise ValueError(f"hop {self.hop} must be a multiple of half the window, {self.stride}")
        return self

    @property
    def stride(self) -> int:
        """Samples between frames."""
        return self.window // 2


class _Block(nn.Module):
    """1x1 convolution, dilated depthwise convolution and 1x1 convolution, around which the input goes too."""

    def __init__(self, config: CadenzaTasNetConfig, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.expand = nn.Linear(config.bottleneck, config.hidden, bias=False)
        self.expand_prelu = nn.PReLU()
        self.expand_norm = nn.LayerNorm(config.hidden, eps=FLOOR)
        bound = config.kernel**-0.5
        self.taps = nn.Parameter(torch.empty(config.kernel, config.hidden).uniform_(-bound, bound))
        self.depth_prelu = nn.PReLU()
        self.depth_norm = nn.LayerNorm(config.hidden, eps=FLOOR)
        self.project = nn.Linear(config.hidden, config.bottleneck, bias=False)

    @property
    def past(self) -> int:
        """Frames of its past that the convolution needs."""
        return (self.taps.shape[0] - 1) * self.dilation

    def opened(self, x: Tensor) -> Tensor:
        """(batch, frames, bottleneck) to what the convolution takes, (batch, frames, hidden)."""
        y: Tensor = self.expand_norm(self.expand_prelu(self.expand(x)))
        return y

    def closed(self, x: Tensor, context: Tensor) -> Tensor:
        """The block's output from its input and from `opened` of it, with `past` frames in front."""
        frames = x.shape[1]
        y = self.taps[0] * context[:, :frames]
        for tap, weight in enumerate(self.taps[1:], start=1):
            start = tap * self.dilation
            y = y + weight * context[:, start : start + frames]
        return x + self.project(self.depth_norm(self.depth_prelu(y)))


class CadenzaTasNet(CausalNetwork):
    """Masks a learned transform of the waveform; all norms are of one frame."""

    domain = "waveform"
    architecture = "cadenza-tasnet"

    def __init__(self, config: CadenzaTasNetConfig) -> None:
        super().__init__()
        self.config = config
        samples = config.channels * config.window
        # A frame is whole one stride after its first half came.
        self.spec = StreamSpec(config.sample_rate, config.channels, config.stems, config.hop, config.stride)
        self.encoder = nn.Linear(samples, config.filters, bias=False)
        self.input_norm = nn.LayerNorm(config.filters, eps=FLOOR)
        self.bottleneck = nn.Linear(config.filters, config.bottleneck, bias=False)
        count = config.repeats * config.blocks
        self.blocks = nn.ModuleList(_Block(config, 2 ** (index % config.blocks)) for index in range(count))
        self.masks = nn.Linear(config.bottleneck, len(config.stems) * config.filters, bias=False)
        self.decoder = nn.Linear(config.filters, samples, bias=False)

    def forward(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), aligned.

        The first frame begins half a window before the signal, in silence, as in a stream.
        """
        samples, stride = mix.shape[-1], self.config.stride
        strides = -(-samples // stride) + 1
        features = self._encode(functional.pad(mix, (stride, strides * stride - samples)))
        x = self.bottleneck(self.input_norm(features))
        for block in self._blocks():
            x = block.closed(x, functional.pad(block.opened(x), (0, 0, block.past, 0)))
        heads, tails = self._decode(features, x)
        late = functional.pad(tails[:, :-1], (0, 0) * 3 + (1, 0))
        stems = (heads + late).permute(0, 2, 3, 1, 4).flatten(3)
        return stems[..., stride : stride + samples]

    def init_state(self, batch: int = 1) -> State:
        """Zero state.

        `input`: (batch, channels, stride), the newest samples. `overlap`: (batch, stems, channels, stride),
        second half of the newest frame. `past.<i>`: (batch, frames, hidden), what block i's convolution
        looks back on.
        """
        c = self.config
        zeros = self.encoder.weight.new_zeros
        state = {
            "input": zeros(batch, c.channels, c.stride),
            "overlap": zeros(batch, len(c.stems), c.channels, c.stride),
        }
        for index, block in enumerate(self._blocks()):
            state[f"past.{index}"] = zeros(batch, block.past, c.hidden)
        return state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One hop: (batch, channels, hop) to (batch, stems, channels, hop), `spec.delay` samples late."""
        stride = self.config.stride
        frames = x.shape[-1] // stride
        mix = torch.cat((state["input"], x), dim=-1)
        features = self._encode(mix)
        hidden = self.bottleneck(self.input_norm(features))
        after: State = {}
        for index, block in enumerate(self._blocks()):
            context = torch.cat((state[f"past.{index}"], block.opened(hidden)), dim=1)
            after[f"past.{index}"] = context[:, frames:]
            hidden = block.closed(hidden, context)
        heads, tails = self._decode(features, hidden)
        late = torch.cat((state["overlap"].unsqueeze(1), tails[:, :-1]), dim=1)
        stems = (heads + late).permute(0, 2, 3, 1, 4).flatten(3)
        return stems, {"input": mix[..., -stride:], "overlap": tails[:, -1]} | after

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

    def _decode(self, features: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """First and second halves of all frames, (batch, frames, stems, channels, stride) each."""
        c = self.config
        masks = functional.relu(self.masks(x)).unflatten(-1, (len(c.stems), c.filters))
        frames = self.decoder(masks * features.unsqueeze(2)).unflatten(-1, (c.channels, c.window))
        return frames[..., : c.stride], frames[..., c.stride :]
