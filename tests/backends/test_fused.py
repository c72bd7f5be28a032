"""Fused steps equal torch's at any size, and weights that do not fit are told."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from safetensors.numpy import load_file, save_file

from rtsep.backends import fused_arithmetic as arithmetic
from rtsep.backends import fused_band_split_layers as layers
from rtsep.backends.fused import FusedBackend
from rtsep.backends.open import FUSED
from rtsep.backends.stream import open_stream
from rtsep.separators.registry import ModelPackage, describe_file
from rtsep.spec import ModelError
from tests.equivalence.streaming import noise, run_in_blocks
from tests.models import build_tiny_model, build_tiny_network

SAMPLES = 3001


PRESENCE = {
    "logits": 3.0,
    "from_db": -18.0,
    "to_db": -10.0,
    "seconds": (0.01, 0.05),
    "low_hz": 300.0,
    "high_hz": 3000.0,
}
"""About the share that a stem has of untrained masks, so that it comes and goes."""
BAND_SPLIT: list[dict[str, Any]] = [
    {"group": 7, "features": 16, "memory": 8, "across": 4},  # groups and rows that fours divide
    {"group": 4, "features": 9, "memory": 7, "across": 5},  # and nothing that they do
    {"dilation": 1, "depth": 1},
    {"dilation": 4, "depth": 3},
    {"stereo": "left-right"},
    {"channels": 1},
    {"features": 4, "across": 20},
    {"group": 60},  # one group of all bands
    {"bandwidth": 9000.0, "wide_bands": 3},
    {"stems": ("vocals", "accompaniment")},
    {"level": -20.0, "level_seconds": 0.05},
    {"level": -30.0, "channels": 1, "dilation": 4},
    {"presence": PRESENCE},
    {"presence": PRESENCE, "level": -20.0, "level_seconds": 0.05, "dilation": 4},
    {"presence": PRESENCE | {"stem": "drums"}, "stereo": "left-right"},
    {"presence": PRESENCE, "channels": 1},
]
CONV_TASNET: list[dict[str, Any]] = [
    {"hop": 8},  # one frame a hop, the whole ring older than it
    {"hop": 40},  # a row more than four
    {"hop": 56, "window": 14},  # frames and samples that fours do not divide
    {"hop": 512, "window": 4},  # more frames a hop than a convolution looks back on
    {"channels": 1, "filters": 7, "bottleneck": 5, "hidden": 9, "skip": 3},
    {"channels": 3, "stems": ("vocals", "accompaniment")},
    {"kernel": 5, "blocks": 4, "repeats": 1},
    {"kernel": 2, "blocks": 1, "repeats": 1},
    {"norm_seconds": 1e-6},  # norms that forget every frame
    {"stems": ("a", "b"), "balance": ((1.5, -0.5), (-0.5, 1.5))},
]


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("band-split", config) for config in BAND_SPLIT] + [("conv-tasnet", config) for config in CONV_TASNET],
    ids=str,
)
def test_a_stream_equals_forward_at_any_size(
    architecture: str, config: dict[str, Any], tmp_path: Path
) -> None:
    mix = noise(int(config.get("channels", 2)), SAMPLES, seed=5)
    with torch.no_grad():
        expected = build_tiny_network(architecture, **config)(torch.from_numpy(mix)[None])[0].numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    with open_stream(build_tiny_model(tmp_path, architecture, **config), backend="fused") as stream:
        assert stream.backend.name == "fused"
        found = run_in_blocks(stream, mix, [SAMPLES])
        stream.reset()
        again = run_in_blocks(stream, mix, [SAMPLES])
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=2e-5)
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize("model", ["fast", "live", "studio", "convtasnet"])
def test_shipped_models_step_as_their_graphs_do(model: str) -> None:
    """Real weights, whose gates saturate and whose masks are hard; loud, faint and silent hops."""
    with open_stream(model, backend="onnx") as graph, open_stream(model, backend="fused") as fused:
        random = np.random.default_rng(3)
        hops = 12
        for level in (0.3, 1e-4, 0.0, 1.0):
            for stream in (graph, fused):
                stream.reset()
            for _ in range(hops):
                hop = level * random.standard_normal(graph.input.shape)
                for stream in (graph, fused):
                    stream.input[:] = hop
                    stream.step()
                np.testing.assert_allclose(fused.stems, graph.stems, rtol=0.0, atol=1e-5 * max(level, 1e-2))


def test_multiplications_are_those_of_every_matrix(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "band-split"))
    network = build_tiny_network("band-split")
    # Matrices of all groups together, once a group; those of a group's own are counted by their size.
    shared = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if name.startswith("blocks.") and parameter.dim() == 2
    )
    own = sum(
        network.get_parameter(name).numel() for name in ("encoder_weight", "decoder_weight", "mask_weight")
    )
    counted = FusedBackend(package).multiplications - network.groups * shared - own
    # What is left is the bands', a few products for each of the 257 bins.
    assert 0 < counted < 257 * 4 * 8


def test_multiplications_of_a_conv_tasnet_are_those_of_every_matrix(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "conv-tasnet"))
    network = build_tiny_network("conv-tasnet")
    weights = {name: value.numel() for name, value in network.named_parameters() if value.dim() == 2}
    a_frame = sum(weights.values()) + 3 * weights["decoder.weight"]  # which every stem goes through
    assert FusedBackend(package).multiplications == 8 * a_frame


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 5).map(lambda n: n * arithmetic.ROWS),
    inner=st.integers(1, 13),
    columns=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_products_are_numpys(rows: int, inner: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, weight, bias = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((rows, inner), (inner, columns), (columns,))
    )
    out = np.full((rows, columns), np.nan, np.float32)
    fewer = rows - seed % arithmetic.ROWS
    arithmetic.product_of_any(x[:fewer], weight, bias, out[:fewer])
    np.testing.assert_allclose(out[:fewer], x[:fewer] @ weight + bias, rtol=0.0, atol=1e-5)
    assert np.isnan(out[fewer:]).all()
    arithmetic.product(x, weight, bias, out)
    np.testing.assert_allclose(out, x @ weight + bias, rtol=0.0, atol=1e-5)
    row = bias.copy()
    arithmetic.add_row(x[0], weight, row)
    np.testing.assert_allclose(row, out[0], rtol=0.0, atol=1e-5)


@njit
def _over(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(x)):
        out[0, i] = arithmetic.exp(x[i])
        out[1, i] = arithmetic.tanh(x[i])
        out[2, i] = arithmetic.sigmoid(x[i])


@njit
def _logs(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(x)):
        out[i] = arithmetic.log(x[i])


def test_exponentials_and_logarithms_are_as_exact_as_float32() -> None:
    x = np.concatenate((np.linspace(-87, 88, 20001), np.linspace(-1.0, 1.0, 2001))).astype(np.float32)
    out = np.empty((3, len(x)), np.float32)
    _over(x, out)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(out[0], np.exp(exact), rtol=4e-7)
    np.testing.assert_allclose(out[1], np.tanh(exact), rtol=0.0, atol=3e-7)
    np.testing.assert_allclose(out[2], 1.0 / (1.0 + np.exp(-exact)), rtol=0.0, atol=2e-7)
    levels = np.geomspace(1e-8, 1e8, 20001).astype(np.float32)
    logs = np.empty_like(levels)
    _logs(levels, logs)
    np.testing.assert_allclose(logs, np.log(levels.astype(np.float64)), rtol=0.0, atol=2e-6)
    assert float(layers.QUIET) == pytest.approx(1e-8) and math.log(1e-8) < -18.0


def tampered(root: Path, change: Any) -> ModelPackage:
    """A model whose weights were changed, with a manifest that says they are right."""
    tensors = load_file(root / "weights.safetensors")
    content = json.loads((root / "manifest.json").read_text())
    change(tensors, content)
    save_file(tensors, root / "weights.safetensors")
    content["files"]["weights"] = describe_file(root, "weights.safetensors").model_dump()
    (root / "manifest.json").write_text(json.dumps(content))
    return ModelPackage.read(root)


@pytest.mark.parametrize(
    ("architecture", "change", "complaint"),
    [
        ("band-split", lambda tensors, _: tensors.pop("decoder_bias"), "has no tensor 'decoder_bias'"),
        (
            "band-split",
            lambda tensors, _: tensors.update(more=np.zeros(3, np.float32)),
            "has a tensor 'more'",
        ),
        ("band-split", lambda _, content: content["config"].pop("dilation"), "config lacks dilation"),
        (
            "band-split",
            lambda _, content: content["config"].update(wide_bands=19),
            "'encoder_weight' is not of the network",
        ),
        (
            "band-split",
            lambda _, content: content["config"].update(dilation=1),
            "'state' is not of the network",
        ),
        ("conv-tasnet", lambda _, content: content["config"].pop("window"), "config lacks window"),
        (
            "conv-tasnet",
            lambda _, content: content["config"].update(window=24),
            "'encoder.weight' is not of the network",
        ),
        ("conv-tasnet", lambda _, content: content["config"].update(repeats=3), "is not of the network"),
        ("conv-tasnet", lambda _, content: content["config"].update(repeats=1), "is not of the network"),
        (
            "conv-tasnet",
            lambda _, content: content["config"].update(blocks=2, repeats=3),
            "'state' is not of the network",
        ),
        (
            "conv-tasnet",
            lambda _, content: content["config"].update(balance=[[1.0]]),
            "'balance' is not of the network",
        ),
    ],
    ids=[
        "tensor missing",
        "tensor too many",
        "not configured",
        "other bands",
        "other phases",
        "no window",
        "other window",
        "more blocks",
        "fewer blocks",
        "other dilations",
        "other stems",
    ],
)
def test_weights_that_do_not_fit_are_said(
    architecture: str, change: Any, complaint: str, tmp_path: Path
) -> None:
    package = tampered(build_tiny_model(tmp_path, architecture), change)
    with pytest.raises(ModelError, match=complaint):
        FusedBackend(package)


def test_weights_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "band-split"))
    package.weights.write_bytes(b"not a file of tensors")
    with pytest.raises(ModelError, match=r"weights.safetensors: cannot be loaded"):
        FusedBackend(package)


@pytest.mark.parametrize("architecture", FUSED)
def test_any_tensor_of_another_size_is_said(architecture: str, tmp_path: Path) -> None:
    """The compiled layers check no index, so none may pass."""
    root = build_tiny_model(tmp_path, architecture)
    names = sorted(load_file(root / "weights.safetensors"))
    for name in names:
        for axis in range(load_file(root / "weights.safetensors")[name].ndim):

            def shorten(tensors: Any, _: Any, name: str = name, axis: int = axis) -> None:
                tensors[name] = np.ascontiguousarray(np.delete(tensors[name], -1, axis))

            copied = tmp_path / f"{name}-{axis}"
            shutil.copytree(root, copied)
            with pytest.raises(ModelError, match="is not of the network that the manifest describes"):
                FusedBackend(tampered(copied, shorten))
