"""Several streams in one step: each is what it would be alone, whatever plays beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.backends.base import Backend
from rtsep.backends.onnx import OnnxBackend
from rtsep.backends.open import open_backend
from rtsep.importing.streaming_onnx import convert
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError
from tests import graphs
from tests.models import ARCHITECTURES, IMPORTED, STEPPED, build_tiny_model

BACKENDS = ("onnx", "torch")
STEPS = 7


def play(backend: Backend, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """(steps, batch, ...) in, the same out."""
    outputs = []
    for x in signal:
        backend.inputs[...] = x
        backend.run()
        outputs.append(backend.outputs.copy())
    return np.stack(outputs)


def noise(package: ModelPackage, batch: int, seed: int = 0) -> NDArray[np.float32]:
    shape = (STEPS, batch, *package.manifest.input_shape[1:])
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("architecture", "name"), (*STEPPED, *((imported, name) for imported in IMPORTED for name in BACKENDS))
)
def test_every_row_is_what_it_would_be_alone(architecture: str, name: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    signal = noise(package, 2)
    both = open_backend(package, name, batch=2)
    assert both.batch == 2
    assert both.inputs.flags.c_contiguous and both.outputs.flags.c_contiguous
    found = play(both, signal)
    for row in range(2):
        alone = play(open_backend(package, name), signal[:, row : row + 1])
        np.testing.assert_allclose(found[:, row], alone[:, 0], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(("architecture", "name"), STEPPED)
@pytest.mark.parametrize("other", [0.0, 100.0, np.nan], ids=["silence", "too loud", "no numbers"])
def test_what_is_in_one_row_never_reaches_another(
    architecture: str, name: str, other: float, tmp_path: Path
) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    signal = noise(package, 2)
    expected = play(open_backend(package, name, batch=2), signal)
    signal[:, 1] *= np.float32(other)
    found = play(open_backend(package, name, batch=2), signal)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=0.0, atol=1e-5)
    assert not np.array_equal(found[:, 1], expected[:, 1])


@pytest.mark.parametrize(("architecture", "name"), STEPPED)
@pytest.mark.parametrize("steps", [2, 3])
def test_one_row_is_reset_and_the_other_goes_on(
    architecture: str, name: str, steps: int, tmp_path: Path
) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    signal = noise(package, 2)
    expected = play(open_backend(package, name, batch=2), np.concatenate([signal[:steps], signal]))[steps:]
    fresh = play(open_backend(package, name), signal[:, 1:])
    backend = open_backend(package, name, batch=2)
    spoilt = signal[:steps].copy()
    spoilt[:, 1] = np.nan
    play(backend, spoilt)
    backend.reset(1)
    found = play(backend, signal)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=0.0, atol=1e-5)
    np.testing.assert_allclose(found[:, 1], fresh[:, 0], rtol=0.0, atol=1e-5)


def test_one_run_serves_all_rows_of_our_own_graphs(tmp_path: Path) -> None:
    for architecture in ARCHITECTURES:
        package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
        assert OnnxBackend(package, batch=3).runs == 1


def test_a_graph_of_a_fixed_batch_is_run_once_a_row(tmp_path: Path) -> None:
    """As somebody else may have exported it: each row still has a state of its own."""
    folder = tmp_path / "echo"
    folder.mkdir()
    package = convert(*graphs.write(tmp_path), folder, "a test")
    signal = noise(package, 2)
    backend = OnnxBackend(package, batch=2)
    assert backend.runs == 2
    found = play(backend, signal)
    for row in range(2):
        assert np.array_equal(found[:, row], play(OnnxBackend(package), signal[:, row : row + 1])[:, 0])
    backend.reset(0)
    again = play(backend, signal[:1])
    assert np.array_equal(again[0, 0], found[0, 0])
    voice = 0.5 * (signal[0, 1] + signal[-1, 1])
    np.testing.assert_allclose(again[0, 1, 0], voice, atol=1e-6, err_msg="the other row has its past")


def test_no_streams_are_refused(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    with pytest.raises(BackendError, match="at least one stream, not 0"):
        open_backend(package, batch=0)
