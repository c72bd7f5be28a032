"""The short form of every benchmark runs and leaves what the long one leaves. No time is a test."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rtsep.bench import callbacks, deadline, files, floor, pareto, peers, soak, startup
from rtsep.bench.published import PUBLISHED
from rtsep.bench.record import Result
from rtsep.bench.witness import Seen, Stop
from rtsep.cli.bench import EVERY
from rtsep.engine.telemetry import FIRST_HOPS
from rtsep.separators import registry
from rtsep.separators.registry import find_any
from rtsep.spec import RtsepError
from tests.cli.command import one_line, rtsep, rtsep_here
from tests.models import build_tiny_model
from tests.training.corpora import write_track

MACHINE = {"processor": "P", "cores": 2, "system": "Linux", "busy": False, "load_average": 0.1}
PEER, SEPARATOR = "HS-TasNet small, rtsep's, random weights", "openunmix (umxhq's sizes), random weights"
NOBODY = ("no_such_module", "openunmix")


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root, "band-split", name="live")
    build_tiny_model(root, "conv-tasnet", name="fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTSEP_MODELS", str(root))
        yield root


@pytest.fixture(scope="module")
def everything(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `rtsep bench all --short` leaves, with the two models above and a few of the peers."""
    folder, songs = tmp_path_factory.mktemp("benchmarks"), tmp_path_factory.mktemp("music")
    for number in range(3):
        write_track(songs / "valid" / f"song-{number}", ("vocals", "drums", "bass", "other"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "search_path", lambda: [models])
        patch.setattr(peers, "PEERS", {PEER: peers.PEERS[PEER], "nobody": NOBODY})
        patch.setattr(files, "PEERS", {SEPARATOR: files.PEERS[SEPARATOR], "nobody": NOBODY})
        done = rtsep_here("bench", "all", "--short", "--root", "valid", "-o", folder, cwd=songs)
    # Not even a bar that is not met is a failure: what is short judges no time.
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("written: ") == len(EVERY)
    return folder


def kept(folder: Path, bench: str) -> dict[str, Any]:
    """What a run has left, whose shape is the same for all benchmarks."""
    data: dict[str, Any] = json.loads((folder / "results" / f"{bench}-short.json").read_text())
    assert (folder / "results" / f"{bench}-short.png").read_bytes().startswith(b"\x89PNG")
    (line,) = (folder / "history" / f"{bench}.jsonl").read_text().splitlines()
    assert json.loads(line)["tracked"] == data["tracked"]
    assert data["bench"] == bench and data["short"] is True and data["machine"]["cores"] >= 1
    assert data["tracked"] and all(isinstance(one["value"], (int, float)) for one in data["tracked"])
    return data


@pytest.mark.realtime
def test_deadline(everything: Path) -> None:
    data = kept(everything, "deadline")
    rows = data["figures"]["rows"]
    assert [(row["model"], row["block"]) for row in rows] == [
        (model, block) for model in ("fast", "live") for block in deadline.SHORT_BLOCKS
    ]
    for row in rows:
        # The first hops are in no bucket.
        assert 0 <= sum(row["counts"]) - (row["hops"] - FIRST_HOPS) <= 8
        assert 0.0 < row["p50_ms"] <= row["p99_ms"] <= row["p99.9_ms"] <= row["max_ms"]
        assert row["first_ms"] > 0.0 and row["deadline_ms"] > 1.0
    assert {one["name"].rpartition(", ")[2] for one in data["tracked"]} == {
        f"{block}: hop {figure} of the deadline"
        for block in deadline.SHORT_BLOCKS
        for figure in ("p50", "p99")
    }


@pytest.mark.parametrize(("backend", "measured"), [("fused", [1]), ("onnx", [1, 2])])
def test_the_compiled_step_is_timed_once_whatever_the_threads(
    backend: str, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = SimpleNamespace(backend=SimpleNamespace(name=backend))
    monkeypatch.setattr(deadline, "open_stream", lambda package, **options: nullcontext(stream))
    monkeypatch.setattr(deadline, "useful", lambda threads: min(threads, 2))
    keys = ("first_ms", "p50_ms", "p99_ms", "p99.9_ms", "max_ms")
    times = dict.fromkeys(keys, 1.0) | {"deadline_ms": 2.0, "late_hops": 0, "underruns": 0}
    monkeypatch.setattr(deadline, "measure", lambda *_: times | {"counts": [0] * 512})
    monkeypatch.setattr(deadline.pictures, "histograms", lambda *_: None)
    result = deadline.run(["live"], [64], ["auto"], [1, 2, 99], 0.1)
    assert [row["threads"] for row in result.figures["rows"]] == measured
    assert result.notes == ["99 threads on 2 cores are 2"]


@pytest.mark.realtime
def test_soak(everything: Path) -> None:
    data = kept(everything, "soak")
    figures = data["figures"]
    assert data["settings"]["decks"] == 2
    assert data["held"] is (figures["late_hops"] == figures["underruns"] == figures["jumps"] == 0)
    assert 0 <= figures["late_hops_unexplained"] <= figures["late_hops"]
    assert 0 <= figures["underruns_unexplained"] <= figures["underruns"]
    # The engine goes on while it is read.
    assert 0 <= sum(figures["counts"]) - (figures["hops"] - FIRST_HOPS) <= 8 and figures["hops"] > FIRST_HOPS
    assert figures["resident_mb"] > 0.0
    assert {one["name"].rpartition(": ")[2] for one in data["tracked"]} > {"hop p99 of the deadline"}


@pytest.mark.parametrize("realtime", [True, False])
def test_stops_are_not_the_machines_alone_without_priority(realtime: bool) -> None:
    seen = Seen((Stop(1.0, 0.05),), 50.0, realtime, None)
    reasons = soak._reasons(seen, 0.005, (0.004, 2, 3))
    assert len(reasons) == 2 and "2 late hops, 3 underruns" in reasons[1]
    assert all(("another program" in reason) is not realtime for reason in reasons)
    assert len(soak._reasons(seen, 0.005, None)) == 1 and soak._reasons(seen, 0.1, None) == []


def test_a_soak_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def run(model: str, minutes: float, **options: Any) -> Result:
        for seconds in range(0, 200, 10):
            options["progress"](float(seconds), seconds // 100)
        return Result("soak", False, {}, {}, MACHINE, held=True)

    monkeypatch.setattr(soak, "run", run)
    monkeypatch.setattr("rtsep.cli.bench._say", said.append)
    assert rtsep_here("bench", "soak", "--minutes", "4", "-o", tmp_path).returncode == 0
    assert said == [
        "1 of 4 minutes, 0 late hops",
        "2 of 4 minutes, 1 late hops",
        "3 of 4 minutes, 1 late hops",
    ]


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


@pytest.mark.realtime
def test_floor(everything: Path) -> None:
    data = kept(everything, "floor")
    rows = data["figures"]["rows"]
    assert [row["model"] for row in rows] == ["fast", "live"]
    for row in rows:
        assert row["floor_ms"] == max(row["reading_ms"], row["multiplying_ms"]) > 0.0
        assert row["ratio"] == pytest.approx(row["p10_ms"] / row["floor_ms"])
        assert row["macs"] > 1000
        # The compiled step has one thread: on two it would be the same code again.
        assert row["backend"] == "fused" and [one["threads"] for one in row["threads"]] == [1]
    assert rows[1]["parts_ms"].keys() == {"network", "STFT", "ISTFT"}
    assert data["held"] is all(row["ratio"] <= floor.BAR for row in rows)
    assert not any("fastest with" in note for note in data["notes"])


@pytest.mark.realtime
def test_startup(everything: Path) -> None:
    data = kept(everything, "startup")
    assert data["held"] is (data["figures"]["warm_s"][0] < startup.BAR_SECONDS)
    assert data["figures"]["warm_s"][0] > 0.0 and data["figures"]["cold_s"] is None
    assert set(data["figures"]["imports_ms"]) < set(startup.MODULES)


@pytest.mark.realtime
def test_files(everything: Path) -> None:
    data = kept(everything, "files")
    one, theirs = data["figures"]["rows"]
    assert (one["jobs"], theirs["peer"], theirs["threads"]) == ("1", SEPARATOR, 1)
    assert one["ratio"] == 1.0 and theirs["ratio"] == pytest.approx(one["per_core"] / theirs["per_core"])
    songs, (brief, long) = data["settings"]["songs"], files.SHORT_LENGTHS
    for row in (one, theirs):
        assert [run["music_s"] for run in row["runs"]] == [songs * brief, songs * long]
        assert all(run["cpu_seconds"] > 0.0 and run["peak_mb"] > 10.0 for run in row["runs"])
        assert row["growth_mb"] == row["runs"][1]["peak_mb"] - row["runs"][0]["peak_mb"]
    assert data["held"] is (one["growth_mb"] < files.FLAT_MB)
    assert "nobody: absent: no_such_module is not installed" in data["notes"]


@pytest.mark.parametrize("name", ["soak", "startup", "floor", "files"])
def test_a_bar_is_judged_in_its_long_form_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"rtsep.bench.{name}")
    for short, held, code in ((False, False, 9), (False, True, 0), (False, None, 0), (True, False, 0)):
        result = Result(name, short, {}, {}, MACHINE, held=held)
        monkeypatch.setattr(module, "run", lambda *_, told=result, **__: told)
        arguments = ["bench", name, *(["--short"] if short else []), "-o", tmp_path]
        assert rtsep_here(*arguments).returncode == code


@pytest.mark.parametrize(("short", "code"), [(False, 9), (True, 0)])
def test_all_of_them_tell_of_a_bar_that_was_not_met(
    short: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EVERY:
        result = Result(name, short, {}, {}, MACHINE, held=name != "startup")
        module = importlib.import_module(f"rtsep.bench.{name}")
        monkeypatch.setattr(module, "run", lambda *_, told=result, **__: told)
    arguments = ["bench", "all", *(["--short"] if short else []), "-o", tmp_path]
    assert rtsep_here(*arguments).returncode == code
    assert {file.stem for file in (tmp_path / "history").iterdir()} == set(EVERY)


def test_pareto_measures_what_has_learnt_and_methods_that_are_named() -> None:
    names = {package.name for package in pareto.installed()}
    assert "live" in names and "centre" not in names and "repet" not in names
    streamed, whole = pareto.facts(find_any("centre"), 3, 0.1), pareto.facts(find_any("repet"), 3, 2.0)
    assert streamed["p50_ms"] > 0.0 and whole["real_time_factor"] > 0.0
    assert streamed["macs_per_s"] is None and whole["macs_per_s"] is None and streamed["parameters"] is None


@pytest.mark.realtime
def test_peers(everything: Path) -> None:
    data = kept(everything, "peers")
    ours, _, theirs = data["figures"]["rows"]
    assert ours["ratio"] == 1.0 and theirs["ratio"] == pytest.approx(theirs["rtf_p10"] / ours["rtf_p10"])
    assert [one["better"] for one in data["tracked"]] == ["lower", "higher"]
    assert theirs["hop_ms"] == pytest.approx(1000 * 512 / 44100)
    assert data["notes"] == ["nobody: absent: no_such_module is not installed"]
    assert [row["name"] for row in data["figures"]["callbacks"]] == ["Python", "native"]


def test_a_held_interpreter_stops_python_callbacks() -> None:
    with callbacks.gil_held():
        due, missed = callbacks.python_missed(64, 44100, 0.3)
    # 25 ms at a time are taken of blocks of 1.5 ms.
    assert 0 < missed < due


@pytest.mark.realtime
def test_pareto(everything: Path) -> None:
    data = kept(everything, "pareto")
    # Where it was measured is told by the root's name, however many songs there are.
    assert data["settings"]["root"] == "valid"
    assert data["figures"]["tracks"] == ["song-0", "song-1", "song-2"]
    oracle, fast, live = data["figures"]["rows"]
    assert (oracle["name"], oracle["kind"], fast["kind"], live["name"]) == (
        "irm2",
        "oracle",
        "causal",
        "live",
    )
    assert (data["notes"] == []) is (oracle["damage"] is not None)
    for model in (fast, live):
        assert oracle["sdr_mean"] > model["sdr_mean"]
        assert model["latency_ms"] < model["total_ms"] and model["peak_mb"] > 10.0
        assert model["parameters"] > 100
        assert {"p50_ms", "p99_ms", "p99.9_ms", "real_time_factor", "macs_per_s", "damage"} <= model.keys()


def test_roots_are_called_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in ("a", "b/test"):
        write_track(tmp_path / root / "song", ("vocals", "drums"))
    monkeypatch.chdir(tmp_path)
    sources, where = pareto.songs([tmp_path / "a", "b/test"])
    # Both have a song of that name; where the folders lie is nobody's business.
    assert [source.name for source in sources] == ["a/song", "b/test/song"] and where == "a, b/test"
    assert (
        pareto.songs(["b/test"])[1] == "b/test" and pareto.songs(["../" + tmp_path.name])[1] == tmp_path.name
    )


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
        (["files", "--peer", "nobody"], 2, "no peer is called so"),
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
