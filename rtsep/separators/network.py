"""The contract of a causal network: parallel and streaming from the same weights, with explicit state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from rtsep.spec import ModelError, StreamSpec

State = dict[str, Tensor]
"""Recurrent state by name, in the order in which ONNX graphs take and return it."""


def batch_axes(network: CausalNetwork) -> dict[str, int]:
    """Which axis of each state tensor is the batch's, by name: the one that grows with it.

    Raises:
        ModelError: when a tensor has none, so that streams would share it.
    """
    found = {}
    two, three = network.init_state(2), network.init_state(3)
    for name, tensor in two.items():
        sizes = zip(tensor.shape, three[name].shape, strict=True)
        grown = [axis for axis, (a, b) in enumerate(sizes) if a != b]
        if len(grown) != 1:
            raise ModelError(f"{network.architecture}: state '{name}' has no batch axis")
        found[name] = grown[0]
    return found


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

    def steps(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Many hops in one call: what `step` gives for one after the other, up to rounding.

        Networks that can look at all of them side by side do so; here they are run in turn.

        Args:
            x: waveform: (batch, channels, hops * hop). Spectrum: (batch, hops, channels, bins, 2).
            state: as in `step`; it is not modified.

        Returns:
            (batch, stems, channels, hops * hop) or (batch, hops, stems, channels, bins, 2), and the state
            after the last hop.
        """
        waveform = self.domain == "waveform"
        done = []
        for hop in x.split(self.spec.hop, dim=-1) if waveform else x.unbind(dim=1):
            stems, state = self.step(hop, state)
            done.append(stems)
        return (torch.cat(done, dim=-1) if waveform else torch.stack(done, dim=1)), state


@runtime_checkable
class Compilable(Protocol):
    """A network parts of which torch can compile for training."""

    def compile_training(self) -> None:
        """Have them compiled when `forward` first meets a length in training; scoring stays as it is."""
