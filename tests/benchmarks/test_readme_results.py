"""The figures in benchmarks/README.md are those of the committed results, and nobody's memory of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme_results
from benchmarks.readme_results import README, RESULTS, SECTIONS, describe, fill
from rtsep.cli.bench import EVERY
from rtsep.spec import UsageError


def test_the_readme_says_what_was_measured() -> None:
    """Run `python -m benchmarks.readme_results` after results were taken anew."""
    text = README.read_text(encoding="utf-8")
    assert fill(text) == text


def test_every_benchmark_has_its_place() -> None:
    assert set(EVERY) <= SECTIONS.keys()


@pytest.mark.parametrize("name", sorted(set(SECTIONS) & {file.stem for file in RESULTS.glob("*.json")}))
def test_a_result_says_where_and_by_what(name: str) -> None:
    text = describe(name)
    first, blank, *rest = text.strip().splitlines()
    assert first.startswith("On ") and first.endswith(f"by `{SECTIONS[name][1]}`.") and blank == ""
    assert any(line.startswith("|---") for line in rest)


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    assert describe("floor", tmp_path) == "Not measured yet: `rtsep bench floor`.\n"


def test_machine_and_figures_come_from_the_file(tmp_path: Path) -> None:
    machine = {"processor": "P", "cores": 4, "load_average": 0.5, "busy": True, "date": "2026-01-02T03:04"}
    took = {"name": "live", "speed": 12.34, "per_core": 6.0, "ratio": 1.0, "runs": [{"peak_mb": 1.0}] * 2}
    data: dict[str, Any] = {
        "machine": machine | {"commit": "abc"},
        "settings": {"songs": 2, "seconds": 90.0, "seconds_short": 30.0},
        "figures": {"rows": [took, took | {"name": "other", "speed": None}]},
    }
    (tmp_path / "files.json").write_text(json.dumps(data))
    lines = describe("files", tmp_path).splitlines()
    assert lines[1] == (
        "On P, 4 cores, load average 0.5 (busy), 2026-01-02, at commit `abc`, by `rtsep bench files`."
    )
    assert lines[-3:-1] == ["| live | 12.3 | 6.0 | 1.00 | 1 | 1 |", "| other |  | 6.0 | 1.00 | 1 | 1 |"]


def test_decks_of_a_gpu_have_a_table(tmp_path: Path) -> None:
    row = {"decks": 64, "paced": True, "p50_ms": 0.5, "p99_ms": 0.75, "p99.9_ms": 1.0, "max_ms": 2.0}
    backends = {"torch fp16": {"rows": [row], "most_decks_under_half_the_hop": 99}, "onnx": {"skipped": "no"}}
    data = {"model": "live", "hop_ms": 5.8, "software": {"gpu": "G"}, "backends": backends}
    (tmp_path / "gpu_decks.json").write_text(json.dumps(data))
    text = describe("gpu_decks", tmp_path)
    assert (
        "| torch fp16 | 64 | paced | 0.500 | 0.750 | 1.000 |" in text
        and "half the hop: torch fp16 99." in text
    )


def test_marks_that_are_gone_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"README\.md has lost the marks around pareto"):
        fill("nothing")
    copy = tmp_path / "README.md"
    copy.write_text(
        README.read_text(encoding="utf-8").replace("| floor ms |", "| typed ms |"), encoding="utf-8"
    )
    monkeypatch.setattr(readme_results, "README", copy)
    assert readme_results.main(["--check"]) == 1
    assert readme_results.main([]) == 0 and readme_results.main(["--check"]) == 0
