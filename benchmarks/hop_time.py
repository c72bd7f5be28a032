"""Time that a hop takes from the input ring to the output ring, on one core, against the hop's own duration.

    python -m benchmarks.hop_time [--model live] [--backend onnx] [--threads 1] [--decks 1] [--seconds 30]
        [--paced]

The worker's whole hop: out of the ring, FFT, network, inverse FFT, guard, gains, meters, into the ring. The
process is held to one core (where the system allows that) and hops are run one after the other; with
`--paced` they come at a sound card's pace instead, as caches and clock frequencies then cool down.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import RESULTS, write
from benchmarks.models import add_model_argument, open_model
from rtsep.backends.stream import HopStream, open_stream
from rtsep.engine.board import Board
from rtsep.engine.rates import plan
from rtsep.engine.worker import Worker
from rtsep.io.driver import StreamFormat
from rtsep.rt.clock import now_ns, sleep_until
from rtsep.rt.port import RealtimePort
from rtsep.rt.pump import Pump

PERCENTILES = (50.0, 99.0, 99.9)
BLOCK = 128
WARM_UP_HOPS = 50


def measure(stream: HopStream, seconds: float, paced: bool) -> np.ndarray:
    """Nanoseconds of every hop in so many seconds of audio."""
    spec, decks = stream.spec, stream.decks
    width = decks * spec.channels
    latency = plan(spec, StreamFormat(spec.sample_rate, BLOCK, width, spec.channels))
    capacity = 2 * latency.stream + 8 * spec.hop
    pairs = tuple((k * spec.channels, (k + 1) * spec.channels - 1) for k in range(decks))
    port = RealtimePort(
        width, spec.channels, capacity, latency.stream, sample_rate=spec.sample_rate, decks=pairs
    )
    worker = Worker(port, stream, Board(spec.stems, decks=decks), latency)
    pump = Pump(port, BLOCK, paced=False)
    pump.warm_up()
    noise = np.random.default_rng(0).standard_normal((spec.sample_rate, width))
    source = (0.1 * noise).astype(np.float32)
    nowhere = np.zeros((0, spec.channels), np.float32)
    hops = WARM_UP_HOPS + max(1, round(seconds * spec.sample_rate / spec.hop))
    times = np.zeros(hops, np.int64)
    period = round(spec.hop_seconds * 1e9)
    gc.collect()
    gc.freeze()
    start = now_ns()
    for k in range(hops):
        while port.position < worker._intake.needed:
            begin = port.position % (len(source) - BLOCK)
            pump.run(source[begin : begin + BLOCK], nowhere, BLOCK)
        if paced:
            sleep_until(start + k * period)
        began = time.perf_counter_ns()
        worker._hop()
        times[k] = time.perf_counter_ns() - began
    gc.unfreeze()
    return times[WARM_UP_HOPS:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_argument(parser)
    parser.add_argument("--backend", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of one step (default 1)")
    parser.add_argument("--decks", type=int, default=1, help="inputs in one step (default 1)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio (default 30)")
    parser.add_argument("--paced", action="store_true", help="at a sound card's pace")
    parser.add_argument("--json", type=Path, default=RESULTS / "hop_time.json", help="where the figures go")
    arguments = parser.parse_args()
    core = pin(arguments.threads)
    with (
        open_model(arguments.model) as package,
        open_stream(
            package,
            backend=arguments.backend,
            device=arguments.device,
            threads=arguments.threads,
            decks=arguments.decks,
        ) as stream,
    ):
        times = measure(stream, arguments.seconds, arguments.paced)
        spec = stream.spec
    deadline = spec.hop_seconds * 1e3
    row = {f"p{p:g}": float(np.percentile(times, p)) / 1e6 for p in PERCENTILES}
    row["max"] = float(times.max()) / 1e6
    within = row["p99.9"] < deadline / 2.0
    decks = "" if arguments.decks == 1 else f", {arguments.decks} decks"
    table = Table(
        title=f"{package.name}, {arguments.backend}, {len(times)} hops of {spec.hop} samples{decks}"
    )
    for column in ("", "ms", "of the hop"):
        table.add_column(column, justify="left" if not column else "right")
    for name, value in row.items():
        table.add_row(name, f"{value:.3f}", f"{100.0 * value / deadline:.1f} %")
    table.add_row("the hop lasts", f"{deadline:.3f}", "")
    console = Console()
    console.print(table)
    console.print(f"p99.9 is {'under' if within else 'NOT under'} half the hop")
    figures: dict[str, Any] = {
        "model": package.name,
        "backend": arguments.backend,
        "device": arguments.device,
        "threads": arguments.threads,
        "decks": arguments.decks,
        "core": core,
        "paced": arguments.paced,
        "hops": len(times),
        "hop_samples": spec.hop,
        "deadline_ms": deadline,
        "milliseconds": row,
        "p99.9_under_half_the_hop": within,
    }
    write(arguments.json, figures)


def pin(threads: int) -> int | None:
    """Hold the process to its last core, the one that interrupts use least; None where that cannot be."""
    if threads > 1 or not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


if __name__ == "__main__":
    main()
