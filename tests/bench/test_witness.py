"""The witness sees a machine that stands still, and nothing where it does not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from rtsep.bench import witness
from rtsep.bench.witness import Witness


def test_it_watches_from_entry_to_exit() -> None:
    with Witness(limit=60.0) as watching:
        assert watching.seen is None
        time.sleep(0.3)
    seen = watching.seen
    assert seen is not None and seen.stops == ()
    assert 0.0 < seen.longest_ms < 60e3
    assert seen.stolen_seconds is None or seen.stolen_seconds >= 0.0


def test_what_it_saw_comes_back_with_its_times() -> None:
    begun = time.monotonic()
    with Witness(limit=0.0) as watching:
        time.sleep(0.3)
    seen = watching.seen
    assert seen is not None and seen.stops
    assert all(begun < stop.ended < time.monotonic() and stop.seconds > 0.0 for stop in seen.stops)
    assert list(seen.stops) == sorted(seen.stops)
    assert 1e3 * max(stop.seconds for stop in seen.stops) == pytest.approx(seen.longest_ms)
    assert seen.longer(seen.longest_ms) == ()


def test_stops_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    naps: list[float] = []

    def late(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            ended.set()
        threading.Event().wait(seconds + (0.05 if len(naps) == 2 else 0.0))

    monkeypatch.setattr(witness.time, "sleep", late)
    monkeypatch.setattr(witness.os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(witness.os, "sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.setattr(witness.os, "sched_setscheduler", lambda *_: None, raising=False)
    seen = witness.watch(0.04, ended)
    assert len(seen.stops) >= 1 and seen.longest_ms >= 50.0


def test_without_a_witness_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness.sys, "executable", "false")
    with Witness(limit=1.0) as watching:
        time.sleep(0.05)
    assert watching.seen is None


def test_the_time_that_the_host_took_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 250 0 0\ncpu0 1 2 3 4 5 6 7 250 0 0\n")
    monkeypatch.setattr(witness, "_PROC_STAT", stat)
    monkeypatch.setattr(witness.os, "sysconf", lambda _: 100)
    assert witness.stolen_seconds() == 2.5
    stat.write_text("cpu  1 2\n")
    assert witness.stolen_seconds() is None
    monkeypatch.setattr(witness, "_PROC_STAT", tmp_path / "absent")
    assert witness.stolen_seconds() is None
