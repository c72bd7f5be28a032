"""The benchmark of decks runs, in short form and on a CPU; and says plainly when there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
        *("--hops", "10", "--silences", "1", "--most", "2", "--excerpt", "2"),
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(file.read_text())
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
