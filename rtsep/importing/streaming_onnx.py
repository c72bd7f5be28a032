"""A streaming graph that somebody else exported: what docs/models.md asks of it, checked by running it."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtsep.backends.onnx import OnnxBackend, session_options
from rtsep.separators.manifest import MANIFEST_NAME, Files, Manifest, parse
from rtsep.separators.registry import ModelPackage, describe_file
from rtsep.spec import ModelError

EXTERNAL = "external"
"""The architecture of a model that is known by its graph only."""

STEPS = 48
"""Steps of each check."""

LEVELS = (0.0, 0.1, 1.0, 0.001, 10.0, 0.0)
"""Signal levels that the steps run through: silence first and last, and more than full scale."""

_GRAPH = "model.onnx"
_DEFAULTS: dict[str, Any] = {
    "kind": "causal",
    "description": "",
    "architecture": EXTERNAL,
    "version": "1",
    "config": {},
}


def read_description(file: Path) -> dict[str, Any]:
    """The manifest that comes with a graph, TOML or JSON, without its files.

    Raises:
        ModelError: when the file cannot be read, or is neither.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: cannot be read: {error}") from None
    except ValueError as error:  # the base of both parsers' errors
        raise ModelError(f"{file}: is neither TOML nor JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: is no table of fields")
    return content


def convert(graph: Path, described: Path, folder: Path, source: str) -> ModelPackage:
    """Write a model folder around a graph, and check that the graph keeps the contract.

    Args:
        graph: the ONNX file, weights inside.
        described: its manifest, TOML or JSON, without `files`. What may be left out: `name`, `title`,
            `description`, `architecture`, `version`, `config`, `window` of a waveform model, and `state`,
            which is then taken from the graph.
        folder: an empty folder, named as the model.
        source: where the graph came from, for the manifest.

    Raises:
        ModelError: naming the first thing that is not as docs/models.md says.
    """
    content = _DEFAULTS | {"title": folder.name, "training": {}} | read_description(described)
    content["name"] = folder.name
    if not isinstance(content["training"], dict):
        raise ModelError(f"{described}: field 'training': must be a table")
    content["training"] = {"source": source} | content["training"]
    try:
        shutil.copyfile(graph, folder / _GRAPH)
    except OSError as error:
        raise ModelError(f"{graph}: cannot be read: {error.strerror}") from None
    content.setdefault("state", _state_of(folder / _GRAPH, graph))
    content["files"] = Files(onnx=describe_file(folder, _GRAPH)).model_dump()
    parse(Manifest, content, described).write(folder / MANIFEST_NAME)
    package = ModelPackage.read(folder)
    try:
        check(package)
    except ModelError as error:
        # The copy is about to go: name the file that stays.
        raise ModelError(str(error).replace(str(package.onnx), str(graph))) from None
    return package


def check(package: ModelPackage) -> None:
    """Run a graph and see that it keeps the contract of docs/models.md.

    Names, types and shapes are as the manifest says; outputs are finite for silence, music and too loud
    noise, and so is the state; a run can be repeated after a reset, bit by bit; and the state that the graph
    gives is all that it needs to go on.

    Raises:
        ModelError: naming the first thing that is not so.
    """
    backend = OnnxBackend(package)
    signal = _signal(package.manifest.input_shape)
    first = _run(backend, signal, package)
    backend.reset()
    again = _run(backend, signal, package)
    backend.close()
    if not np.array_equal(first, again):
        step = int(np.argmax((first != again).reshape(len(first), -1).any(axis=1)))
        raise ModelError(
            f"{package.onnx}: is not the same after a reset: in step {step} equal input gives another output"
        )
    _check_state(package, signal, first)


def _signal(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Input of every step, (steps, *shape)."""
    noise = np.random.default_rng(0).standard_normal((STEPS, *shape)).astype(np.float32)
    per_level = STEPS // len(LEVELS)
    for step in range(STEPS):
        noise[step] *= LEVELS[min(step // per_level, len(LEVELS) - 1)]
    return noise


def _run(backend: OnnxBackend, signal: NDArray[np.float32], package: ModelPackage) -> NDArray[np.float32]:
    outputs = []
    for step, x in enumerate(signal):
        backend.inputs[...] = x
        backend.run()
        if not np.isfinite(backend.outputs).all():
            raise ModelError(
                f"{package.onnx}: gives numbers that are not finite in step {step}, "
                f"whose input has level {np.abs(x).max():.2g}"
            )
        outputs.append(backend.outputs.copy())
    return np.stack(outputs)


def _check_state(package: ModelPackage, signal: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """Carry the state by hand through a session of its own: the stream's outputs must come again."""
    session = ort.InferenceSession(str(package.onnx), session_options(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in package.manifest.state]
    outputs = ["output", *(f"next.{name}" for name in names)]
    state = {f"state.{entry.name}": np.zeros(entry.shape, np.float32) for entry in package.manifest.state}
    for step, x in enumerate(signal):
        output, *after = session.run(outputs, {"input": x} | state)
        for name, value in zip(names, after, strict=True):
            if not np.isfinite(value).all():
                raise ModelError(f"{package.onnx}: state '{name}' is not finite after step {step}")
        scale = max(1.0, float(np.abs(wanted[step]).max()))
        if np.abs(output - wanted[step]).max() > 1e-4 * scale:
            raise ModelError(
                f"{package.onnx}: goes on differently in step {step} when its state is carried from 'next.' "
                "to 'state.' by hand: not all of its state is there"
            )
        state = {f"state.{name}": value for name, value in zip(names, after, strict=True)}


def _state_of(copy: Path, graph: Path) -> list[dict[str, Any]]:
    """The state as the graph's inputs show it, in their order."""
    try:
        session = ort.InferenceSession(str(copy), session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class but this
        reason = str(error).strip().partition("\n")[0].replace(str(copy), str(graph))
        raise ModelError(f"{graph}: cannot be loaded: {reason}") from None
    state = []
    for node in session.get_inputs():
        if node.name.startswith("state."):
            if not all(isinstance(size, int) for size in node.shape):
                raise ModelError(f"{graph}: input '{node.name}' has no fixed shape: {node.shape}")
            state.append({"name": node.name.removeprefix("state."), "shape": node.shape})
    return state
