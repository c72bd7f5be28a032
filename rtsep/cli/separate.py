"""`rtsep separate`: stems of sound files, with a causal model through the same stream as live."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND
from rtsep.cli.errors import report, warn
from rtsep.cli.progress import CatalogueProgress, clock, speed
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import AudioFileError, RtsepError, UsageError

if TYPE_CHECKING:
    from rtsep.engine.catalogue import Outcome, Settings, Task
    from rtsep.engine.offline import FileReport
    from rtsep.separators.registry import AnyPackage

# fmt: off
SUFFIXES = frozenset((
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".alac", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b", ".m4v",
    ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav", ".wave",
    ".webm", ".wma", ".wv",
))
# fmt: on
"""What is taken for a song when a folder is searched; a file that is named itself may be called anything."""


class Format(StrEnum):
    """Formats of the results."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"
    stems = "stem.mp4"


class SomeFilesFailed(RtsepError):
    """The end of a run in which not every file could be separated."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _folder(text: str) -> Path:
    """A folder's name as it was typed; of a `Path` nobody could tell an empty one from the current folder."""
    if not text:
        raise UsageError("--output needs the name of a folder; '.' is the current one")
    return Path(text)


def separate(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Songs, or folders to search for songs.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where each song gets a folder of its stems; those of one name, below their folders' names.",
            parser=_folder,
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model: see 'rtsep models'.")
    ] = DEFAULT_MODEL,
    mute: Annotated[
        list[str] | None,
        typer.Option("--mute", metavar="STEM", help="Also write the mix without this stem; may be repeated."),
    ] = None,
    format: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="wav is 32-bit float and never clips; flac is 24-bit; stem.mp4 is for DJ programs.",
        ),
    ] = Format.wav,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out songs whose results are all there already.")
    ] = False,
    jobs: Annotated[
        str,
        typer.Option(
            "--jobs", "-j", metavar="N|auto", help="Songs at a time; auto keeps all cores or the GPU busy."
        ),
    ] = "auto",
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Spread the songs over a Ray cluster, whose machines share the folders."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    backend: Annotated[
        str,
        typer.Option(metavar="|".join(BACKENDS), help="What runs a causal model; auto is the faster one."),
    ] = DEFAULT_BACKEND,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for each model.")] = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors and warnings.")
    ] = False,
) -> None:
    """Write the stems of songs, and the mix without some of them.

    Each song gets a folder in DIR with one file a stem, at the song's own sample rate, in time with it to
    the sample. A causal model gives what it gives live, so this is what live sounds like.

    Example: rtsep separate song.mp3 -o stems --mute vocals
    """
    # Here and not above: help should not wait for numerical libraries.
    from rtsep.engine import catalogue
    from rtsep.engine.offline import result_names
    from rtsep.io.staging import no_empty_parents, remove_abandoned
    from rtsep.separators.registry import find_any

    if resume and overwrite:
        raise UsageError("--resume keeps results and --overwrite replaces them: one of the two")
    wanted = _count(jobs)
    muted = tuple(mute or ())
    package = find_any(model)
    result_names(package.spec, muted, format.value)
    songs = find_songs(inputs, output)
    # Other machines have their models elsewhere, and what is built in has no folder.
    by_name = package.built_in or (ray is not None and package.name == model)
    settings = catalogue.Settings(
        model=package.name if by_name else str(package.root),
        backend=catalogue.choose_backend(backend, package, device, songs),
        device=device,
        threads=threads,
        muted=muted,
        format=format.value,
        # What an interrupted run left half-moved is done again.
        overwrite=overwrite or resume,
    )
    tasks = [catalogue.Task(song, folder) for song, folder in songs.items()]
    if resume:
        left = [task for task in tasks if not catalogue.is_complete(task, package.spec, settings)]
        if len(left) < len(tasks) and not quiet:
            typer.echo(f"{len(tasks) - len(left)} of {len(tasks)} songs are done already")
        tasks = left
        for task in tasks:
            remove_abandoned(task.folder)
    for task in tasks:
        names = result_names(package.spec, muted, format.value, task.folder.name)
        _check_room([task.folder], names, settings.overwrite)
    if not tasks:
        return
    with no_empty_parents(task.folder for task in tasks), _Screen(tasks, quiet) as screen:
        _dispatch(tasks, settings, screen, package, wanted, ray)
    screen.conclude(single=len(songs) == 1)


def _dispatch(
    tasks: list[Task],
    settings: Settings,
    screen: _Screen,
    package: AnyPackage,
    jobs: int | None,
    ray: str | None,
) -> None:
    """Give the songs to whoever is to separate them."""
    from rtsep.engine import catalogue
    from rtsep.separators.registry import ModelPackage

    if ray is not None:
        try:
            from rtsep.engine.cluster import run_cluster
        except ModuleNotFoundError as error:
            raise UsageError(f"--ray needs {error.name}: pip install 'rtsep[ray]'") from None
        absolute = [catalogue.Task(task.source.absolute(), task.folder.absolute()) for task in tasks]
        run_cluster(ray, absolute, settings, screen)
        return
    if settings.device == "cuda" and settings.backend == "torch" and isinstance(package, ModelPackage):
        from rtsep.engine.lanes import LANES, run_lanes

        run_lanes(tasks, settings, jobs or LANES, screen)
        return
    if jobs is None:
        jobs = catalogue.choose_jobs(package, len(tasks)) if settings.device == "cpu" else 1
    if min(jobs, len(tasks)) == 1:
        catalogue.run_here(tasks, settings, screen)
        return
    from rtsep.engine.workers import run_processes

    run_processes(tasks, settings, jobs, screen)


class _Screen:
    """Shows the work, and gathers what failed for the end, where it is not scrolled away."""

    def __init__(self, tasks: Sequence[Task], quiet: bool) -> None:
        self._songs = len(tasks)
        self._quiet = quiet
        self._bars = CatalogueProgress(len(tasks), quiet)
        self._failed: list[Outcome] = []

    def progress(self, task: Task, done: float, total: float | None) -> None:
        """See `rtsep.engine.catalogue.Watch`."""
        self._bars.update(task.source, done, total)

    def finished(self, outcome: Outcome) -> None:
        """See `rtsep.engine.catalogue.Watch`."""
        self._bars.finish(outcome.task.source)
        if outcome.report is None:
            self._failed.append(outcome)
        else:
            _tell(outcome.report, outcome.seconds, self._quiet)

    def conclude(self, single: bool) -> None:
        """Say what failed.

        Raises:
            SomeFilesFailed: when anything has.
        """
        if not self._failed:
            return
        first = self._failed[0]
        if single:
            raise SomeFilesFailed(first.error or "", first.exit_code)
        for outcome in self._failed:
            report(outcome.error or "")
        raise SomeFilesFailed(f"{len(self._failed)} of {self._songs} files failed", first.exit_code)

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)
        if kind is not None:
            # What stopped the rest must not hide this.
            for outcome in self._failed:
                report(outcome.error or "")


def _count(jobs: str) -> int | None:
    """A number of jobs; None for "auto"."""
    if jobs == "auto":
        return None
    if not jobs.isdecimal() or int(jobs) < 1:
        raise UsageError(f"--jobs is a number from one up, or auto, not '{jobs}'")
    return int(jobs)


def find_songs(inputs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Which files to separate, and the folder of each one's results.

    A file's results go to `output`/name without suffix; those found in a folder keep their place below it,
    with the folder's own name in front when there are several inputs. Where names collide the suffix
    stays; where that is not enough, the name of the folder that a file or an input lies in goes in front.
    `output` itself is not searched.

    Raises:
        AudioFileError: when an input does not exist, or a folder has no audio in it.
        UsageError: when two files would still have the same folder.
    """
    places: dict[Path, Path] = {}
    homes: dict[Path, str] = {}
    for given in inputs:
        if given.is_dir():
            found = _search(given, output)
            if not found:
                raise AudioFileError(f"{given}: there are no audio files in this folder")
            album = given.name if len(inputs) > 1 else ""
            for file in found:
                places.setdefault(file, album / file.relative_to(given))
                homes.setdefault(file, given.resolve().parent.name)
        else:
            places.setdefault(given, Path(given.name))
            homes.setdefault(given, given.absolute().parent.resolve().name)

    # The same file may have been named twice, in different ways.
    resolved = {song.resolve(): song for song in reversed(places)}
    places = {song: place for song, place in places.items() if resolved[song.resolve()] is song}

    folders = _without_suffixes(places)
    taken = Counter(_key(folder) for folder in folders.values())
    if max(taken.values()) > 1:
        folders = _without_suffixes(
            {
                song: homes[song] / place if taken[_key(folders[song])] > 1 else place
                for song, place in places.items()
            }
        )
    owners: dict[str, Path] = {}
    for song, place in folders.items():
        other = owners.setdefault(_key(place), song)
        if other is not song:
            raise UsageError(f"{other} and {song} would both go to {output / place}; separate one elsewhere")
    return {song: output / place for song, place in folders.items()}


def _without_suffixes(places: dict[Path, Path]) -> dict[Path, Path]:
    """The folders of songs at these places; the suffix stays where two would have one folder without it."""
    shared = Counter(_key(place.with_suffix("")) for place in places.values())
    return {
        song: place if shared[_key(place.with_suffix(""))] > 1 else place.with_suffix("")
        for song, place in places.items()
    }


def _key(place: Path) -> str:
    return str(place).casefold()  # as disks without upper and lower case see it


def _check_room(folders: Iterable[Path], names: Sequence[str], overwrite: bool) -> None:
    """Complain of what is in the way before the model is loaded, not in the middle of an album."""
    from rtsep.io.staging import AlreadyThereError, StagedFolder

    for folder in folders:
        try:
            StagedFolder(folder, names, overwrite).check()
        except AlreadyThereError as error:
            raise AudioFileError(f"{error.file}: exists already; --overwrite replaces it") from None


def _tell(result: FileReport, seconds: float, quiet: bool) -> None:
    if result.bad_samples:
        warn(f"{result.source}: {result.bad_samples} samples that are not numbers were taken as silence")
    if result.clipped_samples:
        warn(f"{result.source}: {result.clipped_samples} samples clipped in the results; wav holds them")
    if result.sample_rate != result.source_rate:
        warn(
            f"{result.source}: has {result.source_rate} Hz, which an mp3 cannot; "
            f"its stems have {result.sample_rate} Hz"
        )
    if not quiet:
        typer.echo(
            f"{result.folder}: {len(result.files)} files of {clock(result.seconds)}"
            f" in {clock(seconds)} ({speed(result.seconds, seconds)} real time)"
        )


def _search(folder: Path, output: Path) -> list[Path]:
    found = []
    excluded = output.resolve()
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != excluded
        )
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                found.append(here / name)
    return found
