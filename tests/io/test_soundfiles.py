"""Reading any file at any rate, and writing files that are whole or not there."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from rtsep.io.soundfiles import QUALITY, SoundReader, SoundWriter, resampled_length
from rtsep.spec import AudioFileError

RATE = 44100


def noise(frames: int, channels: int = 2, seed: int = 0) -> NDArray[np.float32]:
    """(frames, channels), well below full scale."""
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(np.float32)


def write(path: Path, audio: NDArray[np.float32], rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, audio, rate, **({"subtype": "FLOAT"} if path.suffix == ".wav" else {}) | options)
    return path


def read_all(reader: SoundReader, sizes: itertools.cycle[int] | None = None) -> NDArray[np.float32]:
    if sizes is None:
        return np.concatenate(list(reader.blocks()), axis=1)
    blocks = []
    while (block := reader.read(next(sizes))).shape[1]:
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


# Reading


def test_gives_the_file_as_it_is(tmp_path: Path) -> None:
    audio = noise(50_000)
    with SoundReader(write(tmp_path / "a.wav", audio)) as reader:
        assert (reader.sample_rate, reader.channels, reader.frames) == (RATE, 2, 50_000)
        block = reader.read(1000)
        assert block.dtype == np.float32 and block.shape == (2, 1000) and block.flags.c_contiguous
        rest = read_all(reader)
        assert reader.source_frames == 50_000
        assert reader.read(10).shape == (2, 0)
    np.testing.assert_array_equal(np.concatenate([block, rest], axis=1), audio.T)


@pytest.mark.parametrize("sizes", [(1, 2, 3), (480,), (16384,), (40_000, 7)])
@pytest.mark.parametrize(
    ("source", "target"), [(48000, 44100), (8000, 44100), (96000, 44100), (44100, 48000)]
)
def test_streaming_resampling_is_whole_file_resampling(
    tmp_path: Path, source: int, target: int, sizes: tuple[int, ...]
) -> None:
    frames = 3_001 if sizes == (1, 2, 3) else 70_001
    audio = noise(frames)
    whole = soxr.resample(audio, source, target, quality=QUALITY)
    with SoundReader(write(tmp_path / "a.wav", audio, source), target) as reader:
        streamed = read_all(reader, itertools.cycle(sizes))
        assert reader.frames == streamed.shape[1] == resampled_length(frames, source, target)
    np.testing.assert_array_equal(streamed, whole.T)


@pytest.mark.parametrize("frames", [1, 2, 147, 160, 44_099])
def test_resampled_length_is_soxrs(frames: int) -> None:
    for source, target in itertools.permutations((8000, 11025, 22050, 44100, 48000, 96000), 2):
        made = len(soxr.resample(np.zeros(frames, np.float32), source, target, quality=QUALITY))
        assert made == resampled_length(frames, source, target), (source, target)


def test_resampling_keeps_time(tmp_path: Path) -> None:
    """An impulse at one tenth of a second stays there: the filter's delay is taken out."""
    audio = np.zeros((48_000, 1), np.float32)
    audio[4_800] = 1.0
    with SoundReader(write(tmp_path / "a.wav", audio, 48_000), 44_100) as reader:
        assert np.argmax(read_all(reader)[0]) == 4_410


def test_mono_becomes_stereo_and_stereo_mono(tmp_path: Path) -> None:
    mono, stereo = noise(20_000, 1), noise(20_000, 2)
    with SoundReader(write(tmp_path / "m.wav", mono), channels=2) as reader:
        assert reader.source_channels == 1
        np.testing.assert_array_equal(read_all(reader), np.repeat(mono, 2, axis=1).T)
    with SoundReader(write(tmp_path / "s.wav", stereo), channels=1) as reader:
        np.testing.assert_allclose(read_all(reader)[0], stereo.mean(axis=1), atol=1e-7)


def test_samples_that_are_not_numbers_are_zero_and_counted(tmp_path: Path) -> None:
    audio = noise(40_000)
    audio[100, 0], audio[101, 1], audio[39_999, 0] = np.nan, np.inf, -np.inf
    with SoundReader(write(tmp_path / "a.wav", audio)) as reader:
        read = read_all(reader)
        assert reader.bad_samples == 3
    np.testing.assert_array_equal(read.T, np.where(np.isfinite(audio), audio, 0))


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff", ".w64", ".opus"])
def test_libsndfile_formats(tmp_path: Path, suffix: str) -> None:
    rate = 48_000 if suffix == ".opus" else RATE
    path = tmp_path / f"a{suffix}"
    if suffix == ".opus":
        soundfile.write(path, noise(48_000), rate, format="OGG", subtype="OPUS")
    else:
        write(path, noise(48_000), rate)
    with SoundReader(path) as reader:
        assert (reader.source_rate, read_all(reader).shape) == (rate, (2, 48_000))


@pytest.mark.parametrize("codec", ["alac", "aac"])
@pytest.mark.parametrize("name", ["a.m4a", "-a.m4a", "http:a.m4a"])
def test_what_only_ffmpeg_reads(tmp_path: Path, codec: str, name: str) -> None:
    audio = noise(60_000)
    path = tmp_path / name
    command = ["ffmpeg", "-v", "error", "-i", str(write(tmp_path / "a.wav", audio)), "-c:a", codec]
    subprocess.run([*command, f"file:{path}"], check=True)
    with SoundReader(path) as reader:
        read = read_all(reader, itertools.cycle((1000, 30_000)))
        assert reader.source_rate == RATE and reader.source_channels == 2
    if codec == "alac":
        np.testing.assert_allclose(read, audio.T, atol=2.0**-15)
    else:
        assert abs(read.shape[1] - 60_000) <= 2048  # the codec's own frames


def test_reading_does_not_touch_what_a_playlist_names(tmp_path: Path) -> None:
    """A playlist dressed as a song may name a file by any protocol; none but plain files is opened."""
    secret = write(tmp_path / "a.wav", noise(1000))
    trap = tmp_path / "song.m3u8"
    trap.write_text(f"#EXTM3U\n#EXTINF:1,\ndata:audio/wav;base64,AAAA\n#EXTINF:1,\nsubfile:{secret}\n")
    with pytest.raises(AudioFileError):
        SoundReader(trap)


def cut(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def bad_files(folder: Path) -> dict[str, Path]:
    """Every kind of file that cannot be separated, by what the message must say."""
    for name in ("text.wav", "noise.bin", "empty.wav"):
        (folder / name).write_bytes(b"")
    (folder / "text.wav").write_text("Once upon a time there was a song.\n" * 50)
    (folder / "noise.bin").write_bytes(np.random.default_rng(1).bytes(5000))
    silent = folder / "silent.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=size=16x16:duration=1", str(silent)], check=True
    )
    movie = folder / "cut.mp4"
    command = ["ffmpeg", "-v", "error", "-i", str(write(folder / "whole.wav", noise(400_000)))]
    subprocess.run([*command, "-movflags", "+faststart", "-c:a", "aac", str(movie)], check=True)
    no_channels = write(folder / "nought.wav", noise(100))
    header = bytearray(no_channels.read_bytes())
    header[22:24] = b"\0\0"
    no_channels.write_bytes(header)
    return {
        "no such file": folder / "missing.wav",
        "is a folder": folder,
        "is empty": folder / "empty.wav",
        "holds no audio": write(folder / "zero.wav", noise(0)),
        "not audio": folder / "text.wav",
        "is not audio": folder / "noise.bin",
        "no audio in it": silent,
        "9 channels": write(folder / "nine.wav", noise(100, 9)),
        "3 channels": write(folder / "three.wav", noise(100, 3)),
        "nought.wav": no_channels,
        "cut short: its header": cut(write(folder / "cut.wav", noise(40_000)), 0.5),
        "its header promises": cut(write(folder / "cut.aiff", noise(40_000)), 0.5),
        "damaged or cut short": cut(write(folder / "cut.flac", noise(40_000)), 0.5),
        "s are missing": cut(movie, 0.5),
        "sample rate of 20 Hz; rtsep takes 1000 to 768000 Hz": write(folder / "slow.wav", noise(100), 20),
    }


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for message, path in bad_files(tmp_path).items():
        with pytest.raises(AudioFileError) as failure:
            with SoundReader(path, RATE, 2) as reader:
                read_all(reader)
        text = str(failure.value)
        assert message in text and path.name in text and "\n" not in text, text


def test_without_ffmpeg_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioFileError, match="ffmpeg, which may read it, is not installed"):
        SoundReader(path)


def encode_mp3(path: Path, loud_first: bool, *options: str) -> Path:
    """60 s of variable-rate MP3, half noise, half a tone: the bit rate of its beginning is not its mean."""
    quiet = 0.1 * np.sin(0.014 * np.arange(30 * RATE, dtype=np.float32))[:, np.newaxis].repeat(2, axis=1)
    halves = [2 * noise(30 * RATE), quiet]
    source = write(path.with_suffix(".wav"), np.concatenate(halves if loud_first else halves[::-1]))
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-c:a", "libmp3lame", "-q:a", "2"]
    subprocess.run([*command, *options, str(path)], check=True)
    return path


@pytest.mark.parametrize("loud_first", [True, False])
def test_an_mp3_that_does_not_say_its_length_is_read_to_its_end(tmp_path: Path, loud_first: bool) -> None:
    path = encode_mp3(tmp_path / "a.mp3", loud_first, "-write_xing", "0")
    guess = soundfile.info(str(path)).duration
    assert abs(guess - 60) > 5, guess  # what libsndfile makes of it, which must not be believed
    with SoundReader(path) as reader:
        audio = read_all(reader)
    assert audio.shape[1] / RATE == pytest.approx(60, abs=0.2)
    assert np.abs(audio[:, -10 * RATE : -RATE]).max() > 0.05


@pytest.mark.parametrize("tag", [("-write_xing", "0", "-id3v2_version", "3"), ("-write_xing", "1")])
def test_without_ffmpeg_only_an_mp3_with_a_length_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: tuple[str, ...]
) -> None:
    path = encode_mp3(tmp_path / "a.mp3", True, *tag)
    monkeypatch.setenv("PATH", str(tmp_path))
    if "0" in tag:
        with pytest.raises(AudioFileError, match=r"a\.mp3: does not say how long it is .* ffmpeg"):
            SoundReader(path)
    else:
        with SoundReader(path) as reader:
            assert read_all(reader).shape[1] == 60 * RATE


@pytest.mark.parametrize("kind", ["text", "cut", "damaged", "noise"])
def test_a_bad_mp3_is_one_line_and_the_library_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / f"{kind}.mp3"
    soundfile.write(path, noise(20 * RATE), RATE)
    whole = path.read_bytes()
    half = len(whole) // 2
    chance = np.random.default_rng(0).bytes(20_000)
    path.write_bytes(
        {
            "text": b"Once upon a time there was a song.\n" * 500,
            "cut": whole[:half],
            "damaged": whole[:half] + chance + whole[half + len(chance) :],
            "noise": b"\xff\xfb\x90\x00" + chance,
        }[kind]
    )
    with pytest.raises(AudioFileError, match=kind), SoundReader(path) as reader:
        read_all(reader)
    assert capfd.readouterr().err == ""


def test_wav_of_unknown_length_is_no_error(tmp_path: Path) -> None:
    """What ffmpeg writes into a pipe: sizes of 0xFFFFFFFF, since it cannot go back and fill them in."""
    source = write(tmp_path / "a.wav", noise(30_000))
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-f", "wav", "-c:a", "pcm_f32le", "pipe:1"]
    piped = tmp_path / "piped.wav"
    piped.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    assert b"data\xff\xff\xff\xff" in piped.read_bytes()[:200]
    with SoundReader(piped) as reader:
        assert read_all(reader).shape == (2, 30_000)


def test_closing_early_ends_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    source = write(tmp_path / "a.wav", noise(20 * RATE))
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(source), "-c:a", "alac", str(path)], check=True)
    with SoundReader(path) as reader:
        process = reader._decoder._process  # type: ignore[attr-defined]
        assert process.poll() is None
    assert process.poll() is not None


# Writing


@pytest.mark.parametrize(("format", "tolerance"), [("wav", 0.0), ("flac", 2.0**-23)])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_back(tmp_path: Path, format: str, tolerance: float, channels: int) -> None:
    audio = noise(30_000, channels).T
    with SoundWriter(tmp_path / "a", 48_000, channels, format) as writer:  # type: ignore[arg-type]
        for start in range(0, 30_000, 7_000):
            writer.write(audio[:, start : start + 7_000])
        assert writer.frames == 30_000
    read, rate = soundfile.read(tmp_path / "a", dtype="float32", always_2d=True)
    assert rate == 48_000
    np.testing.assert_allclose(read.T, audio, rtol=0, atol=tolerance)


def test_mp3_keeps_length_and_time(tmp_path: Path) -> None:
    audio = noise(50_001).T
    with SoundWriter(tmp_path / "a.mp3", RATE, 2, "mp3") as writer:
        writer.write(audio)
    read, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    assert read.shape == (50_001, 2)
    size = 1 << 17
    spectrum = np.fft.rfft(read[:, 0], size) * np.conj(np.fft.rfft(audio[0], size))
    assert np.argmax(np.fft.irfft(spectrum)) == 0


def test_float_wav_holds_what_is_beyond_full_scale(tmp_path: Path) -> None:
    loud = np.array([[1.5, -3.0, 0.5]], np.float32)
    with SoundWriter(tmp_path / "a.wav", RATE, 1) as writer:
        writer.write(loud)
    assert writer.clipped_samples == 0
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], loud[0])


def test_clipping_is_clean_and_counted(tmp_path: Path) -> None:
    with SoundWriter(tmp_path / "a.flac", RATE, 1, "flac") as writer:
        writer.write(np.array([[1.5, -3.0, 0.5]], np.float32))
    assert writer.clipped_samples == 2
    read = soundfile.read(tmp_path / "a.flac", dtype="float32")[0]
    np.testing.assert_allclose(read, [1.0, -1.0, 0.5], atol=2.0**-22)


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.wav"
    target.write_bytes(b"before")
    with SoundWriter(target, RATE, 1) as writer:
        writer.write(np.zeros((1, 10_000), np.float32))
        assert target.read_bytes() == b"before"
    assert soundfile.info(target).frames == 10_000
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_folder_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a.wav").write_bytes(b"before")
    with pytest.raises(error), SoundWriter(tmp_path / "a.wav", RATE, 1) as writer:
        writer.write(np.zeros((1, 10), np.float32))
        raise error
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.wav": b"before"}


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="mp3 cannot hold 2 channels .* at 96000 Hz"):
        SoundWriter(tmp_path / "a.mp3", 96_000, 2, "mp3")
    with pytest.raises(AudioFileError, match="unknown format 'xyz'"):
        SoundWriter(tmp_path / "a.xyz", RATE, 2, "xyz")  # type: ignore[arg-type]
    with pytest.raises(AudioFileError, match="No such file or directory"):
        SoundWriter(tmp_path / "not there" / "a.wav", RATE, 2)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(AudioFileError, match=r"a\.wav: cannot be written: No space left on device"):
        with SoundWriter(tmp_path / "a.wav", RATE, 1) as writer:
            writer.write(np.zeros((1, 10), np.float32))
            monkeypatch.setattr(os, "fsync", full)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_was_full_for_a_moment_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time the system is asked for its reason, another song that failed has made room."""

    def refuse(*arguments: object) -> None:
        raise soundfile.LibsndfileError(2)

    with pytest.raises(
        AudioFileError, match=r"a\.wav: cannot be written: the system gave no reason; is the disk"
    ):
        with SoundWriter(tmp_path / "a.wav", RATE, 1) as writer:
            monkeypatch.setattr(soundfile.SoundFile, "write", refuse)
            writer.write(np.zeros((1, 10), np.float32))
    assert os.listdir(tmp_path) == []


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    """A hidden file made by tempfile would end up readable by its owner only."""
    (tmp_path / "usual").touch()
    with SoundWriter(tmp_path / "a.wav", RATE, 1) as writer:
        writer.write(np.zeros((1, 10), np.float32))
    usual, written = ((tmp_path / name).stat().st_mode for name in ("usual", "a.wav"))
    assert stat.S_IMODE(written) == stat.S_IMODE(usual)


def test_a_wav_beyond_four_gigabytes_is_rf64(tmp_path: Path) -> None:
    with SoundWriter(tmp_path / "long.wav", RATE, 2, expected_frames=1 << 30) as writer:
        writer.write(np.zeros((2, 100), np.float32))
    assert (tmp_path / "long.wav").read_bytes()[:4] == b"RF64"
    with SoundReader(tmp_path / "long.wav") as reader:
        assert read_all(reader).shape == (2, 100)


def test_a_wav_that_grows_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtsep.io.soundfiles._RIFF_LIMIT", 8_000)
    with pytest.raises(AudioFileError, match="4 GiB"), SoundWriter(tmp_path / "a.wav", RATE, 1) as writer:
        for _ in range(3):
            writer.write(np.zeros((1, 1_000), np.float32))
    assert os.listdir(tmp_path) == []


def test_writing_wrong_shapes_or_after_the_end_is_a_mistake(tmp_path: Path) -> None:
    writer = SoundWriter(tmp_path / "a.wav", RATE, 2)
    with pytest.raises(ValueError, match=r"expected \(2, samples\)"):
        writer.write(np.zeros((1, 10), np.float32))
    writer.commit()
    with pytest.raises(ValueError, match="closed"):
        writer.write(np.zeros((2, 10), np.float32))
