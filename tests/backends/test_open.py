"""What cannot be opened is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rtsep.backends.open import open_backend, stepping
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError
from rtsep.training.precision import convert
from tests.models import build_tiny_model


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_each_backend_opens_by_its_name(backend: str, tmp_path: Path) -> None:
    opened = open_backend(ModelPackage.read(build_tiny_model(tmp_path)), backend)
    assert (opened.name, opened.device) == (backend, "cpu")
    opened.run()
    opened.close()


def test_auto_is_the_fused_step_where_there_is_one(tmp_path: Path) -> None:
    fused = ModelPackage.read(build_tiny_model(tmp_path, "band-split"))
    other = ModelPackage.read(build_tiny_model(tmp_path, "causal-lstm"))
    assert [open_backend(package).name for package in (fused, other)] == ["fused", "onnx"]
    assert stepping(fused, "cuda") == "onnx" and stepping(fused, precision="fp16") == "onnx"
    graph_only = fused.manifest.files.model_copy(update={"weights": None})  # type: ignore[union-attr]
    alone = ModelPackage(fused.manifest.model_copy(update={"files": graph_only}), fused.root)
    assert open_backend(alone).name == "onnx"


def test_a_variant_in_another_precision_is_its_graph(tmp_path: Path) -> None:
    original = ModelPackage.read(build_tiny_model(tmp_path, "band-split"))
    half = convert(original, tmp_path, "half", "float16")
    assert open_backend(half).name == "onnx"
    with pytest.raises(BackendError, match="the fused backend has no step for half"):
        open_backend(half, "fused")
    assert open_backend(convert(original, tmp_path, "whole", "float32")).name == "fused"


@pytest.mark.parametrize(
    "arguments,complaint",
    [
        ({"backend": "tea"}, "unknown backend 'tea'; there are: auto, fused, onnx, torch"),
        ({"device": "toaster"}, "unknown device 'toaster'; there are: cpu, cuda"),
        ({"backend": "torch", "device": "mps"}, "unknown device 'mps'"),
        ({"threads": 0}, "at least one thread, not 0"),
        ({"backend": "fused"}, r"no step for causal-lstm \(causal-lstm\); take onnx"),
        ({"backend": "fused", "device": "cuda"}, "the fused backend runs on the CPU, not on cuda"),
        ({"backend": "fused", "precision": "fp16"}, "the fused backend computes in fp32"),
    ],
)
def test_what_does_not_exist_is_said(arguments: dict[str, object], complaint: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    with pytest.raises(BackendError, match=complaint):
        open_backend(package, **arguments)  # type: ignore[arg-type]


def test_without_torch_only_its_backend_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    monkeypatch.delitem(sys.modules, "rtsep.backends.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match="the torch backend needs torch, which is not installed"):
        open_backend(package, "torch")
    open_backend(package, "onnx").run()
