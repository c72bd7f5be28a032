"""From the command to the first sound: `rtsep live` without a sound card, cold and warm; import times.

Warm is what users have from the second time on: compiled code lies in numba's cache. Cold is the first time
after an installation. Both run the real command in a process of its own; when the driver has first called is
known from the engine's own counters.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

from rtsep.bench import pictures
from rtsep.bench.command import last_line
from rtsep.bench.machine import describe
from rtsep.bench.probe import environment
from rtsep.bench.record import Result, Tracked
from rtsep.separators.registry import find
from rtsep.spec import RtsepError

BAR_SECONDS = 3.0
"""From command to first sound, warm."""
RUNS, SHORT_RUNS = 5, 1
MODULES = ("rtsep", "rtsep.cli.main", "rtsep.engine.child", "rtsep.backends.stream")
MARK = "first sound at"

PROGRAM = f"""
import sys, threading, time
from rtsep.engine import process

BLOCK = 128
started = process.ProcessEngine.start

def start(engine):
    started(engine)
    def watch():
        while not engine.telemetry().counters.get("last_callback_ns"):
            time.sleep(0.001)
        counters = engine.telemetry().counters
        played = (counters["callbacks"] - 1) * BLOCK / engine.latency.sample_rate
        print("{MARK}", counters["last_callback_ns"] * 1e-9 - played, file=sys.stderr, flush=True)
    threading.Thread(target=watch, daemon=True).start()

process.ProcessEngine.start = start
from rtsep.cli.main import main
main(["live", "--null", "--seconds", "0.5", "--block", str(BLOCK), "--model", sys.argv[1]])
"""
"""The command itself, and a thread that looks for the engine's first hop."""


def run(model: str, runs: int = RUNS, *, cold: bool = True, short: bool = False) -> Result:
    """Measure.

    Args:
        model: a name or a folder.
        runs: warm ones; the median counts.
        cold: run once with an empty cache first, which takes a minute of compiling.
        short: whether this is the short form.

    Returns:
        With `held` True if the warm start was within `BAR_SECONDS`.

    Raises:
        RtsepError: when the command fails.
    """
    package, machine = find(model), describe()
    figures: dict[str, Any] = {"cold_s": None}
    with tempfile.TemporaryDirectory(prefix="rtsep-startup-") as cache:
        more = {"NUMBA_CACHE_DIR": cache} if cold else {}
        if cold:
            figures["cold_s"] = first_sound(str(package.root), more)
        before = _cpu_of_children()
        figures["warm_s"] = [first_sound(str(package.root), more) for _ in range(runs)]
        figures["cpu_s"] = (_cpu_of_children() - before) / runs
    modules = MODULES[::2] if short else MODULES
    figures["imports_ms"] = {module: import_time(module, runs) for module in modules}
    warm = median(figures["warm_s"])
    result = Result(
        "startup",
        short,
        {"model": package.name, "runs": runs, "cold": cold},
        figures,
        machine,
        held=warm < BAR_SECONDS,
    )
    rows = [("rtsep live, warm: median", f"{warm:.2f} s"), ("slowest", f"{max(figures['warm_s']):.2f} s")]
    rows.append(("processor time of both processes, half a second of music", f"{figures['cpu_s']:.2f} s"))
    if cold:
        rows.append(("rtsep live, nothing compiled yet", f"{figures['cold_s']:.1f} s"))
    rows += [(f"import {module}", f"{ms:.0f} ms") for module, ms in figures["imports_ms"].items()]
    result.tables.append(("From the command to the first sound", ("", ""), rows))
    words = "within" if result.held else "NOT within"
    result.notes.append(f"first sound after {warm:.2f} s, {words} {BAR_SECONDS:g} s")
    result.tracked = [Tracked("first sound, warm", warm, "s"), Tracked("CPU", figures["cpu_s"], "s")]
    result.tracked += [Tracked(f"import {name}", ms, "ms") for name, ms in figures["imports_ms"].items()]
    shown = [("warm", warm)] + ([("cold", figures["cold_s"])] if cold else [])
    result.figure = pictures.bars(shown, "rtsep live: first sound", "seconds", BAR_SECONDS)
    return result


def first_sound(model: str, more: dict[str, str]) -> float:
    """Seconds from starting the process until the driver first called the engine back."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, model],
        env=environment() | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(rf"^{MARK} (\S+)$", done.stderr, re.MULTILINE)
    if done.returncode or found is None:
        raise RtsepError(f"rtsep live did not play: {last_line(done.stderr)}")
    return float(found[1]) - began


def _cpu_of_children() -> float:
    """Processor seconds of the processes that this one has started and seen end, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def import_time(module: str, runs: int) -> float:
    """Milliseconds that importing a module takes in a fresh interpreter: the median."""
    program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    taken = []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
        )
        taken.append(1e3 * float(done.stdout))
    return median(taken)
