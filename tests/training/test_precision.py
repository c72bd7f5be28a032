"""Variants in other precisions: smaller, interchangeable, close to the original, whole or not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import rtsep
from rtsep.backends.onnx import OnnxBackend
from rtsep.separators.registry import ModelPackage
from rtsep.spec import ModelError, UsageError
from rtsep.training.precision import PRECISIONS, Precision, compare, convert
from tests.models import ARCHITECTURES, build_tiny_model

CLOSE_DB = {"float32": -140.0, "float16": -55.0, "int8": -25.0}
"""What rounding of this kind may cost at most, far above what it does."""


def original(root: Path, architecture: str = "causal-lstm") -> ModelPackage:
    return ModelPackage.read(build_tiny_model(root, architecture))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_variant_is_close_and_takes_the_originals_place(precision: Precision, tmp_path: Path) -> None:
    model = original(tmp_path)
    variant = convert(model, tmp_path / "models", "variant", precision)
    variant.verify()
    found = compare(variant, model, hops=64)
    assert found.difference_db < CLOSE_DB[precision]
    assert (found.difference_db > -140.0) == (precision != "float32"), "nothing was rounded"
    assert variant.manifest.spec == model.manifest.spec and variant.manifest.state == model.manifest.state
    assert variant.manifest.training["precision"] == precision
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["variant"]
    audio = (0.1 * np.random.default_rng(0).standard_normal((2, 9000))).astype(np.float32)
    with rtsep.load(variant.root) as separator:
        stems = separator.separate(audio, model.manifest.sample_rate)
    # The masks' softmax stays in single precision: the stems still sum to the mixture.
    assert np.abs(sum(stems.values()) - audio).max() < 1e-5


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_large_weights_are_rounded_and_nothing_else_is(precision: Precision, tmp_path: Path) -> None:
    model = original(tmp_path)
    variant = convert(model, tmp_path / "models", "variant", precision)
    assert variant.manifest.files.onnx.bytes < model.manifest.files.onnx.bytes
    graph = onnx.load(str(variant.onnx)).graph
    kind = {"float16": TensorProto.FLOAT16, "int8": TensorProto.INT8}[precision]
    rounded = [t for t in graph.initializer if t.data_type == kind and np.prod(t.dims) >= 1024]
    left = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) >= 1024]
    assert len(rounded) >= 4 and not left
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT, f"{value.name} is not float32"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_half_precision_of_every_architecture(architecture: str, tmp_path: Path) -> None:
    model = original(tmp_path, architecture)
    try:
        variant = convert(model, tmp_path / "models", "variant", "float16")
    except ModelError as error:
        # So small that no layer is worth it; the other one is.
        assert architecture != "causal-lstm" and "could make smaller" in str(error)
        assert not list((tmp_path / "models").iterdir())
        return
    assert compare(variant, model, hops=32).difference_db < CLOSE_DB["float16"]


def test_silence_stays_silent_in_every_precision(tmp_path: Path) -> None:
    model = original(tmp_path)
    for precision in PRECISIONS:
        backend = OnnxBackend(convert(model, tmp_path / "models", precision, precision))
        backend.run()
        assert not backend.outputs.any()
        backend.close()


def test_scores_do_not_outlive_a_rounding(tmp_path: Path) -> None:
    model = original(tmp_path)
    scored = dataclasses.replace(
        model, manifest=model.manifest.model_copy(update={"scores": {"vocals_sdr": 5.0}})
    )
    models = tmp_path / "models"
    assert convert(scored, models, "same", "float32").manifest.scores == {"vocals_sdr": 5.0}
    assert convert(scored, models, "half", "float16").manifest.scores == {}


def test_a_model_is_replaced_only_when_told(tmp_path: Path) -> None:
    model, models = original(tmp_path), tmp_path / "models"
    convert(model, models, "variant", "float16")
    with pytest.raises(ModelError, match="there is a model already"):
        convert(model, models, "variant", "int8")
    assert ModelPackage.read(models / "variant").manifest.training["precision"] == "float16"
    convert(model, models, "variant", "int8", overwrite=True)
    assert ModelPackage.read(models / "variant").manifest.training["precision"] == "int8"
    assert [path.name for path in models.iterdir()] == ["variant"]


def test_a_model_never_replaces_itself(tmp_path: Path) -> None:
    model = original(tmp_path)
    with pytest.raises(UsageError, match="is the model itself"):
        convert(model, model.root.parent, model.root.name, "int8", overwrite=True)
    model.verify()


def test_an_unknown_precision_and_a_damaged_model(tmp_path: Path) -> None:
    model = original(tmp_path)
    with pytest.raises(UsageError, match="unknown precision 'int4'; there are: float32, float16, int8"):
        convert(model, tmp_path / "models", "variant", "int4")  # type: ignore[arg-type]
    model.onnx.write_bytes(b"half a graph")
    with pytest.raises(ModelError, match="bytes long, the manifest says"):
        convert(model, tmp_path / "models", "variant", "int8")
    assert not (tmp_path / "models").exists()
