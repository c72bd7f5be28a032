"""`rtsep eval`: score models, and oracles as their bounds, on tracks whose stems are known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.cli.threads import capped
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import STEMS, AudioFileError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rtsep.evaluation.aggregate import Table as Figures
    from rtsep.evaluation.live_conditions import LiveConditions
    from rtsep.evaluation.spectra import Transform

_LONGEST = 86400.0
"""Seconds of a track, or of a chunk of it: a day."""
_WIDEST = 1 << 16
"""Samples of an oracle's window: more than a second. Spectra of longer ones fill the memory."""
_PIPE_WIDTH = 200
"""Columns where nobody's terminal sets them: no row is broken."""


def eval(
    root: Annotated[
        str,
        typer.Argument(
            metavar="ROOT",
            help="Folder of tracks (folders of stems, or MUSDB18's .stem.mp4 files), one track, or the word"
            " stempeg for the excerpt in that package.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME", help="Which model; may be repeated."),
    ] = None,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            "--oracle",
            metavar="NAME",
            help="A bound: ibm, irm1, irm2, mwf, fb-irm1:MODEL, fb-irm2:MODEL; may be repeated.",
        ),
    ] = None,
    stems: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What the tracks' files are called and told apart as, such as vocals,drums,guitar,other."
            "  [default: vocals,drums,bass,other, or what the models have beyond these]",
        ),
    ] = None,
    bass_in_other: Annotated[
        bool,
        typer.Option(
            "--bass-in-other",
            help="Tracks with other and without bass have the bass line inside other: score both as one.",
        ),
    ] = False,
    live_conditions: Annotated[
        str | None,
        typer.Option(
            "--live-conditions",
            metavar="NAME=VALUE,...",
            help="Score tracks as if recorded on a stage: crowd=DB, bleed=DB (against mixture and source), or"
            " off, and seed=NUMBER; those left out are crowd=-20,bleed=-18,seed=0.",
        ),
    ] = None,
    bss: Annotated[bool, typer.Option("--bss", help="Measure BSSEval v4 too, with museval: slow.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where report.html and scores.json go."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    chunk: Annotated[float, typer.Option(metavar="SECONDS", help="Length of the SDR's chunks.")] = 1.0,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Take no more than the start of each track.")
    ] = None,
    oracle_window: Annotated[
        str,
        typer.Option(metavar="SAMPLES", help="Of the oracles: analysis window, synthesis window, hop."),
    ] = "4096,4096,1024",
    excerpts: Annotated[int, typer.Option(min=0, help="Tracks to hear in the report, the first ones.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for a model.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no tables.")] = False,
) -> None:
    """Score models, and oracles as their bounds, on tracks whose stems are known.

    Models run through the same code as live audio. Everything is compared with the mixture as it is. Tables
    are printed; with -o they are kept as JSON and as one page with plots and sounds.

    Example: rtsep eval musdb18/test --model live --oracle irm2 -o scores
    """
    for option, length in (("--chunk", chunk), ("--seconds", seconds)):
        if length is not None and not 0.0 < length <= _LONGEST:
            raise UsageError(
                f"{option} {length:g}: must be more than no time at all, and at most {_LONGEST:.0f} s"
            )
    from rtsep.evaluation.campaign import Settings, evaluate
    from rtsep.evaluation.report import REPORT_NAME, SCORES_NAME, as_html, as_json
    from rtsep.evaluation.systems import Model, open_oracle
    from rtsep.evaluation.tracks import find_tracks
    from rtsep.io.staging import AlreadyThereError, StagedFolder

    transform = _transform(oracle_window)
    threads = capped(threads)
    staged = StagedFolder(output, (REPORT_NAME, SCORES_NAME), overwrite) if output is not None else None
    if staged is not None:
        _require_matplotlib()
        try:
            staged.check()
        except AlreadyThereError as error:
            raise AudioFileError(f"{error.file}: exists already; --overwrite replaces it") from None
    models = model if model or oracle else [DEFAULT_MODEL]
    sources = find_tracks(root, _stems(stems, models or ()), bass_in_other)
    live = None if live_conditions is None else _live(live_conditions)
    settings = Settings(chunk, seconds, bss, transform, excerpts if output is not None else 0, live)
    with ExitStack() as opened:
        systems = []
        # Oracles first: a name that does not exist should not wait for a model to load.
        bounds = [open_oracle(name, transform) for name in oracle or ()]
        for name in models or ():
            systems.append(Model(name, threads))
            opened.callback(systems[-1].close)
        result = evaluate(sources, [*systems, *bounds], settings, None if quiet else _say)
    if staged is not None:
        with staged:
            for name, text in (
                (REPORT_NAME, as_html(result, f"rtsep eval {Path(root).resolve().name}")),
                (SCORES_NAME, as_json(result)),
            ):
                try:
                    (staged.path / name).write_text(text, encoding="utf-8")
                except OSError as error:
                    raise AudioFileError(f"{output}: cannot be written: {error.strerror}") from None
    if not quiet:
        from rtsep.evaluation.aggregate import tables

        console = _console()
        for figures in tables(result):
            _print(console, figures)
        if staged is not None:
            console.print(f"Written to [bold]{output}[/]: {REPORT_NAME}, {SCORES_NAME}")


def _stems(text: str | None, models: Sequence[str]) -> tuple[str, ...]:
    """What to tell apart: as the option says, else all that trained models do if it is more than the four."""
    from rtsep.evaluation.tracks import ACCOMPANIMENT
    from rtsep.separators.registry import find_any

    if text is not None:
        names = tuple(name.strip().lower() for name in text.split(","))
        if "" in names or len(set(names)) != len(names) or len(names) < 2 or ACCOMPANIMENT in names:
            raise UsageError(
                f"--stems {text}: write two names or more, each once, such as vocals,drums,other"
            )
        return names
    packages = [find_any(name) for name in models]
    names = tuple(dict.fromkeys(n for p in packages if not p.built_in for n in p.spec.stems))
    names = tuple(name for name in names if name != ACCOMPANIMENT)
    return STEMS if set(names) <= set(STEMS) else names


def _live(text: str) -> LiveConditions:
    from rtsep.evaluation.live_conditions import LiveConditions

    values: dict[str, float | int | None] = {}
    for part in filter(None, text.split(",")):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            if name not in ("crowd", "bleed", "seed") or name in values:
                raise ValueError
            if name == "seed":
                if int(value) < 0:
                    raise ValueError
                values[name] = int(value)
            else:
                values[name] = None if value == "off" else float(value)
        except ValueError:
            raise UsageError(
                f"--live-conditions {text}: write some of crowd=DB, bleed=DB and seed=NUMBER, each once"
            ) from None
    level = {f"{name}_db": values[name] for name in ("crowd", "bleed") if name in values}
    return LiveConditions(**level, seed=int(values.get("seed") or 0))


def _transform(text: str) -> Transform:
    from rtsep.evaluation.spectra import Transform

    sizes = text.split(",")
    # Nobody means a number of ten digits, and Python does not read one of thousands.
    if len(sizes) != 3 or not all(size.strip().isdecimal() and len(size.strip()) < 10 for size in sizes):
        raise UsageError(f"--oracle-window {text}: write three numbers of samples, such as 4096,4096,1024")
    analysis, synthesis, hop = map(int, sizes)
    if analysis > _WIDEST:
        raise UsageError(f"--oracle-window {text}: a window has at most {_WIDEST} samples")
    return Transform(analysis, synthesis, hop)


def _require_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("the report's plots need matplotlib: pip install 'rtsep[evaluate]'") from None


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _print(console: Console, figures: Figures) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=figures.title, title_justify="left")
    for index, column in enumerate(figures.columns):
        table.add_column(column, justify="left" if index < figures.texts else "right", no_wrap=True)
    for row in figures.rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _say(track: str, system: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"{track}: {system}", err=True)
