"""The torch backend keeps the same contract as the ONNX one; on a GPU as well, where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.backends.torch import TorchBackend
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError, ModelError
from tests.backends.steadiness import assert_keeps_nothing
from tests.models import ARCHITECTURES, build_tiny_model, build_tiny_network

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("device", DEVICES)
def test_steps_follow_the_network_at_fixed_addresses(architecture: str, device: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    network, backend = build_tiny_network(architecture), TorchBackend(package, device)
    places = backend.inputs.ctypes.data, backend.outputs.ctypes.data
    for array, shape in (
        (backend.inputs, package.manifest.input_shape),
        (backend.outputs, package.manifest.output_shape),
    ):
        assert array.dtype == np.float32 and array.shape == shape and array.flags.c_contiguous
    state = network.init_state(1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(9):
        x = torch.randn(package.manifest.input_shape, generator=generator)
        backend.inputs[...] = x.numpy()
        backend.run()
        with torch.no_grad():
            expected, state = network.step(x, state)
        np.testing.assert_allclose(backend.outputs, expected, rtol=0.0, atol=1e-4)
        assert (backend.inputs.ctypes.data, backend.outputs.ctypes.data) == places


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("device", DEVICES)
def test_reset_equals_fresh(architecture: str, device: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    generator = np.random.default_rng(0)
    signal = generator.standard_normal((6, *package.manifest.input_shape)).astype(np.float32)
    used, fresh = TorchBackend(package, device), TorchBackend(package, device)
    for _ in range(3):
        used.inputs[...] = 3.0
        used.run()
    used.reset()
    for x in signal:
        for backend in (used, fresh):
            backend.inputs[...] = x
            backend.run()
        assert np.array_equal(used.outputs, fresh.outputs)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_keep_no_python_memory(architecture: str, tmp_path: Path) -> None:
    backend = TorchBackend(ModelPackage.read(build_tiny_model(tmp_path, architecture)))
    backend.inputs[...] = 0.1
    # Eager torch makes Python objects for the tensors inside a step; none may stay.
    assert_keeps_nothing(backend.run)


def test_nothing_is_tracked_for_gradients(tmp_path: Path) -> None:
    backend = TorchBackend(ModelPackage.read(build_tiny_model(tmp_path)))
    backend.run()
    assert not any(tensor.requires_grad for tensor in backend._step._state.values())
    assert not any(parameter.requires_grad for parameter in backend._step._network.parameters())


def test_buffers_outlive_the_backend(tmp_path: Path) -> None:
    backend = TorchBackend(ModelPackage.read(build_tiny_model(tmp_path)))
    backend.inputs[...] = 0.3
    backend.run()
    outputs, kept = backend.outputs, backend.outputs.copy()
    backend.close()
    del backend
    assert np.array_equal(outputs, kept)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_missing_gpu_is_an_error_and_not_a_fallback(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    with pytest.raises(BackendError, match="torch finds no CUDA device here"):
        TorchBackend(package, device="cuda")


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    (root / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"weights\.safetensors: cannot be loaded"):
        TorchBackend(ModelPackage.read(root))
