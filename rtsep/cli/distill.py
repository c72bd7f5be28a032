"""`rtsep distill`: songs without stems through a teacher, for a student to be trained on."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Annotated

import typer

from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND
from rtsep.cli.errors import report
from rtsep.cli.progress import AudioProgress, clock
from rtsep.cli.separate import SomeFilesFailed, find_songs
from rtsep.spec import AudioFileError, BackendError, RtsepError, UsageError


def distill(
    teacher: Annotated[
        str, typer.Argument(help="A model's name or folder; or a folder of estimates, one folder a song.")
    ],
    songs: Annotated[list[Path], typer.Argument(help="Sound files, or folders of them.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the tracks go: a root for training.")
    ],
    least: Annotated[
        float | None,
        typer.Option(
            metavar="DB", help="Leave out songs of which the teacher is less sure than this, in dB of SDR."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Do not ask twice: half the time, and no confidence.")
    ] = False,
    bass_from_other: Annotated[
        bool,
        typer.Option(
            "--bass-from-other",
            help="SONGS are tracks whose bass line is inside their other: tell it from that stem.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    backend: Annotated[
        str, typer.Option(metavar="|".join(BACKENDS), help="What runs a causal model.")
    ] = DEFAULT_BACKEND,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the model.")] = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors and warnings.")
    ] = False,
) -> None:
    """Make training tracks of songs without stems, from what a teacher hears in them.

    Songs that are done are not done again: run the same command to go on. Name DIR among the roots of a
    training file, with a weight.

    Example: rtsep distill studio songs -o corpus/distilled --least 12
    """
    if least is not None and not math.isfinite(least):
        raise UsageError(f"--least {least:g}: must be a finite number of dB")
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is in the way: a file, where a folder is to be")
    if bass_from_other and (once or least is not None):
        raise UsageError("--bass-from-other hears a stem once: --least and --once are not for it")
    try:
        from rtsep.training.distillation import FolderTeacher, ModelTeacher, Teacher
        from rtsep.training.distillation import distill as distill_song
    except ModuleNotFoundError as error:
        raise BackendError(f"distilling needs {error.name}: pip install 'rtsep[train]'") from None
    from rtsep.engine.offline import open_model
    from rtsep.separators.manifest import MANIFEST_NAME
    from rtsep.separators.registry import find_any

    if bass_from_other:
        _split_all(teacher, songs, output, device, backend, threads, quiet)
        return
    if once and least is not None:
        raise UsageError("without a second hearing there is no confidence: --once excludes --least")
    found = find_songs(songs, output)
    counts = {"kept": 0, "left out": 0, "there already": 0}
    failed: list[RtsepError] = []
    with contextlib.ExitStack() as closing, AudioProgress(quiet) as progress:
        folder = Path(teacher)
        master: Teacher
        if folder.is_dir() and not (folder / MANIFEST_NAME).exists():
            if least is not None:
                raise UsageError(f"--least: {folder} holds estimates, which cannot be asked twice")
            places = {song: track.relative_to(output) for song, track in found.items()}
            master = FolderTeacher(folder, places)
        else:
            package = find_any(teacher)
            models = [
                closing.enter_context(
                    contextlib.closing(open_model(package, backend=backend, device=device, threads=threads))
                )
                for _ in range(1 if once else 2)
            ]
            master = ModelTeacher(package.name, models[0], None if once else models[1])
        for song, track in found.items():
            progress.begin(song.name)
            began = time.monotonic()
            try:
                done = distill_song(master, song, track, least, progress.update)
            except RtsepError as error:
                if len(found) == 1 or isinstance(error, UsageError):
                    raise
                failed.append(error)
                report(str(error))
                continue
            word = "kept" if done.kept else "left out"
            counts["there already" if not done.fresh else word] += 1
            sure = "" if done.confidence is None else f", sure to {done.confidence:.1f} dB"
            if not quiet and done.fresh:
                took = clock(time.monotonic() - began)
                typer.echo(f"{track}: {word}{sure}; {clock(done.seconds)} in {took}")
    if not quiet:
        typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    if failed:
        raise SomeFilesFailed(f"{len(failed)} of {len(found)} songs failed", failed[0].exit_code)


def _split_all(
    teacher: str, roots: list[Path], output: Path, device: str, backend: str, threads: int, quiet: bool
) -> None:
    from rtsep.engine.offline import open_model
    from rtsep.separators.registry import find_any
    from rtsep.training.bass_split import split_bass
    from rtsep.training.corpus import find_tracks

    package = find_any(teacher)
    tracks = {track: output / track.relative_to(root.parent) for root in roots for track in find_tracks(root)}
    fresh = 0
    with (
        contextlib.closing(open_model(package, backend=backend, device=device, threads=threads)) as model,
        AudioProgress(quiet) as progress,
    ):
        for track, folder in tracks.items():
            progress.begin(track.name)
            done = split_bass(package.name, model, track, folder, progress.update)
            fresh += done.fresh
            if not quiet and done.fresh:
                typer.echo(f"{folder}: {clock(done.seconds)}")
    if not quiet:
        typer.echo(f"{fresh} split, {len(tracks) - fresh} there already")
