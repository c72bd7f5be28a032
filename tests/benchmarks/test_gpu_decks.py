"""The benchmark of decks runs, in short form and on a CPU; and says plainly when there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_decks as gpu_decks_module
from benchmarks.gpu_decks import held, judge
from tests.cli.command import environment
from tests.models import build_tiny_model

ROOT = Path(__file__).parents[2]


def gpu_decks(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_decks", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=250, check=False
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_is_one_line(tmp_path: Path) -> None:
    result = gpu_decks("--json", tmp_path / "figures.json")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("gpu_decks: torch finds no CUDA device here")
    assert len(result.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_the_same_code_runs_on_a_cpu(tmp_path: Path) -> None:
    model, file = build_tiny_model(tmp_path), tmp_path / "figures.json"
    result = gpu_decks(
        *("--device", "cpu", "--model", model, "--json", file),
        *("--hops", "5", "--silences", "1", "--most", "2", "--excerpt", "1"),
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(file.read_text())
    # What a CPU takes is told, and not judged.
    assert figures["held"] is None and "64 decks under half the hop: not measured" in result.stdout
    assert figures["bars"].keys() == figures["backends"].keys()
    assert figures["backends"].keys() == {"torch fp32", "torch fp16", "onnx"}
    for backend in figures["backends"].values():
        assert [(row["decks"], row["paced"]) for row in backend["rows"]] == [
            (decks, paced) for decks in (1, 2, 4) for paced in (False, True)
        ]
        for row in backend["rows"]:
            assert 0.0 < row["p50_ms"] <= row["p99_ms"] <= row["p99.9_ms"] <= row["max_ms"]
        assert 0 <= backend["most_decks_under_half_the_hop"] <= 2
        assert backend["first_hop_after_silence"].keys() == {"left_alone_ms", "kept_alive_ms"}
    assert figures["backends"]["torch fp16"]["runs_in"] == "fp16"
    half = figures["half_precision"]
    assert half["fp16"]["runs_in"] == "fp16" and half["fp32"]["runs_in"] == "fp32"
    assert half["fp32"]["sdr_db"].keys() == {"vocals", "drums", "bass", "other"}
    assert -120.0 < half["difference_db"] < -30.0
    assert half["largest_loss_of_sdr_db"] < 0.1


def rows(one: float, many: float, paced: float) -> list[dict[str, Any]]:
    """Of one backend: p99 of one deck, of 64, and of 64 at the pace of a sound card."""
    return [
        {"decks": 1, "paced": False, "p99_ms": one},
        {"decks": 64, "paced": False, "p99_ms": many},
        {"decks": 64, "paced": True, "p99_ms": paced},
    ]


@pytest.mark.parametrize(
    ("found", "one", "many"),
    [
        (rows(0.9, 2.0, 2.0), True, True),
        (rows(1.0, 2.0, 2.0), False, True),
        (rows(0.9, 2.0, 3.1), True, False),
        ([*rows(0.9, 2.0, 2.0), {"decks": 64, "error": "out of memory"}], True, False),
        (rows(0.9, 2.0, 2.0)[:1], True, None),
    ],
)
def test_the_bars_are_judged_by_every_row(
    found: list[dict[str, Any]], one: bool | None, many: bool | None
) -> None:
    verdict = judge(found, 6.0)
    assert list(verdict.values()) == [one, many]
    assert held({"this": verdict}) is (one is many is True)


def test_one_backend_that_holds_both_bars_is_enough() -> None:
    good, bad, half = (
        judge(rows(*times), 6.0) for times in ((0.5, 1.0, 1.0), (2.0, 9.0, 9.0), (0.5, 9.0, 9.0))
    )
    assert held({"a": good, "b": bad})
    assert not held({"a": half, "b": bad}) and not held({})


@pytest.mark.parametrize(("p99", "code"), [(0.5, 0), (5.0, 9)])
def test_a_bar_that_is_not_held_on_a_gpu_is_the_exit_code(
    p99: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"hop_ms": 6.0, "backends": {"torch": {"rows": rows(p99, 1.0, 1.0)}, "onnx": {"skipped": "no"}}}
    monkeypatch.setattr(gpu_decks_module.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_decks_module, "run", lambda *_: figures)
    file = tmp_path / "figures.json"
    model = str(build_tiny_model(tmp_path))
    monkeypatch.setattr(sys, "argv", ["gpu_decks", "--model", model, "--json", str(file)])
    threads = torch.get_num_threads()
    assert gpu_decks_module.main() == code
    torch.set_num_threads(threads)
    assert json.loads(file.read_text())["held"] is (code == 0)
