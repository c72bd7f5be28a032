"""ONNX Runtime: one step of a streaming graph over buffers that are bound once.

The graph takes `input` and `state.<name>` and gives `output` and `next.<name>`. The state lives in two
sets of buffers: one binding reads the first and writes the second, the other the reverse, and steps
alternate between them. So a step copies no state, allocates nothing, and looks up no name.

rtsep's own graphs leave the size of their batch axis open; it is fixed when a session is opened, so that
the runtime knows every shape. A graph from elsewhere may have a batch of one for good: several streams are
then several steps of it, each with a state of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError, ModelError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_SEVERITY_ERROR = 3

BATCH = "batch"
"""What exported graphs call the axis along which streams lie."""

_CAPTURE_RUNS = 6
"""Steps in which every graph is warmed up, captured and replayed: each binding has half of them."""


class OnnxStep:
    """Runs one step of a streaming graph, on the CPU or on a GPU with the state staying there.

    One run serves all streams of the batch.

    On a GPU the input is copied into a buffer there and the output out of one, and between the two a CUDA
    graph is replayed, one for each direction in which the state alternates. Where a graph cannot be captured
    (an operator that needs the CPU), its operators are launched one by one; `captured` tells.

    Args:
        graph: the file.
        input_shape, output_shape: of `input` and `output`, for one stream.
        state: shape of each recurrent tensor for one stream, by name.
        device: "cpu" or "cuda".
        threads: CPU threads of one step, the caller's among them.
        batch: streams.
        staged: use device buffers of its own, as a GPU needs them. By default: on a GPU.
        inputs, outputs: memory to read from and write to; by default its own.

    Attributes:
        inputs: what the next `run` reads.
        outputs: what the last `run` wrote; the same memory after every step.
        captured: whether steps are replays of a CUDA graph.

    Raises:
        BackendError: when the execution provider is not there or does not start.
        ModelError: when the graph cannot be loaded or does not have these inputs and outputs.
        FixedBatch: when the graph has a batch of one, and more are asked for.
    """

    def __init__(
        self,
        graph: Path,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        state: dict[str, tuple[int, ...]],
        device: str = "cpu",
        threads: int = 1,
        *,
        batch: int = 1,
        staged: bool | None = None,
        inputs: NDArray[np.float32] | None = None,
        outputs: NDArray[np.float32] | None = None,
    ) -> None:
        self.device = device
        self.batch = batch
        self._staged = device != "cpu" if staged is None else staged
        self.inputs = _zeros((batch, *input_shape[1:])) if inputs is None else inputs
        self.outputs = _zeros((batch, *output_shape[1:])) if outputs is None else outputs
        self._shapes = state
        self.captured = device != "cpu"
        try:
            self._open(graph, threads)
        except _CannotCapture:
            self.captured = False
            self._open(graph, threads)

    def _open(self, graph: Path, threads: int) -> None:
        self._session = _open_session(graph, self.device, threads, self.batch, self.captured)
        found = {node.name: tuple(node.shape) for node in self._session.get_inputs()}
        if self.batch > 1 and found.get("input", ())[:1] == (1,):
            raise FixedBatch(f"{graph}: serves one stream, not {self.batch}")
        self._axes = {
            name: _batch_axis(found.get(f"state.{name}", ()), shape, self.batch)
            for name, shape in self._shapes.items()
        }
        shapes = {name: _widened(shape, self._axes[name], self.batch) for name, shape in self._shapes.items()}
        _check(self._session, graph, self.inputs.shape, self.outputs.shape, shapes)
        shared = [name for name, axis in self._axes.items() if axis is None]
        if self.batch > 1 and shared:
            raise ModelError(f"{graph}: state '{shared[0]}' has no batch axis of its own")
        self._zeros = {name: _zeros(shape) for name, shape in shapes.items()}
        # On the CPU an OrtValue made from an array is that array's memory: filling `inputs` is all the
        # input there is, and what is written is in `outputs`. On a GPU there are buffers between.
        self._host_output = ort.OrtValue.ortvalue_from_numpy(self.outputs, "cpu", 0)
        self._input = self._place(self.inputs)
        self._output = self._place(self.outputs) if self._staged else self._host_output
        # Kept: unless staged they are the state's memory.
        self._host = [[zeros.copy() for zeros in self._zeros.values()] for _ in range(2)]
        first, second = ([self._place(array) for array in side] for side in self._host)
        self._states = (first, second)
        self._bindings = (
            self._bind(self._input, self._output, first, second),
            self._bind(self._input, self._output, second, first),
        )
        self._runs = tuple(_run_options(number, self.captured) for number in (1, 2))
        self._turn = 0
        self._idle = None
        if self._staged:
            self._idle = self._bind_idle()
            self._rehearse()

    def _place(self, array: NDArray[np.float32]) -> ort.OrtValue:
        # A copy, where the value must not be the array's own memory.
        own = array.copy() if self._staged else array
        return ort.OrtValue.ortvalue_from_numpy(own, self.device, 0)

    def _bind(
        self,
        input_: ort.OrtValue,
        output: ort.OrtValue,
        before: list[ort.OrtValue],
        after: list[ort.OrtValue],
    ) -> ort.IOBinding:
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("input", input_)
        binding.bind_ortvalue_output("output", output)
        for name, old, new in zip(self._zeros, before, after, strict=True):
            binding.bind_ortvalue_input(f"state.{name}", old)
            binding.bind_ortvalue_output(f"next.{name}", new)
        return binding

    def _bind_idle(self) -> tuple[ort.IOBinding, ort.RunOptions]:
        """The same step between buffers that nobody reads."""
        before, after = ([self._place(z.copy()) for z in self._zeros.values()] for _ in range(2))
        input_, output = self._place(np.zeros_like(self.inputs)), self._place(np.zeros_like(self.outputs))
        return self._bind(input_, output, before, after), _run_options(3, self.captured)

    def _rehearse(self) -> None:
        """Steps of noise, in which graphs are captured; then back to the start."""
        try:
            self._fetch = self._fetch_anyhow
            self.inputs[...] = np.random.default_rng(0).standard_normal(self.inputs.shape)
            for _ in range(_CAPTURE_RUNS):
                self.run()
                self.keep_alive()
        except Exception as error:  # the runtime's errors share no base class but this
            if self.captured:
                raise _CannotCapture from None
            raise BackendError(f"{self.device}: a step fails: {_first_line(error)}") from None
        self._fetch = self._best_fetch()
        self.reset()
        self.inputs.fill(0.0)
        self.outputs.fill(0.0)

    def _best_fetch(self) -> Callable[[], None]:
        """The copy out that makes no array, if there is one: which, depends on version and provider."""
        expected = self.outputs.copy()
        for fetch in (self._fetch_by_copy, self._fetch_by_update):
            self.outputs.fill(np.nan)
            try:
                fetch()
            except Exception:
                continue
            if np.array_equal(self.outputs, expected):
                return fetch
        return self._fetch_anyhow

    def _fetch_by_copy(self) -> None:
        ort.copy_tensors([self._output], [self._host_output])

    def _fetch_by_update(self) -> None:
        self._host_output.update_inplace(self._output)

    def _fetch_anyhow(self) -> None:
        self.outputs[...] = self._output.numpy()

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out. Releases the GIL."""
        if self._staged:
            self._input.update_inplace(self.inputs)
        self._session.run_with_iobinding(self._bindings[self._turn], self._runs[self._turn])
        if self._staged:
            self._fetch()
        self._turn ^= 1

    def keep_alive(self) -> None:
        """A step on silence that changes nothing, so that a GPU does not go to sleep. Nothing on a CPU."""
        if self._idle is not None:
            self._session.run_with_iobinding(*self._idle)

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, of one row or of all. `inputs` and `outputs` are left as they are."""
        if row is not None and self.batch > 1:
            self._reset_row(row)
            return
        for values in self._states:
            for value, zeros in zip(values, self._zeros.values(), strict=True):
                value.update_inplace(zeros)
        self._turn = 0

    def _reset_row(self, row: int) -> None:
        # What the next run reads; what it writes it does not read.
        sides = zip(self._states[self._turn], self._host[self._turn], self._axes.values(), strict=True)
        for value, host, axis in sides:
            assert axis is not None
            if self._staged:
                host[:] = value.numpy()
            np.moveaxis(host, axis, 0)[row] = 0.0
            if self._staged:
                value.update_inplace(host)

    def close(self) -> None:
        """Let go of the session and its device memory; `inputs` and `outputs` stay readable."""
        self._bindings = ()  # type: ignore[assignment]
        self._states = ()  # type: ignore[assignment]
        self._idle = None
        self._session = None  # type: ignore[assignment]


class FixedBatch(ModelError):
    """A graph whose batch is one for good."""


class OnnxBackend:
    """Runs a model's graph for one stream or several; see `OnnxStep`.

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
        self.inputs = _zeros((batch, *manifest.input_shape[1:]))
        self.outputs = _zeros((batch, *manifest.output_shape[1:]))
        state = {entry.name: entry.shape for entry in manifest.state}

        def step(first: int, width: int) -> OnnxStep:
            rows = slice(first, first + width)
            return OnnxStep(
                package.onnx,
                manifest.input_shape,
                manifest.output_shape,
                state,
                device,
                threads,
                batch=width,
                inputs=self.inputs[rows],
                outputs=self.outputs[rows],
            )

        try:
            self._steps = [step(0, batch)]
        except FixedBatch:
            self._steps = [step(row, 1) for row in range(batch)]
        self.runs = len(self._steps)

    def run(self) -> None:
        """One step: `inputs` and the state in, `outputs` and the next state out. Releases the GIL."""
        for step in self._steps:
            step.run()

    def keep_alive(self) -> None:
        """See `OnnxStep.keep_alive`."""
        for step in self._steps:
            step.keep_alive()

    def reset(self, row: int | None = None) -> None:
        """Set the state to zero, of one row or of all. `inputs` and `outputs` are left as they are."""
        if row is None or self.runs == 1:
            for step in self._steps:
                step.reset(row)
        else:
            self._steps[row].reset()

    def close(self) -> None:
        """Let go of the sessions and their device memory; `inputs` and `outputs` stay readable."""
        for step in self._steps:
            step.close()


class _CannotCapture(Exception):
    """The runtime cannot make a CUDA graph of this one."""


def _run_options(number: int, captured: bool) -> ort.RunOptions:
    """For a run with one binding: its CUDA graph is its own, as the addresses in it are."""
    options = ort.RunOptions()
    if captured:
        options.add_run_config_entry("gpu_graph_id", str(number))
    return options


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


def _open_session(graph: Path, device: str, threads: int, batch: int, capture: bool) -> ort.InferenceSession:
    provider = _PROVIDERS.get(device)
    if provider is None:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(_PROVIDERS)}")
    if provider not in ort.get_available_providers():
        raise BackendError(
            f"ONNX Runtime has no {provider} here: device '{device}' needs the onnxruntime-gpu package"
        )
    options = session_options(threads, batch)
    settings = {"enable_cuda_graph": "1"} if capture else {}
    try:
        session = ort.InferenceSession(str(graph), options, providers=[(provider, settings)])
    except Exception as error:  # the runtime's errors share no base class but this
        if capture:
            raise _CannotCapture from None
        raise ModelError(f"{graph}: cannot be loaded: {_first_line(error)}") from None
    # A provider whose libraries do not load is dropped with a warning, and the CPU takes its place.
    if session.get_providers()[0] != provider:
        raise BackendError(f"{provider} did not start: are its CUDA and cuDNN libraries installed?")
    session.disable_fallback()
    return session


def _zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def _widened(shape: tuple[int, ...], axis: int | None, batch: int) -> tuple[int, ...]:
    return shape if axis is None else (*shape[:axis], batch, *shape[axis + 1 :])


def _batch_axis(found: tuple[int, ...], shape: tuple[int, ...], batch: int) -> int | None:
    """The one axis whose size in the graph is the batch where one stream has one; None if there is none."""
    axes = [axis for axis, size in enumerate(shape) if size == 1 and _widened(shape, axis, batch) == found]
    return axes[0] if batch > 1 and len(axes) == 1 else None


def _check(
    session: ort.InferenceSession,
    graph: Path,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    state: dict[str, tuple[int, ...]],
) -> None:
    """Compare the graph's inputs and outputs with what the manifest promises."""
    wanted_inputs = {"input": input_shape} | {f"state.{name}": shape for name, shape in state.items()}
    wanted_outputs = {"output": output_shape} | {f"next.{name}": shape for name, shape in state.items()}
    for kind, nodes, wanted in (
        ("input", session.get_inputs(), wanted_inputs),
        ("output", session.get_outputs(), wanted_outputs),
    ):
        found = {node.name: node for node in nodes}
        for name, shape in wanted.items():
            if name not in found:
                raise ModelError(f"{graph}: has no {kind} '{name}', though the manifest names it")
            node = found[name]
            if node.type != "tensor(float)" or tuple(node.shape) != shape:
                raise ModelError(
                    f"{graph}: {kind} '{name}' is {node.type} {list(node.shape)}, "
                    f"the manifest says float {list(shape)}"
                )
        for name in found.keys() - wanted.keys():
            raise ModelError(f"{graph}: has an {kind} '{name}' that the manifest does not name")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
