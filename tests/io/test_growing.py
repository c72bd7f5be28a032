"""A WAV that can be read while it grows, of any length."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from rtsep.io.growing import HEADER_BYTES, GrowingWav, wav_header
from rtsep.spec import AudioFileError

NOISE = np.random.default_rng(1).standard_normal((5000, 2)).astype(np.float32)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process may grow past `size` bytes: to it, a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("channels", [1, 2])
def test_it_plays_up_to_the_last_refresh_while_it_is_written(tmp_path: Path, channels: int) -> None:
    noise = NOISE[:, :channels]
    wav = GrowingWav(tmp_path / "a.wav", 48000, channels)
    assert soundfile.info(tmp_path / "a.wav").frames == 0
    for begin, end in ((0, 1), (1, 700), (700, 5000)):
        wav.write(noise[begin:end])
        assert soundfile.info(tmp_path / "a.wav").frames == begin
        wav.refresh()
        read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
        assert rate == 48000 and wav.frames == end
        np.testing.assert_array_equal(read, noise[:end])
    wav.finish()
    np.testing.assert_array_equal(
        soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0], noise
    )


@given(
    st.integers(1, 12),
    st.integers(0, 1 << 40),
    st.sampled_from([8000, 44100, 192000]),
    st.none() | st.text('abc &<"é', max_size=9),
)
def test_the_header_has_one_length_and_only_long_files_another_name(
    channels: int, frames: int, rate: int, name: str | None
) -> None:
    names = () if name is None else (name,) * channels
    header = wav_header(rate, channels, frames, names)
    assert len(header) == len(wav_header(rate, channels, 0, names))
    assert len(header) == HEADER_BYTES or channels > 2 or names
    long = len(header) - 8 + 4 * channels * frames >= 1 << 32
    assert header[:4] == (b"RF64" if long else b"RIFF")
    assert header[12:16] == (b"ds64" if long else b"JUNK")
    # Every chunk ends where the next begins, the last one at the data.
    at = 12
    found = []
    while at < len(header):
        found.append(header[at : at + 4])
        at += 8 + (size := int.from_bytes(header[at + 4 : at + 8], "little")) + size % 2
        if found[-1] == b"data":
            break
    assert found == [header[12:16], b"fmt ", b"fact", *([b"iXML"] if names else []), b"data"]
    assert header[-8:-4] == b"data"


def named(path: Path) -> list[str]:
    """Names of the channels, in the order in which they are interleaved."""
    data = path.read_bytes()
    at = data.index(b"iXML")
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    tracks = ElementTree.fromstring(data[at + 8 : at + 8 + size]).iter("TRACK")
    places = {int(track.findtext("INTERLEAVE_INDEX", "")): track.findtext("NAME", "") for track in tracks}
    return [places[place] for place in sorted(places)]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
def test_many_channels_have_names_and_belong_to_no_loudspeaker(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).standard_normal((500, 6)).astype(np.float32)
    names = ("vocals L", "vocals R", "rock & roll L", "rock & roll R", "é L", "é R")
    wav = GrowingWav(tmp_path / "a.wav", 44100, 6, names)
    wav.write(noise)
    wav.refresh()
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 44100
    np.testing.assert_array_equal(read, noise)
    wav.write(noise)
    wav.truncate(500)
    wav.finish()
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.format, info.subtype, info.frames, info.channels) == ("WAVEX", "FLOAT", 500, 6)
    assert named(tmp_path / "a.wav") == list(names)
    # A second reader, which is not the one that the tests use everywhere.
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(tmp_path / "a.wav")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stderr == ""
    (stream,) = json.loads(told.stdout)["streams"]
    assert (stream["codec_name"], stream["channels"], stream["duration_ts"]) == ("pcm_f32le", 6, 500)
    assert not stream.get("channel_layout")


def test_past_4_gib_many_channels_are_still_read_whole(tmp_path: Path) -> None:
    frames = (5 << 30) // 40
    path = tmp_path / "long.wav"
    header = wav_header(44100, 10, frames, [f"track {n}" for n in range(10)])
    with path.open("wb") as file:
        file.write(header)
        file.seek(len(header) + 40 * (frames - 1))
        file.write(np.arange(10, dtype=np.float32).tobytes())
    info = soundfile.info(path)
    assert (info.frames, info.channels, info.subtype) == (frames, 10, "FLOAT")
    with soundfile.SoundFile(path) as sound:
        sound.seek(frames - 1)
        np.testing.assert_array_equal(sound.read(2), [np.arange(10)])


def test_there_is_a_name_for_every_channel_or_for_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 names for 2 channels"):
        GrowingWav(tmp_path / "a.wav", 44100, 2, ["left"])
    assert not (tmp_path / "a.wav").exists()


def test_past_4_gib_it_is_still_read_whole(tmp_path: Path) -> None:
    frames = (5 << 30) // 8
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(wav_header(44100, 2, frames))
        file.seek(HEADER_BYTES + 8 * (frames - 1))
        file.write(np.array([0.25, -0.5], np.float32).tobytes())
    # A file with a hole: it takes no room.
    assert path.stat().st_blocks * 512 < 1 << 20
    info = soundfile.info(path)
    assert (info.frames, info.channels, info.samplerate, info.subtype) == (frames, 2, 44100, "FLOAT")
    with soundfile.SoundFile(path) as sound:
        sound.seek(frames - 1)
        np.testing.assert_array_equal(sound.read(2), [[0.25, -0.5]])


def test_what_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("mine")
    with pytest.raises(AudioFileError, match="exists already"):
        GrowingWav(tmp_path / "a.wav", 44100, 2)
    assert (tmp_path / "a.wav").read_text() == "mine"
    with pytest.raises(AudioFileError, match="No such file"):
        GrowingWav(tmp_path / "no" / "a.wav", 44100, 2)


def test_a_full_disk_is_an_error_and_what_was_written_can_be_kept(tmp_path: Path) -> None:
    wav = GrowingWav(tmp_path / "a.wav", 44100, 2)
    wav.write(NOISE[:1000])
    with files_end_at(20_000):
        with pytest.raises(OSError) as full:
            wav.write(NOISE[1000:])
        assert full.value.errno == errno.EFBIG
        # A part of the block got in: it is cut off again.
        assert (tmp_path / "a.wav").stat().st_size == 20_000
        wav.truncate(1000)
        wav.finish()
    assert (tmp_path / "a.wav").stat().st_size == HEADER_BYTES + 8000
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], NOISE[:1000])


@pytest.mark.parametrize("block", [NOISE[:, :1], NOISE.astype(np.float64), NOISE[:, 0]])
def test_blocks_of_another_kind_are_refused(tmp_path: Path, block: np.ndarray) -> None:
    wav = GrowingWav(tmp_path / "a.wav", 44100, 2)
    with pytest.raises(ValueError, match="expected float32"):
        wav.write(block)
    wav.close()
