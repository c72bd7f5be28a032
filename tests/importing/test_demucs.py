"""Files that the demucs package saves separate here as they do there, and none of them can run anything."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtsep.engine.separator import load
from rtsep.importing.add import Request, add
from rtsep.importing.demucs import convert
from rtsep.importing.published import PUBLISHED, Remote
from rtsep.separators.catalogue import load_offline
from rtsep.separators.demucs_package import DemucsPackage, DemucsPackageConfig, package_classes
from rtsep.separators.registry import OfflinePackage, find_any
from rtsep.spec import BackendError, ModelError
from tests import open_unmix  # noqa: F401  stands in for torchaudio, which demucs loads through openunmix
from tests.file_server import serve

ABOUT = {"title": "", "description": "", "version": "1", "licence": "MIT"}
SOURCES = ["drums", "bass", "other", "vocals"]
RATE = 8000
SMALL: dict[str, dict[str, Any]] = {
    "Demucs": {"channels": 4, "depth": 2, "norm_groups": 1, "dconv_attn": 9, "dconv_lstm": 9},
    "HDemucs": {"channels": 4, "depth": 5, "nfft": 1024, "norm_groups": 1, "dconv_attn": 9, "dconv_lstm": 9},
    "HTDemucs": {
        "channels": 8, "depth": 3, "nfft": 256, "t_layers": 1, "t_heads": 2, "bottom_channels": 8,
        "segment": Fraction(3, 10),
    },
}  # fmt: skip


def peer(model: str, sources: list[str] = SOURCES, seed: int = 3, **changes: Any) -> nn.Module:
    """A network with the random weights that the package itself makes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arguments = {"samplerate": RATE, "segment": 0.5} | SMALL[model] | changes
        return package_classes()[model](sources, **arguments).eval()  # type: ignore[call-arg]


def content_of(network: nn.Module, half: bool = False) -> dict[str, Any]:
    """What the package pickles."""
    from demucs.states import serialize_model
    from omegaconf import OmegaConf

    content: dict[str, Any] = serialize_model(network, OmegaConf.create({"epochs": 3}), half=half)
    return content


def saved(network: nn.Module, folder: Path, name: str = "0a1b2c3d", half: bool = False) -> Path:
    """As the package saves it, under a name with the first digits of its hash."""
    from demucs.states import save_with_checksum

    folder.mkdir(exist_ok=True)
    save_with_checksum(content_of(network, half), folder / f"{name}.th")
    (file,) = folder.glob(f"{name}-*.th")
    return file


def imported(files: list[Path], tmp_path: Path, **bag: Any) -> OfflinePackage:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    return convert(files, bag, folder, **ABOUT)


def song(samples: int) -> Tensor:
    return 0.2 * torch.randn(2, samples, generator=torch.Generator().manual_seed(1)) + 0.01


def by_the_package(model: nn.Module, mix: Tensor) -> Tensor:
    """As its command separates, without the random shift."""
    from demucs.apply import apply_model

    mono = mix.mean(dim=0)
    normal = (mix - mono.mean()) / mono.std()
    stems = apply_model(model, normal[None], shifts=0, split=True, overlap=0.25)[0]  # type: ignore[arg-type]
    return stems * mono.std() + mono.mean()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("model", sorted(SMALL))
def test_separates_as_the_package_does(model: str, half: bool, tmp_path: Path) -> None:
    network = peer(model)
    package = imported([saved(network, tmp_path / "theirs", half=half)], tmp_path)
    assert package.spec.stems == ("vocals", "drums", "bass", "other")
    if half:
        network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    mix = song(round(1.3 * RATE))
    with torch.no_grad():
        wanted = by_the_package(network, mix)[[3, 0, 1, 2]]
        found = load_offline(package)(mix)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with load(package.root) as separator:
        stems = separator.separate(mix.numpy(), RATE)
    np.testing.assert_allclose(np.stack(list(stems.values())), found.numpy(), atol=1e-5)


def test_a_bag_is_weighted_by_source(tmp_path: Path) -> None:
    from demucs.apply import BagOfModels

    networks = [peer("Demucs", seed=seed) for seed in (3, 4)]
    files = [saved(network, tmp_path / "theirs", f"a{k}") for k, network in enumerate(networks)]
    weights = [[1.0, 0.0, 1.0, 3.0], [0.0, 1.0, 1.0, 1.0]]
    package = imported(files, tmp_path, weights=weights, segment=0.4)
    mix = song(RATE)
    with torch.no_grad():
        wanted = by_the_package(BagOfModels(networks, weights, 0.4), mix)[[3, 0, 1, 2]]
        torch.testing.assert_close(load_offline(package)(mix), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 700, 5000])
def test_any_length_comes_back(samples: int, tmp_path: Path) -> None:
    network = load_offline(imported([saved(peer("HTDemucs"), tmp_path / "theirs")], tmp_path))
    for mix in (song(samples), torch.zeros(2, samples)):
        stems = network(mix)
        assert stems.shape == (4, 2, samples) and stems.isfinite().all()


def test_it_can_be_trained_further(tmp_path: Path) -> None:
    network = load_offline(imported([saved(peer("HTDemucs"), tmp_path / "theirs")], tmp_path)).train()
    stems = network.estimate(song(2400).expand(2, -1, -1))
    assert stems.shape == (2, 4, 2, 2400)
    stems.square().mean().backward()
    weights = dict(network.named_parameters())
    for name in ("encoder.0.conv", "tencoder.0.conv", "decoder.2.conv_tr", "tdecoder.2.conv_tr"):
        gradient = weights[f"members.0.{name}.weight"].grad
        assert gradient is not None and gradient.abs().max() > 0.0, name


def test_more_sources_follow_in_their_own_order(tmp_path: Path) -> None:
    file = saved(peer("Demucs", [*SOURCES, "guitar", "piano"]), tmp_path / "theirs")
    assert imported([file], tmp_path).spec.stems == ("vocals", "drums", "bass", "other", "guitar", "piano")


def test_a_published_one_is_added_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server that plays the publisher, with a hash in the file's name, to stems."""
    monkeypatch.setenv("RTSEP_MODELS", str(tmp_path / "shelf"))
    file = saved(peer("HTDemucs"), tmp_path / "served", half=True)
    with serve(file.parent) as server:
        digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        entry = dataclasses.replace(
            PUBLISHED["htdemucs"], files={"0": Remote(f"{server.url}/{file.name}", digits)}
        )
        monkeypatch.setitem(PUBLISHED, "htdemucs", entry)
        package = add(Request("htdemucs"), lambda _: True, lambda _: lambda *_: None)
    assert package.name == "htdemucs" and find_any("htdemucs").root == package.root
    mine = add(Request(str(file), name="mine", licence="MIT"), lambda _: True, lambda _: lambda *_: None)
    assert mine.manifest.config == package.manifest.config


def test_names_are_the_packages() -> None:
    """Every published file is one of the package's list, with its digits; every bag is one of its bags."""
    import demucs.pretrained as pretrained
    import yaml

    known = pretrained._parse_remote_files(pretrained.REMOTE_ROOT / "files.txt")
    entries = {name: entry for name, entry in PUBLISHED.items() if entry.layout == "demucs"}
    assert len(entries) >= 4
    for name, entry in entries.items():
        bag = yaml.safe_load((pretrained.REMOTE_ROOT / f"{name}.yaml").read_text())
        assert [remote.url for remote in entry.files.values()] == [known[sig] for sig in bag["models"]]
        for remote in entry.files.values():
            assert remote.url.endswith(f"-{remote.sha256}.th") and len(remote.sha256) == 8
        config = entry.config or {}
        assert config.get("weights") == bag.get("weights") and config.get("segment") == bag.get("segment")


# -- refusals ----------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_file_that_would_run_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content_of(peer("Demucs")) | {"training_args": Evil()}, tmp_path / "evil.th")
    with pytest.raises(ModelError, match="no model of the demucs package") as caught:
        imported([tmp_path / "evil.th"], tmp_path)
    assert not re.search(r"\n|\x1b|load failed|weights_only|trust", str(caught.value))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"state": {"__quantized": True}}, "quantised"),
        ({"state": {}}, "does not fit"),
        ({"klass": dict}, "no model"),
        ({"klass": "Demucs"}, "version 3 or 4"),
        ({"kwargs": {"surprise": 1}}, "cannot be made"),
        ({"args": ()}, "no model"),
        ({"args": (SOURCES, 2)}, "without a name"),
    ],
)
def test_what_is_no_model_is_refused(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    torch.save(content_of(peer("Demucs")) | change, tmp_path / "file.th")
    with pytest.raises(ModelError, match=complaint):
        imported([tmp_path / "file.th"], tmp_path)


def test_damage_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file.th"
    for content in (b"", b"noise", pickle.dumps([1])):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=re.escape(str(file))):
            imported([file], tmp_path / str(len(content)))
    with pytest.raises(ModelError, match="cannot be read"):
        imported([tmp_path / "none.th"], tmp_path / "x")


def test_members_must_agree(tmp_path: Path) -> None:
    files = [
        saved(peer("Demucs"), tmp_path / "theirs", "a"),
        saved(peer("Demucs", SOURCES[:2]), tmp_path / "theirs", "b"),
    ]
    with pytest.raises(ModelError, match="not those of the other files"):
        imported(files, tmp_path)


@pytest.mark.parametrize(
    "weights,complaint", [([[1.0]], "1 lists"), ([[0.0, 1.0, 1.0, 1.0]], "somebody who counts")]
)
def test_impossible_weights_are_refused(weights: list[list[float]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DemucsPackageConfig.model_validate({"members": [{"model": "Demucs"}], "weights": weights})


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "demucs.hdemucs", None)
    with pytest.raises(BackendError, match=r"pip install 'rtsep\[demucs\]'"):
        DemucsPackage(DemucsPackageConfig.model_validate({"members": [{"model": "Demucs"}]}))
