"""The live engine on a real JACK server while the controlling process is under load: is anything lost?

    python -m benchmarks.engine_under_load [--model live] [--seconds 60] [--period 128] [--together]
                                           [--clients 4]

The server has no sound card (dummy driver, 44.1 kHz). The engine runs in its process with the full model.
This process, which steers it, holds the GIL 25 ms at a time, spins, or collects garbage, one after the other
for `--seconds` each, or all three at once with `--together`; all the while `--clients` threads of it move
everything that a desk has. Counted are the periods that the server ran and
the audio callback did not, and times at which a hop was not there when it was due.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import rtsep
from benchmarks.machine import RESULTS, write
from benchmarks.models import add_model_argument, open_model
from rtsep.bench.machine import describe
from rtsep.engine.telemetry import Telemetry
from tests.jack_server import JackServer
from tests.realtime.loads import LOADS, gesturing, under
from tests.realtime.witness import JackClock

LOOKS = 20
SETTLING_SECONDS = 2.0


@dataclass(frozen=True)
class Outcome:
    """What became of the engine in one spell.

    Attributes:
        load: of the controlling process; a line each.
        seconds: of audio.
        periods: that the server ran; `missed` of them without a call of the engine's callback.
        underruns, late_hops, jumps: as in `Telemetry`.
        xruns: that JACK reported, to whichever of its clients they happened.
        hops: computed.
        longest_gap_ms: between two callbacks, since the engine started.
    """

    load: str
    seconds: float
    periods: int
    missed: int
    underruns: int
    late_hops: int
    jumps: int
    xruns: int
    hops: int
    longest_gap_ms: float


def look(engine: rtsep.Engine, clock: JackClock, period: int) -> tuple[int, int, Telemetry]:
    """The server's periods, how many the callback is behind, telemetry; when they are as near as they get.

    The engine publishes its counters every 50 ms: they are true at the moment at which they change.
    """
    nearest, periods = 1 << 62, 0
    telemetry = engine.telemetry()
    for _ in range(LOOKS):
        told = telemetry.counters["callbacks"]
        deadline = time.monotonic() + 5.0
        while telemetry.counters["callbacks"] == told:
            if time.monotonic() > deadline:
                raise SystemExit("the engine's callback has stopped")
            telemetry = engine.telemetry()
        periods = clock.frames() // period
        nearest = min(nearest, periods - telemetry.counters["callbacks"])
    return periods, nearest, telemetry


def spell(
    engine: rtsep.Engine, clock: JackClock, period: int, loads: Sequence[str], seconds: float, clients: int
) -> Outcome:
    """One measurement under the loads given, which may be none, with so many clients at the desk."""
    first, behind_before, before = look(engine, clock, period)
    with contextlib.ExitStack() as stack:
        for load in loads:
            stack.enter_context(under(load))
        stack.enter_context(gesturing(engine.desk, clients))
        time.sleep(seconds)
    last, behind_after, after = look(engine, clock, period)
    return Outcome(
        load="\n".join(loads) or "none",
        seconds=after.seconds - before.seconds,
        periods=last - first,
        missed=max(0, behind_after - behind_before),
        underruns=after.underruns - before.underruns,
        late_hops=after.late_hops - before.late_hops,
        jumps=after.jumps - before.jumps,
        xruns=after.xruns - before.xruns,
        hops=after.hops - before.hops,
        longest_gap_ms=after.counters["max_callback_gap_ns"] / 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_argument(parser)
    parser.add_argument("--seconds", type=float, default=60.0, help="under each load (default 60)")
    parser.add_argument("--period", type=int, default=128, help="frames per callback (default 128)")
    parser.add_argument("--together", action="store_true", help="all loads at once, for `--seconds`")
    parser.add_argument("--clients", type=int, default=0, help="threads at the desk (default 0)")
    parser.add_argument(
        "--json", type=Path, default=RESULTS / "engine_under_load.json", help="where the figures go"
    )
    arguments = parser.parse_args()
    machine = describe()
    console = Console()
    plan = [tuple(LOADS)] if arguments.together else [(load,) for load in LOADS]
    outcomes = []
    with (
        open_model(arguments.model) as package,
        JackServer("bench", period=arguments.period) as server,
        rtsep.Engine(package.root, input="system", output="system", block=server.period) as engine,
    ):
        clock = JackClock()
        time.sleep(SETTLING_SECONDS)
        for loads in plan:
            outcomes.append(spell(engine, clock, server.period, loads, arguments.seconds, arguments.clients))
        clock.close()
        telemetry, latency = engine.telemetry(), engine.latency
    table = Table(title=f"{package.name} on JACK, {server.period} frames, the controlling process under load")
    columns = ("load", "seconds", "periods", "missed", "underruns", "late hops", "xruns", "longest gap")
    for column in columns:
        table.add_column(column, justify="left" if column == "load" else "right")
    for o in outcomes:
        figures = (o.periods, o.missed, o.underruns, o.late_hops, o.xruns)
        table.add_row(o.load, f"{o.seconds:.1f}", *map(str, figures), f"{o.longest_gap_ms:.1f} ms")
    console.print(table)
    hop = {
        "deadline_ms": telemetry.deadline * 1e3,
        "p50_ms": telemetry.hop_p50 * 1e3,
        "p99_ms": telemetry.hop_p99 * 1e3,
        "p99.9_ms": telemetry.hop_p999 * 1e3,
        "max_ms": telemetry.hop_max * 1e3,
    }
    console.print(", ".join(f"{name} {value:.2f}" for name, value in hop.items()))
    document = {
        "model": package.name,
        "period": server.period,
        "sample_rate": server.rate,
        "clients": arguments.clients,
        "allowance": latency.allowance,
        "stream_latency": latency.stream,
        "outcomes": [{**asdict(o), "load": o.load.splitlines()} for o in outcomes],
        "hop": hop,
    }
    write(arguments.json, machine, document)


if __name__ == "__main__":
    main()
