"""Stems files, read back as DJ programs read them: five stereo tracks, one enabled, and the manifest."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stempeg

from rtsep.io import stem_mp4
from rtsep.spec import AudioFileError, UsageError
from tests.cli.command import rtsep, rtsep_here, snapshot
from tests.models import build_tiny_model

RATE = 44100
SECONDS = 2
PITCHES = {"mix": 0.0, "drums": 200.0, "bass": 100.0, "other": 900.0, "vocals": 500.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A mono sine for every stem, and their sum."""
    folder = tmp_path_factory.mktemp("sources")
    time = np.arange(SECONDS * RATE) / RATE
    signals = {name: 0.15 * np.sin(2 * np.pi * hertz * time) for name, hertz in PITCHES.items() if hertz}
    signals["mix"] = np.sum(list(signals.values()), axis=0)
    for name, signal in signals.items():
        soundfile.write(folder / f"{name}.wav", signal, RATE, subtype="FLOAT")
    return {name: folder / f"{name}.wav" for name in signals}


@pytest.fixture(scope="module")
def made(sources: dict[str, Path]) -> Path:
    path = sources["mix"].parent / "song.stem.mp4"
    stems = {name: file for name, file in sources.items() if name != "mix"}
    stem_mp4.write(path, sources["mix"], stems, RATE, 1)
    return path


def tracks(path: Path) -> list[dict[str, object]]:
    entries = "stream=codec_name,channels,sample_rate:stream_disposition=default:stream_tags=handler_name"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    found = subprocess.run(command, capture_output=True, check=True).stdout
    streams: list[dict[str, object]] = json.loads(found)["streams"]
    return streams


def test_the_manifest_is_where_dj_programs_look(made: Path) -> None:
    found = stem_mp4.read_manifest(made)
    assert found is not None and found["version"] == 1
    assert [stem["name"] for stem in found["stems"]] == ["Drums", "Bass", "Other", "Vocals"]
    assert all(len(stem["color"]) == 7 and stem["color"][0] == "#" for stem in found["stems"])
    assert not found["mastering_dsp"]["compressor"]["enabled"]
    assert not found["mastering_dsp"]["limiter"]["enabled"]


def test_native_instruments_own_file_reads_the_same_way() -> None:
    """The reader and the layout are held against a stems file that is sold as one."""
    own = stem_mp4.read_manifest(Path(stempeg.example_stem_path()))
    assert own is not None and own["version"] == 1
    ours = json.loads(stem_mp4.manifest())
    assert ours.keys() == own.keys()
    assert ours["mastering_dsp"].keys() == own["mastering_dsp"].keys()
    for part in ours["mastering_dsp"]:
        assert ours["mastering_dsp"][part].keys() == own["mastering_dsp"][part].keys()
    assert [stem.keys() for stem in ours["stems"]] == [stem.keys() for stem in own["stems"]]


def test_five_stereo_tracks_of_which_players_play_the_first(made: Path) -> None:
    found = tracks(made)
    assert [t["codec_name"] for t in found] == ["aac"] * 5
    assert [t["channels"] for t in found] == [2] * 5
    assert [t["sample_rate"] for t in found] == [str(RATE)] * 5
    assert [t["tags"]["handler_name"] for t in found] == ["Mix", "Drums", "Bass", "Other", "Vocals"]  # type: ignore[index]
    content = made.read_bytes()
    assert content[4:12] == b"ftypM4A "
    moov = [(a, s) for name, a, s in stem_mp4.atoms(io.BytesIO(content), 0, len(content)) if name == b"moov"]
    (begin, size) = moov[0]
    flags = []
    for name, at, length in stem_mp4.atoms(io.BytesIO(content), begin + 8, begin + size):
        if name == b"trak":
            (_, header, _), *_ = stem_mp4.atoms(io.BytesIO(content), at + 8, at + length)
            flags.append(struct.unpack(">I", content[header + 8 : header + 12])[0] & 1)
    assert flags == [1, 0, 0, 0, 0]


def test_every_track_holds_its_stem(made: Path) -> None:
    audio, rate = stempeg.read_stems(str(made))
    assert rate == RATE and audio.shape[0] == 5 and audio.shape[2] == 2
    assert abs(audio.shape[1] - SECONDS * RATE) <= 2048  # whole frames of AAC
    for track, name in enumerate(stem_mp4.ORDER, start=1):
        spectrum = np.abs(np.fft.rfft(audio[track, :RATE, 0] * np.hanning(RATE)))
        assert abs(int(np.argmax(spectrum)) - PITCHES[name]) <= 1
    middle = slice(8192, SECONDS * RATE - 8192)
    assert np.abs(audio[0, middle] - audio[1:, middle].sum(axis=0)).max() < 0.02
    levels = np.std(audio[1:, middle], axis=1)
    assert np.allclose(levels, 0.15 / np.sqrt(2.0), rtol=0.02)


def test_an_unusual_rate_becomes_one_that_is_played(tmp_path: Path) -> None:
    for name in PITCHES:
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(22050), 22050)
    stems = {name: tmp_path / f"{name}.wav" for name in stem_mp4.ORDER}
    stem_mp4.write(tmp_path / "x.stem.mp4", tmp_path / "mix.wav", stems, 22050, 1)
    assert {t["sample_rate"] for t in tracks(tmp_path / "x.stem.mp4")} == {"44100"}


def test_refusals(tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="holds drums, bass, other, vocals; this model has vocals, piano"):
        stem_mp4.check(("vocals", "piano"))
    stems = dict.fromkeys(stem_mp4.ORDER, tmp_path / "missing.wav")
    with pytest.raises(AudioFileError, match="ffmpeg cannot write it: .*"):
        stem_mp4.write(tmp_path / "x.stem.mp4", sources["mix"], stems, RATE, 1)
    (tmp_path / "no.mp4").write_bytes(b"\0\0\0\x08freeand nothing else")
    with pytest.raises(AudioFileError, match="is no MP4"):
        stem_mp4.add_manifest(tmp_path / "no.mp4")
    assert stem_mp4.read_manifest(tmp_path / "no.mp4") is None
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AudioFileError, match="ffmpeg, which is not installed"):
        stem_mp4.check(stem_mp4.ORDER)


def test_the_command_writes_one_file_a_song(tmp_path: Path, sources: dict[str, Path]) -> None:
    model = build_tiny_model(tmp_path)
    song = tmp_path / "My song.wav"
    shutil.copy(sources["mix"], song)
    arguments = ["separate", song, "-o", tmp_path / "out", "-m", model, "--format", "stem.mp4"]
    done = rtsep(*arguments)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "My song"
    assert [file.name for file in folder.iterdir()] == ["My song.stem.mp4"]
    assert stem_mp4.read_manifest(folder / "My song.stem.mp4")
    audio, _ = stempeg.read_stems(str(folder / "My song.stem.mp4"))
    original, _ = soundfile.read(song)
    middle = slice(8192, SECONDS * RATE - 8192)
    assert np.abs(audio[0, middle, 0] - original[middle]).max() < 0.02
    before = snapshot(tmp_path / "out")
    again = rtsep_here(*arguments)
    assert again.returncode == 3 and "exists already; --overwrite" in again.stderr
    muted = rtsep_here(*arguments, "--mute", "vocals")
    assert muted.returncode == 2 and "leave --mute" in muted.stderr
    assert snapshot(tmp_path / "out") == before
