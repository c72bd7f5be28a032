"""Progress of long work: a bar on a terminal, nothing where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


class AudioProgress:
    """A bar in seconds of audio, with the speed relative to playing it.

    Drawn on stderr, and only there where stderr is a terminal.

    Args:
        quiet: draw nothing in any case.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            # The bar must make way for results on the same screen, but not swallow those meant for a file.
            redirect_stdout=sys.stdout.isatty(),
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None
        self._began = 0.0

    def begin(self, name: str) -> None:
        """Start the bar of the next piece of work."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        # Escaped as plain text: a song may be called "[red]".
        self._task = self._progress.add_task(Text(name).markup, total=None, speed="")
        self._began = time.monotonic()

    def update(self, done: float, total: float | None) -> None:
        """Move the bar.

        Args:
            done: seconds of audio finished.
            total: seconds in all, None when that is not known.
        """
        if self._task is None:
            return
        self._progress.update(
            self._task, completed=done, total=total, speed=speed(done, time.monotonic() - self._began)
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class CatalogueProgress:
    """A bar for each song in hand and, when there are several songs, one for how many are done.

    Drawn on stderr, and only there where stderr is a terminal.

    Args:
        songs: how many there are in all.
        quiet: draw nothing in any case.
    """

    def __init__(self, songs: int, quiet: bool = False) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            disable=quiet or not sys.stderr.isatty(),
        )
        self._songs = songs
        self._done = 0
        self._all = self._progress.add_task(self._count(), total=songs, speed="") if songs > 1 else None
        self._bars: dict[Path, tuple[TaskID, float]] = {}

    def update(self, song: Path, done: float, total: float | None) -> None:
        """Move a song's bar, which appears with its first move; in seconds of audio."""
        if song not in self._bars:
            bar = self._progress.add_task(Text(song.name).markup, total=None, speed="")
            self._bars[song] = (bar, time.monotonic())
        bar, began = self._bars[song]
        self._progress.update(bar, completed=done, total=total, speed=speed(done, time.monotonic() - began))

    def finish(self, song: Path) -> None:
        """Take a song's bar away, and count the song."""
        if song in self._bars:
            self._progress.remove_task(self._bars.pop(song)[0])
        self._done += 1
        if self._all is not None:
            self._progress.update(self._all, completed=self._done, description=self._count())

    def _count(self) -> str:
        return f"{self._done} of {self._songs} songs"

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class DownloadProgress:
    """A bar in bytes for each file that is downloaded, on stderr where that is a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._running = False

    def begin(self, name: str) -> Callable[[int, int | None], None]:
        """Start the bar of a file.

        Args:
            name: of the file.

        Returns:
            What is to be told of the bytes that have come, and of those in all, None when not known.
        """
        if not self._running:
            # Not before there is something to show: a bar that is drawn would hide a question.
            self._progress.start()
            self._running = True
        task = self._progress.add_task(Text(name).markup, total=None)
        return lambda done, total: self._progress.update(task, completed=done, total=total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running:
            self._progress.stop()


def speed(audio_seconds: float, seconds: float) -> str:
    """How many times faster than playing, such as "12.5x"."""
    return f"{audio_seconds / seconds:.1f}x" if seconds > 0 else ""


def clock(seconds: float) -> str:
    """Minutes and seconds, such as "3:05"; hours in front from one on."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
