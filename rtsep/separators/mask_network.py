"""Separators that mask a spectrum in bands: what all of them share, from samples to masked frames.

Frames' windows may be asymmetric (`rtsep.dsp.windows`), neighbouring high bins share a decision
(`rtsep.dsp.bands`), masks of all stems pass a softmax, so that they sum to one and the stems to the
mixture, and masks may act on mid and side instead of left and right: a centred voice then leaves the side
signal alone. What lies between the features and the masks is for each network to say.

Axes in shapes below: batch, time (frames), channels, bins, bands, stems.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from rtsep.dsp.bands import band_average, band_centres, band_interpolation
from rtsep.dsp.loudness import QUIET, SOUNDING, kept, mean_square, mean_square_scale
from rtsep.dsp.presence import weights_of_bands
from rtsep.dsp.windows import asymmetric_pair
from rtsep.separators.banded import BandedProduct
from rtsep.separators.favouring import energies, favoured, logits_of
from rtsep.separators.network import CausalNetwork, State
from rtsep.separators.presence import MEMORIES, Presence
from rtsep.spec import STEMS, ModelError, StreamSpec

AVERAGE_PIECES, SPREAD_PIECES = 6, 10
"""Pieces of the products into bands and out of them, in a stream's step: the fastest of those tried."""


LEVEL = "level"
"""The state by which a network knows how loud its input has been."""
PRESENCE = "presence"
"""The state by which a network knows how much of its input a stem has been."""


class MaskConfig(BaseModel):
    """Frames, bands and channels of a masking separator.

    Attributes:
        sample_rate, channels, stems: the stream.
        analysis, synthesis, hop: samples; the algorithmic latency is `synthesis`.
        bandwidth: Hz up to which the input is looked at. The output is always full-band.
        linear_below: Hz below which every bin is a band of its own.
        wide_bands: number of bands from there to `bandwidth`.
        stereo: whether masks act on left and right, or on mid and side.
        level: dB of full scale (mean square) at which the network hears its input, whatever the input's own
            level: features are those of the mixture times a slow gain, which the stems do not have. None
            leaves them as they are.
        level_seconds: time constant of the running mean by which the input's level is known.
        presence: the stem that is favoured while it is there, and how; None favours none.
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
    stereo: Literal["left-right", "mid-side"] = "mid-side"
    level: float | None = Field(None, ge=-60.0, le=0.0)
    level_seconds: float = Field(4.0, gt=0.0)
    presence: Presence | None = None

    @property
    def phases(self) -> int:
        """Interleaved runs of frames that the network keeps apart: its state looks that many hops back."""
        return 1


class MaskNetwork(CausalNetwork):
    """Masks the mixture's spectrum, band by band, with what it has heard so far.

    Attributes:
        config, spec: sizes, and the stream they make.
        bands: number of bands; views: levels that the network sees of each.
        input_mean, input_scale: (views * bands,) learnt normalisation of the features.
        dropout: of the units between layers, while training. No part of the model.
        half_precision: whether `halve` was called.
    """

    domain = "spectrum"

    synthesis_window: Tensor
    analysis_window: Tensor
    to_bands: Tensor
    to_bins: Tensor
    presence_weights: Tensor
    presence_keep: Tensor

    def __init__(self, config: MaskConfig) -> None:
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
        if config.presence is not None:
            there = config.presence
            if there.stem not in config.stems:
                raise ModelError(f"presence: {there.stem} is none of the stems ({', '.join(config.stems)})")
            bin_hz = config.sample_rate / config.analysis
            constants["presence_weights"] = weights_of_bands(
                constants["to_bins"], bin_hz, there.low_hz, there.high_hz
            )
            keep = [kept(config.hop, seconds, config.sample_rate) for seconds in there.seconds]
            constants["presence_keep"] = np.array(keep, np.float32)[:, None]
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        # Real and imaginary parts lie side by side in a stream's frames: what holds for a bin holds for both.
        average = np.repeat(constants["to_bands"] / config.analysis, 2, axis=0).astype(np.float32)
        self._average = BandedProduct(average, AVERAGE_PIECES)
        self._spread = BandedProduct(np.repeat(constants["to_bins"], 2, axis=1), SPREAD_PIECES)
        self.input_mean = nn.Parameter(torch.zeros(self.views * self.bands))
        self.input_scale = nn.Parameter(torch.ones(self.views * self.bands))
        self._mean_square = mean_square_scale(analysis)
        self.dropout = 0.0
        self.half_precision = False

    def halve(self) -> None:
        """Decide in half precision from now on, a step at a time: for streams on a GPU.

        The layers' weights become float16. Features, whose powers float16 cannot hold, norms, the state and
        the masks stay in float32, so that stems sum to the mixture as exactly as before. Not to be trained
        or saved after this.
        """
        normalising = (self.input_mean, self.input_scale)
        norms = {p for m in self.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
        for parameter in self.parameters():
            if parameter not in norms and not any(parameter is kept for kept in normalising):
                parameter.data = parameter.data.half()
        self.half_precision = True

    # -- what a network adds -----------------------------------------------------------------------

    @abstractmethod
    def decide(self, features: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Features of many frames to their masks before the softmax, and the state after them.

        Args:
            features: (batch, time, views * bands), as `features` gives them.
            state: to go on from; zero if None.

        Returns:
            (batch, time, stems, channels, bands), and the state after the last frame.
        """

    @abstractmethod
    def decide_once(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """`decide` for one frame, (batch, views * bands), written so that a graph of it is small."""

    def decide_phase(self, features: Tensor) -> Tensor:
        """`decide` from silence for frames of one phase, `config.phases` hops apart, as training has them."""
        return self.decide(features)[0]

    @abstractmethod
    def favour(self, stem: str, logits: float) -> None:
        """Add a constant to a stem's masks before the softmax, for good."""

    @abstractmethod
    def soften(self, factor: float) -> None:
        """Scale what the last layer adds to its biases: an untrained network's masks are noise otherwise."""

    # -- whole signals ---------------------------------------------------------------------------

    def forward(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), aligned."""
        spectrum = self.analyse(mix)
        stems, _ = self.separate_spectrum(spectrum, self.init_state(mix.shape[0]))
        return self.synthesise(stems, mix.shape[-1])

    @torch.no_grad()
    def separate(self, mix: Tensor, frames: int = 2048) -> Tensor:
        """`forward` without gradients, `frames` frames at a time: a song's spectrum would fill the memory."""
        c = self.config
        samples = mix.shape[-1]
        hops = -(-(samples + self.spec.delay) // c.hop)
        padded = functional.pad(mix, (c.analysis - c.hop, hops * c.hop - samples))
        out = mix.new_zeros((mix.shape[0], len(c.stems), c.channels, (hops - 1) * c.hop + c.synthesis))
        state = self.init_state(mix.shape[0])
        for first in range(0, hops, frames):
            last = min(first + frames, hops) - 1
            piece = padded[..., first * c.hop : last * c.hop + c.analysis].unfold(-1, c.analysis, c.hop)
            spectrum = torch.fft.rfft(piece * self.analysis_window).transpose(-3, -2)
            stems, state = self.separate_spectrum(spectrum, state)
            out[..., first * c.hop : last * c.hop + c.synthesis] += self._overlap_add(stems)
        return out[..., self.spec.delay : self.spec.delay + samples]

    def analyse(self, signal: Tensor, every: int = 1, window: Tensor | None = None) -> Tensor:
        """Frames of (..., channels, samples): complex (..., time, channels, bins).

        Frame t ends with the last sample of hop t * `every`; with 1, as the stream's does; silence
        precedes the first. Enough frames follow to complete the last sample. `window`, (analysis,), stands
        in for the network's own.
        """
        c = self.config
        samples = signal.shape[-1]
        hops = -(-(samples + self.spec.delay) // c.hop)
        padded = functional.pad(signal, (c.analysis - c.hop, hops * c.hop - samples))
        frames = padded.unfold(-1, c.analysis, c.hop * every)
        frames = frames * (self.analysis_window if window is None else window)
        return torch.fft.rfft(frames).transpose(-3, -2)

    def synthesise(self, spectrum: Tensor, samples: int) -> Tensor:
        """Overlap-add: complex (batch, time, stems, channels, bins) to (batch, stems, channels, samples)."""
        return self._overlap_add(spectrum)[..., self.spec.delay : self.spec.delay + samples]

    def _overlap_add(self, spectrum: Tensor) -> Tensor:
        """All of it, from the first frame's first sample to the last one's last."""
        c = self.config
        batch, time, stems, channels, _ = spectrum.shape
        frames = torch.fft.irfft(spectrum, n=c.analysis)[..., -c.synthesis :] * self.synthesis_window
        columns = frames.permute(0, 2, 3, 4, 1).reshape(-1, c.synthesis, time)
        total = (time - 1) * c.hop + c.synthesis
        summed = functional.fold(columns, (1, total), (1, c.synthesis), stride=(1, c.hop))
        return summed.reshape(batch, stems, channels, total)

    def separate_spectrum(self, spectrum: Tensor, state: State) -> tuple[Tensor, State]:
        """Complex (batch, time, channels, bins) to complex (batch, time, stems, channels, bins)."""
        stems, after = self.steps(torch.view_as_real(spectrum), state)
        return torch.view_as_complex(stems), after

    def steps(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """See `CausalNetwork.steps`: all frames side by side, only the memory along time in turn."""
        features, levels = self.hear(x, state)
        logits, after = self.decide(features, networks_own(state))
        masks = torch.softmax(logits, dim=2)
        masks, presence = self._favour_while_there(masks, x, state)
        return self._apply_masks(x, masks), after | levels | presence

    # -- one frame at a time ---------------------------------------------------------------------

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame: (batch, channels, bins, 2) to (batch, stems, channels, bins, 2).

        What `separate_spectrum` does with many, in operators of which a graph is fast: long rows of real
        and imaginary parts rather than pairs of them, and no product with zeros.
        """
        lines = x.flatten(2)
        stereo = self.config.channels == 2
        if stereo:
            left, right = lines[:, :1], lines[:, 1:]
            pair = torch.cat((left + right, left - right), dim=1) * 0.5**0.5
        views = torch.cat((lines, pair), dim=1) if stereo else lines
        powers = self._average(views * views)
        heard_powers = powers[:, self._masked]
        levels: State = {}
        if self.config.level is not None:
            energy = (lines * lines).sum(dim=-1).mean(dim=-1) * self._mean_square
            gain, levels = self._levelled(energy, state[LEVEL], self._forget(1))
            powers = powers * gain[:, None, None]
        features = torch.log(powers + QUIET).flatten(1)
        with self._deciding():
            logits, after = self.decide_once(features, networks_own(state))
            after = after | levels
        masks = _softmax_over_stems(logits.float())
        if self.config.presence is not None:
            masks, sums = self._favour_once(masks, heard_powers, state[PRESENCE])
            after = after | {PRESENCE: sums}
        masks = self._spread(masks)
        if not stereo or self.config.stereo == "left-right":
            out = masks * lines.unsqueeze(1)
        else:
            heard = masks * (pair * 0.5**0.5).unsqueeze(1)
            mid, side = heard[:, :, :1], heard[:, :, 1:]
            out = torch.cat((mid + side, mid - side), dim=2)
        return out.unflatten(-1, (-1, 2)), after

    def _deciding(self) -> contextlib.AbstractContextManager[object]:
        """What casts the operands of products to the weights' type, where that is not float32."""
        if not self.half_precision:
            return contextlib.nullcontext()
        return torch.autocast(self.input_mean.device.type, torch.float16)

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

    def hear(self, x: Tensor, state: State, every: int = 1) -> tuple[Tensor, State]:
        """`features` at the level that the network is used to, and the state of that level after them.

        Args:
            x: (batch, time, channels, bins, 2).
            state: its `LEVEL` goes on from what was heard before; without one, the level is that of all
                frames together, as for a song that is there as a whole.
            every: hops between frames.
        """
        if self.config.level is None:
            return self.features(x), {}
        energy = x.square().sum(dim=(-2, -1)).mean(dim=-1) * self._mean_square
        after: State = {}
        if LEVEL in state:
            level, gains = state[LEVEL], []
            for frame in energy.unbind(dim=1):
                gain, after = self._levelled(frame, level, self._forget(every))
                level = after[LEVEL]
                gains.append(gain)
            gain = torch.stack(gains, dim=1)
        else:
            sounds = (energy > SOUNDING).to(energy.dtype)
            whole = torch.stack(((energy * sounds).sum(dim=1), sounds.sum(dim=1)), dim=-1)
            gain = self._gain(whole).unsqueeze(1)
        return self.features(x * gain.sqrt()[..., None, None, None]), after

    def begin_hearing(self, batch: int) -> State:
        """What `init_state` has beside the network's own.

        Of the input's level sums of energy and of weights, (batch, 2); of a stem's presence those of its
        energy and the mixture's, (batch, memories, 2).
        """
        state: State = {}
        if self.config.level is not None:
            state[LEVEL] = self.input_mean.new_zeros((batch, 2))
        if self.config.presence is not None:
            state[PRESENCE] = self.input_mean.new_zeros((batch, MEMORIES, 2))
        return state

    @property
    def _masked(self) -> slice:
        """Which of the views masks act on."""
        if self.config.channels == 1:
            return slice(0, 1)
        return slice(0, 2) if self.config.stereo == "left-right" else slice(2, 4)

    def _favour_while_there(self, masks: Tensor, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Masks of many frames, (batch, time, stems, channels, bands), and the state after them.

        Without a state to go on from, a stem's presence is that in all frames together.
        """
        there = self.config.presence
        if there is None:
            return masks, {}
        # Of mid and side as `step` has them: half the energy of sum and difference.
        heard = x
        if self._masked.start == 2:
            heard = torch.stack((x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]), dim=2) * 0.5**0.5
        powers = heard.square().sum(dim=-1) @ self.to_bands / self.config.analysis
        if PRESENCE not in state:
            stem = self.config.stems.index(there.stem)
            whole = energies(masks, powers, stem, self.presence_weights).sum(dim=1, keepdim=True)
            return favoured(masks, stem, logits_of(whole.unsqueeze(-2), there)), {}
        sums, out = state[PRESENCE], []
        for mask, power in zip(masks.unbind(dim=1), powers.unbind(dim=1), strict=True):
            mask, sums = self._favour_once(mask, power, sums)
            out.append(mask)
        return torch.stack(out, dim=1), {PRESENCE: sums}

    def _favour_once(self, masks: Tensor, powers: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """One frame's masks, (batch, stems, channels, bands), and the sums, (batch, memories, 2), with it."""
        there = self.config.presence
        assert there is not None
        stem = self.config.stems.index(there.stem)
        frame = energies(masks, powers, stem, self.presence_weights)
        sums = sums * self.presence_keep + frame.unsqueeze(-2)
        return favoured(masks, stem, logits_of(sums, there)), sums

    def _forget(self, every: int) -> float:
        """What a running sum keeps from one frame to the next."""
        return kept(self.config.hop * every, self.config.level_seconds, self.config.sample_rate)

    def _levelled(self, energy: Tensor, level: Tensor, keep: float) -> tuple[Tensor, State]:
        """One frame's mean square, (batch,): the gain of its powers, and the sums with it if it sounds."""
        sounds = (energy > SOUNDING).unsqueeze(-1)
        frame = torch.stack((energy, torch.ones_like(energy)), dim=-1)
        level = torch.where(sounds, level * keep + frame, level)
        return self._gain(level), {LEVEL: level}

    def _gain(self, level: Tensor) -> Tensor:
        """From sums (batch, 2) to what powers are multiplied by, (batch,): one as long as nothing sounded."""
        assert self.config.level is not None
        target = mean_square(self.config.level)
        mean = level[..., 0] / level[..., 1].clamp_min(1e-3)
        return torch.where(level[..., 1] > 0.0, target / mean.clamp_min(SOUNDING), torch.ones_like(mean))

    def normalise(self, features: Tensor) -> Tensor:
        """Features as the first layer takes them: about zero, and one wide."""
        return (features - self.input_mean) * self.input_scale

    def _apply_masks(self, x: Tensor, masks: Tensor) -> Tensor:
        masks = (masks @ self.to_bins).unsqueeze(-1)
        if self.config.channels == 1 or self.config.stereo == "left-right":
            return masks * x.unsqueeze(2)
        left, right = x[:, :, 0], x[:, :, 1]
        mid = masks[:, :, :, 0] * (left + right).unsqueeze(2)
        side = masks[:, :, :, 1] * (left - right).unsqueeze(2)
        return 0.5 * torch.stack((mid + side, mid - side), dim=3)


def networks_own(state: State) -> State:
    """What is the network's own of a state: what `MaskNetwork.decide` takes."""
    return {name: value for name, value in state.items() if name not in (LEVEL, PRESENCE)}


def masks_of(network: nn.Module) -> MaskNetwork | None:
    """What decides masks in a network: itself, or its part of that name; None where nothing does."""
    part = network if isinstance(network, MaskNetwork) else getattr(network, "masks", None)
    return part if isinstance(part, MaskNetwork) else None


def _softmax_over_stems(logits: Tensor) -> Tensor:
    """(batch, stems, ...): softmax over the second axis; ONNX Runtime's would turn it to be the last."""
    powers = torch.exp(logits - logits.amax(dim=1, keepdim=True))
    return powers / powers.sum(dim=1, keepdim=True)
