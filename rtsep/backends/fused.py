"""A network's step, compiled as a whole for one core: no torch, no ONNX Runtime.

A runtime that knows nothing of a network calls a hundred and more operators a step, most of which take less
time than being called. Which networks have a step that is compiled says `rtsep.backends.open.FUSED`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.open import FUSED, fused_serves
from rtsep.dsp.kernel import Floats
from rtsep.separators.manifest import Manifest
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError


class FusedStream(Protocol):
    """One stream through a compiled step."""

    def step(self, heard: Floats, out: Floats) -> None:
        """A hop or a frame in, that of all stems out; the state moves on."""

    def reset(self) -> None:
        """Back to silence."""


class FusedStep(Protocol):
    """What all streams of a model share.

    Attributes:
        multiplications: multiply-accumulates of a stream's step, products with zeros left out.
    """

    multiplications: int

    def stream(self) -> FusedStream:
        """A stream with a state of its own."""


def _step_of(architecture: str) -> Callable[[Manifest, Path], FusedStep]:
    # Imported when asked for: each compiles, or reads from the cache, what it needs.
    if architecture == "band-split":
        from rtsep.backends.fused_band_split import BandSplitStep

        return BandSplitStep
    assert architecture in FUSED
    from rtsep.backends.fused_conv_tasnet import ConvTasNetStep

    return ConvTasNetStep


class FusedBackend:
    """Runs a model for one stream or several; see `rtsep.backends.base.Backend`.

    Streams of a batch are stepped one after the other: on one core that is as fast as together.

    Args:
        package: the model; its weights are checked against its manifest.
        device: "cpu".
        batch: streams that one `run` serves, each with a state of its own.

    Attributes:
        inputs: what the next `run` reads; float32 in the shape of `Backend`.
        outputs: what the last `run` wrote; the same memory after every step.
        multiplications: multiply-accumulates of a stream's step, products with zeros left out.

    Raises:
        BackendError: for another device, or a model that has no such step.
        ModelError: when the weights cannot be loaded or are not the ones the manifest describes.
    """

    name = "fused"

    def __init__(self, package: ModelPackage, device: str = "cpu", batch: int = 1) -> None:
        if device != "cpu":
            raise BackendError(f"the fused backend runs on the CPU, not on {device}")
        manifest = package.manifest
        if not fused_serves(package):
            raise BackendError(
                f"the fused backend has no step for {package.name} ({manifest.architecture}); take onnx"
            )
        self.device = device
        self.batch = batch
        self.inputs: NDArray[np.float32] = np.zeros((batch, *manifest.input_shape[1:]), np.float32)
        self.outputs: NDArray[np.float32] = np.zeros((batch, *manifest.output_shape[1:]), np.float32)
        step = _step_of(manifest.architecture)(manifest, package.weights)
        self.multiplications = step.multiplications
        self._rows = [step.stream() for _ in range(batch)]

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out. Releases the GIL."""
        for row, state in enumerate(self._rows):
            state.step(self.inputs[row], self.outputs[row])

    def keep_alive(self) -> None:
        """A processor does not have to be kept awake."""

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, of one row or of all. `inputs` and `outputs` are left as they are."""
        for state in self._rows if row is None else (self._rows[row],):
            state.reset()

    def close(self) -> None:
        """Nothing is held but memory."""
