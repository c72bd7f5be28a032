"""A teacher's stems become tracks: whole, once, their sum the song, and a student trains on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtsep.engine.offline import open_model, separate_array
from rtsep.spec import STEMS, AudioFileError, UsageError
from rtsep.training.checkpoints import CHECKPOINT
from rtsep.training.corpus import load_corpus
from rtsep.training.distillation import (
    FACTS,
    FolderTeacher,
    Hearing,
    ModelTeacher,
    distill,
    known_stems,
    rest_of,
)
from rtsep.training.loop import Trainer
from tests.cli.command import one_line, rtsep, rtsep_here
from tests.models import build_tiny_model
from tests.open_unmix import save_models
from tests.training.corpora import RATE, run_config

SONG_RATE = 44100


def write_song(path: Path, seconds: float = 2.0, seed: int = 0, rate: int = SONG_RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(0.1 * np.sin(2.0 * np.pi * f * time) for f in (110.0, 330.0, 1500.0))
    audio = np.stack([tones, 0.7 * tones], axis=1) + 0.02 * rng.standard_normal((len(time), 2))
    soundfile.write(path, audio, rate, subtype="PCM_24")
    return path


def teacher_of(model: Path, twice: bool = True) -> ModelTeacher:
    return ModelTeacher(model.name, open_model(model), open_model(model) if twice else None)


def facts_of(track: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((track / FACTS).read_text())
    return content


def read(track: Path) -> dict[str, np.ndarray]:
    return {file.stem: soundfile.read(file)[0].T for file in sorted(track.glob("*.flac"))}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"), "causal-lstm", name="teacher")


def test_stems_are_the_models_and_add_up_to_the_song(model: Path, tmp_path: Path) -> None:
    song = write_song(tmp_path / "song.wav")
    done = distill(teacher_of(model), song, tmp_path / "out" / "song", None)
    assert done.kept and done.fresh and done.seconds == pytest.approx(2.0)
    stems = read(done.folder)
    assert sorted(stems) == sorted(STEMS)
    mix = soundfile.read(song, dtype="float32")[0].T
    expected = separate_array(open_model(model), mix)
    for index, name in enumerate(STEMS):
        np.testing.assert_allclose(stems[name], expected[index], atol=1e-5)
    np.testing.assert_allclose(sum(stems.values()), mix, atol=2e-6)
    assert sorted(p.name for p in done.folder.iterdir()) == sorted([*(f"{s}.flac" for s in STEMS), FACTS])


def test_confidence_is_the_agreement_of_two_hearings(model: Path, tmp_path: Path) -> None:
    """Worked out by hand: the song, its sides swapped, half as loud, 307 samples later."""
    song = write_song(tmp_path / "song.wav")
    done = distill(teacher_of(model), song, tmp_path / "out", None)
    mix = soundfile.read(song, dtype="float32")[0].T
    first = separate_array(open_model(model), mix)
    later = np.concatenate([np.zeros((2, 307), np.float32), 0.5 * mix[::-1]], axis=1)
    second = 2.0 * separate_array(open_model(model), later)[:, ::-1, 307:]
    ratio = np.square(first).sum(axis=(1, 2)) / np.square(first - second).sum(axis=(1, 2))
    expected = 10.0 * np.log10(ratio)
    facts = facts_of(done.folder)
    assert facts["agreement_db"] == pytest.approx(dict(zip(STEMS, expected, strict=True)), abs=0.1)
    assert done.confidence == pytest.approx(np.mean(expected), abs=0.1)
    assert facts["teacher"] == "teacher" and facts["song"] == "song.wav"


class Guesser:
    """Vocals that are half the song, heard again with an error of a tenth, and silent drums."""

    name = "guesser"

    def stems(self, song: Path) -> tuple[str, ...]:
        return ("vocals", "drums")

    def rate(self, song: Path) -> int:
        return RATE

    def listen(self, song: Path) -> Iterator[Hearing]:
        rng = np.random.default_rng(0)
        for samples in (100, 1, 7000):
            mix = rng.standard_normal((2, samples)).astype(np.float32) * 0.1
            stems = np.stack([0.5 * mix, 0.0 * mix])
            yield mix, stems, stems * np.float32(1.1)


@pytest.mark.parametrize(("least", "kept"), [(19.9, True), (20.1, False), (None, True)])
def test_songs_that_are_guessed_are_left_out(least: float | None, kept: bool, tmp_path: Path) -> None:
    done = distill(Guesser(), tmp_path / "song.wav", tmp_path / "out", least)
    # The vocals and what they leave are off by a tenth: 20 dB. Of silence there is nothing to agree on.
    assert done.confidence == pytest.approx(20.0, abs=0.01) and done.kept is kept
    assert facts_of(done.folder)["agreement_db"] == pytest.approx(
        {"vocals": 20.0, "drums": None, "other": 20.0}, abs=0.01
    )
    assert len(list(done.folder.iterdir())) == (4 if kept else 1)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    strict = distill(Guesser(), song, out, 30.0)
    assert strict.fresh and not strict.kept
    assert not distill(Guesser(), song, out, 25.0).fresh
    # A milder measure takes it after all.
    mild = distill(Guesser(), song, out, 15.0)
    assert mild.fresh and mild.kept
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = distill(Guesser(), song, out, 15.0)
    assert not again.fresh and again.kept and again.confidence == pytest.approx(20.0, abs=0.01)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


class Once(Guesser):
    """As it hears a song that it is not to hear twice."""

    def listen(self, song: Path) -> Iterator[Hearing]:
        return ((mix, stems, None) for mix, stems, _ in super().listen(song))


@pytest.mark.parametrize("mild", [None, 15.0])
def test_a_stricter_measure_leaves_out_what_a_milder_one_kept(tmp_path: Path, mild: float | None) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    assert distill(Guesser(), song, out, mild).kept
    strict = distill(Guesser(), song, out, 40.0)
    assert not strict.kept and strict.fresh and strict.confidence == pytest.approx(20.0, abs=0.01)
    assert [path.name for path in out.iterdir()] == [FACTS] and facts_of(out)["kept"] is False
    assert not distill(Guesser(), song, out, 40.0).fresh
    assert distill(Guesser(), song, out, mild).kept and len(list(out.iterdir())) == 4


def test_a_song_that_was_heard_once_is_heard_again_to_be_judged(tmp_path: Path) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    assert distill(Once(), song, out, None).confidence is None
    assert not distill(Guesser(), song, out, None).fresh
    strict = distill(Guesser(), song, out, 40.0)
    assert strict.fresh and not strict.kept and [path.name for path in out.iterdir()] == [FACTS]


def test_who_is_stopped_while_leaving_a_song_out_leaves_it_out_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    distill(Guesser(), song, out, None)
    with monkeypatch.context() as patch:

        def stopped(self: Path, missing_ok: bool = False) -> None:
            raise KeyboardInterrupt

        patch.setattr(Path, "unlink", stopped)
        with pytest.raises(KeyboardInterrupt):
            distill(Guesser(), song, out, 40.0)
    assert not distill(Guesser(), song, out, 40.0).kept
    assert [path.name for path in out.iterdir()] == [FACTS]


def test_what_else_lies_in_a_songs_folder_is_not_removed(tmp_path: Path) -> None:
    song, out = tmp_path / "song.wav", tmp_path / "out"
    distill(Guesser(), song, out, 40.0)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(AudioFileError, match="holds more than a teacher leaves"):
        distill(Guesser(), song, out, None)
    assert (out / "notes.txt").exists() and facts_of(out)["teacher"] == "guesser"


def test_an_interrupted_song_leaves_nothing(tmp_path: Path) -> None:
    class Tired(Guesser):
        def listen(self, song: Path) -> Iterator[Hearing]:
            yield next(super().listen(song))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(Tired(), tmp_path / "song.wav", tmp_path / "tracks" / "song", None)
    assert list(tmp_path.iterdir()) == []


def test_two_teachers_do_not_share_a_folder(tmp_path: Path) -> None:
    distill(Guesser(), tmp_path / "song.wav", tmp_path / "out", None)
    other = Guesser()
    other.name = "other"
    with pytest.raises(UsageError, match="was made by the teacher guesser"):
        distill(other, tmp_path / "song.wav", tmp_path / "out", None)
    (tmp_path / "mine").mkdir()
    with pytest.raises(AudioFileError, match="is there already, and not from a teacher"):
        distill(Guesser(), tmp_path / "song.wav", tmp_path / "mine", None)
    (tmp_path / "out" / FACTS).write_text("{}")
    with pytest.raises(AudioFileError, match="is not as a teacher leaves it"):
        distill(Guesser(), tmp_path / "song.wav", tmp_path / "out", None)


@pytest.mark.parametrize(
    ("names", "taken", "rest"),
    [
        (STEMS, ("vocals", "drums", "bass"), "other"),
        (("vocals", "accompaniment"), ("vocals",), "accompaniment"),
        (("vocals", "residual"), ("vocals",), "accompaniment"),
        (("drums", "vocals", "piano"), ("vocals", "drums"), "other"),
    ],
)
def test_what_is_taken_from_a_teacher(names: tuple[str, ...], taken: tuple[str, ...], rest: str) -> None:
    assert known_stems("x", names) == taken and rest_of(taken) == rest
    with pytest.raises(UsageError, match=r"has no vocals among its stems \(drums, bass\)"):
        known_stems("x", ("drums", "bass"))


def test_a_folder_of_estimates_teaches_and_a_student_learns(tmp_path: Path) -> None:
    """At another rate than the song, with a stem that is shorter, and drums that are the rest's affair."""
    song = write_song(tmp_path / "songs" / "one.wav", rate=RATE)
    estimates = tmp_path / "estimates" / "one"
    for index, name in enumerate(("vocals", "bass", "other")):
        write_song(estimates / f"{name}.wav", seconds=2.0 - 0.1 * index, seed=index, rate=2 * RATE)
    teacher = FolderTeacher(tmp_path / "estimates", {song: Path("one")})
    done = distill(teacher, song, tmp_path / "root" / "one", None)
    assert done.confidence is None and done.kept
    stems = read(done.folder)
    assert sorted(stems) == ["bass", "other", "vocals"]
    assert done.seconds == pytest.approx(1.9, abs=0.001)
    bass = soundfile.read(estimates / "bass.wav")[0].T
    np.testing.assert_allclose(stems["bass"], bass, atol=1e-6)

    with pytest.raises(AudioFileError, match="there is no estimate of the vocals of two.wav"):
        missing = tmp_path / "songs" / "two.wav"
        distill(FolderTeacher(tmp_path / "estimates", {missing: Path("two")}), missing, tmp_path / "x", None)

    roots = {"roots": [tmp_path / "root"], "bass_in_other": [], "cache": tmp_path / "cache"}
    config = run_config(tmp_path, tmp_path / "runs", data=roots, optimiser={"steps": 2})
    Trainer(config, lambda _: None).run()
    assert (tmp_path / "runs" / "tiny" / CHECKPOINT).exists()


# -- as it is typed -------------------------------------------------------------------------------------


def test_the_command_makes_a_root_for_training(model: Path, tmp_path: Path) -> None:
    for index in range(2):
        write_song(tmp_path / "songs" / f"song{index}.wav", seconds=1.0, seed=index)
    (tmp_path / "songs" / "broken.wav").write_bytes(b"RIFF")
    environment = {"RTSEP_MODELS": str(model.parent)}
    arguments = ("distill", "teacher", "songs", "-o", "root")
    result = rtsep(*arguments, cwd=tmp_path, **environment)
    assert result.returncode != 0 and "1 of 3 songs failed" in result.stderr
    assert "2 kept, 0 left out, 0 there already" in result.stdout and "sure to" in result.stdout
    tracks = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    assert [track.name for track in tracks] == ["song0", "song1"]
    again = rtsep(*arguments, cwd=tmp_path, **environment)
    assert "0 kept, 0 left out, 2 there already" in again.stdout


def test_an_offline_model_teaches_too(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "peer", ("vocals", "other"))
    from rtsep.importing.open_unmix import convert, find_files

    (tmp_path / "umx").mkdir()
    convert(find_files(folder), tmp_path / "umx", title="", description="", version="1", licence="")
    song = write_song(tmp_path / "song.wav", seconds=0.5)
    done = distill(teacher_of(tmp_path / "umx"), song, tmp_path / "out", None)
    stems = read(done.folder)
    # It knows neither drums nor bass: what it leaves of the song is an accompaniment.
    assert sorted(stems) == ["accompaniment", "vocals"] and done.confidence is not None
    rate = open_model(tmp_path / "umx").spec.sample_rate
    assert stems["vocals"].shape == (2, round(0.5 * rate))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("teacher", "song.wav", "-o", "out", "--once", "--least", "3"), "--once excludes --least"),
        (("estimates", "song.wav", "-o", "out", "--least", "3"), "which cannot be asked twice"),
        (("teacher", "song.wav", "-o", "out", "--least", "nan"), "--least nan: must be a finite number"),
        (("teacher", "song.wav", "-o", "song.wav"), "song.wav: is in the way: a file"),
        (("teacher", "estimates", "-o", "song.wav", "--bass-from-other"), "song.wav: is in the way: a file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], complaint: str, model: Path, tmp_path: Path
) -> None:
    write_song(tmp_path / "song.wav", seconds=0.1)
    (tmp_path / "estimates").mkdir()
    result = rtsep_here("distill", *arguments, cwd=tmp_path, RTSEP_MODELS=str(model.parent))
    assert complaint in one_line(result)
    assert result.returncode == (AudioFileError if "in the way" in complaint else UsageError).exit_code
    assert not (tmp_path / "out").exists()
