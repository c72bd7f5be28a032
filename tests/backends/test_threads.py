"""No more threads than cores, and one line where that is less than was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsep.backends import threads
from rtsep.backends.open import open_backend
from rtsep.cli.threads import capped
from rtsep.separators.registry import ModelPackage
from tests.models import build_tiny_model


def test_there_is_a_core() -> None:
    assert threads.physical_cores() >= 1
    assert threads.useful(1) == 1 and threads.useful(10_000) == threads.physical_cores()


def test_a_core_that_runs_two_threads_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        (tmp_path / str(cpu)).write_text(siblings + "\n")
    monkeypatch.setattr(threads, "_SIBLINGS", str(tmp_path / "{}"))
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert threads.physical_cores() == 2
    # Where the system does not say, every one is taken for a core of its own.
    monkeypatch.setattr(threads, "_SIBLINGS", str(tmp_path / "unknown" / "{}"))
    assert threads.physical_cores() == 4


def test_a_backend_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr("rtsep.backends.open.useful", lambda count: given.append(count) or 1)
    open_backend(ModelPackage.read(build_tiny_model(tmp_path)), threads=10).close()
    assert given == [10]


def test_the_command_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert capped(1) == 1 and capsys.readouterr().err == ""
    assert capped(10_000) == threads.physical_cores()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rtsep: warning: --threads 10000: there ")
