"""The engine for a long time at a sound card's pace: late hops, underruns, and whether memory grows.

The engine runs in its own process with a driver that is paced by the clock. Parameters are moved every
second, and the stream is reset every minute, as somebody at the faders would.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.bench import pictures
from rtsep.bench.hop_figures import hop_figures
from rtsep.bench.machine import describe
from rtsep.bench.record import Result, Tracked
from rtsep.bench.witness import Seen, Stop, Witness
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.separators.registry import find
from rtsep.spec import DeviceError, UsageError

MINUTES, SHORT_MINUTES = 30.0, 0.03
DECKS = 2
SETTLED_SECONDS = 20.0
"""From here on memory must not grow: libraries have made what they make on first use."""
LOOK_SECONDS = 0.25
"""How often the counts are read, so that a late hop can be told from one while the machine stood still."""
_LOOKS_A_MOVE = 4
_AFTERWARDS = 4
"""Hops for which a stop of the machine may still be felt."""


class Look(NamedTuple):
    """What went wrong between two times of `time.monotonic`."""

    begun: float
    ended: float
    late_hops: int
    underruns: int


def unexplained(looks: Sequence[Look], stops: Sequence[Stop], hop: float) -> tuple[int, int]:
    """Late hops and underruns of the looks during and shortly before which no processor stood still.

    Args:
        looks: in any order.
        stops: of the machine, long enough to make a hop late.
        hop: seconds.
    """

    def beside(look: Look) -> bool:
        return any(
            stop.ended - stop.seconds <= look.ended and look.begun <= stop.ended + _AFTERWARDS * hop
            for stop in stops
        )

    alone = [look for look in looks if not beside(look)]
    return sum(look.late_hops for look in alone), sum(look.underruns for look in alone)


def run(
    model: str,
    minutes: float,
    *,
    block: int = 128,
    backend: str = DEFAULT_BACKEND,
    threads: int = 1,
    decks: int = DECKS,
    short: bool = False,
    progress: Callable[[float, int], None] = lambda seconds, late_hops: None,
) -> Result:
    """Run the engine for so many minutes.

    Args:
        model: a name or a folder.
        minutes: how long.
        block: frames that the driver hands over at once.
        backend, threads, decks: as the engine's options.
        short: whether this is the short form.
        progress: told the seconds that are done, and the late hops so far.

    Returns:
        With `held` True if no hop was late, nothing underran and no input was jumped over.

    Raises:
        UsageError: when psutil is missing, or for a number of decks that no engine has.
        DeviceError: when the engine ends by itself.
    """
    try:
        import psutil
    except ModuleNotFoundError:
        raise UsageError("a soak watches memory with psutil: pip install 'rtsep[bench]'") from None
    package, machine = find(model), describe()
    options = EngineOptions(
        model=str(package.root), backend=backend, threads=threads, audio="null", block=block, decks=decks
    )
    seconds, resident = 60.0 * minutes, []
    looks: list[Look] = []
    hop = package.spec.hop / package.spec.sample_rate
    witness = Witness(hop / 4.0)
    with ProcessEngine(options) as engine, witness:
        process = psutil.Process(engine.pid)
        stems = engine.spec.stems
        begun, turn = time.monotonic(), 0
        last = Look(begun, begun, 0, 0)
        while (elapsed := time.monotonic() - begun) < seconds:
            for _ in range(_LOOKS_A_MOVE):
                if engine.wait(max(0.0, min(LOOK_SECONDS, begun + seconds - time.monotonic()))):
                    raise DeviceError("the engine has stopped by itself")
                told = engine.telemetry()
                now = Look(last.ended, time.monotonic(), told.late_hops, told.underruns)
                if (now.late_hops, now.underruns) != (last.late_hops, last.underruns):
                    new = now.late_hops - last.late_hops, now.underruns - last.underruns
                    looks.append(Look(now.begun, now.ended, *new))
                last = now
            stem = stems[turn % len(stems)]
            engine.board.set_gain(stem, 6.0 * math.sin(turn))
            engine.board.set_mute(stem, turn % 3 == 0)
            if turn % 60 == 59:
                engine.board.request_reset()
            turn += 1
            if elapsed >= min(SETTLED_SECONDS, seconds / 2.0):
                resident.append(process.memory_info().rss / 1e6)
            progress(elapsed, last.late_hops)
        told = engine.telemetry()
        counts = engine.board.hop_times.counts().tolist()
    figures: dict[str, Any] = {
        "minutes": told.seconds / 60.0,
        **hop_figures(told),
        "bad_hops": told.bad_hops,
        "jumps": told.jumps,
        "resets": told.resets,
        "resident_mb": resident[-1] if resident else None,
        "resident_growth_mb": resident[-1] - resident[0] if resident else None,
    }
    seen = witness.seen
    if seen is not None:
        # What a hop at its usual length leaves of its time, a stop must exceed to make it late.
        limit = max(hop / 4.0, told.deadline - told.hop_p99)
        late_alone, underruns_alone = unexplained(looks, seen.longer(limit), hop)
        figures |= {
            "late_hops_unexplained": late_alone,
            "underruns_unexplained": underruns_alone,
            "machine_stops": len(seen.longer(hop)),
            "machine_longest_stop_ms": seen.longest_ms,
            "machine_stolen_s": seen.stolen_seconds,
        }
    held = told.late_hops == told.underruns == told.jumps == 0
    settings = {"model": package.name, "minutes": minutes, "block": block, "backend": backend}
    settings |= {"threads": threads, "decks": decks}
    result = Result("soak", short, settings, {**figures}, machine, held=held)
    rows = [(k, f"{v:.3f}" if isinstance(v, float) else str(v)) for k, v in figures.items()]
    result.tables.append((f"soak: {package.name}, blocks of {block}", ("", ""), rows))
    counted = f"{told.late_hops} late hops, {told.underruns} underruns, {told.jumps} jumps"
    length = f"{told.hops} hops in {told.seconds / 60.0:.1f} minutes"
    result.notes.append(f"{counted} in {length}: {'held' if held else 'NOT held'}")
    if seen is not None:
        result.notes += _reasons(seen, hop, None if held else (limit, late_alone, underruns_alone))
    result.tracked = [
        Tracked(f"{package.name}: late hops", float(told.late_hops), "count"),
        Tracked(f"{package.name}: underruns", float(told.underruns), "count"),
        Tracked(f"{package.name}: hop p50 of the deadline", told.hop_p50 / told.deadline, "share"),
        Tracked(f"{package.name}: hop p99 of the deadline", told.hop_p99 / told.deadline, "share"),
    ]
    result.figures["counts"] = counts
    row = {**figures, "label": package.name, "counts": counts}
    result.figure = pictures.histograms([row], f"soak, {told.seconds / 60.0:.1f} minutes")
    return result


def _reasons(seen: Seen, hop: float, left: tuple[float, int, int] | None) -> list[str]:
    """What the machine did meanwhile.

    Args:
        seen: by the witness.
        hop: seconds.
        left: if something went wrong: from how many seconds on a stop may have been the reason, and the late
            hops and underruns without one.
    """
    notes = []
    if seen.longer(hop):
        who = "the machine itself" if seen.realtime else "the machine itself, or another program,"
        notes.append(
            f"{who} held up a process that does nothing {len(seen.longer(hop))} times for longer than a hop,"
            f" at worst {seen.longest_ms:.1f} ms"
        )
    if left is not None:
        limit, late_hops, underruns = left
        who = "" if seen.realtime else ", by the machine or by another program,"
        notes.append(
            f"while no processor was held up{who} for {1e3 * limit:.1f} ms, what a hop (p99) leaves of its"
            f" time: {late_hops} late hops, {underruns} underruns"
        )
    return notes
