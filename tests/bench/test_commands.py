"""The short form of every benchmark runs and leaves what the long one leaves. No time is a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtsep.bench import callbacks, deadline, floor, pareto, peers, soak, startup
from rtsep.bench.published import PUBLISHED
from rtsep.bench.record import Result, keep
from rtsep.engine.telemetry import FIRST_HOPS
from rtsep.separators.registry import find_any
from rtsep.spec import RtsepError
from tests.cli.command import one_line, rtsep
from tests.models import build_tiny_model
from tests.training.corpora import write_track


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root, "band-split", name="live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTSEP_MODELS", str(root))
        yield root


def kept(result: Result, folder: Path) -> dict[str, Any]:
    """What lies in the folder after a run, whose shape is the same for all benchmarks."""
    files = keep(result, folder)
    assert [file.suffix for file in files] == [".json", ".png", ".jsonl"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    data: dict[str, Any] = json.loads(files[0].read_text())
    assert data["bench"] == result.bench and data["short"] is True and data["machine"]["cores"] >= 1
    assert data["tracked"] and all(isinstance(one["value"], (int, float)) for one in data["tracked"])
    for _, columns, rows in result.tables:
        assert rows and all(len(row) == len(columns) for row in rows)
    return data


@pytest.mark.realtime
def test_deadline(tmp_path: Path) -> None:
    data = kept(deadline.run(["live"], [64, 96], ["onnx"], [1, 99], 0.2, short=True), tmp_path)
    rows = data["figures"]["rows"]
    assert {row["block"] for row in rows} == {64, 96}
    for row in rows:
        # The first hops are in no bucket.
        assert sum(row["counts"]) == row["hops"] - FIRST_HOPS
        assert 0.0 < row["p50_ms"] <= row["p99_ms"] <= row["p99.9_ms"] <= row["max_ms"]
        assert row["first_ms"] > 0.0 and row["deadline_ms"] == pytest.approx(1000 * 128 / 44100)
    assert len(data["notes"]) == 1 and data["notes"][0].startswith("99 threads on ")


@pytest.mark.realtime
def test_soak(tmp_path: Path) -> None:
    result = soak.run("live", 0.02, short=True)
    data = kept(result, tmp_path)
    figures = data["figures"]
    assert data["held"] is (figures["late_hops"] == figures["underruns"] == figures["jumps"] == 0)
    assert 0 <= figures["late_hops_unexplained"] <= figures["late_hops"]
    assert 0 <= figures["underruns_unexplained"] <= figures["underruns"]
    assert sum(figures["counts"]) == figures["hops"] - FIRST_HOPS > 0
    assert figures["resident_mb"] > 0.0


def test_only_what_no_stop_of_the_machine_explains_is_left() -> None:
    looks = [
        soak.Look(10.0, 10.25, 1, 2),
        soak.Look(20.0, 20.25, 3, 0),
        soak.Look(30.0, 30.25, 0, 5),
    ]
    hop = 0.005
    during, shortly_before = soak.Stop(ended=10.1, seconds=0.03), soak.Stop(ended=19.99, seconds=0.01)
    over_it, long_before = soak.Stop(ended=31.0, seconds=2.0), soak.Stop(ended=29.9, seconds=0.05)
    later = soak.Stop(ended=30.4, seconds=0.1)
    assert soak.unexplained(looks, [], hop) == (4, 7)
    assert soak.unexplained(looks, [during], hop) == (3, 5)
    assert soak.unexplained(looks, [during, shortly_before], hop) == (0, 5)
    assert soak.unexplained(looks, [during, shortly_before, long_before, later], hop) == (0, 5)
    assert soak.unexplained(looks, [later, during, shortly_before, over_it], hop) == (0, 0)


def test_floor(tmp_path: Path) -> None:
    (row,) = kept(floor.run(["live"], 20, short=True), tmp_path)["figures"]["rows"]
    assert row["floor_ms"] == max(row["reading_ms"], row["multiplying_ms"]) > 0.0
    assert row["ratio"] == pytest.approx(row["p10_ms"] / row["floor_ms"])
    assert row["parts_ms"].keys() == {"network", "STFT", "ISTFT"} and row["macs"] > 1000


def test_startup(tmp_path: Path) -> None:
    data = kept(startup.run("live", 1, cold=False, short=True), tmp_path)
    assert data["held"] is (data["figures"]["warm_s"][0] < startup.BAR_SECONDS)
    assert data["figures"]["warm_s"][0] > 0.0 and data["figures"]["cold_s"] is None
    assert set(data["figures"]["imports_ms"]) < set(startup.MODULES)


def test_pareto_measures_what_has_learnt_and_methods_that_are_named() -> None:
    names = {package.name for package in pareto.installed()}
    assert "live" in names and "centre" not in names and "repet" not in names
    streamed, whole = pareto.facts(find_any("centre"), 3, 0.1), pareto.facts(find_any("repet"), 3, 2.0)
    assert streamed["p50_ms"] > 0.0 and whole["real_time_factor"] > 0.0
    assert streamed["macs_per_s"] is None and whole["macs_per_s"] is None and streamed["parameters"] is None


def test_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = "HS-TasNet small, rtsep's, random weights"
    monkeypatch.setitem(peers.PEERS, "nobody", ("no_such_module", "openunmix"))
    result = peers.run(
        ["live"], peers=[small, "nobody"], hops=3, seconds=0.5, callback_seconds=0.1, short=True
    )
    data = kept(result, tmp_path)
    ours, theirs = data["figures"]["rows"]
    assert ours["ratio"] == 1.0 and theirs["ratio"] == pytest.approx(theirs["rtf_p10"] / ours["rtf_p10"])
    assert theirs["hop_ms"] == pytest.approx(1000 * 512 / 44100)
    assert data["notes"] == ["nobody: absent: no_such_module is not installed"]
    assert [row["name"] for row in data["figures"]["callbacks"]] == ["Python", "native"]


def test_a_held_interpreter_stops_python_callbacks() -> None:
    with callbacks.gil_held():
        due, missed = callbacks.python_missed(64, 44100, 0.3)
    # 25 ms at a time are taken of blocks of 1.5 ms.
    assert 0 < missed < due


def test_pareto(tmp_path: Path, models: Path) -> None:
    write_track(tmp_path / "songs" / "song", ("vocals", "drums", "bass", "other"))
    result = pareto.run(["live"], tmp_path / "songs", hops=20, seconds=1.0, short=True)
    oracle, model = kept(result, tmp_path)["figures"]["rows"]
    assert (oracle["name"], oracle["kind"], model["kind"]) == ("irm2", "oracle", "causal")
    assert oracle["sdr_mean"] > model["sdr_mean"]
    assert model["latency_ms"] < model["total_ms"] and model["peak_mb"] > 10.0 and model["parameters"] > 100
    assert {"p50_ms", "p99_ms", "p99.9_ms", "real_time_factor", "macs_per_s", "damage"} <= model.keys()


def test_published_figures_name_their_sources() -> None:
    assert all(system.source and 0.0 < system.sdr < 12.0 for system in PUBLISHED)
    # None of them is in a table of what was measured.
    assert not {system.name for system in PUBLISHED} & set(peers.PEERS)


def test_the_command_keeps_results_and_flags_what_is_worse(tmp_path: Path) -> None:
    arguments = (
        "deadline",
        "--model",
        "live",
        "--block",
        "64",
        "--seconds",
        "0.1",
        "--short",
        "-o",
        tmp_path,
    )
    result = rtsep("bench", *arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["bench"] == "deadline"
    file = tmp_path / "history" / "deadline.jsonl"
    run = json.loads(file.read_text())
    run["machine"]["busy"] = False
    worse = json.loads(json.dumps(run))
    worse["tracked"][0]["value"] *= 2.0
    file.write_text(f"{json.dumps(run)}\n{json.dumps(worse)}\n")
    shown = rtsep("bench", "history", "--strict", "-o", tmp_path)
    assert shown.returncode == 8 and "REGRESSED" in shown.stdout and "worse by +100 %" in shown.stderr
    assert rtsep("bench", "history", "floor", "-o", tmp_path).stdout.endswith("no runs yet\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["floor", "--model", "nothing"], 4, "no model is called 'nothing'"),
        (["pareto", "--root", "nowhere"], 3, "nowhere: there is no such folder"),
        (["peers", "--peer", "nobody"], 2, "no peer is called so"),
        (["history", "nothing"], 2, "no benchmark is called 'nothing'"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    result = rtsep("bench", *arguments, "-o", tmp_path)
    assert message in one_line(result)
    assert result.returncode == code


def test_a_failed_probe_is_one_line() -> None:
    from rtsep.bench.probe import ask

    with pytest.raises(RtsepError, match="measuring .* failed: there is no such model folder|no such model"):
        ask("causal", model="./no-such-model", hops=1)
