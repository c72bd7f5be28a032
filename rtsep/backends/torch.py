"""torch: one step of a network over fixed buffers; on a GPU as one captured CUDA graph."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtsep.separators.catalogue import load_weights
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError

_CAPTURE_WARM_UP = 3


def check_device(device: str) -> None:
    """Raise a `BackendError` unless torch can compute on "cpu" or "cuda", whichever it is."""
    if device not in ("cpu", "cuda"):
        raise BackendError(f"unknown device '{device}'; there are: cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "torch finds no CUDA device here: it needs a GPU, its driver and a CUDA build of torch"
        )


class TorchBackend:
    """Runs a model's network eagerly on the CPU, or as a CUDA graph on a GPU.

    A CUDA graph records the copy in, the step with its state update, and the copy out, once; a run
    replays it as a whole, so that Python launches one thing a hop instead of some hundred kernels. Host
    buffers are pinned, which is what makes their copies part of the graph.

    Args:
        package: the model; its weights are checked against its network.
        device: "cpu" or "cuda".
        threads: CPU threads of one step. torch keeps this number for the whole process.

    Attributes:
        inputs: what the next `run` reads; float32 in the shape of `Backend`.
        outputs: what the last `run` wrote; the same memory after every step.

    Raises:
        BackendError: when the device is not there.
        ModelError: when the weights cannot be loaded or do not fit.
    """

    name = "torch"

    def __init__(self, package: ModelPackage, device: str = "cpu", threads: int = 1) -> None:
        check_device(device)
        self.device = device
        torch.set_num_threads(threads)
        on_gpu = device == "cuda"
        manifest = package.manifest
        self._network = load_weights(package).to(device).requires_grad_(False)
        with torch.inference_mode():
            self._host_input = torch.zeros(manifest.input_shape, pin_memory=on_gpu)
            self._host_output = torch.zeros(manifest.output_shape, pin_memory=on_gpu)
            # On the CPU the network reads and writes the host's buffers themselves.
            self._input = torch.zeros_like(self._host_input, device=device) if on_gpu else self._host_input
            self._state = {name: tensor.to(device) for name, tensor in self._network.init_state(1).items()}
        self.inputs: NDArray[np.float32] = self._host_input.numpy()
        self.outputs: NDArray[np.float32] = self._host_output.numpy()
        self._graph: torch.cuda.CUDAGraph | None = self._capture() if on_gpu else None

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out."""
        if self._graph is None:
            self._step(self._host_output)
        else:
            self._graph.replay()
            torch.cuda.current_stream().synchronize()

    def reset(self) -> None:
        """Set the state to zero. `inputs` and `outputs` are left as they are."""
        with torch.inference_mode():
            for tensor in self._state.values():
                tensor.zero_()

    def close(self) -> None:
        """Let go of the network and its device memory; `inputs` and `outputs` stay readable."""
        self._graph = None
        self._state = {}
        self._network = None  # type: ignore[assignment]

    @torch.inference_mode()
    def _step(self, output: Tensor) -> None:
        stems, state = self._network.step(self._input, self._state)
        output.copy_(stems, non_blocking=True)
        # The network returns its next state in new tensors; a stream keeps it at one place, which a
        # captured graph must have and an eager step loses nothing by.
        for name, tensor in self._state.items():
            tensor.copy_(state[name])

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record one step. Libraries set themselves up on first use, which must not be recorded."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_CAPTURE_WARM_UP):
                self._transfer_and_step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._transfer_and_step()
        self.reset()
        torch.cuda.synchronize()
        # Recording runs nothing, but the steps before it did, on whatever the buffers held.
        self._host_output.zero_()
        return graph

    @torch.inference_mode()
    def _transfer_and_step(self) -> None:
        self._input.copy_(self._host_input, non_blocking=True)
        self._step(self._host_output)
