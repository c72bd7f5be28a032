"""Latency against quality: every model there is, oracles beside them, on roots of tracks.

Speed and memory of each model come from a process of its own on one core; scores from the scorer that
`rtsep eval` uses, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rtsep.bench import counting, pictures
from rtsep.bench.machine import describe
from rtsep.bench.probe import ask
from rtsep.bench.record import Result, Tracked
from rtsep.evaluation.aggregate import Medians, decibels, medians
from rtsep.evaluation.campaign import Settings, evaluate
from rtsep.evaluation.systems import Model, System, open_oracle
from rtsep.evaluation.tracks import ACCOMPANIMENT, EXCERPT, TrackSource, find_tracks
from rtsep.separators.registry import AnyPackage, ModelPackage, OfflinePackage, available, find_any
from rtsep.spec import RtsepError, UsageError

HOPS, SHORT_HOPS = 3000, 60
OFFLINE_SECONDS, SHORT_OFFLINE_SECONDS = 10.0, 1.0
SHORT_SECONDS = 2.0
ORACLES = ("irm2",)
ROOTS = (EXCERPT,)
Say = Callable[[str], None]


def run(
    models: Sequence[str],
    roots: Sequence[str | Path],
    *,
    oracles: Sequence[str] = ORACLES,
    seconds: float | None = None,
    hops: int = HOPS,
    short: bool = False,
    say: Say = lambda line: None,
) -> Result:
    """Measure and score.

    Args:
        models: names or folders; if none is given, all that are installed. Built-in methods, which have no
            weights and stems of their own kinds, are measured when they are named.
        roots: each as `rtsep.evaluation.tracks.find_tracks` takes it; the tracks of all count alike.
        oracles: as `rtsep.evaluation.systems.open_oracle` takes them.
        seconds: of every track, from its start; None for all.
        hops: steps to time.
        short: whether this is the short form.
        say: told what is being done.

    Raises:
        UsageError, AudioFileError: when root, model or oracle are not there.
    """
    packages: list[AnyPackage] = [find_any(name) for name in models] or installed()
    if not packages:
        raise UsageError("there are no models: see 'rtsep models'")
    sources, where = songs(roots)
    machine = describe()
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as opened:
        systems: list[System] = [open_oracle(name) for name in oracles]
        for package in packages:
            say(f"{package.name}: time and memory")
            try:
                row = facts(package, hops, SHORT_OFFLINE_SECONDS if short else OFFLINE_SECONDS)
                systems.append(Model(package))
            except RtsepError as error:
                # A model that lacks something here (torch, a file) leaves the others to be measured.
                notes.append(f"{package.name}: left out: {error}")
                continue
            opened.callback(systems[-1].close)
            rows.append(row)
        rows = [{"name": name, "kind": "oracle", "latency_ms": None} for name in oracles] + rows
        evaluation = evaluate(
            sources, systems, Settings(seconds=seconds, excerpts=0), lambda t, s: say(f"{t}: {s}")
        )
    scores = medians(evaluation)
    for row in rows:
        row |= _scores(scores[row["name"]])
    baseline = _scores(scores["mixture"])
    result = Result(
        "pareto",
        short,
        {"models": [package.name for package in packages], "root": where, "seconds": seconds, "hops": hops},
        {"tracks": [source.name for source in sources], "mixture": baseline, "rows": rows},
        machine,
        notes=notes,
    )
    if all(row["damage"] is None or row["damage"] != row["damage"] for row in rows):
        notes.append(f"{where}: somebody sings in every second, so that there is no damage to measure")
    result.tables.append((f"Latency, cost and quality on {where}", COLUMNS, [_cells(row) for row in rows]))
    for row in rows:
        if row["sdr_mean"] is not None:
            result.tracked.append(Tracked(f"{row['name']}: SDR", row["sdr_mean"], "dB", "higher"))
        if row.get("p50_ms") is not None:
            result.tracked.append(Tracked(f"{row['name']}: hop p50", row["p50_ms"], "ms"))
        if row.get("peak_mb") is not None:
            result.tracked.append(Tracked(f"{row['name']}: memory", row["peak_mb"], "MB"))
    result.figure = pictures.pareto(rows, where)
    return result


def songs(roots: Sequence[str | Path]) -> tuple[list[TrackSource], str]:
    """The tracks of all roots, and what to call them together: the names of the roots, not their places."""
    names, sources = [], []
    for root in roots:
        found = find_tracks(root)
        name = found[0].name if str(root) == EXCERPT else _name(Path(root))
        names.append(name)
        # Two roots may have a song each of one name.
        sources += [replace(one, name=f"{name}/{one.name}") for one in found] if len(roots) > 1 else found
    return sources, ", ".join(names)


def _name(root: Path) -> str:
    """A root as results call it: where somebody's folders lie is no part of them."""
    told = root.is_absolute() or ".." in root.parts
    return root.resolve().name if told else root.as_posix()


def installed() -> list[AnyPackage]:
    """Models that have learnt: shipped, trained or imported."""
    return [package for package in available() if not package.built_in]


def facts(package: AnyPackage, hops: int, seconds: float) -> dict[str, Any]:
    """What there is to say of a model without music: latency, time, memory, size, products."""
    row: dict[str, Any] = {"name": package.name, "parameters": counting.parameters(package)}
    # A built-in method has a name and no folder.
    place = package.name if package.built_in else str(package.root)
    if isinstance(package, ModelPackage):
        found = ask("causal", model=place, hops=hops)
        per_second = package.spec.sample_rate / package.spec.hop
        macs = None if package.built_in else counting.graph(package)["macs"] * per_second
        return {**row, "kind": "causal", **found, "macs_per_s": macs}
    assert isinstance(package, OfflinePackage)
    found = ask("offline", model=place, seconds=seconds)
    return {
        **row,
        "kind": "offline",
        "latency_ms": None,
        **found,
        "macs_per_s": None if package.built_in else counting.offline_macs(package),
    }


COLUMNS = (
    "model",
    "kind",
    "latency ms",
    "total ms",
    "hop p50",
    "p99",
    "p99.9 ms",
    "of the hop",
    "RTF",
    "MB",
    "M par.",
    "MMAC/s",
    "SDR",
    "SI-SDR",
    "attenuation",
    "damage",
)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def cell(key: str, scale: float = 1.0, digits: int = 2) -> str:
        value = row.get(key)
        return "" if value is None else f"{value * scale:.{digits}f}"

    share = f"{100.0 * row['p99_ms'] / row['hop_ms']:.0f} %" if "hop_ms" in row else ""
    return (
        row["name"],
        row["kind"],
        cell("latency_ms", digits=1) or ("song" if row["kind"] == "offline" else ""),
        cell("total_ms", digits=1),
        cell("p50_ms", digits=3),
        cell("p99_ms", digits=3),
        cell("p99.9_ms", digits=3),
        share,
        cell("real_time_factor", digits=3),
        cell("peak_mb", digits=0),
        cell("parameters", 1e-6),
        cell("macs_per_s", 1e-6, 0),
        *(decibels(row[key]) for key in ("sdr_mean", "si_sdr_mean", "vocal_attenuation", "damage")),
    )


def _scores(found: Medians) -> dict[str, Any]:
    """Means over the stems, which the accompaniment is not one of, and muting."""
    stems = {name: values for name, values in found.targets.items() if name != ACCOMPANIMENT}

    def mean(metric: str) -> float | None:
        known = [values[metric] for values in stems.values() if values[metric] == values[metric]]
        return float(np.mean(known)) if known else None

    return {
        "sdr_mean": mean("sdr"),
        "si_sdr_mean": mean("si_sdr"),
        "sdr": {name: values["sdr"] for name, values in stems.items()},
        "vocal_attenuation": found.muting.get("vocal_attenuation"),
        "damage": found.muting.get("damage"),
    }
