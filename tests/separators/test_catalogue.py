"""Networks are rebuilt from a folder exactly, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rtsep.separators.catalogue import architectures, build, load_weights
from rtsep.separators.registry import ModelPackage, describe_file
from rtsep.spec import ModelError
from tests.models import ARCHITECTURES, IMPORTED, build_tiny_model, build_tiny_network


def edit(root: Path, **changes: Any) -> ModelPackage:
    """Change the manifest of a model, and make its checksums true again."""
    path = root / "manifest.json"
    content = json.loads(path.read_text())
    for which, entry in content["files"].items():
        content["files"][which] = describe_file(root, entry["path"]).model_dump()
    path.write_text(json.dumps(content | changes))
    package = ModelPackage.read(root)
    package.verify()
    return package


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
def test_weights_survive_the_folder(architecture: str, tmp_path: Path) -> None:
    network = build_tiny_network(architecture)
    loaded = load_weights(ModelPackage.read(build_tiny_model(tmp_path, architecture)))
    assert type(loaded) is type(network) and loaded.architecture == architecture
    assert loaded.spec == network.spec and not loaded.training
    wanted = network.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())


def test_every_architecture_builds_with_its_defaults() -> None:
    assert architectures() == sorted((*ARCHITECTURES, *IMPORTED))
    for name in architectures():
        network = build(name, {})
        assert network.architecture == name and network.spec.sample_rate == 44100
        if name in ARCHITECTURES:
            assert network.spec.stems == ("vocals", "drums", "bass", "other")


def test_what_does_not_exist_is_said() -> None:
    with pytest.raises(
        ModelError,
        match="no architecture is called 'oracle'; there are: band-split, cadenza-tasnet, causal-lstm",
    ):
        build("oracle", {})
    with pytest.raises(ModelError, match="conv-tasnet: config field 'magic'"):
        build("conv-tasnet", {"magic": 1})
    with pytest.raises(ModelError, match="causal-lstm: config field 'width'"):
        build("causal-lstm", {"width": "wide"})


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, "conv-tasnet")
    config = json.loads((root / "manifest.json").read_text())["config"]
    with pytest.raises(
        ModelError, match=r"weights.safetensors: 'encoder.weight' is .*\[24, 32\].*\[25, 32\]"
    ):
        load_weights(edit(root, config=config | {"filters": 25}))


def test_missing_and_unknown_weights_are_named(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, "conv-tasnet")
    weights = load_file(root / "weights.safetensors")
    extra = weights | {"ghost": torch.zeros(1)}
    save_file(extra, root / "weights.safetensors")
    with pytest.raises(ModelError, match="has 'ghost', which the network does not know"):
        load_weights(edit(root))
    del weights["decoder.weight"]
    save_file(weights, root / "weights.safetensors")
    with pytest.raises(ModelError, match=r"has no 'decoder.weight', which the network needs"):
        load_weights(edit(root))
    double = {name: value.double() for name, value in extra.items()}
    save_file(double, root / "weights.safetensors")
    with pytest.raises(ModelError, match="is torch.float64"):
        load_weights(edit(root))


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    (root / "weights.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ModelError, match="weights.safetensors: cannot be loaded") as caught:
        load_weights(edit(root))
    assert "\n" not in str(caught.value)


def test_a_manifest_that_contradicts_its_config_is_refused(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, "conv-tasnet")
    with pytest.raises(ModelError, match="the manifest says waveform"):
        load_weights(edit(root, hop=128))
    with pytest.raises(ModelError, match="the manifest's state is not that of its config"):
        load_weights(edit(root, hop=64, state=[]))
