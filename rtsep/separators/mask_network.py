"""The contract of a causal network that decides masks over bands: what the fast way to train needs of it."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from rtsep.separators.network import CausalNetwork, State


class MaskNetwork(CausalNetwork):
    """Shares the mixture's spectrum out: a softmax across stems, for each channel and band of a frame.

    Whoever can be described so can be trained on sums over bands instead of waveforms; see
    `rtsep.training.statistics`.

    Attributes:
        config: its sizes; among them sample_rate, channels, stems, analysis, synthesis and hop as in
            `rtsep.separators.causal_lstm.CausalLSTMConfig`, and stereo, what masks act on.
        bands: bands of a frame.
        views: signals that the features look at, for each band.
        to_bins: (bands, bins), how a band's mask is spread over bins; at most two bands a bin, and the shares
            of a bin add up to one.
        input_mean, input_scale: (views * bands,), what features are normalised with.
        to_masks: the last layer; its outputs run over (stems, channels, bands).
        dropout: share of the units between layers left out while training. No part of the model.
    """

    bands: int
    views: int
    to_bins: Tensor
    input_mean: nn.Parameter
    input_scale: nn.Parameter
    to_masks: nn.Linear
    dropout: float = 0.0

    @abstractmethod
    def analyse(self, signal: Tensor) -> Tensor:
        """Frames of (..., channels, samples): complex (..., time, channels, bins)."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What is known of frames: (batch, time, channels, bins, 2) to (batch, time, views * bands)."""

    @abstractmethod
    def decide(self, features: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Masks before the softmax, (batch, time, stems, channels, bands), and the state after them.

        Args:
            features: (batch, time, views * bands), as `features` gives them.
            state: to go on from; zero if None.
        """
