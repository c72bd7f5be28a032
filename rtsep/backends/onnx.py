"""ONNX Runtime: one step of a streaming graph over buffers that are bound once.

The graph takes `input` and `state.<name>` and gives `output` and `next.<name>`. The state lives in two
sets of buffers: one binding reads the first and writes the second, the other the reverse, and steps
alternate between them. So a step copies no state, allocates nothing, and looks up no name.

A graph whose batch axis is called `BATCH` serves several streams in one run: the axis is given its size
before the runtime optimises the graph, which so is as quick as one that was exported with that size. A graph
of a fixed batch of one, as others may have exported it, is run once a stream instead, over the same weights.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtsep.separators.manifest import Manifest
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError, ModelError

BATCH = "batch"
"""What a graph calls the axis along which streams of their own lie."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_SEVERITY_ERROR = 3


class OnnxBackend:
    """Runs a model's graph on the CPU, or on a GPU with the state staying there.

    Args:
        package: the model; its graph is checked against its manifest.
        device: "cpu" or "cuda".
        threads: CPU threads of one step, the caller's among them.
        batch: streams that one `run` serves.

    Attributes:
        inputs: what the next `run` reads; float32 in the shape of `Backend`.
        outputs: what the last `run` wrote; the same memory after every step.
        runs: of the graph that one step takes: one, or one a stream where its batch is fixed.

    Raises:
        BackendError: when the execution provider is not there or does not start.
        ModelError: when the graph cannot be loaded or is not the one the manifest describes.
    """

    name = "onnx"

    def __init__(self, package: ModelPackage, device: str = "cpu", threads: int = 1, batch: int = 1) -> None:
        manifest = package.manifest
        self.device = device
        self.batch = batch
        self._session = _open_session(package, device, threads, batch)
        width = _width(self._session, batch)
        axes = _check(self._session, manifest, package, width)
        self.runs = batch // width

        self.inputs: NDArray[np.float32] = np.zeros((batch, *manifest.input_shape[1:]), np.float32)
        self.outputs: NDArray[np.float32] = np.zeros((batch, *manifest.output_shape[1:]), np.float32)
        self._lanes = []
        for at in range(0, batch, width):
            buffers = self.inputs[at : at + width], self.outputs[at : at + width]
            self._lanes.append(_Lane(self._session, manifest, axes, device, *buffers))

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out. Releases the GIL."""
        for lane in self._lanes:
            lane.run(self._session)

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, of one row or of all. `inputs` and `outputs` are left as they are."""
        width = self.batch // self.runs
        if row is None:
            for lane in self._lanes:
                lane.reset(None)
        else:
            self._lanes[row // width].reset(row % width if width > 1 else None)

    def close(self) -> None:
        """Let go of the session and its device memory; `inputs` and `outputs` stay readable."""
        self._lanes = []
        self._session = None  # type: ignore[assignment]


class _Lane:
    """The buffers and bindings of the streams that one run of the graph serves.

    Args:
        session: that runs them.
        manifest: of the model.
        axes: of every state tensor, the axis along which the streams lie; None where there is but one.
        device: where the state lives.
        inputs, outputs: host memory, (streams, ...).
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        manifest: Manifest,
        axes: dict[str, int | None],
        device: str,
        inputs: NDArray[np.float32],
        outputs: NDArray[np.float32],
    ) -> None:
        self._device = device
        self._inputs = inputs
        self._axes = [axes[entry.name] for entry in manifest.state]
        # On the CPU an OrtValue made from an array is that array's memory: filling `inputs` is all
        # the input there is. On a GPU it is a device buffer, and `run` copies `inputs` into it.
        self._input = ort.OrtValue.ortvalue_from_numpy(inputs, device, 0)
        # The output stays on the CPU side in either case: the runtime copies from the GPU at the end.
        output = ort.OrtValue.ortvalue_from_numpy(outputs, "cpu", 0)
        self._zeros = [
            np.zeros(_widened(entry.shape, axis, len(inputs)), np.float32)
            for entry, axis in zip(manifest.state, self._axes, strict=True)
        ]
        names = [entry.name for entry in manifest.state]
        # Kept: on the CPU they are the state's memory, and on a GPU a place to bring it to.
        self._host = [[zeros.copy() for zeros in self._zeros] for _ in range(2)]
        first, second = (
            [ort.OrtValue.ortvalue_from_numpy(array, device, 0) for array in side] for side in self._host
        )
        self._states = (first, second)
        self._bindings = (
            self._bind(session, names, output, first, second),
            self._bind(session, names, output, second, first),
        )
        self._turn = 0

    def _bind(
        self,
        session: ort.InferenceSession,
        names: list[str],
        output: ort.OrtValue,
        before: list[ort.OrtValue],
        after: list[ort.OrtValue],
    ) -> ort.IOBinding:
        binding = session.io_binding()
        binding.bind_ortvalue_input("input", self._input)
        binding.bind_ortvalue_output("output", output)
        for name, old, new in zip(names, before, after, strict=True):
            binding.bind_ortvalue_input(f"state.{name}", old)
            binding.bind_ortvalue_output(f"next.{name}", new)
        return binding

    def run(self, session: ort.InferenceSession) -> None:
        if self._device != "cpu":
            self._input.update_inplace(self._inputs)
        session.run_with_iobinding(self._bindings[self._turn])
        self._turn ^= 1

    def reset(self, row: int | None) -> None:
        if row is None:
            for values in self._states:
                for value, zeros in zip(values, self._zeros, strict=True):
                    value.update_inplace(zeros)
            self._turn = 0
            return
        # What the next run reads; what it writes it does not read.
        sides = zip(self._states[self._turn], self._host[self._turn], self._axes, strict=True)
        for value, host, axis in sides:
            assert axis is not None
            if self._device != "cpu":
                host[:] = value.numpy()
            np.moveaxis(host, axis, 0)[row] = 0.0
            if self._device != "cpu":
                value.update_inplace(host)


def session_options(threads: int = 1, batch: int = 1) -> ort.SessionOptions:
    """How graphs are run here: on so many threads that do not spin, the batch axis of this size."""
    options = ort.SessionOptions()
    options.log_severity_level = _SEVERITY_ERROR
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without a say where the graph has no axis of that name.
    options.add_free_dimension_override_by_name(BATCH, batch)
    # By default the pool's idle threads spin for work between the operators of a step and after it.
    # Here they share the machine with an audio callback and a mixer that need their core at once, and
    # a stream idles most of every hop: let them sleep.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open_session(package: ModelPackage, device: str, threads: int, batch: int) -> ort.InferenceSession:
    provider = _PROVIDERS.get(device)
    if provider is None:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(_PROVIDERS)}")
    if provider not in ort.get_available_providers():
        raise BackendError(
            f"ONNX Runtime has no {provider} here: device '{device}' needs the onnxruntime-gpu package"
        )
    options = session_options(threads, batch)
    try:
        session = ort.InferenceSession(str(package.onnx), options, providers=[provider])
    except Exception as error:  # the runtime's errors share no base class but this
        raise ModelError(f"{package.onnx}: cannot be loaded: {_first_line(error)}") from None
    # A provider whose libraries do not load is dropped with a warning, and the CPU takes its place.
    if session.get_providers()[0] != provider:
        raise BackendError(f"{provider} did not start: are its CUDA and cuDNN libraries installed?")
    session.disable_fallback()
    return session


def _width(session: ort.InferenceSession, batch: int) -> int:
    """Streams that one run serves: all of them, or one where the graph's batch is fixed."""
    found = next((node.shape for node in session.get_inputs() if node.name == "input"), ())
    return batch if found and found[0] == batch else 1


def _widened(shape: tuple[int, ...], axis: int | None, batch: int) -> tuple[int, ...]:
    return shape if axis is None else (*shape[:axis], batch, *shape[axis + 1 :])


def _batch_axis(session: ort.InferenceSession, name: str, shape: tuple[int, ...], batch: int) -> int | None:
    """The one axis whose size in the graph is the batch where the manifest has one; None if there is none."""
    found = next((tuple(node.shape) for node in session.get_inputs() if node.name == f"state.{name}"), ())
    axes = [axis for axis in range(len(shape)) if _widened(shape, axis, batch) == found]
    return axes[0] if len(axes) == 1 and shape[axes[0]] == 1 else None


def _check(
    session: ort.InferenceSession, manifest: Manifest, package: ModelPackage, batch: int
) -> dict[str, int | None]:
    """Compare the graph's inputs and outputs with what the manifest promises; returns the batch's axes."""
    axes = {entry.name: None for entry in manifest.state} | {
        entry.name: _batch_axis(session, entry.name, entry.shape, batch)
        for entry in manifest.state
        if batch > 1
    }
    state = {entry.name: _widened(entry.shape, axes[entry.name], batch) for entry in manifest.state}
    wanted_inputs = {"input": (batch, *manifest.input_shape[1:])} | {
        f"state.{name}": shape for name, shape in state.items()
    }
    wanted_outputs = {"output": (batch, *manifest.output_shape[1:])} | {
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
    for name, axis in axes.items():
        if batch > 1 and axis is None:
            raise ModelError(f"{package.onnx}: state '{name}' has no batch axis of its own")
    return axes


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
