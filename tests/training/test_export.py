"""Exported folders are whole, checked, and say nothing of the machine they were made on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from rtsep.backends.onnx import BATCH
from rtsep.separators.manifest import MANIFEST_NAME
from rtsep.separators.network import CausalNetwork
from rtsep.separators.registry import ModelPackage, describe_file
from rtsep.spec import ModelError
from rtsep.training import export as exporting
from rtsep.training.export import OPSET, export, largest_difference, renew
from tests.models import ARCHITECTURES, build_tiny_model, build_tiny_network

ABOUT: dict[str, Any] = {"title": "T", "description": "D", "version": "1.2", "licence": "MIT"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_folder_is_complete(architecture: str, tmp_path: Path) -> None:
    network = build_tiny_network(architecture)
    package = export(
        network, tmp_path / "models", "mine", **ABOUT, scores={"vocals_sdr_db": 6.0}, training={"hours": 2}
    )
    package.verify()
    assert package.root == (tmp_path / "models" / "mine").resolve()
    # Nothing else: no scratch folder, no external data.
    assert [path.name for path in package.root.parent.iterdir()] == ["mine"]
    assert {path.name for path in package.root.iterdir()} == {
        "manifest.json",
        "model.onnx",
        "weights.safetensors",
    }
    manifest = package.manifest
    assert (manifest.name, manifest.title, manifest.version, manifest.licence) == ("mine", "T", "1.2", "MIT")
    assert manifest.scores == {"vocals_sdr_db": 6.0} and manifest.training == {"hours": 2}
    assert manifest.spec == network.spec and manifest.architecture == architecture
    state = network.init_state(1)
    assert [(entry.name, entry.shape) for entry in manifest.state] == [
        (k, tuple(v.shape)) for k, v in state.items()
    ]
    assert largest_difference(network, package) < 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_graph_has_named_state_one_free_axis_and_its_weights(architecture: str, tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, architecture)
    model = onnx.load(str(root / "model.onnx"), load_external_data=False)
    onnx.checker.check_model(model)
    names = list(build_tiny_network(architecture).init_state(1))
    assert [value.name for value in model.graph.input] == ["input", *(f"state.{name}" for name in names)]
    assert [value.name for value in model.graph.output] == ["output", *(f"next.{name}" for name in names)]
    for value in model.graph.input:
        free = [d.dim_param for d in value.type.tensor_type.shape.dim if not d.HasField("dim_value")]
        assert free == [BATCH], value.name
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_path_of_this_machine_gets_into_a_model(architecture: str, tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, architecture)
    repository = str(Path(exporting.__file__).parents[2]).encode()
    for file in root.iterdir():
        content = file.read_bytes()
        assert repository not in content and b"site-packages" not in content, file.name


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = build_tiny_network("causal-lstm").train()
    before = copy.deepcopy(network.state_dict())
    export(network, tmp_path, "mine", **ABOUT)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_model_that_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    network = build_tiny_network("causal-lstm")
    export(network, tmp_path, "mine", **ABOUT)
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(ModelError, match="there is a model already"):
        export(network, tmp_path, "mine", **ABOUT)
    assert (tmp_path / "mine" / "notes.txt").exists()
    package = export(network, tmp_path, "mine", **(ABOUT | {"version": "2"}), overwrite=True)
    assert package.manifest.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_a_graph_that_differs_is_not_exported(
    wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(network: CausalNetwork, path: Path) -> None:
        other = copy.deepcopy(network)
        with torch.no_grad():
            other.get_parameter("decoder.weight").add_(wrong)
        original(other, path)

    original = exporting.export_graph
    monkeypatch.setattr(exporting, "export_graph", spoiled)
    with pytest.raises(ModelError, match="the graph differs from the network by"):
        export(build_tiny_network("conv-tasnet"), tmp_path, "mine", **ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_tiny_network("causal-lstm")
    export(network, tmp_path, "mine", **ABOUT)

    def failing(network: CausalNetwork, path: Path) -> None:
        path.write_bytes(b"half a gra")
        raise OSError("disk full")

    monkeypatch.setattr(exporting, "export_graph", failing)
    with pytest.raises(ModelError, match="mine: cannot be written: disk full"):
        export(network, tmp_path, "mine", **ABOUT, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    ModelPackage.read(tmp_path / "mine").verify()


def test_state_that_does_not_start_at_zero_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_tiny_network("causal-lstm")
    zero = type(network).init_state
    monkeypatch.setattr(
        type(network), "init_state", lambda self, batch=1: {k: v + 1 for k, v in zero(self, batch).items()}
    )
    with pytest.raises(ModelError, match="state 'h' must be float32 and start at zero"):
        export(network, tmp_path, "mine", **ABOUT)


def test_a_graph_is_renewed_in_its_place(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "band-split"))
    (package.root / "README.md").write_text("its card")
    written = package.onnx.read_bytes()
    graph = onnx.load(package.onnx)
    graph.doc_string = "of an older version"
    onnx.save(graph, package.onnx)
    with pytest.raises(ModelError, match="the manifest says"):
        renew(package)
    entry = describe_file(package.root, "model.onnx")
    files = package.manifest.files.model_copy(update={"onnx": entry})
    package.manifest.model_copy(update={"files": files}).write(package.root / MANIFEST_NAME)
    renewed = renew(ModelPackage.read(package.root))
    renewed.verify()
    assert renewed.root == package.root and renewed.onnx.read_bytes() == written
    assert renewed.manifest.files.weights == package.manifest.files.weights
    assert (renewed.root / "README.md").read_text() == "its card"
    assert [path.name for path in tmp_path.iterdir()] == ["band-split"]
