"""`rtsep eval` as a person runs it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtsep.cli.main import main
from rtsep.spec import AudioFileError, ModelError, UsageError
from tests.cli.command import rtsep, snapshot
from tests.evaluation.songs import write_track
from tests.models import build_tiny_model

WINDOW = ("--oracle-window", "512,512,128")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"), passthrough=True)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracks")
    write_track(root / "one", seconds=2.0)
    write_track(root / "two", ("accompaniment",), seconds=1.0)
    return root


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command in this process, which has loaded already what it needs: code, stdout, stderr."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["eval", *map(str, arguments)])
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    yield run
    signal.signal(signal.SIGTERM, handler)


def test_scores_are_printed_and_kept(tracks: Path, model: Path, tmp_path: Path, here: Run) -> None:
    out = tmp_path / "new" / "scores"
    result = rtsep("eval", tracks, "--model", model, "--oracle", "irm2", *WINDOW, "-o", out)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for words in ("medians over 2 tracks", "NSDR", "SI-SDR", "vocals quieter by", "damage", "5.8 ms", "irm2"):
        assert words in result.stdout, result.stdout
    assert {path.name for path in out.iterdir()} == {"report.html", "scores.json"}
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert [system["name"] for system in scores["systems"]] == ["mixture", model.name, "irm2"]
    assert scores["systems"][1]["latency_samples"] == 256
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.count("<audio") == 2 * (3 + 2 * 2)

    # What exists is not replaced unless told, and the complaint comes before the work.
    before = snapshot(tmp_path)
    code, said, complaint = here(tracks, "--oracle", "irm2", *WINDOW, "-o", out)
    assert (code, said, len(complaint.splitlines())) == (AudioFileError.exit_code, "", 1)
    assert "report.html: exists already; --overwrite replaces it" in complaint
    assert snapshot(tmp_path) == before
    options = ["-o", out, "--overwrite", "--excerpts", "0", "-q"]
    assert here(tracks, "--oracle", "ibm", *WINDOW, *options) == (0, "", "")
    assert [s["name"] for s in json.loads((out / "scores.json").read_text())["systems"]] == ["mixture", "ibm"]
    assert "<audio" not in (out / "report.html").read_text(encoding="utf-8")


def test_the_excerpt_with_the_default_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Run
) -> None:
    build_tiny_model(tmp_path, name="live")
    monkeypatch.setenv("RTSEP_MODELS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, said, complaint = here("stempeg", "--seconds", "1")
    assert (code, complaint) == (0, "")
    assert "live" in said and "on one track" in said
    assert [path.name for path in tmp_path.iterdir()] == ["live"]  # without -o nothing is written


def test_a_bass_line_inside_other(tmp_path: Path, model: Path, here: Run) -> None:
    write_track(tmp_path / "song", ("vocals", "drums", "other"), seconds=1.0)
    options = ["--bass-in-other", "--live-conditions", "bleed=off", "-o", tmp_path / "out", "-q"]
    assert here(tmp_path / "song", "--model", model, *options) == (0, "", "")
    (track,) = json.loads((tmp_path / "out" / "scores.json").read_text())["tracks"]
    assert track["parts"] == ["vocals", "drums", "bass+other"]
    assert track["scores"][model.name]["targets"].keys() == {*track["parts"], "accompaniment"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], AudioFileError.exit_code, "nowhere: there is no such folder"),
        (["empty"], AudioFileError.exit_code, "there are no tracks in this folder"),
        (["broken"], AudioFileError.exit_code, "bass.wav"),
        (["TRACKS", "--model", "nobody"], ModelError.exit_code, "no model is called 'nobody'"),
        (["TRACKS", "--oracle", "irm3"], UsageError.exit_code, "no oracle is called 'irm3'"),
        (["TRACKS", "--oracle", "irm1", "--oracle", "irm1"], UsageError.exit_code, "two systems are called"),
        (["TRACKS", "--oracle", "irm1", "--oracle-window", "9,9"], UsageError.exit_code, "three numbers"),
        (["TRACKS", "--oracle", "irm1", "--oracle-window", "512,512,500"], UsageError.exit_code, "hop 500"),
        (["TRACKS", "--oracle", "irm1", "--chunk", "0"], UsageError.exit_code, "--chunk 0"),
        (["TRACKS", "--oracle", "irm1", "--seconds", "-1"], UsageError.exit_code, "--seconds -1"),
        (["TRACKS", "--oracle", "irm1", "--chunk", "inf"], UsageError.exit_code, "--chunk inf: must be"),
        (["TRACKS", "--oracle", "irm1", "--seconds", "inf"], UsageError.exit_code, "--seconds inf: must be"),
        (["TRACKS", "--oracle", "irm1", "--seconds", "nan"], UsageError.exit_code, "--seconds nan: must be"),
        (
            ["TRACKS", "--oracle", "irm1", "--oracle-window", "999999998,999999998,499999999"],
            UsageError.exit_code,
            "a window has at most 65536 samples",
        ),
        (
            ["TRACKS", "--oracle", "irm1", "--oracle-window", f"{'9' * 5000},4,2"],
            UsageError.exit_code,
            "write three numbers of samples",
        ),
        (["TRACKS", "--oracle", "irm1", "-o", "a-file"], AudioFileError.exit_code, "is in the way"),
    ],
)
def test_failures_are_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tracks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: Run,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("mine")
    write_track(tmp_path / "broken", ("vocals",), seconds=0.2)
    (tmp_path / "broken" / "bass.wav").write_text("no sound")
    given = [str(tracks) if word == "TRACKS" else word for word in arguments]
    if arguments == ["broken"]:
        given += ["--oracle", "irm1"]
    before = snapshot(tmp_path)
    returned, said, complaint = here(*given)
    assert (returned, said) == (code, "")
    assert len(complaint.splitlines()) == 1 and complaint.startswith("rtsep: ")
    assert message in complaint
    assert snapshot(tmp_path) == before
