"""What is left to do, in which order, by how many, with what."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rtsep.engine import catalogue
from rtsep.engine.catalogue import Settings, Task, choose_backend, choose_jobs, is_complete, longest_first
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError
from tests.engine.songs import Watcher, broken_song, make_songs
from tests.models import build_tiny_model


def test_torch_is_chosen_where_it_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    short.write_bytes(bytes(1000))
    long.write_bytes(bytes(catalogue.TORCH_PAYS_BYTES))
    assert choose_backend("auto", package, "cpu", [short]) == "onnx"
    assert choose_backend("auto", package, "cpu", [short, long, tmp_path / "missing"]) == "torch"
    assert choose_backend("auto", package, "cuda", [short]) == "torch"
    for asked in ("onnx", "torch"):
        assert choose_backend(asked, package, "cpu", [long]) == asked
    graph = package.manifest.model_copy(
        update={"files": package.manifest.files.model_copy(update={"weights": None})}
    )
    assert choose_backend("auto", ModelPackage(graph, package.root), "cpu", [long]) == "onnx"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_backend("auto", package, "cpu", [long]) == "onnx"
    band_split = ModelPackage.read(build_tiny_model(tmp_path, "band-split"))
    assert choose_backend("auto", band_split, "cpu", [long]) == "fused"
    assert choose_backend("torch", band_split, "cpu", [long]) == "torch"
    with pytest.raises(BackendError, match="unknown backend 'abacus'"):
        choose_backend("abacus", package, "cpu", [])


def test_as_many_processes_as_cores_memory_and_songs_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    monkeypatch.setattr("os.sched_getaffinity", lambda who: set(range(8)), raising=False)
    sizes = {"SC_AVPHYS_PAGES": 10_000_000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__, raising=False)
    assert choose_jobs(package, 100) == 8
    assert choose_jobs(package, 3) == 3
    sizes["SC_AVPHYS_PAGES"] = 300_000  # 1.2 GB
    assert choose_jobs(package, 100) == 2
    sizes["SC_AVPHYS_PAGES"] = 0
    assert choose_jobs(package, 100) == 1


def test_long_songs_come_first(tmp_path: Path) -> None:
    tasks = [*make_songs(tmp_path, [10, 3000, 200]), Task(tmp_path / "missing", tmp_path)]
    assert [task.source.stem for task in longest_first(tasks)] == ["1", "2", "0", "missing"]


def test_a_song_is_complete_with_all_its_results(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    task, settings = make_songs(tmp_path, [3000])[0], Settings(str(package.root))
    assert not is_complete(task, package.spec, settings)
    catalogue.run_here([task], settings, Watcher())
    assert is_complete(task, package.spec, settings)
    assert not is_complete(task, package.spec, Settings(str(package.root), muted=("vocals",)))
    assert not is_complete(task, package.spec, Settings(str(package.root), format="flac"))
    (task.folder / "bass.wav").unlink()
    assert not is_complete(task, package.spec, settings)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_songs_one_after_the_other(backend: str, tmp_path: Path) -> None:
    tasks = make_songs(tmp_path, [3000, 5000])
    bad, watcher = broken_song(tmp_path), Watcher()
    catalogue.run_here([bad, *tasks], Settings(str(build_tiny_model(tmp_path)), backend), watcher)
    assert [outcome.error is None for outcome in watcher.outcomes] == [False, True, True]
    assert all(watcher.told[task.source] >= 2 for task in tasks)
