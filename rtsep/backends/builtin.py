"""What runs built-in methods: compiled steps in place of a network's, and whole pieces in place of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.separators.builtin import open_pieces, open_spectral
from rtsep.separators.registry import ModelPackage, OfflinePackage
from rtsep.spec import AudioSpec, BackendError


class CompiledBackend:
    """A causal method, compiled, on the CPU; see `rtsep.backends.base.Backend`.

    Args:
        package: a built-in method.
        device: "cpu".
        batch: streams, each with a state of its own.

    Raises:
        BackendError: for another device.
        ModelError: when there is no such method.
    """

    name = "compiled"

    def __init__(self, package: ModelPackage, device: str = "cpu", batch: int = 1) -> None:
        _check(package.name, device)
        manifest = package.manifest
        self.device = device
        self.batch = batch
        opened = [open_spectral(manifest) for _ in range(batch)]
        self._states = [state for _, state in opened]
        self.inputs: NDArray[np.float32] = np.zeros((batch, *manifest.input_shape[1:]), np.float32)
        self.outputs: NDArray[np.float32] = np.zeros((batch, *manifest.output_shape[1:]), np.float32)
        # Real and imaginary parts side by side are complex numbers: the same memory, another view.
        mixes = self.inputs.view(np.complex64)[..., 0]
        stems = self.outputs.view(np.complex64)[..., 0]
        self._rows = [(method, mixes[row], stems[row]) for row, (method, _) in enumerate(opened)]

    def run(self) -> None:
        """One step: inputs and state in, outputs and state out."""
        for method, mix, stems in self._rows:
            method.step(mix, stems)

    def keep_alive(self) -> None:
        """A processor does not have to be kept awake."""

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, of one row or of all."""
        for state in self._states if row is None else (self._states[row],):
            for tensor in state.values():
                tensor.fill(0.0)

    def close(self) -> None:
        """Nothing is held but memory."""


class PieceModel:
    """An offline method on the CPU; see `rtsep.backends.base.OfflineModel`.

    Args:
        package: a built-in method.
        device: "cpu".

    Raises:
        BackendError: for another device, or when a library is missing.
        ModelError: when there is no such method.
    """

    def __init__(self, package: OfflinePackage, device: str = "cpu") -> None:
        _check(package.name, device)
        self.spec: AudioSpec = package.spec
        self.chunk = package.manifest.chunk
        self.overlap = package.manifest.overlap
        self._method = open_pieces(package.manifest)

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stems (stems, channels, samples) of `mix` (channels, samples), any length from one up."""
        return self._method.separate(mix)

    def close(self) -> None:
        """Nothing is held but memory."""


def _check(name: str, device: str) -> None:
    if device != "cpu":
        raise BackendError(f"{name} is built in and runs on the CPU, not on {device}")
