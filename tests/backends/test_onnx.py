"""The ONNX backend: bound buffers, a state that is really carried, and graphs that must fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from rtsep.backends import onnx as onnx_backend
from rtsep.backends.onnx import OnnxBackend, OnnxStep
from rtsep.separators.registry import ModelPackage, describe_file
from rtsep.spec import BackendError, ModelError
from tests.models import ARCHITECTURES, build_tiny_model, build_tiny_network


def edited(root: Path, **changes: Any) -> ModelPackage:
    """The model with its manifest changed, and the checksums made true again."""
    path = root / "manifest.json"
    content = json.loads(path.read_text()) | changes
    content["files"]["onnx"] = describe_file(root, "model.onnx").model_dump()
    path.write_text(json.dumps(content))
    package = ModelPackage.read(root)
    package.verify()
    return package


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_follow_the_network(architecture: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    network, backend = build_tiny_network(architecture), OnnxBackend(package)
    state = network.init_state(1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(9):
        x = torch.randn(package.manifest.input_shape, generator=generator)
        backend.inputs[...] = x.numpy()
        backend.run()
        with torch.no_grad():
            expected, state = network.step(x, state)
        np.testing.assert_allclose(backend.outputs, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_buffers_keep_their_place_and_their_contract(architecture: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    backend = OnnxBackend(package)
    places = backend.inputs.ctypes.data, backend.outputs.ctypes.data
    for array, shape in (
        (backend.inputs, package.manifest.input_shape),
        (backend.outputs, package.manifest.output_shape),
    ):
        assert array.dtype == np.float32 and array.shape == shape and array.flags.c_contiguous
    outputs = []
    for _ in range(6):
        backend.inputs.fill(0.5)
        backend.run()
        outputs.append(backend.outputs.copy())
        assert (backend.inputs.ctypes.data, backend.outputs.ctypes.data) == places
        assert np.all(backend.inputs == 0.5)
    # The same input gives something else every time: both sets of state are used. (Two steps apart:
    # a network may run in two phases that know nothing of each other.)
    for earlier, later in zip(outputs, outputs[2:], strict=False):
        assert np.abs(earlier - later).max() > 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_reset_equals_fresh(architecture: str, steps: int, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    generator = np.random.default_rng(0)
    signal = generator.standard_normal((6, *package.manifest.input_shape)).astype(np.float32)

    def play(backend: OnnxBackend) -> list[np.ndarray]:
        outputs = []
        for x in signal:
            backend.inputs[...] = x
            backend.run()
            outputs.append(backend.outputs.copy())
        return outputs

    used = OnnxBackend(package)
    for _ in range(steps):
        used.inputs[...] = 3.0
        used.run()
    used.reset()
    assert np.array_equal(play(used), play(OnnxBackend(package)))


def test_two_backends_share_nothing(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    one, other = OnnxBackend(package), OnnxBackend(package)
    for backend in (one, other):
        backend.inputs[...] = 0.3
    for _ in range(5):
        one.run()
    other.run()
    assert not np.array_equal(one.outputs, other.outputs)
    one.reset()
    one.run()
    assert np.array_equal(one.outputs, other.outputs)


def test_threads_change_nothing_but_time(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "conv-tasnet"))
    one, two = OnnxBackend(package, threads=1), OnnxBackend(package, threads=2)
    for backend in (one, two):
        backend.inputs[...] = 0.3
        for _ in range(3):
            backend.run()
    np.testing.assert_allclose(one.outputs, two.outputs, atol=1e-6)


def test_buffers_outlive_the_backend(tmp_path: Path) -> None:
    backend = OnnxBackend(ModelPackage.read(build_tiny_model(tmp_path)))
    backend.inputs[...] = 0.3
    backend.run()
    kept = backend.outputs.copy()
    outputs = backend.outputs
    backend.close()
    del backend
    assert np.array_equal(outputs, kept)


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="has the provider")
def test_a_missing_provider_is_an_error_and_not_a_fallback(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    with pytest.raises(BackendError, match="no CUDAExecutionProvider here"):
        OnnxBackend(package, device="cuda")


def test_a_provider_that_does_not_start_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a build with CUDA does on a machine without its libraries: it lists the provider, fails to
    # load it, and goes on with the CPU.
    session = ort.InferenceSession
    monkeypatch.setattr(
        ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnx_backend.ort,
        "InferenceSession",
        lambda *a, providers: session(*a, providers=["CPUExecutionProvider"]),
    )
    package = ModelPackage.read(build_tiny_model(tmp_path))
    with pytest.raises(BackendError, match="CUDAExecutionProvider did not start"):
        OnnxBackend(package, device="cuda")


@pytest.mark.parametrize("content", [b"", b"not a graph", None])
def test_what_is_no_graph_is_refused(content: bytes | None, tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    file = root / "model.onnx"
    file.write_bytes(file.read_bytes()[:-2000] if content is None else content or b"\0")
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be loaded: ") as caught:
        OnnxBackend(edited(root))
    assert "\n" not in str(caught.value)


def test_a_graph_must_have_the_manifests_state(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    state = json.loads((root / "manifest.json").read_text())["state"]
    renamed = [state[0] | {"name": "memory"}, *state[1:]]
    with pytest.raises(ModelError, match=r"has no input 'state\.memory', though the manifest names it"):
        OnnxBackend(edited(root, state=renamed))
    with pytest.raises(ModelError, match=r"has an input 'state\.h' that the manifest does not name"):
        OnnxBackend(edited(root, state=state[1:]))
    resized = [state[0] | {"shape": [2, 1, 17]}, *state[1:]]
    with pytest.raises(
        ModelError,
        match=r"input 'state\.h' is tensor\(float\) \[2, 1, 16\], the manifest says float \[2, 1, 17\]",
    ):
        OnnxBackend(edited(root, state=resized))


def test_a_graph_must_have_the_manifests_stream(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, "conv-tasnet")
    with pytest.raises(
        ModelError,
        match=r"input 'input' is tensor\(float\) \[1, 2, 64\], the manifest says float \[1, 2, 128\]",
    ):
        OnnxBackend(edited(root, hop=128))
    with pytest.raises(ModelError, match=r"output 'output' is tensor\(float\) \[1, 4, 2, 64\]"):
        OnnxBackend(edited(root, hop=64, stems=["vocals", "rest"]))


def test_the_graph_of_another_model_is_refused(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    other = build_tiny_model(tmp_path, "conv-tasnet")
    (root / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"input 'input' is .* the manifest says"):
        OnnxBackend(edited(root))


# As on a GPU: buffers of the device between the arrays and the graph


def opened_staged(package: ModelPackage, device: str = "cpu") -> OnnxStep:
    manifest = package.manifest
    state = {entry.name: entry.shape for entry in manifest.state}
    return OnnxStep(package.onnx, manifest.input_shape, manifest.output_shape, state, device, staged=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_step_through_device_buffers_is_the_same(architecture: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    plain, staged = OnnxBackend(package), opened_staged(package)
    assert not staged.inputs.any() and not staged.outputs.any() and not staged.captured
    places = staged.inputs.ctypes.data, staged.outputs.ctypes.data
    generator = np.random.default_rng(0)
    for step in range(7):
        if step == 4:
            plain.reset()
            staged.reset()
        x = generator.standard_normal(plain.inputs.shape).astype(np.float32)
        for backend in (plain, staged):
            backend.inputs[...] = x
            backend.run()
            backend.keep_alive()
        assert np.array_equal(staged.outputs, plain.outputs)
    assert (staged.inputs.ctypes.data, staged.outputs.ctypes.data) == places


def test_the_copy_out_is_one_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever ways this version of the runtime has: one that raises or does nothing is not taken."""
    package = ModelPackage.read(build_tiny_model(tmp_path))
    monkeypatch.setattr(OnnxStep, "_fetch_by_copy", lambda self: None)
    monkeypatch.setattr(OnnxStep, "_fetch_by_update", raising)
    plain, staged = OnnxBackend(package), opened_staged(package)
    assert staged._fetch == staged._fetch_anyhow
    for backend in (plain, staged):
        backend.inputs[...] = 0.5
        backend.run()
    assert np.array_equal(staged.outputs, plain.outputs)


def raising(self: OnnxStep) -> None:
    raise RuntimeError("not with this provider")


def test_a_graph_that_cannot_be_captured_is_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    real = onnx_backend._open_session

    def refuse(graph: Path, device: str, threads: int, batch: int, capture: bool) -> ort.InferenceSession:
        asked.append(capture)
        if capture:
            raise onnx_backend._CannotCapture
        return real(graph, "cpu", threads, batch, False)

    monkeypatch.setattr(onnx_backend, "_open_session", refuse)
    monkeypatch.setattr(
        OnnxStep, "_place", lambda self, array: ort.OrtValue.ortvalue_from_numpy(array.copy())
    )
    staged = opened_staged(ModelPackage.read(build_tiny_model(tmp_path)), "cuda")
    assert asked == [True, False] and not staged.captured
    staged.run()


@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gpu_gives_what_the_cpu_gives(architecture: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    plain, there = OnnxBackend(package), OnnxBackend(package, "cuda")
    generator = np.random.default_rng(0)
    for _ in range(9):
        x = generator.standard_normal(plain.inputs.shape).astype(np.float32)
        for backend in (plain, there):
            backend.inputs[...] = x
            backend.run()
            backend.keep_alive()
        np.testing.assert_allclose(there.outputs, plain.outputs, rtol=0.0, atol=1e-3)
