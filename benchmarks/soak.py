"""The engine for a long time at a sound card's pace: hop times, underruns, and whether memory grows.

    python -m benchmarks.soak [--model live] [--minutes 60] [--block 128] [--decks 1] [--json FILE]

The engine runs in its own process with a driver that is paced by the clock and needs no sound card.
Parameters are moved every second, and the stream is reset every minute, as somebody at the faders would; with
two decks the crossfader is moved and a stem is swapped too, and the decks are reset by turns.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.machine import RESULTS, write
from benchmarks.models import add_model_argument, open_model
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine

SETTLED_SECONDS = 20.0
"""From here on memory must not grow: libraries have made what they make on first use."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_argument(parser)
    parser.add_argument("--minutes", type=float, default=60.0, help="(default 60)")
    parser.add_argument("--block", type=int, default=128, help="frames per callback (default 128)")
    parser.add_argument("--decks", type=int, choices=(1, 2), default=1, help="inputs (default 1)")
    parser.add_argument("--backend", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--json", type=Path, default=RESULTS / "soak.json", help="where the figures go")
    arguments = parser.parse_args()
    console = Console()
    seconds = 60.0 * arguments.minutes
    resident: list[float] = []
    with open_model(arguments.model) as package:
        options = EngineOptions(
            model=str(package.root),
            backend=arguments.backend,
            audio="null",
            block=arguments.block,
            decks=arguments.decks,
        )
        with ProcessEngine(options) as engine, Progress(console=console, transient=True) as progress:
            assert engine.pid is not None
            process = psutil.Process(engine.pid)
            bar = progress.add_task("soaking", total=seconds)
            begun = time.monotonic()
            turn = 0
            while (elapsed := time.monotonic() - begun) < seconds:
                if engine.wait(min(1.0, seconds - elapsed)):
                    raise SystemExit("the engine has stopped by itself")
                board = engine.board
                stem = board.strips[turn % len(board.strips)]
                board.set_gain(stem, 6.0 * math.sin(turn))
                board.set_mute(stem, turn % 3 == 0)
                if arguments.decks == 2:
                    board.set_crossfader(0.5 + 0.5 * math.sin(0.7 * turn), 500.0)
                    board.set_swapped(board.stems[turn % len(board.stems)], turn % 2 == 0)
                if turn % 60 == 59:
                    # All of them, or one and then the other.
                    board.request_reset(None if arguments.decks == 1 else 1 + turn // 60 % 2)
                turn += 1
                if elapsed >= min(SETTLED_SECONDS, seconds / 2.0):
                    resident.append(process.memory_info().rss / 1e6)
                progress.update(bar, completed=elapsed)
            telemetry = engine.telemetry()
    growth = resident[-1] - resident[0] if resident else 0.0
    figures = {
        "model": package.name,
        "backend": arguments.backend,
        "block": arguments.block,
        "decks": arguments.decks,
        "minutes": telemetry.seconds / 60.0,
        "hops": telemetry.hops,
        "deadline_ms": telemetry.deadline * 1e3,
        "p50_ms": telemetry.hop_p50 * 1e3,
        "p99_ms": telemetry.hop_p99 * 1e3,
        "p99.9_ms": telemetry.hop_p999 * 1e3,
        "max_ms": telemetry.hop_max * 1e3,
        "underruns": telemetry.underruns,
        "late_hops": telemetry.late_hops,
        "bad_hops": telemetry.bad_hops,
        "jumps": telemetry.jumps,
        "resets": telemetry.resets,
        "resident_mb": resident[-1] if resident else None,
        "resident_growth_mb": growth,
    }
    table = Table(title="soak", show_header=False)
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
    write(arguments.json, figures)


if __name__ == "__main__":
    main()
