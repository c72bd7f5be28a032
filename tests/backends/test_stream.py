"""The hop stream: one shape for all models, no allocation, a reset that is complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtsep.backends.stream import HopStream, open_stream
from rtsep.separators import registry
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError, ModelError
from tests.backends.steadiness import assert_makes_no_array
from tests.models import ARCHITECTURES, LONG_HOPS, STEPPED, build_tiny_model


def play(stream: HopStream, signal: np.ndarray) -> np.ndarray:
    """(hops, channels, hop) to (hops, stems, channels, hop)."""
    outputs = []
    for hop in signal:
        stream.input[:] = hop
        stream.step()
        outputs.append(stream.stems.copy())
    return np.stack(outputs)


@pytest.mark.parametrize(("architecture", "backend"), STEPPED)
def test_buffers_have_the_streams_shape_and_stay(architecture: str, backend: str, tmp_path: Path) -> None:
    with open_stream(build_tiny_model(tmp_path, architecture), backend=backend) as stream:
        spec = stream.spec
        assert spec == stream.package.spec
        assert stream.input.shape == (spec.channels, spec.hop) and stream.input.dtype == np.float32
        assert (
            stream.stems.shape == (len(spec.stems), spec.channels, spec.hop)
            and stream.stems.dtype == np.float32
        )
        # As opened: silent, warm-up forgotten.
        assert not stream.input.any() and not stream.stems.any()
        places = [stream.input.ctypes.data, stream.stems.ctypes.data]
        for _ in range(5):
            stream.input[:] = 0.25
            stream.step()
        assert stream.stems.any()
        assert [stream.input.ctypes.data, stream.stems.ctypes.data] == places


@pytest.mark.parametrize(("architecture", "backend"), STEPPED)
@pytest.mark.parametrize("before", [1, 4])
def test_reset_equals_fresh(architecture: str, backend: str, before: int, tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, architecture)
    with open_stream(root, backend=backend) as used, open_stream(root, backend=backend) as fresh:
        spec = used.spec
        signal = np.random.default_rng(0).standard_normal((12, spec.channels, spec.hop)).astype(np.float32)
        play(used, 5.0 * signal[:before])
        used.reset()
        assert not used.stems.any()
        assert np.array_equal(play(used, signal), play(fresh, signal))


@pytest.mark.parametrize(("architecture", "backend"), STEPPED)
def test_reset_heals_what_nan_did(architecture: str, backend: str, tmp_path: Path) -> None:
    with open_stream(build_tiny_model(tmp_path, architecture), backend=backend) as stream:
        spec = stream.spec
        signal = np.random.default_rng(0).standard_normal((12, spec.channels, spec.hop)).astype(np.float32)
        wanted = play(stream, signal)
        stream.input.fill(np.nan)
        stream.step()
        stream.step()
        assert np.isnan(stream.stems).any()
        stream.reset()
        assert np.array_equal(play(stream, signal), wanted)


@pytest.mark.parametrize(("architecture", "backend"), STEPPED)
def test_steps_allocate_nothing(architecture: str, backend: str, tmp_path: Path) -> None:
    with open_stream(
        build_tiny_model(tmp_path, architecture, **LONG_HOPS[architecture]), backend=backend
    ) as stream:
        stream.input[:] = 0.1
        smallest = min(stream.input.nbytes, stream.stems.nbytes)
        assert_makes_no_array(stream.step, smallest, times=200)
        assert_makes_no_array(stream.reset, smallest, times=200)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own account of memory")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_process_does_not_grow(architecture: str, tmp_path: Path) -> None:
    # What the runtime allocates by itself is invisible to Python: ask the system.
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with open_stream(build_tiny_model(tmp_path, architecture)) as stream:
        stream.input[:] = 0.1
        for _ in range(500):
            stream.step()
        before = resident()
        for _ in range(5000):
            stream.step()
        # A leak of one hop's stems a step would be more than ten megabytes.
        assert resident() - before < 2**20


def test_the_source_may_be_name_folder_or_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_tiny_model(tmp_path, name="mine")
    monkeypatch.setattr(registry, "search_path", lambda: [tmp_path])
    for source in ("mine", root, str(root), ModelPackage.read(root)):
        with open_stream(source) as stream:
            assert stream.package.root == root.resolve()


@pytest.mark.parametrize("file", ["model.onnx", "weights.safetensors"])
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_damaged_models_do_not_open(file: str, backend: str, tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    content = bytearray((root / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (root / file).write_bytes(content)
    with pytest.raises(ModelError, match=f"{file}: its SHA-256 is not the manifest's"):
        open_stream(root, backend=backend)
    (root / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=f"{file}: is {len(content) // 2} bytes long"):
        open_stream(root, backend=backend)


def test_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model is called 'no such thing'"):
        open_stream("no such thing")
    with pytest.raises(BackendError, match="unknown backend"):
        open_stream(build_tiny_model(tmp_path), backend="tea")


def test_the_onnx_path_never_imports_torch(tmp_path: Path) -> None:
    roots = [str(build_tiny_model(tmp_path, architecture)) for architecture in ARCHITECTURES]
    code = (
        "import sys; from rtsep.backends.stream import open_stream\n"
        f"for root in {roots!r}:\n"
        "    with open_stream(root) as stream: stream.step()\n"
        "    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * len(ARCHITECTURES)
    # Nothing to say to a terminal either.
    assert done.stderr == ""
