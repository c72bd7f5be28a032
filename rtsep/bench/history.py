"""Trends over the runs of a benchmark, and which of its figures have become worse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rtsep.bench.machine import identity
from rtsep.spec import UsageError

THRESHOLD = 0.2
"""Share by which a figure may be worse than the runs before it."""
DECIBELS = 0.1
"""The same for figures in dB, which are logarithms already."""
TIMED = frozenset({"ms", "s", "share", "count"})
"""Units of what takes longer, or happens more often, on a machine that has other things to do."""
REMEMBERED = 5
"""Runs before the last one that it is compared with: their median."""


@dataclass(frozen=True)
class Trend:
    """A figure over time.

    Attributes:
        bench, name, unit, better: see `rtsep.bench.record.Tracked`.
        short: whether it is of the short form.
        values: of comparable runs, the oldest first.
        change: of the last run against those before: a share, or dB; positive is worse; None without runs
            that it can be compared with.
        regressed: whether that is beyond the threshold.
        remark: why it was not judged, or "".
    """

    bench: str
    short: bool
    name: str
    unit: str
    better: str
    values: tuple[float, ...]
    change: float | None
    regressed: bool
    remark: str


def read(file: Path) -> list[dict[str, Any]]:
    """The runs in a history file, the oldest first; none where there is no file.

    Raises:
        UsageError: when a line is damaged.
    """
    if not file.exists():
        return []
    runs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            run = json.loads(line)
            _ = run["tracked"], run["settings"], run["short"], identity(run["machine"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{file}: line {number} is not a run of a benchmark") from None
        runs.append(run)
    return runs


def trends(runs: list[dict[str, Any]], threshold: float = THRESHOLD) -> list[Trend]:
    """How the figures of the last run of each form, long and short, stand beside those of comparable ones.

    A figure is compared with those of its name in runs of the same form, in which the same was asked for: how
    long, on what. Ratios hold between machines; times, sizes and counts are compared with runs on the same
    machine only, times and counts neither with nor of one that was busy.

    Args:
        runs: of one benchmark, the oldest first.
        threshold: share beyond which worse is a regression.
    """
    found = []
    for short in (False, True):
        of_form = [run for run in runs if run["short"] is short]
        if of_form:
            found += _judged(of_form[-1], of_form[:-1], threshold)
    return found


def _judged(last: dict[str, Any], earlier: list[dict[str, Any]], threshold: float) -> list[Trend]:
    """The figures of one run beside those of earlier ones of its form."""
    before = [run for run in earlier if _asked(run) == _asked(last)]
    found = []
    for figure in last["tracked"]:
        absolute, timed = figure["unit"] not in {"ratio", "dB"}, figure["unit"] in TIMED
        busy = timed and last["machine"]["busy"]
        peers = [
            run
            for run in before
            if not absolute
            or (
                identity(run["machine"]) == identity(last["machine"])
                and not (timed and run["machine"]["busy"])
            )
        ]
        values = [v for run in peers if (v := _value(run, figure["name"])) is not None]
        own = figure["value"]
        change = None
        if values and own is not None:
            usual = median(values[-REMEMBERED:])
            worse = own - usual if figure["better"] == "lower" else usual - own
            change = worse if figure["unit"] == "dB" else worse / abs(usual) if usual else float(worse > 0)
        limit = DECIBELS if figure["unit"] == "dB" else threshold
        found.append(
            Trend(
                last["bench"],
                last["short"],
                figure["name"],
                figure["unit"],
                figure["better"],
                (*values, *([] if own is None else [own])),
                change,
                change is not None and change > limit and not busy,
                "the machine was busy" if busy else "" if values else "nothing to compare it with",
            )
        )
    return found


def _asked(run: dict[str, Any]) -> dict[str, Any]:
    """A run's settings without lists: of what was measured side by side, each figure's name says which it is.

    A model more must not cut off what is known of the others.
    """
    return {key: value for key, value in run["settings"].items() if not isinstance(value, list)}


def _value(run: dict[str, Any], name: str) -> float | None:
    return next((one["value"] for one in run["tracked"] if one["name"] == name), None)
