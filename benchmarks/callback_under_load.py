"""The native audio callback beside an ordinary Python one, while the interpreter is under load.

    python -m benchmarks.callback_under_load [--seconds 60] [--period 128] [--json FILE]

On a JACK server of its own (dummy driver, 44.1 kHz), once without a load and once under each: a thread
that holds the GIL 25 ms at a time, a busy Python thread, a gc.collect loop. Counted are the periods that
the server ran and the callback did not, by a second process that reads both counters; what a native
callback in that process misses, the machine itself has taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import RESULTS, write
from rtsep.bench.machine import describe
from tests.jack_server import JackServer
from tests.realtime.loads import LOADS
from tests.realtime.trial import KINDS, Outcome, run


def measure(seconds: float, period: int, console: Console) -> list[Outcome]:
    """One outcome for each load and callback."""
    outcomes = []
    with JackServer("benchmark", rate=44100, period=period) as server:
        for load in (None, *LOADS):
            for kind in KINDS:
                with console.status(f"{kind} callback, {load or 'no load'}: {seconds:g} s"):
                    outcomes.append(run(server, kind, load, seconds))
    return outcomes


def table(outcomes: list[Outcome]) -> Table:
    """The outcomes as a table."""
    shown = Table(title="audio callbacks under load")
    for column in (
        "load",
        "callback",
        "periods",
        "missed",
        "missed %",
        "control missed",
        "xruns",
        "longest gap",
    ):
        shown.add_column(column, justify="left" if column in ("load", "callback") else "right")
    for outcome in outcomes:
        shown.add_row(
            outcome.load,
            outcome.callback,
            str(outcome.periods),
            str(outcome.missed),
            f"{100 * outcome.missed / max(1, outcome.periods):.2f}",
            str(outcome.missed_by_control),
            str(outcome.xruns),
            f"{outcome.longest_gap_ms:.1f} ms",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of audio for each trial (default 60)")
    parser.add_argument("--period", type=int, default=128, help="frames per callback (default 128)")
    parser.add_argument(
        "--json", type=Path, default=RESULTS / "callback_under_load.json", help="where the figures go"
    )
    arguments = parser.parse_args()
    machine = describe()
    console = Console()
    outcomes = measure(arguments.seconds, arguments.period, console)
    console.print(table(outcomes))
    figures = {
        "seconds": arguments.seconds,
        "period": arguments.period,
        "sample_rate": 44100,
        "outcomes": [outcome.as_dict() for outcome in outcomes],
    }
    write(arguments.json, machine, figures)


if __name__ == "__main__":
    main()
