"""`rtsep separate`: stems of sound files, with a causal model through the same stream as live."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.cli.errors import report, warn
from rtsep.cli.progress import AudioProgress, clock, speed
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import AudioFileError, RtsepError, UsageError

if TYPE_CHECKING:
    from rtsep.engine.offline import FileReport

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


def separate(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Songs, or folders to search for songs.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Where each song gets a folder of its stems."),
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
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    backend: Annotated[str, typer.Option(metavar="onnx|torch", help="What runs a causal model.")] = "onnx",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the model.")] = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors and warnings.")
    ] = False,
) -> None:
    """Write the stems of songs, and the mix without some of them.

    Each song gets a folder in DIR with one file a stem, at the song's own sample rate, in time with it to
    the sample. A causal model runs through the same code as live audio, so this is what live sounds like.

    Example: rtsep separate song.mp3 -o stems --mute vocals
    """
    # Here and not above: help should not wait for numerical libraries.
    from rtsep.engine.offline import open_model, result_names, separate_file
    from rtsep.separators.registry import find_any

    muted = tuple(mute or ())
    package = find_any(model)
    result_names(package.spec, muted, format.value)
    songs = find_songs(inputs, output)
    for folder in songs.values():
        _check_room([folder], result_names(package.spec, muted, format.value, folder.name), overwrite)

    failed: list[RtsepError] = []
    with (
        contextlib.closing(open_model(package, backend=backend, device=device, threads=threads)) as stream,
        AudioProgress(quiet) as progress,
    ):
        for song, folder in songs.items():
            progress.begin(song.name)
            began = time.monotonic()
            try:
                result = separate_file(
                    stream,
                    song,
                    folder,
                    muted=muted,
                    format=format.value,
                    overwrite=overwrite,
                    progress=progress.update,
                )
            except RtsepError as error:
                if len(songs) == 1:
                    raise
                failed.append(error)
                report(str(error))
                continue
            _tell(result, time.monotonic() - began, quiet)
    if failed:
        raise SomeFilesFailed(f"{len(failed)} of {len(songs)} files failed", failed[0].exit_code)


def find_songs(inputs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Which files to separate, and the folder of each one's results.

    A file's results go to `output`/name without suffix; those found in a folder keep their place below it,
    with the folder's own name in front when there are several inputs. Where names collide the suffix
    stays. `output` itself is not searched.

    Raises:
        AudioFileError: when an input does not exist, or a folder has no audio in it.
        UsageError: when two files would still have the same folder.
    """
    places: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            found = _search(given, output)
            if not found:
                raise AudioFileError(f"{given}: there are no audio files in this folder")
            album = given.name if len(inputs) > 1 else ""
            for file in found:
                places.setdefault(file, album / file.relative_to(given))
        else:
            places.setdefault(given, Path(given.name))

    # The same file may have been named twice, in different ways.
    resolved = {song.resolve(): song for song in reversed(places)}
    places = {song: place for song, place in places.items() if resolved[song.resolve()] is song}

    def key(place: Path) -> str:
        return str(place).casefold()  # as disks without upper and lower case see it

    shared = Counter(key(place.with_suffix("")) for place in places.values())
    folders = {
        song: place if shared[key(place.with_suffix(""))] > 1 else place.with_suffix("")
        for song, place in places.items()
    }
    owners: dict[str, Path] = {}
    for song, place in folders.items():
        other = owners.setdefault(key(place), song)
        if other is not song:
            raise UsageError(f"{other} and {song} would both go to {output / place}; separate one elsewhere")
    return {song: output / place for song, place in folders.items()}


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
