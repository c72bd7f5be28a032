"""An offline model is opened whole, or it is said in one line why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.backends.base import OfflineModel
from rtsep.backends.open import open_offline
from rtsep.engine.offline import open_feed, open_model, separate_array
from rtsep.importing.open_unmix import convert, find_files
from rtsep.separators.registry import ModelPackage, OfflinePackage, find, read_package
from rtsep.spec import BackendError, ModelError, UsageError
from tests.open_unmix import save_models


@pytest.fixture
def package(tmp_path: Path) -> OfflinePackage:
    folder = tmp_path / "model"
    folder.mkdir()
    source = find_files(save_models(tmp_path / "peer", ("vocals", "other")))
    return convert(source, folder, title="", description="", version="1", licence="")


def test_it_separates_by_chunks_as_whole(package: OfflinePackage) -> None:
    model = open_model(package)
    assert isinstance(model, OfflineModel) and model.spec.stems == ("vocals", "other")
    assert (model.chunk, model.overlap) == (30 * 16000, 3 * 16000)
    mix = 0.1 * np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32)
    whole = separate_array(model, mix)
    np.testing.assert_array_equal(whole, model.separate(mix))
    model.chunk, model.overlap = 9000, 3000
    feed = open_feed(model)
    chunked = np.concatenate([feed.push(mix[:, :7000]), feed.push(mix[:, 7000:]), feed.finish()], axis=-1)
    assert chunked.shape == whole.shape
    # What a chunk does not hear makes a difference, but a small one.
    assert 0.0 < np.abs(chunked - whole).mean() < 0.2 * np.abs(whole).mean()
    model.close()


def test_wrong_channels_are_refused(package: OfflinePackage) -> None:
    with pytest.raises(UsageError, match="expected"):
        separate_array(open_model(package), np.zeros((1, 100), np.float32))


def test_what_is_not_there_is_said(package: OfflinePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="unknown device 'tpu'"):
        open_offline(package, "tpu")
    with pytest.raises(BackendError, match="at least one thread"):
        open_offline(package, threads=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no CUDA device"):
        open_offline(package, "cuda")
    monkeypatch.delitem(sys.modules, "rtsep.backends.whole")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match="is an offline model and needs torch, which is not installed"):
        open_offline(package)


def test_damaged_weights_are_refused(package: OfflinePackage) -> None:
    content = bytearray(package.weights.read_bytes())
    content[-1] ^= 1
    package.weights.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        open_offline(package)


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"overlap": 15 * 16000 + 1}, "overlap must be at most half a chunk"),
        ({"hop": 4}, "field 'hop'"),
        ({"kind": "sometimes"}, "field 'kind'"),
        ({"stems": ["a", "a"]}, "distinct"),
        ({"files": {}}, "field 'files.weights'"),
    ],
)
def test_a_wrong_manifest_is_refused(
    change: dict[str, object], complaint: str, package: OfflinePackage
) -> None:
    file = package.root / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=complaint) as caught:
        read_package(package.root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"architecture": "oracle"}, "no offline architecture is called 'oracle'"),
        ({"stems": ["vocals", "drums"]}, "its config makes"),
        ({"config": {"depth": 0}}, "config field 'depth'"),
    ],
)
def test_a_manifest_of_another_network_is_refused(
    change: dict[str, object], complaint: str, package: OfflinePackage
) -> None:
    file = package.root / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=complaint):
        open_model(package.root)


def test_nothing_that_streams_gets_it(package: OfflinePackage) -> None:
    for ask in (find, ModelPackage.read):
        with pytest.raises(ModelError, match="is an offline model") as caught:
            ask(package.root)
        assert "\n" not in str(caught.value)
