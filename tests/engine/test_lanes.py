"""Lanes meet at every block, come and go song by song, and stop together."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rtsep.backends.blocks import BlockRunner
from rtsep.engine.catalogue import Settings, Task
from rtsep.engine.lanes import Batch, run_batch
from rtsep.separators.registry import ModelPackage
from rtsep.spec import AudioFileError, StreamSpec
from tests.engine.songs import RATE, Watcher, audio, broken_song, left_behind, make_songs, sum_of_stems
from tests.models import build_tiny_model


class DelayRunner:
    """Stem k of a lane is (k + 1) tenths of its input, `delay` samples late; fails at a run when told to."""

    def __init__(self, lanes: int, hop: int = 512, delay: int = 300, fails_at: int = -1) -> None:
        self.spec = StreamSpec(RATE, 2, ("vocals", "drums", "bass", "other"), hop, delay)
        self.inputs = np.zeros((lanes, 2, hop), np.float32)
        self.stems = np.zeros((lanes, 4, 2, hop), np.float32)
        self._lines = np.ones((lanes, 2, delay + hop), np.float32)  # wrong until it is reset
        self._fails_at = fails_at
        self.runs = 0

    def run(self) -> None:
        if self.runs == self._fails_at:
            raise RuntimeError("out of memory")
        self.runs += 1
        self._lines = np.concatenate([self._lines[..., self.spec.hop :], self.inputs], axis=-1)
        for k in range(4):
            self.stems[:, k] = 0.1 * (k + 1) * self._lines[..., : self.spec.hop]

    def reset(self, lane: int) -> None:
        self._lines[lane] = 0.0

    def close(self) -> None:
        pass


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_every_song_gets_its_own_stems(lanes: int, tmp_path: Path) -> None:
    lengths = [30_000, 200, 12_345, 60_000, 1]
    tasks = [*make_songs(tmp_path, lengths), broken_song(tmp_path)]
    runner, watcher = DelayRunner(lanes), Watcher()
    run_batch(Batch(runner), tasks, Settings("unused"), watcher)
    outcomes = watcher.by_name
    assert outcomes.keys() == {task.source.name for task in tasks}
    assert outcomes["broken.wav"].exit_code == AudioFileError.exit_code
    for number, length in enumerate(lengths):
        assert outcomes[f"{number}.wav"].error is None
        np.testing.assert_allclose(sum_of_stems(tasks[number].folder), audio(number, length), atol=1e-6)
    assert sorted(os.listdir(tmp_path / "out")) == ["0", "1", "2", "3", "4"]
    # Side by side: with four lanes, hardly more runs than the longest song has blocks.
    blocks = sum(-(-(length + 300) // 512) for length in lengths)
    assert runner.runs <= (blocks + 12 if lanes == 1 else 0.75 * blocks)


def test_a_device_that_fails_stops_everything(tmp_path: Path) -> None:
    tasks = make_songs(tmp_path, [50_000] * 4)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_batch(Batch(DelayRunner(3, fails_at=20)), tasks, Settings("unused"), Watcher())
    assert not list((tmp_path / "out").rglob("*")) and not left_behind(tmp_path)


def test_stopping_leaves_nothing_half_done(tmp_path: Path) -> None:
    tasks = make_songs(tmp_path, [500_000, 400_000, 300_000])

    def interrupt(task: Task, done: float) -> None:
        if done > 1.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(Batch(DelayRunner(2)), tasks, Settings("unused"), Watcher(interrupt))
    assert not left_behind(tmp_path)


def test_a_real_model_in_lanes(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    tasks = make_songs(tmp_path, [30_000, 12_345, 20_000])
    watcher = Watcher()
    run_batch(Batch(BlockRunner(package, hops=8, lanes=2)), tasks, Settings("unused"), watcher)
    assert not [outcome.error for outcome in watcher.outcomes if outcome.error]
    for number, length in enumerate((30_000, 12_345, 20_000)):
        np.testing.assert_allclose(sum_of_stems(tasks[number].folder), audio(number, length), atol=1e-5)
