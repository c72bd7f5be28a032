"""What a backend is: a preallocated input, a preallocated output, and one step between them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """Runs one network step on one device, with its recurrent state inside preallocated buffers.

    The caller fills `inputs`, calls `run`, reads `outputs`. Nothing is allocated by `run` that
    outlives it. For models whose domain is "spectrum" the last axis holds real and imaginary parts:
    inputs (1, channels, bins, 2), outputs (1, stems, channels, bins, 2); for "waveform" inputs are
    (1, channels, hop), outputs (1, stems, channels, hop). All float32, C-contiguous.
    """

    name: str
    device: str
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]

    def run(self) -> None:
        """One step: inputs and state in, outputs and state out."""

    def reset(self) -> None:
        """Set the state to zero, as `init_state` does."""

    def close(self) -> None:
        """Release the device; the buffers stay readable."""
