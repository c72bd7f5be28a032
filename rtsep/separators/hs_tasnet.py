"""HS-TasNet: a spectrogram and a learned transform, side by side, with LSTMs between; 23 ms.

S. Venkatesh, A. Benilov, P. Coleman, F. Roskam, "Real-time low-latency music source separation using hybrid
spectrogram-TasNet", ICASSP 2024 (arXiv:2402.17701), section 3.3. Two encoders look at frames of 1024 samples
that start every 512: magnitudes of the spectrum, and 1024 learned basis signals, rectified. Each has a memory
of LSTMs; what they remember is joined, remembered once more, and split again; a last memory of each branch,
to which the encoding is added, decides its masks. The sum of both branches' sound is the output. The small
variant (the default here) adds the branches where the full one concatenates them, and has one LSTM in a
memory where the full one has two.

The paper says 42 M and 16 M parameters; as built here it is 41.4 M and 19.3 M (44.5 M and 22.5 M with 1500
basis signals): what its text leaves open is decided as follows. Both channels are encoded as one frame. A
linear layer brings each encoding to its LSTMs' width, so that skips are identities. Masks are sigmoids, one
for each stem, channel and bin, or stem and basis signal; the mixture's phase is kept. The spectrum's windows
are square roots of Hann's.

One thing is added: what the stems' sum lacks of the mixture is shared out equally, as in
`rtsep.separators.conv_tasnet`, so that with all stems at unity nothing is lost.

Axes in shapes below: batch, frames, stems, channels, bins, samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.lstm_cell import lstm_step
from rtsep.separators.network import CausalNetwork, State
from rtsep.spec import STEMS, StreamSpec

SILENT = 1e-10
"""Added to a bin's power under the root: its slope at zero is infinite."""


class HSTasNetConfig(BaseModel):
    """Sizes of an HS-TasNet.

    Attributes:
        sample_rate, channels, stems: the stream.
        window: samples of a frame, even; frames start every half, which is the hop.
        filters: basis signals of the learned transform.
        width: units of an LSTM in a branch.
        depth: LSTMs in a memory: 1 in the small variant, 2 in the full one.
        merge: how branches are joined: "sum" in the small variant, "concatenate" in the full one, whose
            joint memory is twice as wide.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = STEMS
    window: int = Field(1024, ge=4, multiple_of=2)
    filters: int = Field(1024, ge=1)
    width: int = Field(500, ge=1)
    depth: int = Field(1, ge=1)
    merge: Literal["sum", "concatenate"] = "sum"

    @property
    def hop(self) -> int:
        """Samples between frames, and of a step."""
        return self.window // 2

    @property
    def bins(self) -> int:
        """Bins of a frame's spectrum."""
        return self.window // 2 + 1


class _Memory(nn.Module):
    """LSTMs in a row. What is added to their output is the caller's affair."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(depth))

    def forward(self, x: Tensor, past: _Past | None) -> Tensor:
        """(batch, frames, width) to the same: a stream's next frames, or without a past a whole signal."""
        layers: Any = self.layers
        for lstm in layers:
            x = lstm(x)[0] if past is None else past.advance(lstm, x)
        return x


class _Past:
    """Hands each LSTM of a step its state, in the order of their calls, and gathers what it becomes."""

    def __init__(self, hidden: Tensor, cell: Tensor, widths: list[int]) -> None:
        self._before: Iterator[tuple[Tensor, Tensor]] = zip(
            hidden.split(widths, dim=1), cell.split(widths, dim=1), strict=True
        )
        self._hidden: list[Tensor] = []
        self._cell: list[Tensor] = []

    def advance(self, lstm: nn.LSTM, x: Tensor) -> Tensor:
        """The next frames, (batch, frames, width): often one, which is written out for the graph."""
        before = next(self._before)
        if x.shape[1] == 1:
            hidden, cell = lstm_step(lstm, x[:, 0], *before)
            heard = hidden.unsqueeze(1)
        else:
            h, c = before
            heard, (h, c) = lstm(x, (h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous()))
            hidden, cell = h[0], c[0]
        self._hidden.append(hidden)
        self._cell.append(cell)
        return heard

    def after(self) -> State:
        return {"hidden": torch.cat(self._hidden, dim=1), "cell": torch.cat(self._cell, dim=1)}


class HSTasNet(CausalNetwork):
    """Masks a spectrum and a learned transform of the same frames, and adds what both give."""

    domain = "waveform"
    architecture = "hs-tasnet"

    to_spectrum: Tensor
    from_spectrum: Tensor
    fade: Tensor

    def __init__(self, config: HSTasNetConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        self.spec = StreamSpec(c.sample_rate, c.channels, c.stems, c.hop, c.hop)
        # The transforms as matrices: a graph needs no operator of its own for them.
        fade = np.hanning(c.window + 1)[:-1]
        angles = 2.0 * np.pi * np.outer(np.arange(c.window), np.arange(c.bins)) / c.window
        forward = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1) * np.sqrt(fade)[:, None]
        twice = np.where((np.arange(c.bins) % (c.window // 2)) == 0, 1.0, 2.0) / c.window
        inverse = np.concatenate([np.cos(angles) * twice, -np.sin(angles) * twice], axis=1)
        constants = {
            "to_spectrum": forward,
            "from_spectrum": (inverse * np.sqrt(fade)[:, None]).T,
            "fade": fade,
        }
        for name, value in constants.items():
            tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
            self.register_buffer(name, tensor, persistent=False)

        stems, samples = len(c.stems), c.channels * c.window
        joint = 2 * c.width if c.merge == "concatenate" else c.width
        self.encoder = nn.Linear(samples, c.filters, bias=False)
        self.spectrum_in = nn.Linear(c.channels * c.bins, c.width)
        self.waveform_in = nn.Linear(c.filters, c.width)
        self.spectrum_memory = _Memory(c.width, c.depth)
        self.waveform_memory = _Memory(c.width, c.depth)
        self.joint_memory = _Memory(joint, c.depth)
        self.spectrum_recall = _Memory(c.width, c.depth)
        self.waveform_recall = _Memory(c.width, c.depth)
        self.spectrum_masks = nn.Linear(c.width, stems * c.channels * c.bins)
        self.waveform_masks = nn.Linear(c.width, stems * c.filters)
        self.decoder = nn.Linear(c.filters, samples, bias=False)
        # In the order in which a step comes to them.
        memories = (
            self.spectrum_memory,
            self.waveform_memory,
            self.joint_memory,
            self.spectrum_recall,
            self.waveform_recall,
        )
        self._widths = [memory.width for memory in memories for _ in range(c.depth)]

    def forward(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), aligned."""
        samples, hop = mix.shape[-1], self.config.hop
        # One hop of silence behind the last whole one completes the last frame.
        hops = -(-samples // hop) + 1
        mix = functional.pad(mix, (hop, hops * hop - samples))
        heads, tails = self._separate(mix, None)
        late = functional.pad(tails[:, :-1], (0, 0) * 3 + (1, 0))
        stems = self._consistent(heads + late, mix[..., :-hop])
        return stems[..., hop : hop + samples]

    def init_state(self, batch: int = 1) -> State:
        """Zero state.

        `input`: (batch, channels, hop), the newest samples. `overlap`: (batch, stems, channels, hop), second
        half of the newest frame. `hidden`, `cell`: (batch, units), of all LSTMs in turn.
        """
        c = self.config
        zeros = self.encoder.weight.new_zeros
        return {
            "input": zeros(batch, c.channels, c.hop),
            "overlap": zeros(batch, len(c.stems), c.channels, c.hop),
            "hidden": zeros(batch, sum(self._widths)),
            "cell": zeros(batch, sum(self._widths)),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One hop: (batch, channels, hop) to (batch, stems, channels, hop), a hop late."""
        hop = self.config.hop
        past = _Past(state["hidden"], state["cell"], self._widths)
        mix = torch.cat((state["input"], x), dim=-1)
        heads, tails = self._separate(mix, past)
        stems = self._consistent(heads + state["overlap"].unsqueeze(1), mix[..., :-hop])
        return stems, {"input": mix[..., -hop:], "overlap": tails[:, 0]} | past.after()

    def steps(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """See `CausalNetwork.steps`: all frames side by side, only the LSTMs in turn."""
        hop = self.config.hop
        past = _Past(state["hidden"], state["cell"], self._widths)
        mix = torch.cat((state["input"], x), dim=-1)
        heads, tails = self._separate(mix, past)
        late = torch.cat((state["overlap"].unsqueeze(1), tails[:, :-1]), dim=1)
        stems = self._consistent(heads + late, mix[..., :-hop])
        return stems, {"input": mix[..., -hop:], "overlap": tails[:, -1]} | past.after()

    def _separate(self, mix: Tensor, past: _Past | None) -> tuple[Tensor, Tensor]:
        """(batch, channels, (frames + 1) hop) to both halves of all frames.

        Each is (batch, frames, stems, channels, hop).
        """
        c = self.config
        halves = mix.unflatten(-1, (-1, c.hop)).transpose(1, 2)
        frames = torch.cat((halves[:, :-1], halves[:, 1:]), dim=-1)  # batch, frames, channels, window
        real, imaginary = (frames @ self.to_spectrum).split(c.bins, dim=-1)
        magnitudes = torch.sqrt(real * real + imaginary * imaginary + SILENT)
        encoded = functional.relu(self.encoder(frames.flatten(2)))

        spectral, temporal = self.spectrum_in(magnitudes.flatten(2)), self.waveform_in(encoded)
        spectrum_masks, waveform_masks = self._decide(spectral, temporal, past)

        masks = spectrum_masks.unflatten(-1, (len(c.stems), c.channels, c.bins))
        parts = torch.cat((masks * real.unsqueeze(2), masks * imaginary.unsqueeze(2)), dim=-1)
        from_spectrum = parts @ self.from_spectrum
        masked = waveform_masks.unflatten(-1, (len(c.stems), c.filters)) * encoded.unsqueeze(2)
        # Faded, so that frames join without a step.
        from_waveform = self.decoder(masked).unflatten(-1, (c.channels, c.window)) * self.fade
        sound = from_spectrum + from_waveform
        return sound[..., : c.hop], sound[..., c.hop :]

    def _decide(self, spectral: Tensor, temporal: Tensor, past: _Past | None) -> tuple[Tensor, Tensor]:
        """Encodings (batch, frames, width) to the masks of either branch."""
        a = spectral + self.spectrum_memory(spectral, past)
        b = temporal + self.waveform_memory(temporal, past)
        if self.config.merge == "concatenate":
            joint = torch.cat((a, b), dim=-1)
            a, b = (joint + self.joint_memory(joint, past)).chunk(2, dim=-1)
        else:
            joint = a + b
            a = b = joint + self.joint_memory(joint, past)
        a = spectral + self.spectrum_recall(a, past)
        b = temporal + self.waveform_recall(b, past)
        return torch.sigmoid(self.spectrum_masks(a)), torch.sigmoid(self.waveform_masks(b))

    def _consistent(self, halves: Tensor, mix: Tensor) -> Tensor:
        """Lay frames end to end and share out what their sum over the stems lacks of the mixture."""
        stems = halves.permute(0, 2, 3, 1, 4).flatten(3)
        missing = mix.unsqueeze(1) - stems.sum(dim=1, keepdim=True)
        return stems + missing / len(self.config.stems)
