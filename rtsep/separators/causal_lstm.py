"""Causal LSTM: Open-Unmix made unidirectional, one network for all stems.

Follows F.-R. Stoter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix - A Reference Implementation for
Music Source Separation", JOSS 4(41), 2019: crop the spectrogram to a bandwidth, normalise each bin,
encode, run a stack of LSTMs, concatenate their input to their output, decode to masks. What differs:

- the LSTMs look only into the past, so that the network can run a frame at a time;
- one network gives the masks of all stems (`rtsep.separators.mask_network`);
- layer normalisation stands in for batch normalisation: a frame is normalised by itself, and nothing
  differs between training and the stage.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.chrono import spread_memory
from rtsep.separators.lstm_cell import lstm_step
from rtsep.separators.mask_network import MaskConfig, MaskNetwork
from rtsep.separators.network import State


class CausalLSTMConfig(MaskConfig):
    """Sizes of a causal LSTM separator.

    Attributes:
        width, depth: units of a layer, and LSTM layers.
    """

    width: int = Field(400, ge=4)
    depth: int = Field(3, ge=1)


class CausalLSTM(MaskNetwork):
    """Masks the mixture's spectrum with what a stack of causal LSTMs has heard so far."""

    architecture = "causal-lstm"
    config: CausalLSTMConfig

    def __init__(self, config: CausalLSTMConfig) -> None:
        super().__init__(config)
        masks = len(config.stems) * config.channels * self.bands
        self.encoder = nn.Linear(self.views * self.bands, config.width)
        self.encoder_norm = nn.LayerNorm(config.width)
        self.recurrence = nn.ModuleList(
            nn.LSTM(config.width, config.width, batch_first=True) for _ in range(config.depth)
        )
        self.decoder = nn.Linear(2 * config.width, config.width)
        self.decoder_norm = nn.LayerNorm(config.width)
        self.to_masks = nn.Linear(config.width, masks)
        lstms: Any = self.recurrence
        for lstm in lstms:
            spread_memory(lstm, config.sample_rate / config.hop)

    def init_state(self, batch: int = 1) -> State:
        """Hidden and cell state of every layer: (depth, batch, width) each."""
        shape = (self.config.depth, batch, self.config.width)
        zeros = {name: self.input_mean.new_zeros(shape) for name in ("h", "c")}
        return zeros | self.begin_hearing(batch)

    def decide(self, features: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `MaskNetwork.decide`."""
        hidden = skip = self._encode(features)
        h_next, c_next = [], []
        for layer, lstm in enumerate(self.recurrence):
            before = None
            if state is not None:
                before = (state["h"][layer : layer + 1], state["c"][layer : layer + 1])
            hidden, (h, c) = lstm(functional.dropout(hidden, self.dropout, self.training), before)
            h_next.append(h)
            c_next.append(c)
        hidden = functional.dropout(hidden, self.dropout, self.training)
        return self._decode(skip, hidden), {"h": torch.cat(h_next), "c": torch.cat(c_next)}

    def decide_once(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """See `MaskNetwork.decide_once`."""
        hidden = skip = self._encode(features)
        h_next, c_next = [], []
        # To a type checker any attribute of a module may be a module itself.
        lstms: Any = self.recurrence
        for layer, lstm in enumerate(lstms):
            hidden, cell = lstm_step(lstm, hidden, state["h"][layer], state["c"][layer])
            h_next.append(hidden)
            c_next.append(cell)
        return self._decode(skip, hidden), {"h": torch.stack(h_next), "c": torch.stack(c_next)}

    def favour(self, stem: str, logits: float) -> None:
        """See `MaskNetwork.favour`."""
        with torch.no_grad():
            self.to_masks.bias.view(len(self.config.stems), -1)[self.config.stems.index(stem)] += logits

    def soften(self, factor: float) -> None:
        """See `MaskNetwork.soften`."""
        with torch.no_grad():
            self.to_masks.weight.mul_(factor)

    def _encode(self, features: Tensor) -> Tensor:
        return torch.tanh(self.encoder_norm(self.encoder(self.normalise(features))))

    def _decode(self, skip: Tensor, hidden: Tensor) -> Tensor:
        decoded = functional.relu(self.decoder_norm(self.decoder(torch.cat((skip, hidden), dim=-1))))
        return self.to_masks(decoded).unflatten(
            -1, (len(self.config.stems), self.config.channels, self.bands)
        )
