"""State dicts in: what fits is converted, what does not is named."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rtsep.importing.open_unmix import Source, convert, find_files
from rtsep.importing.state_dicts import read_state_dict
from rtsep.separators.registry import OfflinePackage
from rtsep.spec import ModelError
from tests.open_unmix import FRAME, HOP, RATE, save_models

ABOUT: dict[str, Any] = {"title": "", "description": "", "version": "1", "licence": "MIT"}


def made(source: Source, folder: Path) -> OfflinePackage:
    folder.mkdir()
    return convert(source, folder, **ABOUT)


def test_sizes_are_read_from_the_weights(tmp_path: Path) -> None:
    folder = save_models(
        tmp_path / "peer", ("other", "piano", "vocals"), channels=1, width=20, depth=2, bins=99
    )
    manifest = made(find_files(folder), tmp_path / "model").manifest
    assert manifest.stems == ("vocals", "other", "piano")
    assert (manifest.sample_rate, manifest.channels) == (RATE, 1)
    config = manifest.config
    assert (config["frame"], config["hop"], config["bins"]) == (FRAME, HOP, 99)
    assert (config["width"], config["depth"], config["bidirectional"]) == (20, 2, True)
    assert (manifest.chunk, manifest.overlap) == (30 * RATE, 3 * RATE)


def test_without_the_folders_description_it_is_as_published(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "peer", ("vocals", "other"))
    (folder / "separator.json").unlink()
    (folder / "vocals.pth").rename(folder / "vocals-0123abcd.pth")
    manifest = made(find_files(folder), tmp_path / "model").manifest
    assert (manifest.sample_rate, manifest.config["hop"]) == (44100, FRAME // 4)
    assert manifest.stems == ("vocals", "other")


def test_entries_of_early_versions_are_left_behind(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "peer", ("vocals", "other"))
    state = torch.load(folder / "vocals.pth", weights_only=True)
    torch.save(state | {"stft.window": torch.ones(4), "sample_rate": torch.tensor(1)}, folder / "vocals.pth")
    made(find_files(folder), tmp_path / "model").verify()


def test_old_pickles_of_tensors_are_read(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    for name in ("old.pth", "checkpoint.pth"):
        assert torch.equal(read_state_dict(tmp_path / name)["a"], state["a"])


class Trap:
    """What a hostile pickle does: it calls something when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"a": torch.ones(1), "b": Trap(sprung)}, tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(sprung)))
    (tmp_path / "text.pth").write_text("weights, they said")
    for name in ("trap.pth", "plain.pth", "text.pth"):
        with pytest.raises(ModelError, match=r"is no file of weights alone: ") as caught:
            read_state_dict(tmp_path / name)
        # No word of torch's, which advises to load it all the same.
        assert not re.search(r"\n|\x1b|load failed|weights_only|trust", str(caught.value))
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content,complaint",
    [
        ({}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({"a": 1}, "'a' is no tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(content: object, complaint: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=complaint):
        read_state_dict(tmp_path / "x.pth")


def test_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "vocals.pth")
    with pytest.raises(ModelError, match="no state dict of Open-Unmix's"):
        made(find_files(tmp_path), tmp_path / "model")


def test_missing_and_misshapen_weights_are_named(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "peer", ("vocals", "other"))
    state = torch.load(folder / "other.pth", weights_only=True)
    bias = state.pop("bn2.bias")
    torch.save(state, folder / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth: has no 'bn2\.bias'"):
        made(find_files(folder), tmp_path / "one")
    torch.save(state | {"bn2.bias": bias[1:]}, folder / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth: 'bn2\.bias' is \[15\], not \[16\]"):
        made(find_files(folder), tmp_path / "two")


def test_targets_of_different_sizes_are_refused(tmp_path: Path) -> None:
    save_models(tmp_path / "peer", ("vocals",), width=16)
    folder = save_models(tmp_path / "peer", ("other",), width=18)
    with pytest.raises(ModelError, match=r"other\.pth: its sizes are not those"):
        made(find_files(folder), tmp_path / "model")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "peer", ("vocals", "other"))
    state = torch.load(folder / "other.pth", weights_only=True)
    state["fc1.weight"][0, 0] = float("nan")
    torch.save(state, folder / "other.pth")
    with pytest.raises(ModelError, match="not finite"):
        made(find_files(folder), tmp_path / "model")


def test_a_description_that_says_too_little_is_refused(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "peer", ("vocals",))
    (folder / "separator.json").write_text('{"sample_rate": 44100}')
    with pytest.raises(ModelError, match=r"separator\.json: is not as Open-Unmix writes it"):
        find_files(folder)
    with pytest.raises(ModelError, match="no <target>.pth"):
        find_files(tmp_path)
