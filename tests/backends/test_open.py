"""What cannot be opened is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rtsep.backends.open import open_backend
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError
from tests.models import build_tiny_model


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_each_backend_opens_by_its_name(backend: str, tmp_path: Path) -> None:
    opened = open_backend(ModelPackage.read(build_tiny_model(tmp_path)), backend)
    assert (opened.name, opened.device) == (backend, "cpu")
    opened.run()
    opened.close()


@pytest.mark.parametrize(
    "arguments,complaint",
    [
        ({"backend": "tea"}, "unknown backend 'tea'; there are: onnx, torch"),
        ({"device": "toaster"}, "unknown device 'toaster'; there are: cpu, cuda"),
        ({"backend": "torch", "device": "mps"}, "unknown device 'mps'"),
        ({"threads": 0}, "at least one thread, not 0"),
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
