"""`rtsep separate` as a person runs it: songs in, stems out, and nothing half-done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from numpy.typing import NDArray

from rtsep.cli.separate import find_songs
from rtsep.spec import AudioFileError, BackendError, ModelError, UsageError
from tests.cli.command import PROGRAM, environment, one_line, rtsep, rtsep_here, snapshot
from tests.models import build_tiny_model

RATE = 44100
STEMS = ("vocals", "drums", "bass", "other")


def noise(samples: int, channels: int = 2) -> NDArray[np.float32]:
    """(samples, channels)."""
    return (0.05 * np.random.default_rng(3).standard_normal((samples, channels))).astype(np.float32)


def song(path: Path, samples: int = 12_345, channels: int = 2, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"subtype": "FLOAT"} if path.suffix == ".wav" else {}
    soundfile.write(path, noise(samples, channels), rate, **options)
    return path


def read(path: Path) -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return audio


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stem is a quarter of the mixture, so that alignment can be read off the results."""
    return build_tiny_model(tmp_path_factory.mktemp("model"), passthrough=True)


# What it does


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_writes_stems_and_the_remix(tmp_path: Path, model: Path, backend: str) -> None:
    source = song(tmp_path / "My Song.wav")
    result = rtsep(
        "separate", source, "-o", tmp_path / "out", "-m", model, "--mute", "vocals", "--backend", backend
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # no bar where nobody watches
    folder = tmp_path / "out" / "My Song"
    assert sorted(os.listdir(folder)) == sorted(
        [f"{stem}.wav" for stem in STEMS] + ["mix-without-vocals.wav"]
    )
    for stem in STEMS:
        np.testing.assert_allclose(read(folder / f"{stem}.wav"), noise(12_345) / 4, atol=1e-5)
    np.testing.assert_allclose(read(folder / "mix-without-vocals.wav"), noise(12_345) * 0.75, atol=1e-5)
    assert str(folder) in result.stdout and "real time" in result.stdout


@pytest.mark.parametrize("format", ["flac", "mp3"])
def test_other_formats_quietly(tmp_path: Path, model: Path, format: str) -> None:
    source = song(tmp_path / "a.wav", channels=1)
    arguments = ["separate", str(source), "-o", str(tmp_path / "out"), "-m", str(model), "-q", "-f", format]
    result = rtsep_here(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for stem in STEMS:
        assert read(tmp_path / "out" / "a" / f"{stem}.{format}").shape == (12_345, 1)


def test_low_rates_are_fine(tmp_path: Path, model: Path) -> None:
    source = song(tmp_path / "a.wav", 8_000, rate=8_000)
    result = rtsep_here("separate", source, "-o", tmp_path, "-m", model)
    assert result.returncode == 0, result.stderr
    info = soundfile.info(tmp_path / "a" / "bass.wav")
    assert (info.samplerate, info.frames, info.channels) == (8_000, 8_000, 2)


def test_samples_that_are_not_numbers_are_a_warning(tmp_path: Path, model: Path) -> None:
    audio = noise(5_000)
    audio[10, 0], audio[11, 1], audio[12, 0] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    result = rtsep_here("separate", tmp_path / "a.wav", "-o", tmp_path / "out", "-m", model)
    assert result.returncode == 0
    assert "warning" in result.stderr and "3 samples that are not numbers" in result.stderr
    assert np.isfinite(read(tmp_path / "out" / "a" / "vocals.wav")).all()


def test_folders_and_failures_among_many(tmp_path: Path, model: Path) -> None:
    album = tmp_path / "album"
    song(album / "1.wav")
    song(album / "disc 2" / "1.flac")
    (album / "2.wav").write_text("not a song")
    (album / "cover.jpg").write_text("no song either")
    result = rtsep_here("separate", album, "-o", tmp_path / "out", "-m", model)
    assert result.returncode == AudioFileError.exit_code
    errors = result.stderr.splitlines()
    assert len(errors) == 2 and "2.wav" in errors[0] and "1 of 3 files failed" in errors[1]
    assert sorted(os.listdir(tmp_path / "out")) == ["1", "disc 2"]
    assert len(os.listdir(tmp_path / "out" / "disc 2" / "1")) == len(STEMS)


def test_overwrites_only_when_told(tmp_path: Path, model: Path) -> None:
    source = song(tmp_path / "a.wav")
    arguments = ["separate", str(source), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert rtsep_here(*arguments).returncode == 0
    (tmp_path / "out" / "a" / "bass.wav").write_bytes(b"mine")
    before = snapshot(tmp_path)
    result = rtsep_here(*arguments)
    assert result.returncode == AudioFileError.exit_code
    assert "--overwrite" in one_line(result)
    assert snapshot(tmp_path) == before
    assert rtsep_here(*arguments, "--overwrite").returncode == 0
    np.testing.assert_allclose(read(tmp_path / "out" / "a" / "bass.wav"), noise(12_345) / 4, atol=1e-5)


def test_several_at_a_time_and_only_what_is_missing(tmp_path: Path, model: Path) -> None:
    album = tmp_path / "album"
    for name in ("1", "2", "3"):
        song(album / f"{name}.wav")
    (album / "bad.wav").write_text("not a song")
    arguments = ["separate", str(album), "-o", str(tmp_path / "out"), "-m", str(model), "--jobs", "2"]
    first = rtsep(*arguments)
    assert first.returncode == AudioFileError.exit_code
    errors = first.stderr.splitlines()
    assert len(errors) == 2 and "bad.wav" in errors[0] and "1 of 4 files failed" in errors[1]
    out = tmp_path / "out"
    assert sorted(os.listdir(out)) == ["1", "2", "3"]
    for name in ("1", "2", "3"):
        np.testing.assert_allclose(read(out / name / "bass.wav"), noise(12_345) / 4, atol=1e-5)

    # Resumed: what is there stays untouched, what is not whole is done again.
    (album / "bad.wav").unlink()
    (out / "2" / "bass.wav").unlink()
    shutil.rmtree(out / "3")
    abandoned = out / ".3.0123abcd.part"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    kept = (out / "1" / "bass.wav").stat().st_mtime_ns
    again = rtsep(*arguments[:-2], "--resume")
    assert again.returncode == 0, again.stderr
    assert "1 of 3 songs are done already" in again.stdout
    assert (out / "1" / "bass.wav").stat().st_mtime_ns == kept
    assert sorted(os.listdir(out)) == ["1", "2", "3"]
    assert all(len(os.listdir(out / name)) == len(STEMS) for name in ("1", "2", "3"))
    before = snapshot(tmp_path)
    nothing = rtsep(*arguments, "--resume", "--quiet")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")
    assert snapshot(tmp_path) == before


# What it refuses


def bad_songs(folder: Path) -> dict[str, Path]:
    (folder / "text.wav").write_text("Once upon a time\n" * 100)
    (folder / "empty.wav").write_bytes(b"")
    no_channels = song(folder / "nought.wav")
    header = bytearray(no_channels.read_bytes())
    header[22:24] = b"\0\0"
    no_channels.write_bytes(header)
    cut = song(folder / "cut.flac", 60_000)
    cut.write_bytes(cut.read_bytes()[:90_000])
    (folder / "nothing here").mkdir()
    return {
        "there is no such file": folder / "missing.wav",
        "not audio": folder / "text.wav",
        "is empty": folder / "empty.wav",
        "holds no audio": song(folder / "zero.wav", 0),
        "nought.wav": no_channels,
        "has 9 channels": song(folder / "nine.wav", channels=9),
        "damaged or cut short": cut,
        "no audio files in this folder": folder / "nothing here",
    }


def test_bad_songs_leave_nothing(tmp_path: Path, model: Path) -> None:
    songs = bad_songs(tmp_path)
    before = snapshot(tmp_path)
    for message, path in songs.items():
        result = rtsep_here("separate", path, "-o", tmp_path / "deep" / "out", "-m", model)
        line = one_line(result)
        assert message in line and path.name in line
        assert result.returncode == AudioFileError.exit_code
        assert snapshot(tmp_path) == before, message


def broken_models(model: Path, folder: Path) -> dict[str, Path]:
    """Copies of a model, each wrong in its own way, by what the message must say."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(model, folder / name))

    def edit(root: Path, **changes: object) -> Path:
        path = root / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return root

    def graph(root: Path) -> Path:
        return next(root.glob("*.onnx"))

    def admit(root: Path) -> Path:
        """Make the manifest agree with the graph that is there, whatever it is."""
        manifest = json.loads((root / "manifest.json").read_text())
        data = graph(root).read_bytes()
        manifest["files"]["onnx"] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        return edit(root, files=manifest["files"])

    flipped = copy("flipped")
    data = bytearray(graph(flipped).read_bytes())
    data[len(data) // 2] ^= 0xFF
    graph(flipped).write_bytes(data)
    shortened = copy("shortened")
    graph(shortened).write_bytes(graph(shortened).read_bytes()[:1000])
    incomplete = copy("incomplete")
    graph(incomplete).unlink()
    scribbled = copy("scribbled")
    (scribbled / "manifest.json").write_text("{ not json")
    garbage = copy("garbage")
    graph(garbage).write_bytes(b"this is no graph")
    other = copy("other")
    shutil.copy(graph(build_tiny_model(folder, "conv-tasnet")), graph(other))
    return {
        "no model is called 'kazoo'": Path("kazoo"),
        "SHA-256": flipped,
        "bytes long": shortened,
        "missing": incomplete,
        "not JSON": scribbled,
        "cannot be loaded": admit(garbage),
        "other": admit(other),
        "hop": edit(copy("impossible"), hop=0),
        "outside": edit(copy("outside"), files={"onnx": {"path": "../x", "sha256": "0" * 64, "bytes": 1}}),
    }


def test_broken_models_leave_nothing(tmp_path: Path, model: Path) -> None:
    models = broken_models(model, tmp_path)
    source = song(tmp_path / "a.wav")
    before = snapshot(tmp_path)
    for message, root in models.items():
        result = rtsep_here("separate", source, "-o", tmp_path / "out", "-m", root)
        assert message in one_line(result)
        assert result.returncode == ModelError.exit_code
        assert snapshot(tmp_path) == before, message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "toaster"], "unknown device 'toaster'"),
        (["--backend", "abacus"], "unknown backend 'abacus'"),
        (["--device", "cuda", "--backend", "onnx"], "CUDAExecutionProvider"),
    ],
)
def test_devices_that_are_not_there_leave_nothing(
    tmp_path: Path, model: Path, options: list[str], message: str
) -> None:
    if "cuda" in options and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a CUDA provider here")
    source = song(tmp_path / "a.wav")
    before = snapshot(tmp_path)
    result = rtsep_here("separate", source, "-o", tmp_path / "out", "-m", model, *options)
    assert message in one_line(result)
    assert result.returncode == BackendError.exit_code
    assert snapshot(tmp_path) == before


def test_unknown_stems_leave_nothing(tmp_path: Path, model: Path) -> None:
    source = song(tmp_path / "a.wav")
    before = snapshot(tmp_path)
    result = rtsep_here("separate", source, "-o", tmp_path / "out", "-m", model, "--mute", "kazoo")
    assert "no stem 'kazoo'; there are: vocals, drums, bass, other" in one_line(result)
    assert result.returncode == UsageError.exit_code
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--jobs", "many"], "--jobs is a number from one up, or auto, not 'many'"),
        (["--jobs", "0"], "--jobs is a number"),
        (["--resume", "--overwrite"], "one of the two"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, model: Path, options: list[str], message: str) -> None:
    source = song(tmp_path / "a.wav")
    result = rtsep("separate", source, "-o", tmp_path / "out", "-m", model, *options)
    assert message in one_line(result)
    assert result.returncode == UsageError.exit_code
    assert not (tmp_path / "out").exists()


def test_results_that_cannot_be_written(tmp_path: Path, model: Path) -> None:
    source = song(tmp_path / "a.wav", rate=96_000)
    (tmp_path / "file").write_text("in the way")
    before = snapshot(tmp_path)
    blocked = rtsep_here("separate", source, "-o", tmp_path / "file", "-m", model)
    assert "cannot be made: Not a directory" in one_line(blocked)
    assert blocked.returncode == AudioFileError.exit_code
    assert snapshot(tmp_path) == before


def test_an_mp3_of_a_high_rate_is_a_warning(tmp_path: Path, model: Path) -> None:
    source = song(tmp_path / "a.wav", rate=96_000)
    result = rtsep_here("separate", source, "-o", tmp_path / "out", "-m", model, "--format", "mp3")
    assert result.returncode == 0
    assert result.stderr == (
        f"rtsep: warning: {source}: has 96000 Hz, which an mp3 cannot; its stems have 48000 Hz\n"
    )
    assert {soundfile.info(tmp_path / "out" / "a" / f"{stem}.mp3").samplerate for stem in STEMS} == {48_000}


def test_an_output_without_a_name_is_refused(tmp_path: Path, model: Path) -> None:
    source = song(tmp_path / "a.wav")
    result = rtsep_here("separate", source, "-o", "", "-m", model, cwd=tmp_path)
    assert "--output needs the name of a folder" in one_line(result)
    assert result.returncode == UsageError.exit_code
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "rtsep: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_stopping_in_the_middle_leaves_nothing(
    tmp_path: Path, model: Path, number: signal.Signals, code: int, said: str
) -> None:
    # A test run started in the background ignores SIGINT, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source = tmp_path / "long.flac"
    soundfile.write(source, np.zeros((RATE * 1200, 1), np.int16), RATE)
    command = [*PROGRAM, "separate", str(source), "-o", str(tmp_path / "out"), "-m", str(model)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        # Somewhere in the middle: the first stem has begun to fill, and twenty minutes take their time.
        while not any(file.stat().st_size > 100_000 for file in (tmp_path / "out").rglob(".vocals*")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        assert process.stderr is not None and process.stderr.read() == said
    assert process.returncode == code
    assert os.listdir(tmp_path) == ["long.flac"]


def test_stopping_several_at_a_time_leaves_nothing(tmp_path: Path, model: Path) -> None:
    """Neither of two processes may leave the folder that both were writing into."""
    for name in ("1", "2"):
        soundfile.write(tmp_path / f"{name}.flac", np.zeros((RATE * 1200, 1), np.int16), RATE)
    songs = [str(tmp_path / f"{name}.flac") for name in ("1", "2")]
    out = tmp_path / "deep" / "out"
    command = [*PROGRAM, "separate", *songs, "-o", str(out), "-m", str(model), "--jobs", "2"]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while len([file for file in out.rglob(".vocals*") if file.stat().st_size > 100_000]) < 2:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None and process.stderr.read() == ""
    assert process.returncode == 143
    assert sorted(os.listdir(tmp_path)) == ["1.flac", "2.flac"]


# Which files are songs, and where their stems go


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def places(inputs: list[Path], root: Path) -> dict[str, str]:
    found = find_songs(inputs, root / "out")
    return {str(s.relative_to(root)): str(f.relative_to(root / "out")) for s, f in found.items()}


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    assert places([tmp_path / "song.v2.wav", tmp_path / "no suffix"], tmp_path) == {
        "song.v2.wav": "song.v2",
        "no suffix": "no suffix",
    }


def test_folders_are_searched_for_audio_only(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "in/b.WAV",
        "in/a.mp3",
        "in/notes.txt",
        "in/deep/er/c.m4a",
        "in/.hidden.wav",
        "in/.git/d.wav",
    )
    assert places([tmp_path / "in"], tmp_path) == {
        "in/a.mp3": "a",
        "in/b.WAV": "b",
        "in/deep/er/c.m4a": "deep/er/c",
    }


def test_results_of_an_earlier_run_are_not_songs(tmp_path: Path) -> None:
    tree(tmp_path, "a.wav", "out/a/vocals.wav")
    assert list(find_songs([tmp_path], tmp_path / "out")) == [tmp_path / "a.wav"]


def test_names_that_collide_stay_apart(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.wav", "in/A.flac", "in/b.wav", "one/c.wav", "two/c.wav")
    assert places([tmp_path / "in"], tmp_path) == {
        "in/a.wav": "a.wav",
        "in/A.flac": "A.flac",
        "in/b.wav": "b",
    }
    assert places([tmp_path / "one", tmp_path / "two"], tmp_path) == {
        "one/c.wav": "one/c",
        "two/c.wav": "two/c",
    }


def test_songs_of_one_name_lie_below_their_folders_names(tmp_path: Path) -> None:
    tree(tmp_path, "one/c.wav", "two/c.wav", "one/d.wav", "1/album/e.wav", "2/album/e.wav", "3/one/c.wav")
    assert places(
        [tmp_path / "one" / "c.wav", tmp_path / "two" / "c.wav", tmp_path / "one" / "d.wav"], tmp_path
    ) == {
        "one/c.wav": "one/c",
        "two/c.wav": "two/c",
        "one/d.wav": "d",
    }
    assert places([tmp_path / "1" / "album", tmp_path / "2" / "album"], tmp_path) == {
        "1/album/e.wav": "1/album/e",
        "2/album/e.wav": "2/album/e",
    }
    with pytest.raises(UsageError, match="would both go to"):
        find_songs([tmp_path / "one" / "c.wav", tmp_path / "3" / "one" / "c.wav"], tmp_path / "out")


def test_a_file_named_twice_is_separated_once(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.wav")
    again = tmp_path / "in" / ".." / "in" / "a.wav"
    assert len(find_songs([tmp_path / "in" / "a.wav", again, tmp_path / "in"], tmp_path / "out")) == 1


def test_a_folder_without_songs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no audio files"):
        find_songs([tmp_path], tmp_path / "out")
