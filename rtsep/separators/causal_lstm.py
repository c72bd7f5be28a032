"""Causal LSTM: Open-Unmix made unidirectional, one network for all stems.

Follows F.-R. Stoter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix - A Reference Implementation for
Music Source Separation", JOSS 4(41), 2019: crop the spectrogram to a bandwidth, normalise each bin,
encode, run a stack of LSTMs, concatenate their input to their output, decode to masks. What differs:

- the LSTMs look only into the past, so that the network can run a frame at a time;
- one network gives the masks of all stems, with a softmax across stems, so that they sum to one and
  the stems to the mixture;
- layer normalisation stands in for batch normalisation: a frame is normalised by itself, and nothing
  differs between training and the stage;
- the frames' windows may be asymmetric (`rtsep.dsp.windows`), neighbouring high bins share a decision
  (`rtsep.dsp.bands`), and masks may act on mid and side instead of left and right: a centred voice then
  leaves the side signal alone.

Axes in shapes below: batch, time (frames), channels, bins, bands, stems.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.dsp.bands import band_average, band_centres, band_interpolation
from rtsep.dsp.windows import asymmetric_pair
from rtsep.separators.mask_network import MaskNetwork
from rtsep.separators.network import State
from rtsep.spec import STEMS, StreamSpec

QUIET = 1e-8
"""Power below which a band counts as silent: about -80 dB for one bin of a full-scale frame."""
MEMORY_SECONDS = 4.0
"""The longest memory that an untrained cell is given."""


class CausalLSTMConfig(BaseModel):
    """Sizes of a causal LSTM separator.

    Attributes:
        sample_rate, channels, stems: the stream.
        analysis, synthesis, hop: samples; the algorithmic latency is `synthesis`.
        bandwidth: Hz up to which the input is looked at. The output is always full-band.
        linear_below: Hz below which every bin is a band of its own.
        wide_bands: number of bands from there to `bandwidth`.
        width, depth: units of a layer, and LSTM layers.
        stereo: whether masks act on left and right, or on mid and side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: Literal[1, 2] = 2
    stems: tuple[str, ...] = STEMS
    analysis: int = Field(2048, ge=64)
    synthesis: int = Field(1024, ge=32)
    hop: int = Field(512, ge=16)
    bandwidth: float = Field(16000.0, gt=0.0)
    linear_below: float = Field(4000.0, gt=0.0)
    wide_bands: int = Field(96, ge=1)
    width: int = Field(400, ge=4)
    depth: int = Field(3, ge=1)
    stereo: Literal["left-right", "mid-side"] = "mid-side"


class CausalLSTM(MaskNetwork):
    """Masks the mixture's spectrum with what a stack of causal LSTMs has heard so far."""

    domain = "spectrum"
    architecture = "causal-lstm"

    synthesis_window: Tensor
    analysis_window: Tensor
    to_bands: Tensor
    to_bins: Tensor

    def __init__(self, config: CausalLSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.spec = StreamSpec(
            config.sample_rate, config.channels, config.stems, config.hop, config.synthesis - config.hop
        )
        bins = config.analysis // 2 + 1
        centres = band_centres(
            bins,
            config.sample_rate / config.analysis,
            config.linear_below,
            config.bandwidth,
            config.wide_bands,
        )
        self.bands = len(centres)
        # With two channels the network sees left, right, mid and side: their levels tell where a
        # sound stands, which magnitudes of left and right alone do not.
        self.views = 4 if config.channels == 2 else 1
        analysis, synthesis = asymmetric_pair(config.analysis, config.synthesis, config.hop)
        constants: dict[str, np.ndarray] = {
            "analysis_window": analysis,
            "synthesis_window": synthesis,
            "to_bands": band_average(bins, centres),
            "to_bins": band_interpolation(bins, centres),
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

        features = self.views * self.bands
        masks = len(config.stems) * config.channels * self.bands
        self.input_mean = nn.Parameter(torch.zeros(features))
        self.input_scale = nn.Parameter(torch.ones(features))
        self.encoder = nn.Linear(features, config.width)
        self.encoder_norm = nn.LayerNorm(config.width)
        self.recurrence = nn.ModuleList(
            nn.LSTM(config.width, config.width, batch_first=True) for _ in range(config.depth)
        )
        self.decoder = nn.Linear(2 * config.width, config.width)
        self.decoder_norm = nn.LayerNorm(config.width)
        self.to_masks = nn.Linear(config.width, masks)
        # Of what goes into each recurrent layer and the decoder, while training. No part of the model.
        self.dropout = 0.0
        self._spread_memory()

    def _spread_memory(self) -> None:
        """Let the cells start with memories from a frame to `MEMORY_SECONDS`, spread evenly in octaves.

        As PyTorch draws them, every cell forgets half of itself each frame, and a network must first learn
        to remember. This is the chrono initialisation of C. Tallec, Y. Ollivier, "Can recurrent neural
        networks warp time?", ICLR 2018, section 3.
        """
        width = self.config.width
        longest = max(MEMORY_SECONDS * self.config.sample_rate / self.config.hop, 2.0)
        frames = torch.logspace(0.0, math.log10(longest), width)
        lstms: Any = self.recurrence
        with torch.no_grad():
            for lstm in lstms:
                forget = torch.log(frames[torch.randperm(width)] + 1e-2)
                # torch adds two biases and orders the gates input, forget, cell, output.
                lstm.bias_hh_l0.zero_()
                lstm.bias_ih_l0[:width] = -forget
                lstm.bias_ih_l0[width : 2 * width] = forget

    # -- whole signals ---------------------------------------------------------------------------

    def forward(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), aligned."""
        spectrum = self.analyse(mix)
        stems, _ = self.separate_spectrum(spectrum, self.init_state(mix.shape[0]))
        return self.synthesise(stems, mix.shape[-1])

    def analyse(self, signal: Tensor) -> Tensor:
        """Frames of (..., channels, samples): complex (..., time, channels, bins).

        Frame t ends with the last sample of hop t, as the stream's does; silence precedes the first.
        Enough frames follow to complete the last sample.
        """
        c = self.config
        samples = signal.shape[-1]
        hops = -(-(samples + self.spec.delay) // c.hop)
        padded = functional.pad(signal, (c.analysis - c.hop, hops * c.hop - samples))
        frames = padded.unfold(-1, c.analysis, c.hop) * self.analysis_window
        return torch.fft.rfft(frames).transpose(-3, -2)

    def synthesise(self, spectrum: Tensor, samples: int) -> Tensor:
        """Overlap-add: complex (batch, time, stems, channels, bins) to (batch, stems, channels, samples)."""
        c = self.config
        batch, time, stems, channels, _ = spectrum.shape
        frames = torch.fft.irfft(spectrum, n=c.analysis)[..., -c.synthesis :] * self.synthesis_window
        columns = frames.permute(0, 2, 3, 4, 1).reshape(-1, c.synthesis, time)
        total = (time - 1) * c.hop + c.synthesis
        summed = functional.fold(columns, (1, total), (1, c.synthesis), stride=(1, c.hop))
        delay = self.spec.delay
        return summed.reshape(batch, stems, channels, total)[..., delay : delay + samples]

    def separate_spectrum(self, spectrum: Tensor, state: State) -> tuple[Tensor, State]:
        """Complex (batch, time, channels, bins) to complex (batch, time, stems, channels, bins)."""
        x = torch.view_as_real(spectrum)
        logits, after = self.decide(self.features(x), state)
        return torch.view_as_complex(self._apply_masks(x, logits)), after

    def decide(self, features: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Features of many frames to their masks before the softmax, and the state after them.

        Args:
            features: (batch, time, views * bands), as `features` gives them.
            state: to go on from; zero if None.

        Returns:
            (batch, time, stems, channels, bands), and the state after the last frame.
        """
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

    # -- one frame at a time ---------------------------------------------------------------------

    def init_state(self, batch: int = 1) -> State:
        """Hidden and cell state of every layer: (depth, batch, width) each."""
        shape = (self.config.depth, batch, self.config.width)
        return {"h": self.input_mean.new_zeros(shape), "c": self.input_mean.new_zeros(shape)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame: (batch, channels, bins, 2) to (batch, stems, channels, bins, 2).

        The LSTM's equations are written out, so that the exported graph holds plain matrix products.
        """
        frame = x.unsqueeze(1)
        hidden = skip = self._encode(self.features(frame))[:, 0]
        h_next, c_next = [], []
        # To a type checker any attribute of a module may be a module itself.
        lstms: Any = self.recurrence
        for layer, lstm in enumerate(lstms):
            gates = functional.linear(hidden, lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0)
            gates = gates + functional.linear(state["h"][layer], lstm.weight_hh_l0)
            i, f, g, o = gates.chunk(4, dim=-1)
            cell = torch.sigmoid(f) * state["c"][layer] + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            h_next.append(hidden)
            c_next.append(cell)
        logits = self._decode(skip.unsqueeze(1), hidden.unsqueeze(1))
        return self._apply_masks(frame, logits)[:, 0], {"h": torch.stack(h_next), "c": torch.stack(c_next)}

    # -- the parts both share ----------------------------------------------------------------------

    def features(self, x: Tensor) -> Tensor:
        """Log power of each view in each band.

        (batch, time, channels, bins, 2) to (batch, time, views * bands).
        """
        if self.config.channels == 2:
            left, right = x[:, :, 0], x[:, :, 1]
            half = 0.5**0.5
            x = torch.stack((left, right, (left + right) * half, (left - right) * half), dim=2)
        power = x[..., 0] * x[..., 0] + x[..., 1] * x[..., 1]
        # A frame's bin grows with the window's length; dividing by it makes QUIET a level.
        level = power @ self.to_bands / self.config.analysis
        return torch.log(level + QUIET).flatten(2)

    def _encode(self, features: Tensor) -> Tensor:
        normalised = (features - self.input_mean) * self.input_scale
        return torch.tanh(self.encoder_norm(self.encoder(normalised)))

    def _decode(self, skip: Tensor, hidden: Tensor) -> Tensor:
        decoded = functional.relu(self.decoder_norm(self.decoder(torch.cat((skip, hidden), dim=-1))))
        batch, time, _ = skip.shape
        return self.to_masks(decoded).view(
            batch, time, len(self.config.stems), self.config.channels, self.bands
        )

    def _apply_masks(self, x: Tensor, logits: Tensor) -> Tensor:
        masks = (torch.softmax(logits, dim=2) @ self.to_bins).unsqueeze(-1)
        if self.config.channels == 1 or self.config.stereo == "left-right":
            return masks * x.unsqueeze(2)
        left, right = x[:, :, 0], x[:, :, 1]
        mid = masks[:, :, :, 0] * (left + right).unsqueeze(2)
        side = masks[:, :, :, 1] * (left - right).unsqueeze(2)
        return 0.5 * torch.stack((mid + side, mid - side), dim=3)
