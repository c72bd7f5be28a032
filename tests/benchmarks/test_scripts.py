"""Every script of `benchmarks` still loads, and those that need nothing but time run in a short form."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rtsep.training.autocasting import has_bfloat16
from tests.models import build_tiny_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    path.stem for path in BENCHMARKS.glob("*.py") if 'if __name__ == "__main__"' in path.read_text("utf-8")
)


@pytest.fixture(autouse=True)
def _numbers_as_they_are() -> Iterator[None]:
    """What trains treats the smallest numbers as none; other tests need them."""
    yield
    torch.set_flush_denormal(False)


def run(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's own `main`, as `python -m` calls it."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return importlib.import_module(f"benchmarks.{name}").main()


def test_there_are_scripts() -> None:
    assert {"loader_rate", "dsp_step", "zoo_table"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_loads(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_the_loader_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rate.json"
    arguments = ["--seconds", "0.1", "--batch", "1", "--workers", "0", "--json", str(file)]
    run("loader_rate", arguments, monkeypatch)
    rows = json.loads(file.read_text())["rows"]
    assert [row["what"] for row in rows] == ["mixing", "mixing and what a step takes"]
    assert all(row["audio_seconds_per_second"] > 0.0 and row["batches"] >= 1.0 for row in rows)


def test_steps_of_training_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "speed.json"
    arguments = ["--device", "cpu", "--seconds", "0.1", "--batch", "1", "--json", str(file)]
    run("training_speed", arguments, monkeypatch)
    rows = json.loads(file.read_text())["rows"]
    # A CPU has no fp16, and not every one has bf16.
    known = ["fp32", "bf16"] if has_bfloat16(torch.device("cpu")) else ["fp32"]
    assert [row["precision"] for row in rows if "skipped" not in row] == known
    assert all(row["steps_a_second"] > 0.0 for row in rows if "skipped" not in row)


def test_the_signal_processing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "dsp.json"
    run("dsp_step", ["--hops", "20", "--json", str(file)], monkeypatch)
    assert json.loads(file.read_text())


def test_the_picture_of_the_readme_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "pareto.png"
    run("pareto", ["--output", str(picture)], monkeypatch)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.realtime
def test_the_engine_is_measured_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "others.json"
    arguments = ["--model", str(build_tiny_model(tmp_path)), "--seconds", "0.5", "--rounds", "1"]
    run("beside_others", [*arguments, "--json", str(file)], monkeypatch)
    ordinary, asked = json.loads(file.read_text())["rows"]
    assert ordinary["realtime"] is False and isinstance(asked["realtime"], bool)
    assert ordinary["hops"] > 10 and asked["hops"] > 10
