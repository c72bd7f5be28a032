"""A catalogue of songs: what is to be done, what has been done, and what one song takes.

Who does it is for others to say: `rtsep.engine.workers` has processes, `rtsep.engine.lanes` the lanes of one
batch, `rtsep.engine.cluster` machines. All of them take tasks and give outcomes, one for each task.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rtsep.backends.base import OfflineModel
from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND
from rtsep.backends.open import open_blocks, stepping
from rtsep.backends.stream import HopStream, open_stream
from rtsep.engine.offline import (
    AnyModel,
    FileReport,
    Progress,
    ResultFormat,
    open_model,
    result_names,
    separate_file,
)
from rtsep.separators.registry import AnyPackage, ModelPackage, OfflinePackage, find_any
from rtsep.spec import AudioSpec, BackendError, RtsepError

if TYPE_CHECKING:
    from rtsep.backends.blocks import BlockStream


TORCH_PAYS_BYTES = 5_000_000
"""Of sources together: with less, loading torch takes longer than its blocks save."""

_PROCESS_BYTES = {ModelPackage: 500_000_000, OfflinePackage: 2_000_000_000}
"""What a process may need, so that as many as there are cores do not fill the memory."""


@dataclass(frozen=True, slots=True)
class Task:
    """A song, and the folder of its results."""

    source: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """How every song is separated. Plain values: they travel to other processes and machines.

    Attributes:
        model: a name or an absolute path; see `registry.find_any`.
        backend: "fused" or "onnx" hop by hop, or "torch" in blocks of hops. Offline models run on torch,
            whatever this says.
        device: "cpu" or "cuda".
        threads: CPU threads of one model.
        muted, format, overwrite: as `separate_file` takes them.
    """

    model: str
    backend: str = DEFAULT_BACKEND
    device: str = "cpu"
    threads: int = 1
    muted: tuple[str, ...] = ()
    format: ResultFormat = "wav"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: which.
        report: what was written; None when it failed.
        error: one line for people; None when it did not fail.
        exit_code: of the error.
        seconds: that it took, loading of the model not counted.
    """

    task: Task
    report: FileReport | None = None
    error: str | None = None
    exit_code: int = 0
    seconds: float = 0.0


class Watch(Protocol):
    """Who is told of the work; always from the thread that asked for it."""

    def progress(self, task: Task, done: float, total: float | None) -> None:
        """So many seconds of the song are done, of so many in all where that is known."""

    def finished(self, outcome: Outcome) -> None:
        """A task is done, well or not; called once for each."""


def load(settings: Settings) -> HopStream | BlockStream | OfflineModel:
    """Load the model as the settings say, its files checked.

    Raises:
        ModelError: when there is no such model, or its files are damaged or do not fit its manifest.
        BackendError: when backend or device are unknown or not there.
    """
    package = find_any(settings.model)
    device, threads = settings.device, settings.threads
    if isinstance(package, OfflinePackage):
        return open_model(package, device=device, threads=threads)
    if settings.backend == "torch":
        return open_blocks(package, device, threads)
    return open_stream(package, backend=settings.backend, device=device, threads=threads)


def separate_one(
    model: AnyModel,
    task: Task,
    settings: Settings,
    progress: Progress | None = None,
    token: str | None = None,
) -> Outcome:
    """Separate one song; a failure that is not rtsep's own is an outcome, too."""
    began = time.monotonic()
    try:
        report = separate_file(
            model,
            task.source,
            task.folder,
            muted=settings.muted,
            format=settings.format,
            overwrite=settings.overwrite,
            progress=progress,
            token=token,
        )
    except RtsepError as error:
        return Outcome(task, None, str(error), error.exit_code, time.monotonic() - began)
    return Outcome(task, report, seconds=time.monotonic() - began)


def run_here(tasks: Sequence[Task], settings: Settings, watch: Watch) -> None:
    """One song after the other, in this process.

    Raises:
        ModelError, BackendError: when the model cannot be loaded.
    """
    model = load(settings)
    try:
        for task in tasks:

            def told(done: float, total: float | None, task: Task = task) -> None:
                watch.progress(task, done, total)

            watch.progress(task, 0.0, None)
            watch.finished(separate_one(model, task, settings, told))
    finally:
        model.close()


def choose_backend(asked: str, package: AnyPackage, device: str, sources: Iterable[Path]) -> str:
    """The backend that "auto" stands for: the faster one.

    On the CPU that is the fused step where the model has one, and else torch where there is enough to do.

    Raises:
        BackendError: for an unknown one.
    """
    if asked not in BACKENDS:
        raise BackendError(f"unknown backend '{asked}'; there are: {', '.join(BACKENDS)}")
    if package.built_in:
        return "onnx"  # It has code of its own, which is reached by the stream's way.
    if asked != "auto":
        return asked
    if isinstance(package, ModelPackage) and stepping(package, device) == "fused":
        return "fused"
    if importlib.util.find_spec("torch") is None:
        return "onnx"
    if isinstance(package, ModelPackage) and package.files.weights is None:
        return "onnx"
    return "torch" if device == "cuda" or _bytes(sources) >= TORCH_PAYS_BYTES else "onnx"


def choose_jobs(package: AnyPackage, songs: int) -> int:
    """As many processes as keep all cores busy and fit into the free memory."""
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        jobs = min(jobs, int(free // _PROCESS_BYTES[type(package)]))
    return max(1, min(jobs, songs))


def longest_first(tasks: Sequence[Task]) -> list[Task]:
    """By size of the files: a long song that begins last would keep one core busy and the others idle."""
    return sorted(tasks, key=lambda task: _bytes([task.source]), reverse=True)


def is_complete(task: Task, spec: AudioSpec, settings: Settings) -> bool:
    """Whether all results of a task exist. They appear when they are whole, so that is the same as done."""
    names = result_names(spec, settings.muted, settings.format, task.folder.name)
    return all((task.folder / name).is_file() for name in names)


def _bytes(files: Iterable[Path]) -> int:
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:
            continue  # it will be complained of when it is its turn
    return total
