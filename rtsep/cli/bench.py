"""`rtsep bench`: every claim of speed and quality, measured here, kept, and watched over time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND
from rtsep.cli.errors import warn
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rtsep.bench.record import Result

EXIT_NOT_HELD = 9
"""A benchmark's bar was not met in its long form. The short ones run in CI, where no time is a test."""
EXIT_REGRESSION = 8
"""With --strict: a figure has become worse."""
EVERY = ("floor", "deadline", "soak", "startup", "peers", "files", "pareto")

bench = typer.Typer(no_args_is_help=True, help="Measure speed and quality; keep results and history.")

Short = Annotated[bool, typer.Option("--short", help="The short form: seconds, to see that it runs.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Where results and history go.  [default: benchmarks]"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: one object.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", metavar="NAME", help="Which model; may be repeated.")
]
Roots = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="Tracks with stems, as for 'rtsep eval'; may be repeated.  [default: the excerpt in stempeg]",
    ),
]


@bench.command("pareto")
def pareto(
    root: Roots = None,
    model: Models = None,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            "--oracle", metavar="NAME", help="A bound, as for 'rtsep eval'; repeatable.  [default: irm2]"
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.5, help="Take no more than the start of each track.")
    ] = None,
    short: Short = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Latency, hop times, memory and size of every model against how well it separates and mutes.

    Example: rtsep bench pareto --root musdb18/test
    """
    from rtsep.bench import pareto as bench_pareto

    result = bench_pareto.run(
        model or (),
        root or bench_pareto.ROOTS,
        oracles=oracle or bench_pareto.ORACLES,
        seconds=bench_pareto.SHORT_SECONDS if short and seconds is None else seconds,
        hops=bench_pareto.SHORT_HOPS if short else bench_pareto.HOPS,
        short=short,
        say=_say,
    )
    return _finish(result, output, as_json)


@bench.command("deadline")
def deadline(
    model: Models = None,
    block: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Frames handed over at once; may be repeated.  [default: 32 to 1024]"),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(BACKENDS), help="May be repeated.  [default: auto]"),
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="CPU threads; may be repeated.  [default: 1]")
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Of sound for each.  [default: 20]")] = None,
    short: Short = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Times of hops from ring to ring, at a sound card's pace, against their deadline.

    Example: rtsep bench deadline --model fast --block 64 --block 128 --threads 1 --threads 2
    """
    from rtsep.bench import deadline as bench_deadline

    result = bench_deadline.run(
        model or (DEFAULT_MODEL,),
        block or (bench_deadline.SHORT_BLOCKS if short else bench_deadline.BLOCKS),
        backend or (DEFAULT_BACKEND,),
        threads or (1,),
        seconds or (bench_deadline.SHORT_SECONDS if short else bench_deadline.SECONDS),
        device=device,
        short=short,
        say=_say,
    )
    return _finish(result, output, as_json)


@bench.command("soak")
def soak(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model: see 'rtsep models'.")
    ] = DEFAULT_MODEL,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="How long.  [default: 30]")] = None,
    decks: Annotated[int, typer.Option(min=1, help="Decks in the engine.")] = 2,
    block: Annotated[int, typer.Option(min=1, help="Frames handed over at once.")] = 128,
    backend: Annotated[
        str, typer.Option(metavar="|".join(BACKENDS), help="What runs the model.")
    ] = DEFAULT_BACKEND,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the model.")] = 1,
    short: Short = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Run the engine for a long time while faders move: no hop may be late.

    The exit code is 9 when one was; with --short it is not.

    Example: rtsep bench soak --minutes 30
    """
    from rtsep.bench import soak as bench_soak

    length = minutes or (bench_soak.SHORT_MINUTES if short else bench_soak.MINUTES)
    said = 0

    def progress(seconds: float, late_hops: int) -> None:
        nonlocal said
        if seconds >= 60.0 * (said + 1):
            said = int(seconds // 60.0)
            _say(f"{said} of {length:g} minutes, {late_hops} late hops")

    result = bench_soak.run(
        model,
        length,
        block=block,
        backend=backend,
        threads=threads,
        decks=decks,
        short=short,
        progress=progress,
    )
    return _finish(result, output, as_json)


@bench.command("floor")
def floor(model: Models = None, short: Short = False, output: Folder = None, as_json: Json = False) -> int:
    """How near a model's step is to what one core could do at best.

    Weights over the bandwidth and products over the rate that this core reaches, both measured. The exit code
    is 9 when a step takes more than twice that; with --short it is not.

    Example: rtsep bench floor --model fast
    """
    from rtsep.bench import floor as bench_floor

    hops = bench_floor.SHORT_HOPS if short else bench_floor.HOPS
    result = bench_floor.run(model or (), hops, short=short, say=_say)
    return _finish(result, output, as_json)


@bench.command("startup")
def startup(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model: see 'rtsep models'.")
    ] = DEFAULT_MODEL,
    cold: Annotated[
        bool | None,
        typer.Option("--cold/--no-cold", help="Compile everything once first.  [default: unless --short]"),
    ] = None,
    short: Short = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Time from the command `rtsep live` to the first sound, cold and warm, and what imports take of it.

    The exit code is 9 when it is over 3 s, warm; with --short it is not.

    Example: rtsep bench startup --no-cold
    """
    from rtsep.bench import startup as bench_startup

    runs = bench_startup.SHORT_RUNS if short else bench_startup.RUNS
    compiled = not short if cold is None else cold
    return _finish(bench_startup.run(model, runs, cold=compiled, short=short), output, as_json)


@bench.command("peers")
def peers(
    model: Models = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Only peers whose name holds this word; may be repeated."),
    ] = None,
    short: Short = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Other separators and a callback in Python beside ours, in one run, as ratios.

    Example: rtsep bench peers --peer openunmix
    """
    from rtsep.bench import peers as bench_peers

    chosen = _named(peer, bench_peers.PEERS)
    result = bench_peers.run(
        model or bench_peers.OURS,
        peers=chosen,
        hops=bench_peers.SHORT_HOPS if short else bench_peers.HOPS,
        seconds=bench_peers.SHORT_SECONDS if short else bench_peers.SECONDS,
        callback_seconds=(bench_peers.SHORT_CALLBACK_SECONDS if short else bench_peers.CALLBACK_SECONDS),
        short=short,
        say=_say,
    )
    return _finish(result, output, as_json)


@bench.command("files")
def files(
    model: Models = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(BACKENDS), help="May be repeated.  [default: auto]"),
    ] = None,
    jobs: Annotated[
        list[str] | None,
        typer.Option(metavar="N|auto", help="Songs at a time; may be repeated.  [default: 1 and auto]"),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Only peers whose name holds this word; 'none' for none."),
    ] = None,
    short: Short = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Songs from files to files: `rtsep separate` beside other separators, on songs made for it.

    The exit code is 9 when ours takes more memory for long songs than for short ones; with --short it is not.

    Example: rtsep bench files --jobs 1 --peer openunmix
    """
    from rtsep.bench import files as bench_files

    chosen = [] if peer == ["none"] else _named(peer, bench_files.PEERS)
    result = bench_files.run(
        model or bench_files.MODELS,
        backends=backend or bench_files.BACKENDS,
        jobs=jobs or (bench_files.SHORT_JOBS if short else bench_files.JOBS),
        peers=chosen,
        lengths=bench_files.SHORT_LENGTHS if short else bench_files.LENGTHS,
        short=short,
        say=_say,
    )
    return _finish(result, output, as_json)


@bench.command("all")
def every(root: Roots = None, short: Short = False, output: Folder = None) -> int:
    """Run them all, one after the other: half an hour and more, or a minute with --short.

    The exit code is 9 if a bar was not met, and never with --short, which judges no time. A benchmark that
    cannot run is named and passed over.

    Example: rtsep bench all --short
    """
    from rtsep.spec import RtsepError

    runs = {
        "floor": lambda: floor(None, short, output),
        "deadline": lambda: deadline(["fast", DEFAULT_MODEL], None, None, None, "cpu", None, short, output),
        "soak": lambda: soak(DEFAULT_MODEL, None, 2, 128, DEFAULT_BACKEND, 1, short, output),
        "startup": lambda: startup(DEFAULT_MODEL, None, short, output),
        "peers": lambda: peers(None, None, short, output),
        "files": lambda: files(None, None, None, None, short, output),
        "pareto": lambda: pareto(root, None, None, None, short, output),
    }
    code = 0
    for name in EVERY:
        try:
            code = max(code, runs[name]())
        except RtsepError as error:
            warn(f"{name}: {error}")
            code = max(code, error.exit_code)
    return code


@bench.command("history")
def history(
    name: Annotated[
        str | None, typer.Argument(metavar="[BENCH]", help="One of them.  [default: all]")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, help="Share by which a figure may be worse than before.")
    ] = 0.2,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 8 if a figure regressed.")] = False,
    output: Folder = None,
    as_json: Json = False,
) -> int:
    """Show how figures have changed from run to run, and which have become worse.

    Ratios and decibels are compared between all machines, times and sizes only with runs on the same one that
    was not busy.

    Example: rtsep bench history floor --strict
    """
    from dataclasses import asdict

    from rtsep.bench.history import read, trends
    from rtsep.bench.record import default_folder, history_of

    if name is not None and name not in EVERY:
        raise UsageError(f"no benchmark is called '{name}'; there are: {', '.join(EVERY)}")
    folder = output or default_folder()
    found = [
        trend
        for bench_name in ([name] if name else EVERY)
        for trend in trends(read(history_of(folder, bench_name)), threshold)
    ]
    regressed = [trend for trend in found if trend.regressed]
    if as_json:
        typer.echo(json.dumps([asdict(trend) for trend in found], indent=2))
    elif not found:
        typer.echo(f"{folder / 'history'}: no runs yet")
    else:
        _show_history(found)
    for trend in regressed:
        warn(f"{trend.bench}: {trend.name} is worse by {_change(trend.change, trend.unit)} than before")
    return EXIT_REGRESSION if strict and regressed else 0


def _show_history(found: list) -> None:  # type: ignore[type-arg]
    from rich.table import Table

    table = Table(
        title="History: the last runs of each form, and the last one against those before",
        title_justify="left",
    )
    for column in ("benchmark", "form", "figure", "runs", "before", "now", "unit", "worse by", ""):
        table.add_column(column)
    for trend in found:
        before = "  ".join(f"{value:.4g}" for value in trend.values[-4:-1])
        now = f"{trend.values[-1]:.4g}" if trend.values else ""
        mark = "REGRESSED" if trend.regressed else trend.remark
        change = "" if trend.change is None else _change(trend.change, trend.unit)
        runs = str(len(trend.values))
        form = "short" if trend.short else "long"
        table.add_row(trend.bench, form, trend.name, runs, before, now, trend.unit, change, mark)
    _console().print(table)


def _change(change: float | None, unit: str) -> str:
    if change is None:
        return ""
    return f"{change:+.2f} dB" if unit == "dB" else f"{100.0 * change:+.0f} %"


def _named(words: list[str] | None, peers: Iterable[str]) -> list[str]:
    """The peers whose names hold one of the words; all if there are none. Raises UsageError for no peer."""
    chosen = [name for name in peers if not words or any(word in name for word in words)]
    if not chosen:
        raise UsageError(f"no peer is called so; there are: {'; '.join(peers)}")
    return chosen


def _finish(result: Result, output: Path | None, as_json: bool) -> int:
    """Keep the result, show it; returns the exit code."""
    from rich.table import Table
    from rich.text import Text

    from rtsep.bench.machine import in_words
    from rtsep.bench.record import default_folder, keep

    written = keep(result, output or default_folder())
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
    else:
        console = _console()
        for title, columns, rows in result.tables:
            table = Table(title=title, title_justify="left", show_header=any(columns))
            for index, column in enumerate(columns):
                table.add_column(column, justify="left" if index == 0 else "right")
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
        for note in (*result.notes, f"on {in_words(result.machine)}"):
            console.print(note, markup=False, soft_wrap=True)
        console.print(f"written: {', '.join(map(str, written))}", markup=False, soft_wrap=True)
    return EXIT_NOT_HELD if result.held is False and not result.short else 0


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def _say(line: str) -> None:
    if sys.stderr.isatty():
        typer.echo(line, err=True)
