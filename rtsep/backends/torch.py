"""torch: one step of a network over fixed buffers; on a GPU as one captured CUDA graph."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rtsep.backends.batched import BatchedStep, Precision, load_network
from rtsep.backends.recorders import CudaGraphs
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError


def check_device(device: str) -> None:
    """Raise a `BackendError` unless torch can compute on "cpu" or "cuda", whichever it is."""
    if device not in ("cpu", "cuda"):
        raise BackendError(f"unknown device '{device}'; there are: cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "torch finds no CUDA device here: it needs a GPU, its driver and a CUDA build of torch"
        )


class TorchBackend:
    """Runs a model's network eagerly on the CPU, or as a CUDA graph on a GPU; see `BatchedStep`.

    Args:
        package: the model; its weights are checked against its network.
        device: "cpu" or "cuda".
        threads: CPU threads of one step. torch keeps this number for the whole process.
        batch: streams that one step serves.
        precision: "fp32", or "fp16" where the network holds it.

    Attributes:
        inputs: what the next `run` reads; float32 in the shape of `Backend`.
        outputs: what the last `run` wrote; the same memory after every step.
        precision: what it is; see `load_network`.

    Raises:
        BackendError: when the device is not there.
        ModelError: when the weights cannot be loaded or do not fit.
    """

    name = "torch"

    def __init__(
        self,
        package: ModelPackage,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 1,
        precision: Precision = "fp32",
    ) -> None:
        check_device(device)
        self.device = device
        self.batch = batch
        torch.set_num_threads(threads)
        network, self.precision = load_network(package, device, precision)
        self._step = BatchedStep(network, batch, CudaGraphs() if device == "cuda" else None)
        self.inputs: NDArray[np.float32] = self._step.inputs
        self.outputs: NDArray[np.float32] = self._step.outputs

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out."""
        self._step.run()

    def keep_alive(self) -> None:
        """See `BatchedStep.keep_alive`."""
        self._step.keep_alive()

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, of one row or of all. `inputs` and `outputs` are left as they are."""
        self._step.reset(row)

    def close(self) -> None:
        """Let go of the network and its device memory; `inputs` and `outputs` stay readable."""
        self._step.close()
