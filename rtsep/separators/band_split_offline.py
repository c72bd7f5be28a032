"""Band-split recurrent network that hears the future too: what causality costs the causal one.

Y. Luo, J. Yu, "Music Source Separation with Band-Split RNN", IEEE/ACM TASLP 31, 2023, as in
`rtsep.separators.band_split`, with the layers along time in both directions, as the authors have them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtsep.separators.band_split import BandSplit, BandSplitConfig
from rtsep.separators.network import State
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.spec import ModelError


class BandSplitOffline(OfflineNetwork):
    """All stems of a song from its waveform, masked with what comes before and after.

    Attributes:
        masks: the network that decides the masks. Its `dropout` is training's.

    Raises:
        ModelError: when the config has a dilation, which is for streams.
    """

    architecture = "band-split-offline"
    title = "band-split RNN"
    masks: BandSplit
    config: BandSplitConfig

    def __init__(self, config: BandSplitConfig) -> None:
        super().__init__(config)
        if config.dilation != 1:
            raise ModelError("a network that hears the whole song has no use for a dilation")
        self.masks = _BothWays(config)

    def estimate(self, mix: Tensor) -> Tensor:
        """See `OfflineNetwork.estimate`."""
        stems: Tensor = self.masks(mix)
        return stems

    @torch.no_grad()
    def grow(self, causal: BandSplit) -> None:
        """Begin as a causal network of the same sizes: nothing is listened to yet in what comes after.

        Raises:
            ModelError: when the sizes differ.
        """
        same = {"dilation", "hop", "synthesis", "level", "level_seconds"}
        if causal.config.model_dump(exclude=same) != self.config.model_dump(exclude=same):
            raise ModelError("this network grows only from a causal one of the same bands, widths and depth")
        weights = self.masks.state_dict()
        for name, value in causal.state_dict().items():
            if name.endswith("time_out.weight"):
                weights[name] = torch.cat((value, torch.zeros_like(value)), dim=1)
            else:
                weights[name] = value
        self.masks.load_state_dict(weights)


class _BothWays(BandSplit):
    """The causal network's frames, bands and masks around layers along time that run both ways.

    It has no state and cannot step: only whole signals pass.
    """

    def __init__(self, config: BandSplitConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            both = nn.LSTM(config.features, config.memory, batch_first=True, bidirectional=True)
            # Long memories in both directions, as the causal layer has been given them.
            drawn = both.state_dict()
            for name, value in block.time.state_dict().items():  # type: ignore[union-attr]
                drawn[name] = value
                if name.startswith("bias"):
                    drawn[f"{name}_reverse"] = value
            both.load_state_dict(drawn)
            block.time = both
            block.time_out = nn.Linear(2 * config.memory, config.features)

    def init_state(self, batch: int = 1) -> State:
        """None: nothing is carried from one signal to the next."""
        return {}

    def decide(self, features: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `MaskNetwork.decide`."""
        return self.decide_phase(features), {}

    def decide_phase(self, features: Tensor) -> Tensor:
        """See `MaskNetwork.decide_phase`."""
        x = self._encode(features)
        for block in self.blocks:
            x = block(nn.functional.dropout(x, self.dropout, self.training), None)[0]
        return self._decode(x)

    def decide_once(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Not to be had: one frame says nothing of what comes after it."""
        raise ModelError("a network that hears the whole song cannot go frame by frame")
