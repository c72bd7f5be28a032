"""The engine while other programs keep every processor busy: with real-time priority and without.

    python -m benchmarks.beside_others [--model live] [--seconds 30] [--rounds 2] [--json FILE]

One process for each processor adds up numbers at ordinary priority. The engine, in a process of its own and
on a driver that is paced by the clock, takes turns: first as an ordinary program, then with the priority that
it asks for by itself. Where the system does not grant that, both are ordinary, and the figures say so.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import RESULTS, write
from rtsep.bench.hop_figures import hop_figures
from rtsep.bench.machine import describe
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.separators.registry import DEFAULT_MODEL


def add_up() -> None:
    """Never ends."""
    total = 0
    while True:
        total = (total + 1) % 1_000_003


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    context = multiprocessing.get_context("spawn")
    loads = [context.Process(target=add_up, daemon=True) for _ in range(processes)]
    for load in loads:
        load.start()
    try:
        yield
    finally:
        for load in loads:
            load.terminate()
            load.join()


def measure(model: str, seconds: float, realtime: bool) -> dict[str, Any]:
    """One turn of the engine."""
    with ProcessEngine(EngineOptions(model=model, audio="null", realtime=realtime)) as engine:
        engine.wait(seconds)
        told = engine.telemetry()
    return {"realtime": told.realtime, **hop_figures(told)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"name or folder (default {DEFAULT_MODEL})")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a turn (default 30)")
    parser.add_argument("--rounds", type=int, default=2, help="of two turns (default 2)")
    parser.add_argument("--json", type=Path, default=RESULTS / "beside_others.json")
    arguments = parser.parse_args()
    machine = describe()
    cores = os.cpu_count() or 1
    with busy(cores):
        turns = [False, True] * arguments.rounds
        rows = [measure(arguments.model, arguments.seconds, realtime) for realtime in turns]
    title = f"{arguments.model} beside {cores} processes that compute, ms of {rows[0]['deadline_ms']:.2f}"
    table = Table(title=title)
    for column in ("priority", "hops", "p50", "p99", "p99.9", "max", "late", "underruns"):
        table.add_column(column, justify="left" if column == "priority" else "right")
    for row in rows:
        times = (f"{row[name]:.2f}" for name in ("p50_ms", "p99_ms", "p99.9_ms", "max_ms"))
        table.add_row(
            "real-time" if row["realtime"] else "ordinary",
            str(row["hops"]),
            *times,
            str(row["late_hops"]),
            str(row["underruns"]),
        )
    Console().print(table)
    write(arguments.json, machine, {"model": arguments.model, "seconds": arguments.seconds, "rows": rows})


if __name__ == "__main__":
    main()
