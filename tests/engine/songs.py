"""Songs on disk for tests of a catalogue, and one who watches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtsep.engine.catalogue import Outcome, Task

RATE = 44100


class Watcher:
    """Keeps what it is told, and does what a test wants at a song's progress.

    Attributes:
        outcomes: in the order in which they came.
        told: how often each song has moved.
        at_progress: called with the task and the seconds that are done.
    """

    def __init__(self, at_progress: Callable[[Task, float], None] | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self.told: dict[Path, int] = {}
        self.at_progress = at_progress

    def progress(self, task: Task, done: float, total: float | None) -> None:
        self.told[task.source] = self.told.get(task.source, 0) + 1
        if self.at_progress is not None:
            self.at_progress(task, done)

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def by_name(self) -> dict[str, Outcome]:
        """Outcomes by the source's name; each must be there once."""
        named = {outcome.task.source.name: outcome for outcome in self.outcomes}
        assert len(named) == len(self.outcomes), "a song has two outcomes"
        return named


def audio(seed: int, samples: int) -> NDArray[np.float32]:
    """(2, samples) of noise."""
    return (0.05 * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def make_songs(folder: Path, samples: list[int]) -> list[Task]:
    """Songs of these lengths in `folder`/in, numbered from 0; their stems are to go to `folder`/out."""
    (folder / "in").mkdir()
    tasks = []
    for number, length in enumerate(samples):
        source = folder / "in" / f"{number}.wav"
        soundfile.write(source, audio(number, length).T, RATE, subtype="FLOAT")
        tasks.append(Task(source, folder / "out" / str(number)))
    return tasks


def broken_song(folder: Path) -> Task:
    """One that is no audio."""
    source = folder / "in" / "broken.wav"
    source.write_text("no song")
    return Task(source, folder / "out" / "broken")


def sum_of_stems(folder: Path) -> NDArray[np.float32]:
    """(2, samples): what all stems in a folder add up to."""
    total: NDArray[np.float32] = sum(
        soundfile.read(file, dtype="float32", always_2d=True)[0].T for file in sorted(folder.glob("*.wav"))
    )  # type: ignore[assignment]
    return total


def left_behind(folder: Path) -> list[str]:
    """Hidden things below a folder: what nobody removed."""
    return [
        name
        for parent, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if name.startswith(".")
    ]
