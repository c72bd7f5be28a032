"""ONNX Runtime: one step of a streaming graph over buffers that are bound once.

The graph takes `input` and `state.<name>` and gives `output` and `next.<name>`. The state lives in two
sets of buffers: one binding reads the first and writes the second, the other the reverse, and steps
alternate between them. So a step copies no state, allocates nothing, and looks up no name.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtsep.separators.manifest import Manifest
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError, ModelError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_SEVERITY_ERROR = 3


class OnnxBackend:
    """Runs a model's graph on the CPU, or on a GPU with the state staying there.

    Args:
        package: the model; its graph is checked against its manifest.
        device: "cpu" or "cuda".
        threads: CPU threads of one step, the caller's among them.

    Attributes:
        inputs: what the next `run` reads; float32 in the shape of `Backend`.
        outputs: what the last `run` wrote; the same memory after every step.

    Raises:
        BackendError: when the execution provider is not there or does not start.
        ModelError: when the graph cannot be loaded or is not the one the manifest describes.
    """

    name = "onnx"

    def __init__(self, package: ModelPackage, device: str = "cpu", threads: int = 1) -> None:
        manifest = package.manifest
        self.device = device
        self._session = _open_session(package, device, threads)
        _check(self._session, manifest, package)

        self.inputs: NDArray[np.float32] = np.zeros(manifest.input_shape, np.float32)
        self.outputs: NDArray[np.float32] = np.zeros(manifest.output_shape, np.float32)
        # On the CPU an OrtValue made from an array is that array's memory: filling `inputs` is all
        # the input there is. On a GPU it is a device buffer, and `run` copies `inputs` into it.
        self._input = ort.OrtValue.ortvalue_from_numpy(self.inputs, device, 0)
        # The output stays on the CPU side in either case: the runtime copies from the GPU at the end.
        output = ort.OrtValue.ortvalue_from_numpy(self.outputs, "cpu", 0)
        self._zeros = [np.zeros(entry.shape, np.float32) for entry in manifest.state]
        first, second = ([self._place(zeros.copy()) for zeros in self._zeros] for _ in range(2))
        self._states = (first, second)
        self._bindings = (
            self._bind(manifest, output, first, second),
            self._bind(manifest, output, second, first),
        )
        self._turn = 0

    def _place(self, array: NDArray[np.float32]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(array, self.device, 0)

    def _bind(
        self, manifest: Manifest, output: ort.OrtValue, before: list[ort.OrtValue], after: list[ort.OrtValue]
    ) -> ort.IOBinding:
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("input", self._input)
        binding.bind_ortvalue_output("output", output)
        for entry, old, new in zip(manifest.state, before, after, strict=True):
            binding.bind_ortvalue_input(f"state.{entry.name}", old)
            binding.bind_ortvalue_output(f"next.{entry.name}", new)
        return binding

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out. Releases the GIL."""
        if self.device != "cpu":
            self._input.update_inplace(self.inputs)
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn ^= 1

    def reset(self) -> None:
        """Set the state to zero. `inputs` and `outputs` are left as they are."""
        for values in self._states:
            for value, zeros in zip(values, self._zeros, strict=True):
                value.update_inplace(zeros)
        self._turn = 0

    def close(self) -> None:
        """Let go of the session and its device memory; `inputs` and `outputs` stay readable."""
        self._bindings = ()  # type: ignore[assignment]
        self._states = ()  # type: ignore[assignment]
        self._session = None  # type: ignore[assignment]


def _open_session(package: ModelPackage, device: str, threads: int) -> ort.InferenceSession:
    provider = _PROVIDERS.get(device)
    if provider is None:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(_PROVIDERS)}")
    if provider not in ort.get_available_providers():
        raise BackendError(
            f"ONNX Runtime has no {provider} here: device '{device}' needs the onnxruntime-gpu package"
        )
    options = ort.SessionOptions()
    options.log_severity_level = _SEVERITY_ERROR
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # By default the pool's idle threads spin for work between the operators of a step and after it.
    # Here they share the machine with an audio callback and a mixer that need their core at once, and
    # a stream idles most of every hop: let them sleep.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(package.onnx), options, providers=[provider])
    except Exception as error:  # the runtime's errors share no base class but this
        raise ModelError(f"{package.onnx}: cannot be loaded: {_first_line(error)}") from None
    # A provider whose libraries do not load is dropped with a warning, and the CPU takes its place.
    if session.get_providers()[0] != provider:
        raise BackendError(f"{provider} did not start: are its CUDA and cuDNN libraries installed?")
    session.disable_fallback()
    return session


def _check(session: ort.InferenceSession, manifest: Manifest, package: ModelPackage) -> None:
    """Compare the graph's inputs and outputs with what the manifest promises."""
    state = {entry.name: entry.shape for entry in manifest.state}
    wanted_inputs = {"input": manifest.input_shape} | {
        f"state.{name}": shape for name, shape in state.items()
    }
    wanted_outputs = {"output": manifest.output_shape} | {
        f"next.{name}": shape for name, shape in state.items()
    }
    for kind, nodes, wanted in (
        ("input", session.get_inputs(), wanted_inputs),
        ("output", session.get_outputs(), wanted_outputs),
    ):
        found = {node.name: node for node in nodes}
        for name, shape in wanted.items():
            if name not in found:
                raise ModelError(f"{package.onnx}: has no {kind} '{name}', though the manifest names it")
            node = found[name]
            if node.type != "tensor(float)" or tuple(node.shape) != shape:
                raise ModelError(
                    f"{package.onnx}: {kind} '{name}' is {node.type} {list(node.shape)}, "
                    f"the manifest says float {list(shape)}"
                )
        for name in found.keys() - wanted.keys():
            raise ModelError(f"{package.onnx}: has an {kind} '{name}' that the manifest does not name")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
