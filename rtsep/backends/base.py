"""What runs a network: step by step on preallocated buffers, or a long piece of a song at once."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import AudioSpec


class Backend(Protocol):
    """Runs one network step on one device, with its recurrent state inside preallocated buffers.

    The caller fills `inputs`, calls `run`, reads `outputs`. Nothing is allocated by `run` that
    outlives it. For models whose domain is "spectrum" the last axis holds real and imaginary parts:
    inputs (batch, channels, bins, 2), outputs (batch, stems, channels, bins, 2); for "waveform" inputs are
    (batch, channels, hop), outputs (batch, stems, channels, hop). All float32, C-contiguous.

    The rows of a batch are streams of their own: what is in one never reaches another.
    """

    name: str
    device: str
    batch: int
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]

    def run(self) -> None:
        """One step: inputs and state in, outputs and state out."""

    def keep_alive(self) -> None:
        """Called while no hop comes: keeps the device from saving power. Changes nothing that can be seen."""

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, as `init_state` does: of one row of the batch, or of all."""

    def close(self) -> None:
        """Release the device; the buffers stay readable."""


@runtime_checkable
class OfflineModel(Protocol):
    """A loaded offline model: it separates a piece of a song, and each piece by itself.

    Attributes:
        spec: rate, channels and stems.
        chunk: samples that are best given at once; what memory is needed grows with it.
        overlap: samples over which the stems of two chunks are to be cross-faded.
    """

    spec: AudioSpec
    chunk: int
    overlap: int

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stems (stems, channels, samples) of `mix` (channels, samples), any length from one up."""

    def close(self) -> None:
        """Release the device."""
