"""A WAV that can be read while it grows, of any length."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@given(st.integers(1, 8), st.integers(0, 1 << 40), st.sampled_from([8000, 44100, 192000]))
def test_the_header_has_one_length_and_only_long_files_another_name(
    channels: int, frames: int, rate: int
) -> None:
    header = wav_header(rate, channels, frames)
    assert len(header) == HEADER_BYTES
    long = HEADER_BYTES - 8 + 4 * channels * frames >= 1 << 32
    assert header[:4] == (b"RF64" if long else b"RIFF")
    assert header[12:16] == (b"ds64" if long else b"JUNK")


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
