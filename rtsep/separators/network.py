"""The contract of a causal network: parallel and streaming from the same weights, with explicit state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from rtsep.spec import StreamSpec

State = dict[str, Tensor]
"""Recurrent state by name, in the order in which ONNX graphs take and return it."""


class CausalNetwork(nn.Module, ABC):
    """A separator that can run a whole song at once or a hop at a time, with equal results.

    `domain` says what a step takes. "waveform": samples (batch, channels, hop) to
    (batch, stems, channels, hop). "spectrum": one frame (batch, channels, bins, 2), real and imaginary,
    to (batch, stems, channels, bins, 2); framing and overlap-add lie outside the network.

    `config` is what the constructor takes: a pydantic model, one class for each architecture.
    """

    domain: ClassVar[Literal["waveform", "spectrum"]]
    architecture: ClassVar[str]
    spec: StreamSpec
    config: Any

    @abstractmethod
    def forward(self, mix: Tensor) -> Tensor:
        """Separate a whole signal at once.

        Args:
            mix: (batch, channels, samples).

        Returns:
            (batch, stems, channels, samples), aligned with `mix`: the stream's output without its delay.
        """

    @abstractmethod
    def init_state(self, batch: int = 1) -> State:
        """Zero state: what a stream starts from and returns to on reset."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One hop or frame in the network's domain, and the state after it. `state` is not modified."""
