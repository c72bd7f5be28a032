"""Songs on a cluster of two machines, one of which dies in the midst of it: each is done once."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from rtsep.engine.catalogue import Settings
from rtsep.separators.registry import ModelPackage
from rtsep.spec import AudioFileError, BackendError
from tests.engine.songs import Watcher, audio, broken_song, left_behind, make_songs, sum_of_stems
from tests.models import build_tiny_model

if sys.version_info >= (3, 14):
    pytest.skip("Ray is not for this Python yet", allow_module_level=True)

import ray
from ray import cluster_utils

from rtsep.engine.cluster import _inspect, _release, check_machines, run_cluster

_STORE = 80 * 1024 * 1024
"""The smallest object store that Ray makes: songs travel through folders, not through it."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """A head of one core; tests add the other machine."""
    # What Ray starts must find this checkout, and need not report to anyone.
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # By default what it runs is far nicer than all else, and starves beside a busy test run.
    patch.setenv("RAY_worker_niceness", "0")
    patch.setenv("OMP_NUM_THREADS", "1")
    made = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": _STORE, "include_dashboard": False},
    )
    yield made
    ray.shutdown()
    made.shutdown()
    patch.undo()


def test_a_machine_that_dies_costs_no_song(cluster: object, tmp_path: Path) -> None:
    lengths = [1_200_000, 1_200_000, 1_200_000, 30_000, 12_345]
    tasks = [*make_songs(tmp_path, lengths), broken_song(tmp_path)]
    settings = Settings(str(build_tiny_model(tmp_path)))
    doomed = cluster.add_node(num_cpus=1, object_store_memory=_STORE)  # type: ignore[attr-defined]
    over = threading.Event()

    def kill() -> None:
        # Each machine has one core: two songs in hand are one on either.
        while len(list((tmp_path / "out").glob(".*.part"))) < 2:
            if over.wait(0.01):
                return
        # What runs there outlives Ray's own processes by a second or two; a machine's does not.
        raylet = doomed.all_processes["raylet"][0].process.pid
        for child in psutil.Process(raylet).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        cluster.remove_node(doomed, allow_graceful=False)  # type: ignore[attr-defined]

    killer = threading.Thread(target=kill)
    killer.start()
    begun: list[str] = []
    watcher = Watcher(lambda task, done: begun.append(task.source.name))
    try:
        run_cluster(cluster.address, tasks, settings, watcher)  # type: ignore[attr-defined]
    finally:
        over.set()
        killer.join()
    outcomes = watcher.by_name
    assert outcomes.keys() == {task.source.name for task in tasks}
    assert outcomes["broken.wav"].exit_code == AudioFileError.exit_code
    for number, length in enumerate(lengths):
        assert outcomes[f"{number}.wav"].error is None
        np.testing.assert_allclose(sum_of_stems(tasks[number].folder), audio(number, length), atol=1e-5)
    # What the machine was at was begun once more.
    assert len(begun) > len(tasks)
    assert sorted(os.listdir(tmp_path / "out")) == ["0", "1", "2", "3", "4"]
    assert not left_behind(tmp_path)


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="there is no Ray cluster at nowhere"):
        run_cluster("nowhere", make_songs(tmp_path, [100]), Settings("live"), Watcher())


def test_what_a_machine_lacks_is_said(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    manifest = package.manifest.model_dump_json()
    probe, song, model = tmp_path / "probe", tmp_path / "song.wav", str(package.root)
    probe.write_text("here")
    song.write_bytes(b"")
    good = (str(probe), "here", [str(song)], model, manifest, _release())
    assert _inspect(*good) is None

    def complaint(**changes: object) -> tuple[str, str]:
        names = ("probe", "content", "sources", "model", "manifest", "release")
        found = _inspect(**(dict(zip(names, good, strict=True)) | changes))  # type: ignore[arg-type]
        assert found is not None
        return found

    # A folder of the same name on a disk of its own, or none at all.
    for wrong in (complaint(content="there"), complaint(probe=str(tmp_path / "elsewhere" / "probe"))):
        assert wrong[0] == "folder" and "must lie on a folder that all machines share" in wrong[1]
    assert complaint(sources=[str(song), "/not/there.wav"])[1].startswith("does not see /not/there.wav")
    assert complaint(release="0.0.0") == ("rtsep", f"has rtsep {_release()}, and here is 0.0.0")
    assert complaint(model="kazoo")[0] == "model"
    assert "has another model called" in complaint(manifest="{}")[1]


def test_a_machine_without_a_gpu_is_no_use_for_one(cluster: object, tmp_path: Path) -> None:
    settings = Settings(str(build_tiny_model(tmp_path)), device="cuda")
    if not ray.is_initialized():
        ray.init(address=cluster.address, log_to_driver=False)  # type: ignore[attr-defined]
    if ray.cluster_resources().get("GPU", 0) > 0:
        pytest.skip("has a GPU")
    with pytest.raises(BackendError, match=r"no machine of the Ray cluster has 0\.25 GPU"):
        check_machines(make_songs(tmp_path, [100]), settings)
    assert not left_behind(tmp_path)
