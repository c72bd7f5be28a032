"""Open-Unmix with what two theses changed of it: what the network hears, and what remembers.

F. Lopez Soler, "Music source separation using deep neural networks", degree thesis, UPC Barcelona, 2020,
sections 3.3.2 and 4.2: the bandwidth; a learnable weight for every bin before the network ("pre-masking"); a
learnable FIR filter before it, of 5, 10, 15 or 35 taps. (Its section 4.1 is about sizes that are options
anyway: the LSTM's input is `width`, batch and weight decay are the training file's.)

K. George, K. Li, G. Min, J. Seong, "Singing vocal source separation with deep neural networks", section 2.3:
a transformer in place of the LSTM. They give no sizes: positions, heads and layers are those of A. Vaswani et
al., "Attention is all you need", NeurIPS 2017 (arXiv:1706.03762), normalised before each part.

With nothing chosen it is Open-Unmix, and so are its weights.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rtsep.separators.open_unmix import OpenUnmix, OpenUnmixConfig, TargetNetwork


class OpenUnmixVariantConfig(OpenUnmixConfig):
    """Open-Unmix's sizes, and what is different.

    Attributes:
        bandwidth: Hz up to which the network hears; it sets `bins`.
        premask: a learnable weight for every bin of what the network hears, one to begin with.
        prefilter: taps of a learnable FIR filter before the network; 0 for none.
        core: what looks at all frames: the LSTM, or a transformer's encoder of as many layers.
        heads: of the transformer's attention; they share `width`.
    """

    bandwidth: float = Field(16000.0, gt=0.0)
    premask: bool = False
    prefilter: int = Field(0, ge=0)
    core: Literal["lstm", "transformer"] = "lstm"
    heads: int = Field(8, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _bins_follow_the_bandwidth(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        given = {name: content.get(name, cls.model_fields[name].default) for name in _TRANSFORM}
        try:
            step = float(given["sample_rate"]) / float(given["frame"])
            bins = min(int(float(given["bandwidth"]) / step), int(given["frame"]) // 2) + 1
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            # The fields themselves say what is wrong.
            return content
        return content | {"bins": max(bins, 1)}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.prefilter > self.frame:
            raise ValueError(f"a filter of {self.prefilter} taps is longer than a frame")
        if self.core == "transformer" and self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the heads, {self.heads}")
        return self


_TRANSFORM = ("sample_rate", "frame", "bandwidth")


class VariantNetwork(TargetNetwork):
    """Estimates the magnitudes of one stem, as `TargetNetwork` does.

    What is done before the network changes what it hears, not what its mask is laid on.

    Args:
        config: its sizes.
    """

    def __init__(self, config: OpenUnmixConfig) -> None:
        assert isinstance(config, OpenUnmixVariantConfig)
        super().__init__(config)
        self.frame = config.frame
        self.weights = nn.Parameter(torch.ones(config.all_bins)) if config.premask else None
        self.taps = nn.Parameter(torch.zeros(config.prefilter)) if config.prefilter else None
        if self.taps is not None:
            with torch.no_grad():
                self.taps[0] = 1.0  # what lets everything through
        self.transformer: nn.Module | None = None
        if config.core == "transformer":
            layer = nn.TransformerEncoderLayer(
                config.width, config.heads, 4 * config.width, dropout=0.0, batch_first=True, norm_first=True
            )
            self.transformer = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
            self.lstm = nn.Identity()

    def response(self) -> Tensor:
        """Gain of the filter and the weights at every bin, (all bins,).

        Frames are far longer than the filter, so that its gain on their magnitudes is that on the sound.
        """
        gain = self.output_mean.new_ones(self.frame // 2 + 1)
        if self.taps is not None:
            gain = gain * torch.fft.rfft(self.taps, n=self.frame).abs()
        if self.weights is not None:
            gain = gain * self.weights
        return gain

    def emphasise(self, mix: Tensor) -> Tensor:
        """Magnitudes (batch, frames, channels, all bins), filtered and weighed."""
        return mix if self.taps is None and self.weights is None else mix * self.response()

    def recall(self, x: Tensor) -> Tensor:
        """What all frames together say of each: (batch, frames, width), in and out."""
        if self.transformer is None:
            return super().recall(x)
        recalled: Tensor = self.transformer(x + positions(x.shape[1], x.shape[2]).to(x))
        return recalled


def positions(frames: int, width: int) -> Tensor:
    """Sines and cosines that tell where a frame is, (frames, width); section 3.5 of Vaswani et al."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(frames).unsqueeze(1) * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


class OpenUnmixVariant(OpenUnmix):
    """All stems of a song from its waveform; see `OpenUnmix`."""

    architecture = "umx-variant"
    title = "Open-Unmix, varied"
    target_network = VariantNetwork
    config: OpenUnmixVariantConfig

    def responses(self) -> dict[str, Tensor]:
        """What each target's network has learnt to hear more or less of."""
        if not self.config.prefilter and not self.config.premask:
            return {}
        networks: dict[str, VariantNetwork] = dict(self.targets.items())  # type: ignore[arg-type]
        return {name: network.response().detach() for name, network in networks.items()}
