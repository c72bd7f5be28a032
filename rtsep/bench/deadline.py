"""Hop times of the whole path, from the input ring to the output ring, against the deadline.

The engine runs in this process on a driver that is paced by the clock as a sound card is. What is timed is
the worker's whole hop: out of the ring, transforms, network, guard, strips, master, meters, into the ring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtsep.backends.stream import HopStream, open_stream
from rtsep.backends.threads import useful
from rtsep.bench import pictures
from rtsep.bench.hop_figures import hop_figures
from rtsep.bench.machine import describe
from rtsep.bench.record import Result, Tracked
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import FIRST_HOPS
from rtsep.io.null import NullDriver
from rtsep.separators.registry import find

BLOCKS = (32, 64, 128, 256, 512, 1024)
SHORT_BLOCKS = (64, 512)
SECONDS, SHORT_SECONDS = 20.0, 0.5
Say = Callable[[str], None]


def run(
    models: Sequence[str],
    blocks: Sequence[int],
    backends: Sequence[str],
    threads: Sequence[int],
    seconds: float,
    *,
    device: str = "cpu",
    short: bool = False,
    say: Say = lambda line: None,
) -> Result:
    """Measure every combination.

    Args:
        models: names or folders.
        blocks: frames that the driver hands over at once.
        backends: "auto", "fused", "onnx", "torch".
        threads: CPU threads of a step; more than there are cores are as many as there are cores, and the
            compiled step has one whatever is asked for.
        seconds: of sound for each.
        device: "cpu" or "cuda".
        short: whether this is the short form.
        say: told what is being measured.

    Raises:
        ModelError, BackendError: as `rtsep.backends.stream.open_stream`.
    """
    rows = []
    packages, machine = [find(model) for model in models], describe()
    for package in packages:
        measured = set()
        for backend in backends:
            for wanted in dict.fromkeys(useful(number) for number in threads):
                with open_stream(package, backend=backend, device=device, threads=wanted) as stream:
                    name = stream.backend.name
                    count = 1 if name == "fused" else wanted
                    if (name, count) in measured:
                        continue
                    measured.add((name, count))
                    for block in blocks:
                        plural = "s" if count > 1 else ""
                        label = f"{package.name}, {name}, {count} thread{plural}, blocks of {block}"
                        say(label)
                        facts = {"model": package.name, "backend": name, "threads": count, "block": block}
                        rows.append({"label": label, **facts, **measure(stream, block, seconds)})
    result = Result(
        "deadline",
        short,
        {
            "models": [package.name for package in packages],
            "blocks": list(blocks),
            "backends": list(backends),
            "threads": list(threads),
            "device": device,
            "seconds": seconds,
        },
        {"rows": rows},
        machine,
    )
    capped = [number for number in threads if useful(number) != number]
    if capped:
        result.notes.append(f"{max(capped)} threads on {useful(max(capped))} cores are {useful(max(capped))}")
    columns = ("model", "backend", "threads", "block", "first ms", "p50 ms", "p99 ms", "p99.9 ms", "max ms")
    cells = []
    for row in rows:
        times = (row[key] for key in ("first_ms", "p50_ms", "p99_ms", "p99.9_ms", "max_ms"))
        share = f"{100.0 * row['p99_ms'] / row['deadline_ms']:.0f} %"
        cells.append(
            (
                row["model"],
                row["backend"],
                str(row["threads"]),
                str(row["block"]),
                *(f"{t:.3f}" for t in times),
                f"{row['deadline_ms']:.2f}",
                share,
                str(row["late_hops"]),
                str(row["underruns"]),
            )
        )
        name = f"{row['model']}, {row['backend']}, {row['threads']} threads, {row['block']}"
        for figure in ("p50", "p99"):
            of_deadline = row[f"{figure}_ms"] / row["deadline_ms"]
            result.tracked.append(Tracked(f"{name}: hop {figure} of the deadline", of_deadline, "share"))
    title = "Hops, ring to ring, against their deadline"
    more = ("deadline", "p99 of it", "late", "underruns")
    result.tables.append((title, (*columns, *more), cells))
    result.figure = pictures.histograms(rows, title)
    return result


def measure(stream: HopStream, block: int, seconds: float) -> dict[str, Any]:
    """One configuration: percentiles and the histogram, the first hops apart."""
    spec = stream.spec
    # Noise: what a network costs must not depend on silence being cheap.
    noise = 0.1 * np.random.default_rng(0).standard_normal((spec.channels, spec.sample_rate))
    driver = NullDriver(
        spec.sample_rate,
        block,
        noise.astype(np.float32),
        spec.channels,
        spec.channels,
        capture_seconds=0.0,
        loop=True,
    )
    stream.reset()
    enough = max(seconds, (FIRST_HOPS + 8) * spec.hop_seconds)
    with InProcessEngine(driver, stream) as engine:
        while (done := engine.telemetry().seconds) < enough:
            engine.wait(min(0.2, max(enough - done, 0.001)))
        counts = engine.board.hop_times.counts()
        told = engine.telemetry()
    return {**hop_figures(told), "counts": counts.tolist()}
