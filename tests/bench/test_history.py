"""History: what is compared with what, and when a figure counts as worse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rtsep.bench.history import read, trends
from rtsep.bench.record import Result, Tracked, history_of, keep
from rtsep.spec import UsageError

QUIET = {"processor": "P", "cores": 2, "system": "Linux", "busy": False, "load_average": 0.1}
BUSY = QUIET | {"busy": True}
OTHER = QUIET | {"processor": "Q"}


def history(unit: str, *runs: tuple[float, dict[str, Any]], better: str = "lower") -> list[dict[str, Any]]:
    return [
        {
            "bench": "floor",
            "short": False,
            "settings": {"model": "live"},
            "machine": machine,
            "tracked": [{"name": "x", "value": value, "unit": unit, "better": better}],
        }
        for value, machine in runs
    ]


@pytest.mark.parametrize(
    ("runs", "regressed", "change"),
    [
        (history("ms", (1.0, QUIET), (1.1, QUIET)), False, 0.1),
        (history("ms", (1.0, QUIET), (1.3, QUIET)), True, 0.3),
        (history("ms", (1.0, QUIET), (0.5, QUIET)), False, -0.5),
        # The median of those before: one lucky run proves nothing.
        (history("ms", (1.0, QUIET), (1.0, QUIET), (0.5, QUIET), (1.1, QUIET)), False, 0.1),
        # Times of another machine, or of a busy one, say nothing; ratios do.
        (history("ms", (1.0, OTHER), (9.0, QUIET)), False, None),
        (history("ms", (1.0, BUSY), (9.0, QUIET)), False, None),
        (history("ms", (1.0, QUIET), (9.0, BUSY)), False, 8.0),
        (history("ratio", (1.0, OTHER), (9.0, BUSY)), True, 8.0),
        # Memory is what it is, however busy the machine.
        (history("MB", (100.0, BUSY), (200.0, BUSY)), True, 1.0),
        (history("MB", (100.0, OTHER), (200.0, QUIET)), False, None),
        # Decibels are logarithms: their difference counts, and 0.1 dB is a regression.
        (history("dB", (5.0, OTHER), (4.95, QUIET), better="higher"), False, 0.05),
        (history("dB", (5.0, OTHER), (4.8, QUIET), better="higher"), True, 0.2),
        (history("dB", (-5.0, QUIET), (-4.0, QUIET), better="higher"), False, -1.0),
        (history("count", (0.0, QUIET), (3.0, QUIET)), True, 1.0),
        (history("count", (0.0, QUIET), (0.0, QUIET)), False, 0.0),
    ],
)
def test_what_counts_as_a_regression(
    runs: list[dict[str, Any]], regressed: bool, change: float | None
) -> None:
    (trend,) = trends(runs)
    assert trend.regressed is regressed
    assert trend.change == (None if change is None else pytest.approx(change))
    assert trend.values[-1] == runs[-1]["tracked"][0]["value"]


def test_runs_that_were_asked_for_something_else_are_not_compared() -> None:
    first, last = history("ratio", (1.0, QUIET), (9.0, QUIET))
    (trend,) = trends([first | {"settings": {"model": "fast"}}, last])
    assert (trend.change, trend.regressed, trend.remark) == (None, False, "nothing to compare it with")


def test_a_model_more_cuts_nothing_off() -> None:
    first, last = history("ratio", (1.0, QUIET), (9.0, QUIET))
    first["settings"], last["settings"] = {"models": ["a"], "hops": 9}, {"models": ["a", "b"], "hops": 9}
    last["tracked"].append({"name": "y", "value": 1.0, "unit": "ratio", "better": "lower"})
    known, new = trends([first, last])
    assert known.regressed and known.change == 8.0
    assert (new.name, new.change, new.remark) == ("y", None, "nothing to compare it with")


def test_each_form_is_judged_by_its_own_last_run() -> None:
    runs = history("ratio", (1.0, QUIET), (9.0, QUIET), (5.0, QUIET), (5.0, QUIET))
    for run in runs[2:]:
        run["short"] = True
    long, short = trends(runs)
    assert (long.short, long.values, long.regressed) == (False, (1.0, 9.0), True)
    assert (short.short, short.values, short.regressed) == (True, (5.0, 5.0), False)


def test_two_machines_of_one_kind_are_two() -> None:
    here, there = QUIET | {"host": "a"}, QUIET | {"host": "b"}
    assert trends(history("ms", (1.0, there), (9.0, here)))[0].change is None
    assert trends(history("ms", (1.0, here), (9.0, here)))[0].regressed
    # Older lines do not say which machine they are from: only their like stands beside them.
    assert trends(history("ms", (1.0, QUIET), (9.0, here)))[0].change is None
    assert trends(history("ms", (1.0, QUIET), (9.0, QUIET | {"host": None})))[0].regressed


def test_the_threshold_is_the_callers() -> None:
    runs = history("ms", (1.0, QUIET), (1.3, QUIET))
    assert trends(runs, 0.2)[0].regressed and not trends(runs, 0.5)[0].regressed
    assert trends([]) == []


def test_what_is_kept_can_be_read_again(tmp_path: Path) -> None:
    result = Result(
        "floor",
        False,
        {"model": "live"},
        {"rows": [1.0, math.nan]},
        QUIET,
        [Tracked("x", 2.0, "ratio")],
    )
    for _ in range(2):
        written = keep(result, tmp_path)
    assert written == [tmp_path / "results" / "floor.json", tmp_path / "history" / "floor.jsonl"]
    data = json.loads(written[0].read_text())
    # What is not a number would not be JSON.
    assert data["figures"]["rows"] == [1.0, None]
    assert data["machine"] == QUIET
    runs = read(history_of(tmp_path, "floor"))
    assert [run["tracked"][0]["value"] for run in runs] == [2.0, 2.0]
    assert "figures" not in runs[0] and trends(runs)[0].change == 0.0
    assert keep(Result("floor", True, {}, {}, QUIET), tmp_path)[0].name == "floor-short.json"


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    file = history_of(tmp_path, "floor")
    assert read(file) == []
    file.parent.mkdir()
    file.write_text('{"bench": "floor"}\n')
    with pytest.raises(UsageError, match=r"floor\.jsonl: line 1 is not a run"):
        read(file)
