"""Conv-TasNet that hears the future: global layer norm, and the encoders of `rtsep.separators.encoders`.

Y. Luo, N. Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for speech
separation", IEEE/ACM TASLP 27(8), 2019 (arXiv:1809.07454), sections II-B and II-C. The defaults are the
music-sized configuration of A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, table A.1:
four stacks of ten blocks at 44.1 kHz on a hybrid encoding. The thesis separates one channel; here every
channel is encoded alike, and the separator hears them all and decides masks for each.

The causal one is in `rtsep.separators.conv_tasnet`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from rtsep.separators.encoders import EncodingConfig, ideal_ratio_stems, make_codec
from rtsep.separators.levels import as_loud_as
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.spec import STEMS

EPSILON = 1e-8
"""Least variance of the norms."""


class OfflineConvTasNetConfig(EncodingConfig):
    """The encoding, and sizes of the separator; the paper's letters in brackets.

    Attributes:
        channels: 1 or 2.
        stems: in output order.
        bottleneck: channels between blocks [B].
        hidden: channels inside a block [H].
        skip: channels of the skip path [Sc]; 0 for none, as in the thesis: masks are made of what the last
            block hands on.
        kernel: taps of a depthwise convolution [P], odd.
        blocks: blocks in a stack, dilated by 1, 2, 4, ... [X; the thesis' layers].
        repeats: of those stacks [R; the thesis' stack].
        mask: what bounds the masks; "relu" leaves them open above.
    """

    channels: int = Field(2, ge=1, le=2)
    stems: tuple[Annotated[str, Field(pattern=r"^[\w -]+$")], ...] = Field(STEMS, min_length=1)
    bottleneck: int = Field(160, ge=1)
    hidden: int = Field(160, ge=1)
    skip: int = Field(0, ge=0)
    kernel: int = Field(3, ge=1)
    blocks: int = Field(10, ge=1, le=16)
    repeats: int = Field(4, ge=1)
    mask: Literal["sigmoid", "relu"] = "sigmoid"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if len(set(self.stems)) != len(self.stems):
            raise ValueError("stems must be distinct")
        return self


class _Block(nn.Module):
    """1x1 convolution, dilated depthwise convolution, and 1x1 convolutions for both ways out."""

    def __init__(self, config: OfflineConvTasNetConfig, dilation: int, last: bool) -> None:
        super().__init__()
        hidden, kernel = config.hidden, config.kernel
        self.convolutions = nn.Sequential(
            nn.Conv1d(config.bottleneck, hidden, 1),
            nn.PReLU(),
            nn.GroupNorm(1, hidden, EPSILON),
            nn.Conv1d(
                hidden, hidden, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=hidden
            ),
            nn.PReLU(),
            nn.GroupNorm(1, hidden, EPSILON),
        )
        # What the last block would hand on has no taker beside the skip path.
        self.residual = None if last and config.skip else nn.Conv1d(hidden, config.bottleneck, 1)
        self.skip = nn.Conv1d(hidden, config.skip, 1) if config.skip else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the next block takes, and this one's share of the skip path, if there is one."""
        y = self.convolutions(x)
        onward = x if self.residual is None else x + self.residual(y)
        return onward, None if self.skip is None else self.skip(y)


class OfflineConvTasNet(OfflineNetwork):
    """Masks an encoding of the waveform with stacks of dilated convolutions that look both ways.

    Attributes:
        config: as given.
        codec: encoder and decoder.
    """

    architecture = "conv-tasnet-offline"
    title = "Conv-TasNet"
    # The norms are over all that is heard at once: no longer than what it is trained on, 8 s in the thesis.
    chunk_seconds = 8.0
    overlap_seconds = 1.0
    config: OfflineConvTasNetConfig

    def __init__(self, config: OfflineConvTasNetConfig) -> None:
        super().__init__(config)
        c = config
        encoded = c.channels * c.filters
        self.codec = make_codec(c)
        self.norm = nn.GroupNorm(1, encoded, EPSILON)
        self.bottleneck = nn.Conv1d(encoded, c.bottleneck, 1)
        count = c.repeats * c.blocks
        self.blocks = nn.ModuleList(
            _Block(c, 2 ** (index % c.blocks), last=index == count - 1) for index in range(count)
        )
        self.masks_prelu = nn.PReLU()
        self.masks = nn.Conv1d(c.skip or c.bottleneck, len(c.stems) * encoded, 1)

    def estimate(self, mix: Tensor) -> Tensor:
        """(batch, channels, samples) to (batch, stems, channels, samples), any length."""
        c = self.config
        batch, channels, samples = mix.shape
        features = self.codec.encode(mix.flatten(0, 1)).unflatten(0, (batch, channels))
        x = self.bottleneck(self.norm(features.flatten(1, 2)))
        skips = []
        for block in self.blocks:
            x, skip = block(x)
            if skip is not None:
                skips.append(skip)
        logits = self.masks(self.masks_prelu(torch.stack(skips).sum(dim=0) if skips else x))
        masks = torch.sigmoid(logits) if c.mask == "sigmoid" else torch.relu(logits)
        masked = masks.unflatten(1, (len(c.stems), channels, c.filters)) * features.unsqueeze(1)
        return self.codec.decode(masked.flatten(0, 2), samples).unflatten(0, masked.shape[:3])

    def forward(self, mix: Tensor) -> Tensor:
        """(channels, samples) to (stems, channels, samples), their sum as loud as the mixture."""
        return as_loud_as(mix, self.estimate(mix.unsqueeze(0))[0])

    @torch.no_grad()
    def ideal_ratio_stems(self, stems: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
        """What its encoding could do with ideal masks; see `rtsep.separators.encoders.ideal_ratio_stems`.

        Args:
            stems: (stems, channels, samples), whose sum is the mixture.
            alpha: exponent of the magnitudes.

        Returns:
            (stems, channels, samples).
        """
        by_channel = torch.from_numpy(stems.astype(np.float32)).transpose(0, 1)
        pieces = by_channel.split(round(self.chunk_seconds * self.spec.sample_rate), dim=2)
        estimates = torch.cat([ideal_ratio_stems(self.codec, piece, alpha) for piece in pieces], dim=2)
        return estimates.transpose(0, 1).numpy().astype(np.float64)

    def begin(self, mixes: Tensor) -> None:
        """What the encoder takes from mixtures (batch, channels, samples)."""
        self.codec.begin(mixes.flatten(0, 1))
