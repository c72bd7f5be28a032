"""A bass line that lies inside `other` becomes a stem of its own, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtsep.engine.offline import open_model, separate_array
from rtsep.spec import STEMS, AudioFileError, UsageError
from rtsep.training.bass_split import split_bass
from rtsep.training.corpus import load_corpus
from rtsep.training.distillation import FACTS
from tests.cli.command import one_line, rtsep, rtsep_here
from tests.models import build_tiny_model

RATE = 44100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"), "causal-lstm", name="teacher")


def write_track(folder: Path, stems: tuple[str, ...], seconds: float) -> Path:
    """Tones and noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    for k, stem in enumerate(stems):
        tone = sum(0.1 * np.sin(2.0 * np.pi * (60.0 + 20.0 * k) * h * time) for h in (1, 2, 5, 11))
        audio = tone[:, None] + 0.02 * rng.standard_normal((len(time), 2))
        soundfile.write(folder / f"{stem}.wav", audio.astype(np.float32), RATE, subtype="PCM_16")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two songs without a bass file."""
    for name in ("one", "two"):
        write_track(tmp_path / "songs" / name, ("vocals", "drums", "other"), seconds=1.5)
    return tmp_path / "songs"


def read(file: Path) -> np.ndarray:
    audio: np.ndarray = soundfile.read(file, dtype="float32", always_2d=True)[0].T
    return audio


def the(track: Path, stem: str) -> np.ndarray:
    return read(next(track.glob(f"{stem}.*")))


def test_bass_is_what_the_teacher_takes_for_bass_or_drums_and_nothing_is_lost(
    model: Path, root: Path, tmp_path: Path
) -> None:
    teacher = open_model(model)
    done = split_bass("teacher", teacher, root / "one", tmp_path / "out" / "one")
    assert done.fresh and done.kept and done.seconds == pytest.approx(1.5)
    other = the(root / "one", "other")
    estimates = dict(zip(STEMS, separate_array(open_model(model), other), strict=True))
    np.testing.assert_allclose(the(done.folder, "bass"), estimates["bass"] + estimates["drums"], atol=1e-4)
    np.testing.assert_allclose(the(done.folder, "bass") + the(done.folder, "other"), other, atol=1e-4)
    for stem in ("vocals", "drums"):
        np.testing.assert_array_equal(the(done.folder, stem), the(root / "one", stem))
    assert json.loads((done.folder / FACTS).read_text())["bass_from"] == "other"


def test_training_reads_it_as_four_known_stems(model: Path, root: Path, tmp_path: Path) -> None:
    split_bass("teacher", open_model(model), root / "one", tmp_path / "out" / "one")
    (track,) = load_corpus([tmp_path / "out"], tmp_path / "cache", RATE)
    assert sorted(track.stems) == sorted(STEMS) and not track.unknown


def test_a_track_that_is_there_is_not_made_again(model: Path, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    split_bass("teacher", open_model(model), root / "one", folder)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert not split_bass("teacher", open_model(model), root / "one", folder).fresh
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_what_cannot_be_split_is_said(model: Path, root: Path, tmp_path: Path) -> None:
    teacher = open_model(model)
    with pytest.raises(UsageError, match="made otherwise, by teacher"):
        split_bass("teacher", teacher, root / "one", tmp_path / "out")
        split_bass("another", teacher, root / "one", tmp_path / "out")
    with pytest.raises(AudioFileError, match="is there already, and not from a teacher"):
        split_bass("teacher", teacher, root / "one", root / "two")
    write_track(tmp_path / "whole", ("drums", "bass", "other"), seconds=0.5)
    with pytest.raises(UsageError, match="has a bass already"):
        split_bass("teacher", teacher, tmp_path / "whole", tmp_path / "new")
    write_track(tmp_path / "voice", ("vocals",), seconds=0.5)
    with pytest.raises(UsageError, match="no stem called other"):
        split_bass("teacher", teacher, tmp_path / "voice", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command(model: Path, root: Path, tmp_path: Path) -> None:
    arguments = ("distill", str(model), str(root), "-o", str(tmp_path / "split"), "--bass-from-other")
    first = rtsep_here(*arguments)
    assert first.returncode == 0, first.stderr
    assert "2 split, 0 there already" in first.stdout
    assert sorted(f.name for f in (tmp_path / "split" / "songs").iterdir()) == ["one", "two"]
    assert "0 split, 2 there already" in rtsep_here(*arguments).stdout
    refused = rtsep(*arguments, "--least", "3")
    assert refused.returncode == 2 and "--bass-from-other hears a stem once" in one_line(refused)
