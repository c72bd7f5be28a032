"""Stack U-Net: one U-Net separates, and one for each stem filters what it gave. Not causal.

R. Henning, A. Choudhry, M. Ma, "Deep learning based music source separation", SCSU Journal of Student
Scholarship 1(2), 2021, sections "Phase two model" and "Phase two implementation": the 2-D Demucs, their
best, then another of the same structure for each stem, against artefacts. Both are trained at once, on what
comes out at the end.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from rtsep.separators.demucs_2d import Demucs2DConfig, DemucsLayers2D
from rtsep.separators.spectral_masks import SpectralMaskNetwork


class StackUNetConfig(Demucs2DConfig):
    """Sizes of the layers of the first network; see `rtsep.separators.demucs_2d.Demucs2DConfig`.

    Attributes:
        refining_width: channels of the first layer of the networks that refine a stem.
    """

    refining_width: int = Field(64, ge=1)


class StackUNet(SpectralMaskNetwork):
    """Masks of the mixture, times masks of what they let through."""

    architecture = "stack-u-net"
    title = "Stack U-Net"
    config: StackUNetConfig

    def __init__(self, config: StackUNetConfig) -> None:
        super().__init__(config)
        channels = config.channels
        self.separating = DemucsLayers2D(config, channels, len(config.stems) * channels)
        small = config.model_copy(update={"width": config.refining_width})
        self.refining = nn.ModuleList(DemucsLayers2D(small, channels, channels) for _ in config.stems)

    def masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to (batch, stems, channels, bins, frames)."""
        coarse = torch.sigmoid(self.separating(magnitudes)).unflatten(1, (-1, self.config.channels))
        separated = coarse * magnitudes.unsqueeze(1)
        fine = [
            torch.sigmoid(net(stem)) for net, stem in zip(self.refining, separated.unbind(1), strict=True)
        ]
        return coarse * torch.stack(fine, dim=1)
