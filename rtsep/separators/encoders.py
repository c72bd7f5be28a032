"""Encoders and decoders of waveforms for Conv-TasNet: free, of a known form, or both side by side.

A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, chapter 5 and appendix A, whose letters
stand in brackets: a bank of convolutions as Conv-TasNet has it; banks of sinc or gammatone filters, of which
only a few numbers each are learnt; hybrids, convolutions beside a bank or beside a spectrogram, as D. Samuel,
A. Ganeshan, J. Naradowsky, "Meta-learning extractors for music source separation", ICASSP 2020
(arXiv:2002.07016) have them; and banks on top of banks. `ideal_ratio_stems` rates any of them without a
separator (FB-IRM, section 5.2).

Signals are (batch, samples), encodings (batch, filters, frames). A bank's kernels are (filters, window), as a
convolution uses them: tap by tap with the frame, first sample first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

LOWEST_HZ, NARROWEST_HZ = 50.0, 50.0
"""Least lower edge and least width of a sinc filter, as SincNet has them."""
GAMMATONE_ORDER = 2
"""k."""
RANK = 1e-4
"""Singular values of a bank below this share of its largest count as none when it is inverted."""
TINY = 1e-8
"""Beside it no magnitude of an encoding matters."""


class EncodingConfig(BaseModel):
    """What encodes and decodes.

    Attributes:
        sample_rate: Hz.
        encoding: "convolution", Conv-TasNet's own ["simple"]; "filterbank", a bank alone; "hybrid",
            convolutions beside a bank; "deep", a bank on a bank.
        bank: what the bank is of [fb_type]: "sinc", "gammatone" [pmpgtf]; in a hybrid "convolution" or
            "stft" too.
        bank_share: share of the filters that are the bank's in a hybrid [fb_ratio].
        layers: in a hybrid, banks and convolutions side by side, each with twice the last one's window; in a
            deep encoding, banks on top of each other [filters].
        spacing: of the filters at first: even on the mel scale or in Hz [init_type].
        inverse: which of the two is the pseudo-inverse of the other, with a bank alone [who_is_pinv].
        paired: sinc filters come in pairs, even and odd. The thesis prints the even one, whose bank sees half
            of a frame only: what is odd about its middle is lost.
        mixed: a convolution of kernel 1 after a hybrid's bank, as the spectrogram always has it.
        filters: of the encoding [N].
        window: samples of a frame [L].
        stride: samples between frames [W].
        stft_frame: samples of a frame of the spectrogram; they start every quarter. 1024 at 8 kHz is
            Meta-TasNet's.
        stft_scale: "logarithmic" power with each bin's mean and spread taken out, as Meta-TasNet's, or
            "linear" magnitudes over each bin's largest, where silence is nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    encoding: Literal["convolution", "filterbank", "hybrid", "deep"] = "hybrid"
    bank: Literal["convolution", "sinc", "gammatone", "stft"] = "gammatone"
    bank_share: float = Field(0.5, ge=0.0, le=1.0)
    layers: int = Field(1, ge=1, le=8)
    spacing: Literal["mel", "uniform"] = "mel"
    inverse: Literal["none", "encoder", "decoder"] = "none"
    paired: bool = False
    mixed: bool = False
    filters: int = Field(440, ge=1)
    window: int = Field(20, ge=2)
    stride: int = Field(20, ge=1)
    stft_frame: int = Field(4096, ge=8, multiple_of=4)
    stft_scale: Literal["logarithmic", "linear"] = "logarithmic"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stride > self.window:
            raise ValueError(f"stride {self.stride} leaves gaps between windows of {self.window}")
        if self.inverse != "none" and self.encoding not in ("convolution", "filterbank"):
            raise ValueError(f"a {self.encoding} encoding has no pseudo-inverse")
        if self.encoding in ("filterbank", "deep") and self.bank in ("convolution", "stft"):
            raise ValueError(f"a {self.encoding} encoding is of sinc or gammatone filters, not {self.bank}")
        if self.encoding == "hybrid":
            own, banks = self.split()
            if any(0 < count < self.layers for count in (own, banks)):
                raise ValueError(f"{own} and {banks} filters cannot be shared by {self.layers} layers")
        return self

    def split(self) -> tuple[int, int]:
        """Filters of a hybrid that are convolutions, and those that are the bank's."""
        banks = round(self.bank_share * self.filters)
        return self.filters - banks, banks


# -- banks --------------------------------------------------------------------------------------------------


class Bank(nn.Module, ABC):
    """Kernels made of what is learnt."""

    @abstractmethod
    def kernels(self) -> Tensor:
        """(filters, window)."""


class FreeBank(Bank):
    """Every tap is learnt."""

    def __init__(self, filters: int, window: int) -> None:
        super().__init__()
        bound = window**-0.5
        self.taps = nn.Parameter(torch.empty(filters, window).uniform_(-bound, bound))

    def kernels(self) -> Tensor:
        """The taps."""
        return self.taps


class SincBank(Bank):
    """Band-passes between two frequencies that are learnt, under a Hamming window.

    M. Ravanelli, Y. Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018
    (arXiv:1808.00158), section 2: 2 f2 sinc(2 f2 n) - 2 f1 sinc(2 f1 n), of unit energy here.

    Args:
        filters, window: of the bank.
        sample_rate: Hz of what it filters.
        spacing: of the bands.
        paired: every other filter is the odd one of the same band.
    """

    times: Tensor
    shape: Tensor

    def __init__(self, filters: int, window: int, sample_rate: float, spacing: str, paired: bool) -> None:
        super().__init__()
        bands = -(-filters // 2) if paired else filters
        # A deep bank filters frames, of which there are few hundred a second: the floors shrink with it.
        self.floor = min(LOWEST_HZ, sample_rate / 160.0) / sample_rate
        self.filters, self.paired = filters, paired
        edges = spaced(bands + 1, self.floor * sample_rate, sample_rate / 2.0, spacing) / sample_rate
        self.low = nn.Parameter(edges[:-1] - self.floor)
        self.width = nn.Parameter((edges[1:] - edges[:-1] - self.floor).clamp_min(0.0))
        half = (window - 1) / 2.0
        self.register_buffer("times", torch.arange(window) - half, persistent=False)
        self.register_buffer("shape", torch.hamming_window(window, periodic=False), persistent=False)

    def bands(self) -> tuple[Tensor, Tensor]:
        """Lower and upper edges, in cycles a sample."""
        low = (self.floor + self.low.abs()).clamp(max=0.5 - self.floor)
        return low, (low + self.floor + self.width.abs()).clamp(max=0.5)

    def kernels(self) -> Tensor:
        """Of unit energy."""
        low, high = (edge.unsqueeze(1) for edge in self.bands())
        times, shape = self.times, self.shape
        even = 2.0 * high * torch.sinc(2.0 * high * times) - 2.0 * low * torch.sinc(2.0 * low * times)
        if not self.paired:
            return normalised(even * shape)
        # Its Hilbert transform: the difference of the cosines over pi n, which is nothing in the middle.
        safe = torch.where(times == 0.0, torch.ones_like(times), times)
        odd = (torch.cos(2.0 * math.pi * low * times) - torch.cos(2.0 * math.pi * high * times)) / (
            math.pi * safe
        )
        both = torch.stack((even, odd), dim=1).flatten(0, 1)[: self.filters]
        return normalised(both * shape)


class GammatoneBank(Bank):
    """n^(k-1) exp(-2 pi b n) cos(2 pi f n + phi), k = 2, with f, b and phi learnt; of unit energy.

    Bandwidths begin at the ear's: 1.019 ERB of B. Glasberg, B. Moore, "Derivation of auditory filter shapes
    from notched-noise data", Hearing Research 47, 1990. Phases begin as those of D. Ditter, T. Gerkmann, "A
    multi-phase gammatone filterbank for speech separation via TasNet", ICASSP 2020 (arXiv:1910.11615): each
    frequency has several, here two a quarter turn apart.

    Args:
        filters, window: of the bank.
        sample_rate: Hz of what it filters.
        spacing: of the centre frequencies.
    """

    times: Tensor

    def __init__(self, filters: int, window: int, sample_rate: float, spacing: str) -> None:
        super().__init__()
        lowest = min(LOWEST_HZ, sample_rate / 160.0)
        centres = spaced(-(-filters // 2), lowest, 0.49 * sample_rate, spacing)
        self.frequency = nn.Parameter((centres / sample_rate).repeat_interleave(2)[:filters])
        bandwidth = 1.019 * (24.7 + centres / 9.265) / sample_rate
        self.bandwidth = nn.Parameter(bandwidth.repeat_interleave(2)[:filters])
        self.phase = nn.Parameter(torch.arange(filters) % 2 * (math.pi / 2.0))
        # From one: at n = 0 there is nothing.
        self.register_buffer("times", torch.arange(1.0, window + 1.0), persistent=False)

    def kernels(self) -> Tensor:
        """Of unit energy."""
        times = self.times
        frequency, bandwidth, phase = (
            x.unsqueeze(1) for x in (self.frequency, self.bandwidth.abs(), self.phase)
        )
        fall = times ** (GAMMATONE_ORDER - 1) * torch.exp(-2.0 * math.pi * bandwidth * times)
        return normalised(fall * torch.cos(2.0 * math.pi * frequency * times + phase))


def normalised(kernels: Tensor) -> Tensor:
    """Each of unit energy."""
    return kernels / (kernels.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


def spaced(count: int, low: float, high: float, spacing: str) -> Tensor:
    """Frequencies from `low` to `high` Hz, (count,): even on the mel scale, or "uniform" in Hz."""
    if spacing == "uniform":
        return torch.linspace(low, high, count)
    ends = [2595.0 * math.log10(1.0 + hz / 700.0) for hz in (low, high)]
    return 700.0 * (10.0 ** (torch.linspace(ends[0], ends[1], count) / 2595.0) - 1.0)


def make_bank(config: EncodingConfig, kind: str, filters: int, window: int, sample_rate: float) -> Bank:
    """A bank of `kind`, "convolution", "sinc" or "gammatone"."""
    if kind == "sinc":
        return SincBank(filters, window, sample_rate, config.spacing, config.paired)
    if kind == "gammatone":
        return GammatoneBank(filters, window, sample_rate, config.spacing)
    return FreeBank(filters, window)


# -- there and back -----------------------------------------------------------------------------------------


class Codec(nn.Module, ABC):
    """An encoder and its decoder.

    Args:
        config: as given.
    """

    def __init__(self, config: EncodingConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def encode(self, signal: Tensor) -> Tensor:
        """(batch, samples) to (batch, filters, frames)."""

    @abstractmethod
    def decode(self, features: Tensor, samples: int) -> Tensor:
        """(batch, filters, frames) to (batch, samples)."""

    def begin(self, signal: Tensor) -> None:
        """Take what a fresh encoder should know of the data, from mixtures (batch, samples)."""
        return

    def frames(self, samples: int) -> int:
        """Frames of an encoding: every sample lies in as many as any other."""
        c = self.config
        return -(-(samples + c.window - c.stride) // c.stride)

    def _analyse(self, signal: Tensor, kernels: Tensor) -> Tensor:
        """Convolve; windows longer than the encoding's own share its frames' middles."""
        c = self.config
        before, _ = self._margins(kernels.shape[1])
        whole = (self.frames(signal.shape[-1]) - 1) * c.stride + kernels.shape[1]
        padded = functional.pad(signal, (before, whole - before - signal.shape[-1]))
        return functional.conv1d(padded.unsqueeze(1), kernels.unsqueeze(1), stride=c.stride)

    def _synthesise(self, features: Tensor, kernels: Tensor, samples: int) -> Tensor:
        """Add up each filter's kernel as often as it is heard."""
        before, _ = self._margins(kernels.shape[1])
        waves = functional.conv_transpose1d(features, kernels.unsqueeze(1), stride=self.config.stride)
        return waves[:, 0, before : before + samples]

    def _margins(self, window: int) -> tuple[int, int]:
        c = self.config
        longer = window - c.window
        return c.window - c.stride + longer // 2, longer - longer // 2


class BankCodec(Codec):
    """One bank there and one back: Conv-TasNet's own with free banks, or of filters of a known form.

    Convolutions are rectified, as Conv-TasNet's are, unless one bank is the other's inverse; filters are not.
    """

    def __init__(self, config: EncodingConfig) -> None:
        super().__init__(config)
        c = config
        kind = "convolution" if c.encoding == "convolution" else c.bank
        banks = [make_bank(c, kind, c.filters, c.window, c.sample_rate) for _ in range(2)]
        self.analysis = banks[0] if c.inverse != "encoder" else None
        self.synthesis = banks[1] if c.inverse != "decoder" else None
        self.rectified = kind == "convolution" and c.inverse == "none"

    def kernels(self) -> tuple[Tensor, Tensor]:
        """Of the encoder and of the decoder, (filters, window) each."""
        if self.analysis is None:
            assert self.synthesis is not None
            back = self.synthesis.kernels()
            return self._inverse(back), back
        there = self.analysis.kernels()
        return there, self._inverse(there) if self.synthesis is None else self.synthesis.kernels()

    def encode(self, signal: Tensor) -> Tensor:
        """(batch, samples) to (batch, filters, frames)."""
        features = self._analyse(signal, self.kernels()[0])
        return functional.relu(features) if self.rectified else features

    def decode(self, features: Tensor, samples: int) -> Tensor:
        """(batch, filters, frames) to (batch, samples)."""
        return self._synthesise(features, self.kernels()[1], samples)

    def _inverse(self, kernels: Tensor) -> Tensor:
        # Every sample is in window / stride frames, whose reconstructions are added.
        c = self.config
        inverse: Tensor = torch.linalg.pinv(kernels, rtol=RANK).transpose(0, 1) * (c.stride / c.window)
        return inverse


class HybridCodec(Codec):
    """Convolutions beside a bank or a spectrogram, mixed by two layers; back by convolutions alone."""

    def __init__(self, config: EncodingConfig) -> None:
        super().__init__(config)
        c = config
        own, banks = c.split()
        self.convolutions = self._layers("convolution", own)
        self.banks = self._layers(c.bank, banks) if c.bank != "stft" else nn.ModuleList()
        self.spectrogram = Spectrogram(c, banks) if c.bank == "stft" and banks else None
        self.after_bank = nn.Conv1d(banks, banks, 1) if c.mixed and len(self.banks) else None
        self.mix = nn.Sequential(
            nn.Conv1d(c.filters, c.filters, 1, bias=False),
            nn.ReLU(),
            nn.Conv1d(c.filters, c.filters, 1, bias=False),
        )
        self.unmix = nn.Conv1d(c.filters, c.filters, 1, bias=False)
        self.synthesis = self._layers("convolution", c.filters)

    def encode(self, signal: Tensor) -> Tensor:
        """(batch, samples) to (batch, filters, frames)."""
        parts = [functional.relu(self._analyse(signal, b.kernels())) for b in _banks(self.convolutions)]
        filtered = [self._analyse(signal, bank.kernels()) for bank in _banks(self.banks)]
        if filtered:
            branch = torch.cat(filtered, dim=1)
            parts.append(branch if self.after_bank is None else self.after_bank(branch))
        if self.spectrogram is not None:
            parts.append(self.spectrogram(signal, self.frames(signal.shape[-1])))
        features: Tensor = self.mix(torch.cat(parts, dim=1))
        return features

    def decode(self, features: Tensor, samples: int) -> Tensor:
        """(batch, filters, frames) to (batch, samples)."""
        kernels = [bank.kernels() for bank in _banks(self.synthesis)]
        parts = functional.relu(self.unmix(features)).split([k.shape[0] for k in kernels], dim=1)
        waves = [self._synthesise(part, k, samples) for part, k in zip(parts, kernels, strict=True)]
        return torch.stack(waves).sum(dim=0)

    def begin(self, signal: Tensor) -> None:
        """The spectrogram's mean and spread."""
        if self.spectrogram is not None:
            self.spectrogram.begin(signal)

    def _layers(self, kind: str, filters: int) -> nn.ModuleList:
        c = self.config
        if not filters:
            return nn.ModuleList()
        counts = [filters // c.layers + (layer < filters % c.layers) for layer in range(c.layers)]
        return nn.ModuleList(
            make_bank(c, kind, count, c.window * 2**layer, c.sample_rate)
            for layer, count in enumerate(counts)
        )


class Spectrogram(nn.Module):
    """Power or magnitude of the short-time spectrum, normalised, and a convolution of kernel 1 on it.

    Args:
        config: its frame and scale.
        filters: that come out.
    """

    window: Tensor

    def __init__(self, config: EncodingConfig, filters: int) -> None:
        super().__init__()
        self.frame = config.stft_frame
        self.linear = config.stft_scale == "linear"
        bins = self.frame // 2 + 1
        self.register_buffer("window", torch.hann_window(self.frame), persistent=False)
        self.mean = nn.Parameter(torch.zeros(bins, 1))
        self.scale = nn.Parameter(torch.ones(bins, 1))
        self.mix = nn.Conv1d(bins, filters, 1)

    def forward(self, signal: Tensor, frames: int) -> Tensor:
        """(batch, samples) to (batch, filters, frames): frames between the spectrum's are interpolated."""
        mixed = self.mix((self._levels(signal) + self.mean) * self.scale)
        return functional.interpolate(mixed, size=frames, mode="linear", align_corners=True)

    @torch.no_grad()
    def begin(self, signal: Tensor) -> None:
        """Take each bin's mean and spread, or its largest magnitude."""
        levels = self._levels(signal).transpose(0, 1).flatten(1)
        if self.linear:
            self.scale.copy_(1.0 / levels.amax(dim=1, keepdim=True).clamp_min(1e-2))
        else:
            self.mean.copy_(-levels.mean(dim=1, keepdim=True))
            self.scale.copy_(1.0 / levels.std(dim=1, keepdim=True).clamp_min(1e-2))

    def _levels(self, signal: Tensor) -> Tensor:
        short = max(self.frame // 2 + 1 - signal.shape[-1], 0)
        spectra = torch.stft(
            functional.pad(signal, (0, short)), self.frame, self.frame // 4, window=self.window,
            pad_mode="reflect", return_complex=True,
        )  # fmt: skip
        power = spectra.real.square() + spectra.imag.square() + TINY
        return power.sqrt() if self.linear else torch.log10(power)


class DeepCodec(Codec):
    """Banks on banks: the first on the samples, the others on each filter's output over the frames.

    The thesis says that all kernels are of one size and that the decoder has as many transposed convolutions;
    that those after the first keep filters apart is our reading of it.
    """

    def __init__(self, config: EncodingConfig) -> None:
        super().__init__(config)
        c = config
        self.first = make_bank(c, c.bank, c.filters, c.window, c.sample_rate)
        frame_rate = c.sample_rate / c.stride
        self.later = nn.ModuleList(
            make_bank(c, c.bank, c.filters, c.window, frame_rate) for _ in range(c.layers - 1)
        )
        self.back = nn.ModuleList(FreeBank(c.filters, c.window) for _ in range(c.layers - 1))
        self.synthesis = FreeBank(c.filters, c.window)

    def encode(self, signal: Tensor) -> Tensor:
        """(batch, samples) to (batch, filters, frames)."""
        features = self._analyse(signal, self.first.kernels())
        for bank in _banks(self.later):
            features = self._each(functional.relu(features), bank.kernels())
        return features

    def decode(self, features: Tensor, samples: int) -> Tensor:
        """(batch, filters, frames) to (batch, samples)."""
        for bank in _banks(self.back):
            features = functional.relu(self._each(features, bank.kernels().flip(1)))
        return self._synthesise(features, self.synthesis.kernels(), samples)

    def _each(self, features: Tensor, kernels: Tensor) -> Tensor:
        window = self.config.window
        padded = functional.pad(features, ((window - 1) // 2, window // 2))
        return functional.conv1d(padded, kernels.unsqueeze(1), groups=kernels.shape[0])


def make_codec(config: EncodingConfig) -> Codec:
    """The encoder and decoder that a config describes, with fresh weights."""
    if config.encoding == "hybrid":
        return HybridCodec(config)
    return DeepCodec(config) if config.encoding == "deep" else BankCodec(config)


def ideal_ratio_stems(codec: Codec, stems: Tensor, alpha: float = 1.0) -> Tensor:
    """FB-IRM: stems by ideal ratio masks on an encoding, which this rates before there is a separator.

    Equation 5.1 of the thesis: each stem's magnitudes in the encoding against the sum of all stems', applied
    to the mixture's encoding. It can be trained through.

    Args:
        codec: what encodes and decodes.
        stems: (batch, stems, samples), whose sum is the mixture.
        alpha: exponent of the magnitudes; 1 as in the thesis, or 2.

    Returns:
        (batch, stems, samples).
    """
    samples = stems.shape[-1]
    truths = codec.encode(stems.flatten(0, 1)).unflatten(0, stems.shape[:2])
    mixture = codec.encode(stems.sum(dim=1)).unsqueeze(1)
    magnitudes = truths.abs() ** alpha
    masks = magnitudes / (magnitudes.sum(dim=1, keepdim=True) + TINY)
    return codec.decode((masks * mixture).flatten(0, 1), samples).unflatten(0, stems.shape[:2])


def _banks(modules: nn.ModuleList) -> list[Bank]:
    return list(modules)  # type: ignore[arg-type]
