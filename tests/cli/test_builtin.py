"""Methods without weights on the command line: listed, live, on files, scored; with stems of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtsep.spec import ModelError, UsageError
from tests.cli.command import one_line, rtsep, snapshot

RATE = 44100


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A track of two seconds: a tone in the middle for a voice, clicks on the left for drums, a low tone."""
    folder = tmp_path_factory.mktemp("songs") / "one"
    folder.mkdir()
    time = np.arange(2 * RATE) / RATE
    clicks = np.where(np.arange(2 * RATE) % 11025 == 3000, 0.8, 0.0)
    stems = {
        "vocals": np.stack([0.2 * np.sin(2 * np.pi * 500.0 * time)] * 2),
        "drums": np.stack([clicks, 0.0 * clicks]),
        "bass": np.stack([0.0 * time, 0.2 * np.sin(2 * np.pi * 90.0 * time)]),
    }
    for stem, audio in stems.items():
        soundfile.write(folder / f"{stem}.wav", audio.T, RATE, subtype="FLOAT")
    soundfile.write(folder / "mixture.wav", sum(stems.values()).T, RATE, subtype="FLOAT")
    return folder


def test_they_are_listed_behind_the_models_with_their_latency(tmp_path: Path) -> None:
    result = rtsep("models", RTSEP_MODELS=str(tmp_path))
    assert result.returncode == 0, result.stderr
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert (
        "23.2 ms" in rows["hpss"] and "no weights" in rows["hpss"] and "harmonic, percussive" in rows["hpss"]
    )
    assert "offline" in rows["repet-sim"] and "no weights" in rows["repet-sim"]
    assert " MB" in rows["live"] and list(rows).index("live") < list(rows).index("adress")
    told = rtsep("models", "info", "adress")
    assert told.returncode == 0 and "left, centre, right, diffuse" in told.stdout
    assert "1024 samples, 23.2 ms" in told.stdout and "nothing was trained" in told.stdout


@pytest.mark.parametrize(
    "model,options,stems",
    [
        ("hpss", ["--mute", "percussive", "--gain", "harmonic=-3"], ["harmonic", "percussive"]),
        ("adress", ["--solo", "diffuse", "--pan", "centre=left"], ["left", "centre", "right", "diffuse"]),
    ],
)
@pytest.mark.realtime
def test_they_run_live_with_stems_of_their_own(
    model: str, options: list[str], stems: list[str], tmp_path: Path
) -> None:
    arguments = ["--null", "--model", model, "--seconds", "0.5", "--record", tmp_path / "set", *options]
    result = rtsep("live", *arguments)
    assert result.returncode == 0, result.stderr
    assert "algorithmic" in result.stdout and result.stderr == ""
    assert sorted(snapshot(tmp_path / "set")) == sorted(f"{name}.wav" for name in (*stems, "mix"))


def test_they_separate_files_and_remix_them(song: Path, tmp_path: Path) -> None:
    mixture, _ = soundfile.read(song / "mixture.wav", dtype="float32")
    for model, muted, stems in (
        ("centre", "centre", ("centre", "sides")),
        ("repet", "foreground", ("foreground", "repeating")),
    ):
        out = tmp_path / model
        result = rtsep("separate", song / "mixture.wav", "-o", out, "-m", model, "--mute", muted)
        assert result.returncode == 0, result.stderr
        found = {file.stem: soundfile.read(file, dtype="float32")[0] for file in (out / "mixture").iterdir()}
        assert set(found) == {*stems, f"mix-without-{muted}"}
        np.testing.assert_allclose(found[stems[0]] + found[stems[1]], mixture, atol=1e-5)
        np.testing.assert_allclose(found[f"mix-without-{muted}"], found[stems[1]], atol=1e-6)


def test_they_are_scored_as_what_they_come_near(song: Path, tmp_path: Path) -> None:
    models = [option for name in ("hpss", "centre", "repet-sim") for option in ("--model", name)]
    out = tmp_path / "scores"
    result = rtsep("eval", song, *models, "-o", out, "--excerpts", "0", "-q")
    assert result.returncode == 0, result.stderr
    medians = json.loads((out / "scores.json").read_text(encoding="utf-8"))["medians"]
    targets = {name: set(scores["targets"]) for name, scores in medians.items() if name != "mixture"}
    assert targets == {
        "hpss": {"drums"},
        "centre": {"vocals", "accompaniment"},
        "repet-sim": {"vocals", "accompaniment"},
    }
    before = medians["mixture"]["targets"]
    assert medians["hpss"]["targets"]["drums"]["sdr"] > before["drums"]["sdr"] + 3.0
    assert medians["centre"]["targets"]["vocals"]["sdr"] > before["vocals"]["sdr"] + 3.0


@pytest.mark.parametrize(
    "arguments,complaint,code",
    [
        (["live", "--null", "--model", "repet"], "repet is an offline model", ModelError.exit_code),
        (
            ["live", "--null", "--model", "hpss", "--mute", "drums"],
            "this model has harmonic",
            UsageError.exit_code,
        ),
        (["models", "remove", "hpss"], "'hpss' is built into rtsep", ModelError.exit_code),
        (["export", "hpss", "--precision", "float16"], "hpss is built in", ModelError.exit_code),
        (["demo", "--model", "centre"], "with a vocals stem; centre is not", UsageError.exit_code),
    ],
)
@pytest.mark.realtime
def test_what_they_cannot_is_one_line(
    arguments: list[str], complaint: str, code: int, tmp_path: Path
) -> None:
    result = rtsep(*arguments, cwd=tmp_path)
    assert complaint in one_line(result) and result.returncode == code
    assert snapshot(tmp_path) == {}
