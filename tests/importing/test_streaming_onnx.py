"""A graph keeps the contract of docs/models.md, or it is said in one line where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from rtsep.backends.onnx import BATCH, OnnxBackend
from rtsep.backends.stream import open_stream
from rtsep.engine.offline import separate_array
from rtsep.importing.streaming_onnx import convert
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError, ModelError
from tests.graphs import MANIFEST, Change, rename, replace, write
from tests.models import ARCHITECTURES, build_tiny_model


def made(graph: Path, described: Path, name: str = "echo") -> ModelPackage:
    folder = graph.parent / "models" / name
    folder.mkdir(parents=True)
    return convert(graph, described, folder, str(graph))


def test_a_graph_and_few_words_make_a_model(tmp_path: Path) -> None:
    package = made(*write(tmp_path))
    manifest = package.manifest
    assert manifest.stems == ("voice", "rest") and manifest.licence == "CC0-1.0"
    assert [(entry.name, entry.shape) for entry in manifest.state] == [("last", (1, 2, 64))]
    package.verify()
    mix = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    with open_stream(package) as stream:
        stems = separate_array(stream, mix)
    before = np.pad(mix, ((0, 0), (64, 0)))[:, :1000]
    np.testing.assert_allclose(stems[0], 0.5 * (mix + before), atol=1e-6)
    np.testing.assert_allclose(stems.sum(axis=0), mix, atol=1e-6)


def test_torch_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises((ModelError, BackendError), match="external"):
        open_stream(made(*write(tmp_path)), backend="torch")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_graphs_of_our_own_keep_the_contract(architecture: str, tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, architecture)
    content = json.loads((root / "manifest.json").read_text())
    del content["files"], content["state"]
    (tmp_path / "said.json").write_text(json.dumps(content))
    target = tmp_path / "again"
    target.mkdir()
    package = convert(root / "model.onnx", tmp_path / "said.json", target, "")
    assert package.manifest.state == ModelPackage.read(root).manifest.state


RANDOM = helper.make_node("RandomNormal", [], ["half1"], shape=[1, 2, 64], dtype=1)
NAN = [
    helper.make_node("Div", ["input", "input"], ["one"]),
    helper.make_node("Mul", ["one", "sum"], ["voice"]),
]
OVERFLOW = [
    helper.make_node("Exp", ["input"], ["e1"]),
    helper.make_node("Exp", ["e1"], ["e2"]),
    helper.make_node("Mul", ["e2", "input"], ["next.last"]),
]


@pytest.mark.parametrize(
    "change,complaint",
    [
        (rename("input", "x"), "has no input 'input'"),
        (rename("output", "stems"), "has no output 'output'"),
        (rename("next.last", "next.first"), "has no output 'next.last'"),
        (rename("state.last", "last"), "has an input 'last' that the manifest does not name"),
        (
            replace(1, RANDOM, helper.make_node("Mul", ["sum", "half1"], ["voice"])),
            "not the same after a reset",
        ),
        (replace(1, *NAN), "not finite in step 0, whose input has level 0"),
        (replace(6, *OVERFLOW), "not finite"),
    ],
    ids=["input", "output", "next", "state", "random", "silence", "loud"],
)
def test_what_breaks_the_contract_is_named(change: Change, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        made(*write(tmp_path, change))
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(tmp_path / "echo.onnx")), message


@pytest.mark.parametrize(
    "old,new,complaint",
    [
        ('"rest"]', '"rest", "third"]', r"output 'output' is .*\[1, 2, 2, 64\], .* \[1, 3, 2, 64\]"),
        ("channels = 2", "channels = 1", r"input 'input' is .*\[1, 2, 64\], .* \[1, 1, 64\]"),
        ("hop = 64", "hop = 32", r"input 'input' is .*\[1, 2, 64\], .* \[1, 2, 32\]"),
        ("hop = 64", "", r"echo\.toml: field 'hop'"),
        ("licence =", "license =", r"echo\.toml: field 'licence'"),
        ("delay = 0", 'delay = 0\nkind = "offline"', r"echo\.toml: field 'kind'"),
        ("delay = 0", 'delay = 0\ntraining = "abc"', r"echo\.toml: field 'training': must be a table"),
        ('"waveform"', '"spectrum"', "a spectrum model needs its window"),
        ("delay = 0", "delay = ", r"echo\.toml: is neither TOML nor JSON"),
        (
            "delay = 0",
            'delay = 0\nstate = [{name = "last", shape = [1, 2, 32]}]',
            r"input 'state\.last' is .*\[1, 2, 64\], .* \[1, 2, 32\]",
        ),
    ],
)
def test_a_manifest_of_another_graph_is_refused(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    assert old in MANIFEST
    with pytest.raises(ModelError, match=complaint) as caught:
        made(*write(tmp_path, manifest=MANIFEST.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    graph, described = write(tmp_path)
    graph.write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"echo\.onnx: cannot be loaded") as caught:
        made(graph, described)
    assert "\n" not in str(caught.value)


def test_a_graph_with_a_free_batch_axis_serves_several_decks_in_one_run(tmp_path: Path) -> None:
    def free(model: onnx.ModelProto) -> None:
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH

    package = made(*write(tmp_path, free))
    assert [entry.shape for entry in package.manifest.state] == [(1, 2, 64)]
    backend = OnnxBackend(package, batch=2)
    assert backend.runs == 1
    backend.inputs[0], backend.inputs[1] = 1.0, -0.5
    for _ in range(2):
        backend.run()
    assert np.all(backend.outputs[0, 0] == 1.0) and np.all(backend.outputs[1, 0] == -0.5)
