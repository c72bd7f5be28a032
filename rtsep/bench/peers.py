"""Other separators beside ours in one run, as ratios: the machine's own speed cancels out.

Weights are random where they are not ours: the arithmetic is the same. Peers that are not installed are named
and left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from rtsep.bench import callbacks, pictures
from rtsep.bench.machine import describe
from rtsep.bench.probe import ask
from rtsep.bench.record import Result, Tracked
from rtsep.separators.registry import DEFAULT_MODEL, find
from rtsep.spec import RtsepError

BLOCK, RATE = 128, 44100
HOPS, SHORT_HOPS = 1500, 30
SECONDS, SHORT_SECONDS = 6.0, 1.0
CALLBACK_SECONDS, SHORT_CALLBACK_SECONDS = 10.0, 0.5
OURS = ("fast", DEFAULT_MODEL)
Say = Callable[[str], None]

PEERS: dict[str, tuple[str, str]] = {
    "HS-TasNet small, rtsep's, random weights": ("torch", "hs_tasnet_small"),
    "HS-TasNet, rtsep's, random weights": ("torch", "hs_tasnet_full"),
    "HS-TasNet small, of PyPI, random weights": ("hs_tasnet", "hs_tasnet_pypi"),
    "openunmix (umxhq's sizes), random weights": ("openunmix", "openunmix"),
    "demucs (HTDemucs), random weights": ("demucs", "demucs"),
}
"""By name: the module that a peer takes, and its task in `rtsep.bench.peer_tasks`."""


def run(
    models: Sequence[str] = OURS,
    *,
    peers: Sequence[str] | None = None,
    hops: int = HOPS,
    seconds: float = SECONDS,
    callback_seconds: float = CALLBACK_SECONDS,
    short: bool = False,
    say: Say = lambda line: None,
) -> Result:
    """Measure ours and theirs, one after the other on one core.

    Args:
        models: ours, streaming; the first is what the others are compared with.
        peers: names in `PEERS`; all if None.
        hops: steps of a stream to time.
        seconds: of sound for models that take a piece at once.
        callback_seconds: how long callbacks are watched.
        short: whether this is the short form.
        say: told what is being measured.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    machine = describe()
    for name in models:
        package = find(name)
        say(package.name)
        found = ask("causal", model=str(package.root), hops=hops)
        keys = ("p10_ms", "p50_ms", "p99_ms", "hop_ms", "latency_ms", "real_time_factor", "peak_mb")
        rows.append({"name": f"rtsep {package.name}", **{key: found[key] for key in keys}})
        rows[-1]["rtf_p10"] = found["p10_ms"] / found["hop_ms"]
    for name in PEERS if peers is None else peers:
        module, task = PEERS[name]
        say(name)
        if importlib.util.find_spec(module) is None:
            notes.append(f"{name}: absent: {module} is not installed")
            continue
        try:
            rows.append({"name": name, **ask(f"peer:{task}", hops=hops, seconds=seconds)})
        except RtsepError as error:
            notes.append(f"{name}: absent: {error}")
    base = rows[0]["rtf_p10"]
    for row in rows:
        row["ratio"] = row["rtf_p10"] / base
    say("callbacks")
    heard = compare_callbacks(callback_seconds)
    settings = {"models": list(models), "peers": None if peers is None else list(peers)}
    result = Result(
        "peers",
        short,
        {**settings, "hops": hops, "seconds": seconds},
        {"rows": rows, "callbacks": heard},
        machine,
        notes=notes,
    )
    cells = [
        (
            row["name"],
            "" if row.get("latency_ms") is None else f"{row['latency_ms']:.1f}",
            "" if row.get("hop_ms") is None else f"{row['hop_ms']:.2f}",
            "" if row.get("p50_ms") is None else f"{row['p50_ms']:.3f}",
            f"{row['real_time_factor']:.3f}",
            f"{row['ratio']:.2f}",
            f"{row['peak_mb']:.0f}",
        )
        for row in rows
    ]
    columns = ("separator", "latency ms", "hop ms", "step p50 ms", "RTF", "cost to the first", "MB")
    result.tables.append(("One core, one run: cost of a second of sound", columns, cells))
    result.tables.append(
        (
            f"Blocks of {BLOCK} missed while a thread holds the GIL",
            ("callback", "blocks", "missed", "share"),
            [(r["name"], str(r["blocks"]), str(r["missed"]), f"{100.0 * r['share']:.1f} %") for r in heard],
        )
    )
    # What another separator costs more is ours to gain; what another of ours costs more is not.
    result.tracked = [
        Tracked(
            f"{row['name']}: cost to that of {rows[0]['name']}",
            row["ratio"],
            "ratio",
            "lower" if number < len(models) else "higher",
        )
        for number, row in enumerate(rows)
        if number
    ]
    result.figure = pictures.bars(
        [(row["name"], row["ratio"]) for row in rows],
        f"Cost of a second of sound, one core, against {rows[0]['name']}",
        "times (quiet tenth of the runs)",
    )
    return result


def compare_callbacks(seconds: float) -> list[dict[str, Any]]:
    """Blocks that callbacks miss while the interpreter is busy."""
    rows = []
    for name, watch in (("Python", callbacks.python_missed), ("native", callbacks.native_missed)):
        with callbacks.gil_held():
            blocks, missed = watch(BLOCK, RATE, seconds)
        rows.append({"name": name, "blocks": blocks, "missed": missed, "share": missed / blocks})
    return rows
