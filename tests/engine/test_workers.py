"""Songs through processes: each once, whatever happens to a process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from rtsep.engine.catalogue import Settings, Task
from rtsep.engine.workers import ATTEMPTS, CannotStart, run_processes
from rtsep.spec import AudioFileError, ModelError
from tests.engine.songs import Watcher, audio, broken_song, left_behind, make_songs, sum_of_stems
from tests.models import build_tiny_model


def kill_child() -> None:
    """The process that Python's own resource tracker is must live."""
    for child in psutil.Process().children():
        if any("spawn_main" in part for part in child.cmdline()):
            child.kill()
            return


def test_songs_are_shared_out_and_a_killed_process_is_made_good(tmp_path: Path) -> None:
    lengths = [900_000, 30_000, 12_345]
    tasks = [*make_songs(tmp_path, lengths), broken_song(tmp_path)]
    settings = Settings(str(build_tiny_model(tmp_path)))
    killed = False

    def kill(task: Task, done: float) -> None:
        nonlocal killed
        if not killed and task.source.name == "0.wav":
            killed = True
            kill_child()

    watcher = Watcher(kill)
    run_processes(tasks, settings, 2, watcher)
    assert killed
    outcomes = watcher.by_name
    assert outcomes.keys() == {task.source.name for task in tasks}
    assert outcomes["broken.wav"].exit_code == AudioFileError.exit_code
    for number, length in enumerate(lengths):
        assert outcomes[f"{number}.wav"].error is None
        np.testing.assert_allclose(sum_of_stems(tasks[number].folder), audio(number, length), atol=1e-5)
    assert not left_behind(tmp_path)
    assert sorted(os.listdir(tmp_path / "out")) == ["0", "1", "2"]


def test_a_song_that_kills_every_process_is_given_up(tmp_path: Path) -> None:
    tasks = make_songs(tmp_path, [2_000_000])
    deaths = 0

    def kill(task: Task, done: float) -> None:
        nonlocal deaths
        deaths += 1
        kill_child()

    watcher = Watcher(kill)
    run_processes(tasks, Settings(str(build_tiny_model(tmp_path))), 2, watcher)
    (outcome,) = watcher.outcomes
    assert outcome.error is not None and f"died {ATTEMPTS} times (signal {signal.SIGKILL:d})" in outcome.error
    assert deaths >= ATTEMPTS
    assert not left_behind(tmp_path)


def test_stopping_ends_the_processes_and_leaves_nothing(tmp_path: Path) -> None:
    tasks = make_songs(tmp_path, [2_000_000, 2_000_000])

    def interrupt(task: Task, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_processes(tasks, Settings(str(build_tiny_model(tmp_path))), 2, Watcher(interrupt))
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
    assert not left_behind(tmp_path) and not list(tmp_path.glob("out/*"))


def test_a_model_that_does_not_load_is_said_once(tmp_path: Path) -> None:
    tasks = make_songs(tmp_path, [1000, 1000])
    model = build_tiny_model(tmp_path)
    (model / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(CannotStart, match="bytes long") as caught:
        run_processes(tasks, Settings(str(model)), 2, Watcher())
    assert caught.value.exit_code == ModelError.exit_code
    assert soundfile.info(tasks[0].source).frames == 1000 and not (tmp_path / "out").exists()
