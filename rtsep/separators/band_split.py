"""Causal band-split recurrent network: the same cells listen to every part of the spectrum.

Follows Y. Luo, J. Yu, "Music Source Separation with Band-Split RNN", IEEE/ACM TASLP 31, 2023: groups of
bands become vectors of one size, and blocks of two recurrent layers pass over them by turns, one along
time with the groups as its batch, one along the groups with the frames as its batch. What differs:

- the layer along time looks only into the past; the one along the groups sees one frame, both ways;
- one network gives the masks of all stems, real ones (`rtsep.separators.mask_network`);
- the layer along time may look back by several hops at each step (S. Chang et al., "Dilated Recurrent
  Neural Networks", NeurIPS 2017, section 2.1): frames that follow each other closely then run in
  interleaved phases. A network is trained on frames a long hop apart, which is cheap, and streams with a
  short hop and low latency, and each of its phases hears exactly what it was trained on.

Because the weights along time are the same for all groups, a glide or a decay learnt at one pitch is known
at every other: from little data that generalises better than one matrix over all bands.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.chrono import spread_memory
from rtsep.separators.lstm_cell import lstm_step
from rtsep.separators.mask_network import MaskConfig, MaskNetwork, networks_own
from rtsep.separators.network import State


class BandSplitConfig(MaskConfig):
    """Sizes of a causal band-split separator.

    Attributes:
        group: bands of a group.
        features: length of a group's vector.
        memory: units of the layer along time.
        across: units of the layer along the groups, in each direction.
        depth: blocks of the two.
        dilation: hops between a frame and the one that the layer along time saw before it.
    """

    group: int = Field(10, ge=1)
    features: int = Field(64, ge=2)
    memory: int = Field(64, ge=2)
    across: int = Field(32, ge=1)
    depth: int = Field(3, ge=1)
    dilation: int = Field(1, ge=1, le=64)

    @property
    def phases(self) -> int:
        """See `MaskConfig.phases`."""
        return self.dilation


class BandSplit(MaskNetwork):
    """Masks the mixture's spectrum with recurrent layers along time and along frequency by turns."""

    architecture = "band-split"
    config: BandSplitConfig

    def __init__(self, config: BandSplitConfig) -> None:
        super().__init__(config)
        self.groups = -(-self.bands // config.group)
        into = self.views * config.group
        self.masks = len(config.stems) * config.channels * config.group
        width = config.features
        self.encoder_weight = nn.Parameter(_spread(self.groups, into, width))
        self.encoder_bias = nn.Parameter(torch.zeros(self.groups, width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_weight = nn.Parameter(_spread(self.groups, width, 2 * width))
        self.decoder_bias = nn.Parameter(torch.zeros(self.groups, 2 * width))
        self.mask_weight = nn.Parameter(_spread(self.groups, 2 * width, self.masks))
        self.mask_bias = nn.Parameter(torch.zeros(self.groups, self.masks))

    def init_state(self, batch: int = 1) -> State:
        """Hidden and cell state of the layers along time: (dilation, depth, batch, groups, memory) each.

        The first phase is the next frame's.
        """
        c = self.config
        shape = (c.dilation, c.depth, batch, self.groups, c.memory)
        zeros = {name: self.input_mean.new_zeros(shape) for name in ("h", "c")}
        return zeros | self.begin_hearing(batch)

    def decide(self, features: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `MaskNetwork.decide`."""
        batch, time, _ = features.shape
        phases = self.config.dilation
        state = networks_own(self.init_state(batch)) if state is None else state
        logits, after = [], []
        for phase in range(phases):
            before = {name: value[phase] for name, value in state.items()}
            frames = features[:, phase::phases]
            if frames.shape[1] == 0:
                after.append(before)
                continue
            decided, next_state = self._run(frames, before)
            logits.append(decided)
            after.append(next_state)
        out = features.new_zeros(
            (batch, time, len(self.config.stems), self.config.channels, self.bands), dtype=logits[0].dtype
        )
        for phase, decided in enumerate(logits):
            out[:, phase::phases] = decided
        # The phase whose turn comes next goes first.
        order = [(time + k) % phases for k in range(phases)]
        return out, {name: torch.stack([after[k][name] for k in order]) for name in state}

    def decide_phase(self, features: Tensor) -> Tensor:
        """See `MaskNetwork.decide_phase`."""
        return self._run(features, None)[0]

    def decide_once(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """See `MaskNetwork.decide_once`."""
        x = self._encode(features)
        h_next, c_next = [], []
        blocks: Any = self.blocks
        for layer, block in enumerate(blocks):
            x, h, c = block.step(x, state["h"][0, layer], state["c"][0, layer])
            h_next.append(h)
            c_next.append(c)
        after = {
            "h": torch.cat((state["h"][1:], torch.stack(h_next).unsqueeze(0))),
            "c": torch.cat((state["c"][1:], torch.stack(c_next).unsqueeze(0))),
        }
        return self._decode(x), after

    def favour(self, stem: str, logits: float) -> None:
        """See `MaskNetwork.favour`."""
        with torch.no_grad():
            biases = self.mask_bias.view(self.groups, len(self.config.stems), -1)
            biases[:, self.config.stems.index(stem)] += logits

    def soften(self, factor: float) -> None:
        """See `MaskNetwork.soften`."""
        with torch.no_grad():
            self.mask_weight.mul_(factor)

    def _run(self, features: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One phase: (batch, time, views * bands), and state without the phases' axis."""
        x = self._encode(features)
        h_next, c_next = [], []
        blocks: Any = self.blocks
        for layer, block in enumerate(blocks):
            before = None if state is None else (state["h"][layer], state["c"][layer])
            x, h, c = block(functional.dropout(x, self.dropout, self.training), before)
            h_next.append(h)
            c_next.append(c)
        return self._decode(x), {"h": torch.stack(h_next), "c": torch.stack(c_next)}

    def _encode(self, features: Tensor) -> Tensor:
        """(..., views * bands) to (..., groups, features)."""
        levels = self.normalise(features).unflatten(-1, (self.views, self.bands))
        levels = functional.pad(levels, (0, self.groups * self.config.group - self.bands))
        levels = levels.unflatten(-1, (self.groups, self.config.group)).transpose(-3, -2).flatten(-2)
        return torch.tanh(_grouped(levels, self.encoder_weight, self.encoder_bias))

    def _decode(self, x: Tensor) -> Tensor:
        """(..., groups, features) to (..., stems, channels, bands)."""
        hidden = functional.relu(_grouped(self.decoder_norm(x), self.decoder_weight, self.decoder_bias))
        masks = _grouped(hidden, self.mask_weight, self.mask_bias)
        masks = masks.unflatten(-1, (len(self.config.stems), self.config.channels, self.config.group))
        # (..., groups, stems, channels, group) to the bands in their order.
        return masks.transpose(-4, -3).transpose(-3, -2).flatten(-2)[..., : self.bands]


class _Block(nn.Module):
    """A recurrent layer along time, one along the groups, each added to what it was given."""

    def __init__(self, config: BandSplitConfig) -> None:
        super().__init__()
        width = config.features
        self.time_norm = nn.LayerNorm(width)
        self.time = nn.LSTM(width, config.memory, batch_first=True)
        self.time_out = nn.Linear(config.memory, width)
        self.group_norm = nn.LayerNorm(width)
        self.along = nn.LSTM(width, config.across, batch_first=True, bidirectional=True)
        self.group_out = nn.Linear(2 * config.across, width)
        spread_memory(self.time, config.sample_rate / (config.hop * config.dilation))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, time, groups, features); state (batch, groups, memory) each, and after it."""
        batch, time, groups, width = x.shape
        before = None
        if state is not None:
            before = (state[0].reshape(1, batch * groups, -1), state[1].reshape(1, batch * groups, -1))
        columns = self.time_norm(x).transpose(1, 2).reshape(batch * groups, time, width)
        heard, (h, c) = self.time(columns, before)
        x = x + self.time_out(heard).view(batch, groups, time, width).transpose(1, 2)
        x = x + self._across(x.reshape(batch * time, groups, width)).view(batch, time, groups, width)
        return x, h.view(batch, groups, -1), c.view(batch, groups, -1)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One frame of `forward`: (batch, groups, features)."""
        h, c = lstm_step(self.time, self.time_norm(x), h, c)
        x = x + self.time_out(h)
        return x + self._across(x), h, c

    def _across(self, x: Tensor) -> Tensor:
        # The norm is computed in float32, whatever the weights are.
        along, _ = self.along(self.group_norm(x).to(self.along.weight_ih_l0.dtype))
        out: Tensor = self.group_out(along)
        return out


def _spread(groups: int, into: int, out: int) -> Tensor:
    """Weights of one linear layer a group, drawn so that variances stay (Glorot and Bengio, 2010)."""
    limit = (6.0 / (into + out)) ** 0.5
    return torch.empty(groups, into, out).uniform_(-limit, limit)


def _grouped(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each group through its own matrix: (..., groups, into) to (..., groups, out)."""
    if x.dim() == 3:
        # A step's one frame: no shape is looked at, which an exported graph would take for constants.
        return (x.transpose(0, 1) @ weight).transpose(0, 1) + bias
    rows = x.reshape(-1, *x.shape[-2:]).transpose(0, 1)
    return (rows @ weight).transpose(0, 1).reshape(*x.shape[:-1], -1) + bias
