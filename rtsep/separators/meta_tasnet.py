"""Meta-TasNet: one network makes the separators of all stems from what it knows of each. Not causal.

D. Samuel, A. Ganeshan, J. Naradowsky, "Meta-learning extractors for music source separation", ICASSP 2020
(arXiv:2002.07016). Sizes are those of the authors' published code. Encoder and decoder are shared by the
stems, and the separator between them is a Conv-TasNet for each stem whose every weight is a function of the
stem's embedding: two linear layers in a row, the first of which is narrow (section 2.1). There are three
stages, at 8, 16 and 32 kHz (section 2.2); each takes the mixture at its rate and what the stage before let
through of its own encoding, with the same number of frames, and the last one's sound is the output. The
encoder joins convolutions of three lengths with a spectrogram (section 2.3).

Three losses stand beside the stems' (section 2.4, `MetaTasNet.own_loss`): encodings of different stems shall
differ, those of one stem in different songs shall not, and what is encoded shall be decodable. They are
taken over parts that hold one stem only. The authors' loss on the stems is SI-SDR: `[loss] si_sdr = 1.0`;
that of the earlier stages is in `own_loss` too.

SI-SDR knows no level, so what is separated is brought to the mixture's (`MetaTasNet.forward`).

Mono as in the paper: channels are separated one by one, by the same weights. What lies above the last
stage's Nyquist frequency is in no stem.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rtsep.separators.levels import as_loud_as
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.resampling import Resampler
from rtsep.spec import STEMS

SILENT = 1e-8
"""Added to powers before their logarithm, and to variances under a root."""
FRAME, HOP = 1024, 256
"""Of the first stage's spectrogram, in samples; later stages have theirs as long in seconds."""


class MetaTasNetConfig(BaseModel):
    """Sizes of a Meta-TasNet; the letters of the authors' code in brackets.

    Attributes: sample_rate, channels, stems: what goes in and comes out. rates: of the stages, in Hz; each
        twice the one before. filters: features of the first stage's encoding, doubled from stage to stage
        [N]. window: samples of the first stage's shortest frame, doubled from stage to stage [L]. stride:
        samples between the first stage's frames, doubled from stage to stage [W]. lengths: how many
        convolutions the encoder has, each twice as long as the one before. bands: features made of the
        spectrogram. bottleneck: channels between the separator's blocks [B]. hidden: channels inside a block
        [H]. kernel: taps of a depthwise convolution. blocks: blocks in a repeat, dilated by 1, 2, 4, ...
        repeats: of those blocks. groups: of channels that share a norm's statistics. embedding: numbers that
        stand for a stem [E1]. narrow: numbers in the middle of each layer that makes weights [E2].
        similarity, dissimilarity, reconstruction: weights of the further losses, against one for SI-SDR in
        dB. stages_weight: weight of the earlier stages' SI-SDR.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(44100, ge=8000, le=192000)
    channels: int = Field(2, ge=1)
    stems: tuple[str, ...] = Field(STEMS, min_length=2)
    rates: tuple[int, ...] = Field((8000, 16000, 32000), min_length=1)
    filters: int = Field(440, ge=1)
    window: int = Field(20, ge=2)
    stride: int = Field(20, ge=1)
    lengths: int = Field(3, ge=1)
    bands: int = Field(256, ge=1)
    bottleneck: int = Field(160, ge=1)
    hidden: int = Field(160, ge=1)
    kernel: int = Field(3, ge=1)
    blocks: int = Field(6, ge=1, le=12)
    repeats: int = Field(3, ge=1)
    groups: int = Field(8, ge=1)
    embedding: int = Field(8, ge=1)
    narrow: int = Field(5, ge=1)
    similarity: float = Field(2.0, ge=0.0)
    dissimilarity: float = Field(3.0, ge=0.0)
    reconstruction: float = Field(0.05, ge=0.0)
    stages_weight: float = Field(1.0, ge=0.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(after != 2 * before for before, after in zip(self.rates, self.rates[1:], strict=False)):
            raise ValueError(f"each of the rates {list(self.rates)} must be twice the one before")
        if (self.window - self.stride) % 2 or self.window < self.stride:
            raise ValueError("window must be at least the stride, and as odd or even as it")
        if self.stride % 2:
            raise ValueError(f"stride must be even, not {self.stride}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if self.filters % (2**self.lengths):
            raise ValueError(f"filters must be a multiple of {2**self.lengths}, for so many lengths")
        for name in ("filters", "bottleneck", "hidden"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"{name} must be a multiple of the groups, {self.groups}")
        return self


class Spectrogram(nn.Module):
    """Log powers of a short-time spectrum, normalised, in learnt bands, one column for each frame.

    Args:
        frame, hop: samples.
        bands: that come out.
    """

    mean: Tensor
    spread: Tensor
    window: Tensor

    def __init__(self, frame: int, hop: int, bands: int) -> None:
        super().__init__()
        self.frame, self.hop = frame, hop
        bins = frame // 2 + 1
        self.register_buffer("window", torch.hann_window(frame), persistent=False)
        self.register_buffer("mean", torch.zeros(bins, 1))
        self.register_buffer("spread", torch.ones(bins, 1))
        self.scale = nn.Parameter(torch.ones(bins, 1))
        self.offset = nn.Parameter(torch.zeros(bins, 1))
        self.bands = nn.Conv1d(bins, bands, 1)

    def powers(self, signal: Tensor) -> Tensor:
        """(batch, samples) to (batch, bins, columns)."""
        # Reflection takes more than half a frame of sound.
        short = max(self.frame // 2 + 1 - signal.shape[-1], 0)
        signal = functional.pad(signal, (0, short))
        bins = torch.stft(signal, self.frame, self.hop, window=self.window, return_complex=True)
        return torch.log10(bins.real.square() + bins.imag.square() + SILENT)

    def forward(self, signal: Tensor, frames: int) -> Tensor:
        """(batch, samples) to (batch, bands, frames)."""
        normal = (self.powers(signal) - self.mean) / self.spread
        bands = self.bands(normal * self.scale + self.offset)
        return functional.interpolate(bands, size=frames, mode="linear", align_corners=True)


class Encoder(nn.Module):
    """Convolutions of several lengths and a spectrogram: (batch, samples) to (batch, filters, frames).

    Args:
        config: the network's.
        stage: from 0.
    """

    def __init__(self, config: MetaTasNetConfig, stage: int) -> None:
        super().__init__()
        c, scale = config, 2**stage
        filters, stride = c.filters * scale, c.stride * scale
        self.spectrogram = Spectrogram(FRAME * scale, HOP * scale, c.bands)
        spans = [c.window * scale * 2**index for index in range(c.lengths)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(1, filters // 4, span, stride, padding=(span - stride) // 2, bias=False)
            for span in spans
        )
        joined = c.bands + c.lengths * (filters // 4)
        self.join = nn.Sequential(
            nn.Conv1d(joined, filters, 1, bias=False),
            nn.ReLU(),
            nn.Conv1d(filters, filters, 1, bias=False),
        )

    def forward(self, signal: Tensor) -> Tensor:
        """A whole number of strides in; a frame for each comes out."""
        learnt = [functional.relu(convolution(signal.unsqueeze(1))) for convolution in self.convolutions]
        spectral = self.spectrogram(signal, learnt[0].shape[-1])
        encoded: Tensor = self.join(torch.cat((*learnt, spectral), dim=1))
        return encoded


class Decoder(nn.Module):
    """Transposed convolutions of the same lengths: (batch, filters, frames) to (batch, samples).

    Args:
        config: the network's.
        stage: from 0.
    """

    def __init__(self, config: MetaTasNetConfig, stage: int) -> None:
        super().__init__()
        c, scale = config, 2**stage
        filters, stride = c.filters * scale, c.stride * scale
        # The longer a filter, the fewer of them.
        self.widths = [filters // 2 ** (index + 1) for index in range(c.lengths)]
        self.split = nn.Conv1d(filters, sum(self.widths), 1, bias=False)
        spans = [c.window * scale * 2**index for index in range(c.lengths)]
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose1d(width, 1, span, stride, padding=(span - stride) // 2, bias=False)
            for width, span in zip(self.widths, spans, strict=True)
        )

    def forward(self, encoded: Tensor) -> Tensor:
        """A stride of samples for each frame."""
        parts = functional.relu(self.split(encoded)).split(self.widths, dim=1)
        waves = [convolution(part) for convolution, part in zip(self.convolutions, parts, strict=True)]
        return torch.stack(waves).sum(dim=0).squeeze(1)


class Generated(nn.Module):
    """Weights for each stem, made of its embedding: through a narrow linear layer, then a wide one.

    Args:
        config: the network's.
        shape: of the weights of one stem.
    """

    def __init__(self, config: MetaTasNetConfig, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self.narrow = nn.Linear(config.embedding, config.narrow)
        self.wide = nn.Linear(config.narrow, int(torch.Size(shape).numel()))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(stems, embedding) to (stems, *shape)."""
        made: Tensor = self.wide(self.narrow(embeddings))
        return made.unflatten(1, self.shape)


class GeneratedConvolution(nn.Module):
    """A convolution without bias over (batch, stems, inputs, frames), with weights of each stem's own.

    Args:
        config: the network's.
        inputs, outputs: channels.
        kernel, dilation: taps, and frames between them; frames are kept.
        depthwise: each channel by itself.
    """

    def __init__(
        self,
        config: MetaTasNetConfig,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        dilation: int = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.dilation, self.reach = dilation, dilation * (kernel // 2)
        self.groups = inputs if depthwise else 1
        self.weights = Generated(config, outputs, inputs // self.groups, kernel)

    def forward(self, embeddings: Tensor, x: Tensor) -> Tensor:
        """(batch, stems, outputs, frames)."""
        weights = self.weights(embeddings)
        # As one convolution in which the stems are groups.
        groups = embeddings.shape[0] * self.groups
        y = functional.conv1d(
            x.flatten(1, 2), weights.flatten(0, 1), padding=self.reach, dilation=self.dilation, groups=groups
        )
        return y.unflatten(1, (embeddings.shape[0], -1))


class GeneratedNorm(nn.Module):
    """A group norm over (batch, stems, channels, frames), with gain and offset of each stem's own.

    Args:
        config: the network's.
        channels: a multiple of its groups.
    """

    def __init__(self, config: MetaTasNetConfig, channels: int) -> None:
        super().__init__()
        self.groups = config.groups
        self.gain, self.offset = Generated(config, channels, 1), Generated(config, channels, 1)

    def forward(self, embeddings: Tensor, x: Tensor) -> Tensor:
        """The same shape."""
        normal = functional.group_norm(x.flatten(1, 2), embeddings.shape[0] * self.groups, eps=SILENT)
        return self.gain(embeddings) * normal.view_as(x) + self.offset(embeddings)


class Block(nn.Module):
    """1x1 convolution, dilated depthwise convolution, and two ways out.

    Args:
        config: the network's.
        dilation: frames between taps.
        last: whether what it would hand to a next block has no taker.
    """

    def __init__(self, config: MetaTasNetConfig, dilation: int, last: bool) -> None:
        super().__init__()
        c = config
        self.expand = GeneratedConvolution(c, c.bottleneck, c.hidden)
        self.expand_prelu, self.depth_prelu = nn.PReLU(), nn.PReLU()
        self.expand_norm, self.depth_norm = GeneratedNorm(c, c.hidden), GeneratedNorm(c, c.hidden)
        self.depth = GeneratedConvolution(c, c.hidden, c.hidden, c.kernel, dilation, depthwise=True)
        self.residual = None if last else GeneratedConvolution(c, c.hidden, c.bottleneck)
        self.skip = GeneratedConvolution(c, c.hidden, c.bottleneck)

    def forward(self, embeddings: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, stems, bottleneck, frames) to what the next block takes, and the share of the skip path."""
        y = self.expand_norm(embeddings, self.expand_prelu(self.expand(embeddings, x)))
        y = self.depth_norm(embeddings, self.depth_prelu(self.depth(embeddings, y)))
        skip = self.skip(embeddings, y)
        return (x if self.residual is None else x + self.residual(embeddings, y)), skip


class Separator(nn.Module):
    """Masks of an encoding that sum to one over the stems, each decided by weights of the stem's own.

    Args:
        config: the network's.
        stage: from 0; from 1 on it is also given what the stage before let through.
    """

    def __init__(self, config: MetaTasNetConfig, stage: int) -> None:
        super().__init__()
        c, filters = config, config.filters * 2**stage
        inputs = filters + (filters // 2 if stage else 0)
        self.input_prelu, self.bottleneck_prelu = nn.PReLU(), nn.PReLU()
        self.input_norm, self.bottleneck_norm = GeneratedNorm(c, inputs), GeneratedNorm(c, c.bottleneck)
        self.bottleneck = GeneratedConvolution(c, inputs, c.bottleneck)
        count = c.repeats * c.blocks
        self.blocks = nn.ModuleList(
            Block(c, 2 ** (index % c.blocks), last=index == count - 1) for index in range(count)
        )
        self.skip_prelu, self.mask_prelu = nn.PReLU(), nn.PReLU()
        self.skip_norm, self.mask_norm = GeneratedNorm(c, c.bottleneck), GeneratedNorm(c, filters)
        self.mask = GeneratedConvolution(c, c.bottleneck, filters)

    def forward(self, embeddings: Tensor, encoded: Tensor, passed: Tensor | None) -> Tensor:
        """(batch, filters, frames) to (batch, stems, filters, frames)."""
        x = encoded.unsqueeze(1).expand(-1, embeddings.shape[0], -1, -1)
        if passed is not None:
            x = torch.cat((x, passed), dim=2)
        x = self.bottleneck(embeddings, self.input_norm(embeddings, self.input_prelu(x)))
        x = self.bottleneck_norm(embeddings, self.bottleneck_prelu(x))
        skips = x.new_zeros(())
        for block in self.blocks:
            x, skip = block(embeddings, x)
            skips = skips + skip
        y = self.mask(embeddings, self.skip_norm(embeddings, self.skip_prelu(skips)))
        return torch.softmax(self.mask_norm(embeddings, self.mask_prelu(y)), dim=1)


class Stage(nn.Module):
    """Encoder, separator and decoder at one rate.

    Args:
        config: the network's.
        stage: from 0.
    """

    def __init__(self, config: MetaTasNetConfig, stage: int) -> None:
        super().__init__()
        self.rate = config.rates[stage]
        self.embeddings = nn.Parameter(torch.randn(len(config.stems), config.embedding))
        self.encoder, self.decoder = Encoder(config, stage), Decoder(config, stage)
        self.separator = Separator(config, stage)
        self.down = Resampler(config.sample_rate, self.rate)
        self.up = Resampler(self.rate, config.sample_rate)

    def forward(self, signal: Tensor, passed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """A signal at this stage's rate, (batch, samples).

        Returns:
            the stems, (batch, stems, samples); what the masks let through, for the next stage; the encoding.
        """
        encoded = self.encoder(signal)
        masks = self.separator(self.embeddings, encoded, passed)
        through = masks * encoded.unsqueeze(1)
        waves = self.decoder(through.flatten(0, 1)).unflatten(0, through.shape[:2])
        return waves, through, encoded


class _Heard(NamedTuple):
    """What `own_loss` needs of a stage: (batch * channels, ...), at the stage's rate."""

    signal: Tensor
    stems: Tensor
    encoded: Tensor


class MetaTasNet(OfflineNetwork):
    """Stems of a song, stage after stage."""

    architecture = "meta-tasnet"
    title = "Meta-TasNet"
    chunk_seconds = 24.0
    overlap_seconds = 4.0
    config: MetaTasNetConfig

    def __init__(self, config: MetaTasNetConfig) -> None:
        super().__init__(config)
        self.stages = nn.ModuleList(Stage(config, stage) for stage in range(len(config.rates)))
        self._heard: list[_Heard] = []

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples): the last stage's sound."""
        batch, channels, samples = mix.shape
        signals = self._at_rates(mix.flatten(0, 1))
        self._heard = []
        passed: Tensor | None = None
        waves = mix
        for stage, signal in zip(self._stages(), signals, strict=True):
            waves, passed, encoded = stage(signal, passed)
            if self.training:
                self._heard.append(_Heard(signal, waves, encoded))
        stems = self._stages()[-1].up(waves)
        # Each resampling rounds down.
        stems = functional.pad(stems, (0, max(0, samples - stems.shape[-1])))[..., :samples]
        return stems.unflatten(0, (batch, channels)).transpose(1, 2)

    def forward(self, mix: Tensor) -> Tensor:
        """(channels, samples) to (stems, channels, samples), their sum as loud as the mixture."""
        return as_loud_as(mix, self.estimate(mix.unsqueeze(0))[0])

    @torch.no_grad()
    def begin(self, mixes: Tensor) -> None:
        """Take each bin's mean and spread, at every stage, from mixtures (batch, channels, samples)."""
        for stage, signal in zip(self._stages(), self._at_rates(mixes.flatten(0, 1)), strict=True):
            spectrogram = stage.encoder.spectrogram
            powers = spectrogram.powers(signal).transpose(0, 1).flatten(1)
            spectrogram.mean.copy_(powers.mean(dim=1, keepdim=True))
            spectrogram.spread.copy_(powers.std(dim=1, keepdim=True).clamp_min(1e-3))

    def own_loss(self, stems: Tensor, parts: Tensor, groups: Tensor) -> Tensor | None:
        """Dissimilarity, similarity and reconstruction at every stage, and SI-SDR at all but the last.

        A quarter of the config's weights where there are four stems: theirs is a loss summed over the stems,
        that on the known parts a mean over them. See `rtsep.separators.offline_network.OfflineNetwork`.
        """
        heard, self._heard = self._heard, []
        if not heard:
            return None
        c = self.config
        channels = parts.shape[2]
        # A part is known to be one stem's where it holds that stem and no other, and sounds.
        sounds = (parts.square().mean(dim=(2, 3)) > SILENT).to(parts.dtype)
        alone = groups * ((groups.sum(dim=2) == 1.0).to(groups.dtype) * sounds).unsqueeze(2)
        truths = torch.einsum("bps,bpct->bcst", alone, parts).flatten(0, 1)
        known = alone.amax(dim=1).repeat_interleave(channels, dim=0)  # batch * channels, stems
        total, further = stems.new_zeros(()), stems.new_zeros(())
        at_rates = self._at_rates(truths.flatten(0, 1))
        for index, (stage, truth, now) in enumerate(zip(self._stages(), at_rates, heard, strict=True)):
            truth = truth.unflatten(0, truths.shape[:2])
            if index < len(heard) - 1 and c.stages_weight:
                ratios = _si_sdr(now.stems.float(), truth) * known
                total = total - c.stages_weight * ratios.sum() / known.sum().clamp_min(1.0)
            if c.reconstruction:
                again = stage.decoder(now.encoded).float()
                further = further - c.reconstruction * _si_sdr(again, now.signal).mean()
            if c.similarity or c.dissimilarity:
                codes = stage.encoder(truth.flatten(0, 1)).unflatten(0, truths.shape[:2]).float()
                further = further + c.dissimilarity * dissimilarity(codes, known)
                further = further - c.similarity * similarity(codes, known, channels)
        return total + further / len(c.stems)

    def _stages(self) -> list[Stage]:
        return [cast(Stage, stage) for stage in self.stages]

    def _at_rates(self, signal: Tensor) -> list[Tensor]:
        """(batch, samples) to the same at every stage's rate, as many frames long in all of them."""
        stages = self._stages()
        first = stages[0].down(signal).shape[-1]
        frames = max(1, -(-first // self.config.stride))
        at_rates = []
        for index, stage in enumerate(stages):
            wanted = frames * self.config.stride * 2**index
            lower = stage.down(signal)
            at_rates.append(functional.pad(lower, (0, max(0, wanted - lower.shape[-1])))[..., :wanted])
        return at_rates


def dissimilarity(codes: Tensor, known: Tensor) -> Tensor:
    """Mean cosine between encodings of different stems of one mixture, whatever their signs.

    Args:
        codes: (batch, stems, filters, frames).
        known: (batch, stems), 1 where there is one.
    """
    total, pairs = codes.new_zeros(()), codes.new_zeros(())
    for one, other in combinations(range(codes.shape[1]), 2):
        both = known[:, one] * known[:, other]
        cosines = functional.cosine_similarity(codes[:, one].abs(), codes[:, other].abs(), dim=1).mean(dim=1)
        total, pairs = total + (cosines * both).sum(), pairs + both.sum()
    return total / pairs.clamp_min(1.0)


def similarity(codes: Tensor, known: Tensor, channels: int) -> Tensor:
    """Mean cosine between encodings of one stem in one example of the batch and in the next.

    Args:
        codes: (batch * channels, stems, filters, frames).
        known: (batch * channels, stems), 1 where there is one.
        channels: of an example, which lie beside each other.
    """
    if codes.shape[0] == channels:
        return codes.new_zeros(())
    both = known * known.roll(channels, dims=0)
    cosines = functional.cosine_similarity(codes, codes.roll(channels, dims=0), dim=2).mean(dim=2)
    return (cosines * both).sum() / both.sum().clamp_min(1.0)


def _si_sdr(estimate: Tensor, truth: Tensor) -> Tensor:
    """Scale-invariant SDR in dB of the last axis; at most 30, as in `rtsep.training.losses`."""
    power = truth.square().sum(dim=-1, keepdim=True)
    target = (estimate * truth).sum(dim=-1, keepdim=True) / (power + SILENT) * truth
    heard, error = target.square().sum(dim=-1), (estimate - target).square().sum(dim=-1)
    least = 1e-6 * estimate.square().sum(dim=-1) + SILENT
    return 10.0 * torch.log10((heard + least) / (error + 1e-3 * heard + least))
