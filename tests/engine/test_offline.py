"""Files and arrays through the stream: aligned, of the right length, whole or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.backends.stream import open_stream
from rtsep.engine.offline import AlignedFeed, separate_array, separate_file
from rtsep.io.staging import AlreadyThereError
from rtsep.spec import AudioFileError, ModelError, StreamSpec, UsageError
from tests.models import build_tiny_model

RATE = 44100


class DelayStream:
    """A stream whose stem k is (k + 1) times the input, `delay` samples late."""

    def __init__(self, hop: int = 64, delay: int = 40, channels: int = 2, rate: int = RATE) -> None:
        self.spec = StreamSpec(rate, channels, ("vocals", "drums", "bass"), hop, delay)
        self.input = np.zeros((channels, hop), np.float32)
        self.stems = np.zeros((3, channels, hop), np.float32)
        self.steps = 0
        self._line = np.ones((channels, delay + hop), np.float32)  # wrong until it is reset

    def step(self) -> None:
        self.steps += 1
        hop = self.spec.hop
        self._line = np.concatenate([self._line[:, hop:], self.input], axis=1)
        for k in range(3):
            self.stems[k] = (k + 1) * self._line[:, :hop]

    def reset(self) -> None:
        self._line[:] = 0


def noise(channels: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


def write(path: Path, audio: NDArray[np.float32], rate: int = RATE) -> Path:
    soundfile.write(path, audio.T, rate, subtype="FLOAT")
    return path


def read(path: Path) -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    return audio


# Arrays


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("delay", [0, 1, 40, 64, 1000])
def test_stems_are_aligned_and_as_long_as_the_input(samples: int, delay: int) -> None:
    audio = noise(2, samples)
    stems = separate_array(DelayStream(delay=delay), audio)
    np.testing.assert_array_equal(stems, np.stack([audio, 2 * audio, 3 * audio]))


@given(st.lists(st.integers(0, 200), max_size=8), st.integers(1, 70), st.sampled_from((0, 1, 13, 64, 300)))
def test_how_it_is_cut_does_not_matter(sizes: list[int], hop: int, delay: int) -> None:
    audio = noise(1, sum(sizes))
    feed = AlignedFeed(DelayStream(hop, delay, 1))
    pieces, start = [], 0
    for size in sizes:
        pieces.append(feed.push(audio[:, start : start + size]))
        start += size
    joined = np.concatenate([*pieces, feed.finish()], axis=-1)
    np.testing.assert_array_equal(joined[0], audio)


def test_a_stream_can_be_used_again() -> None:
    stream = DelayStream()
    first, second = noise(2, 777, 1), noise(2, 500, 2)
    separate_array(stream, first)
    np.testing.assert_array_equal(separate_array(stream, second)[0], second)


def test_the_array_must_fit_the_stream() -> None:
    with pytest.raises(UsageError, match=r"expected \(2, samples\)"):
        separate_array(DelayStream(), noise(1, 100))


def test_output_that_is_not_finite_is_an_error() -> None:
    audio = noise(2, 2 * RATE)
    audio[0, RATE] = np.inf
    with pytest.raises(ModelError, match=r"not numbers, near \d\.\d s"):
        separate_array(DelayStream(), audio)


@pytest.mark.parametrize("architecture", ["causal-lstm", "conv-tasnet"])
def test_real_models_are_aligned(tmp_path: Path, architecture: str) -> None:
    """Models whose stems are all the mixture over four: their sum is the input, undelayed."""
    audio = noise(2, 20_011)
    with open_stream(build_tiny_model(tmp_path, architecture, passthrough=True)) as stream:
        stems = separate_array(stream, audio)
    assert stems.shape == (4, 2, 20_011)
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)


# Files


def test_a_file_becomes_a_folder_of_stems(tmp_path: Path) -> None:
    audio = noise(2, 50_001)
    told: list[tuple[float, float | None]] = []
    report = separate_file(
        DelayStream(),
        write(tmp_path / "song.wav", audio),
        tmp_path / "out" / "song",
        muted=["vocals"],
        progress=lambda done, total: told.append((done, total)),
    )
    names = ["vocals.wav", "drums.wav", "bass.wav", "mix-without-vocals.wav"]
    assert [file.name for file in report.files] == names
    assert sorted(os.listdir(tmp_path / "out" / "song")) == sorted(names)
    for name, gain in zip(names, (1, 2, 3, 5), strict=True):
        np.testing.assert_allclose(read(report.folder / name), gain * audio, rtol=1e-6)
    assert told[-1] == (50_001 / RATE, 50_001 / RATE)
    assert told == sorted(told) and len(told) > 3
    assert (report.seconds, report.bad_samples, report.clipped_samples) == (50_001 / RATE, 0, 0)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_101, 48_000, 96_000])
@pytest.mark.parametrize("frames", [1, 12_345])
def test_stems_have_the_files_own_rate_and_length(tmp_path: Path, rate: int, frames: int) -> None:
    # A tone that both rates can hold; at the ends the filters ring, so that only the middle is compared.
    time = np.arange(frames) / rate
    audio = np.stack([np.sin(2 * np.pi * 440 * time), np.cos(2 * np.pi * 1000 * time)]).astype(np.float32)
    separate_file(DelayStream(), write(tmp_path / "a.wav", audio, rate), tmp_path / "out")
    assert soundfile.info(tmp_path / "out" / "vocals.wav").samplerate == rate
    stem = read(tmp_path / "out" / "vocals.wav")
    assert stem.shape == audio.shape
    np.testing.assert_allclose(stem[:, 2000:-2000], audio[:, 2000:-2000], atol=1e-4)


def test_mono_gives_mono(tmp_path: Path) -> None:
    audio = noise(1, 10_000)
    separate_file(DelayStream(), write(tmp_path / "a.wav", audio), tmp_path / "out")
    np.testing.assert_allclose(read(tmp_path / "out" / "drums.wav"), 2 * audio, rtol=1e-6)


def test_a_mono_model_takes_stereo(tmp_path: Path) -> None:
    audio = noise(2, 10_000)
    separate_file(DelayStream(channels=1), write(tmp_path / "a.wav", audio), tmp_path / "out")
    stem = read(tmp_path / "out" / "vocals.wav")
    np.testing.assert_allclose(stem, audio.mean(axis=0, keepdims=True), atol=1e-7)


def test_muting_several_sums_the_others(tmp_path: Path) -> None:
    audio = noise(2, 5_000)
    separate_file(
        DelayStream(), write(tmp_path / "a.wav", audio), tmp_path / "out", muted=["bass", "vocals", "bass"]
    )
    remix = tmp_path / "out" / "mix-without-vocals-bass.wav"
    np.testing.assert_allclose(read(remix), 2 * audio, rtol=1e-6)


def test_bad_and_clipped_samples_are_reported(tmp_path: Path) -> None:
    audio = 0.1 * noise(2, 5_000)
    audio[0, 10], audio[1, 20], audio[0, 30] = np.nan, np.inf, 0.9
    report = separate_file(DelayStream(), write(tmp_path / "a.wav", audio), tmp_path / "out", format="flac")
    assert report.bad_samples == 2
    assert report.clipped_samples == 2  # 0.9 twice and three times as loud


class FailingStream(DelayStream):
    """Fails in the middle of a file."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def step(self) -> None:
        super().step()
        if self.steps == 500:
            raise self._error


@pytest.mark.parametrize("error", [ModelError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_failing_in_the_middle_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    source = write(tmp_path / "a.wav", noise(2, 100_000))
    with pytest.raises(type(error)):
        separate_file(FailingStream(error), source, tmp_path / "out" / "song")
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_source_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    soundfile.write(source, noise(2, 200_000).T, RATE)
    source.write_bytes(source.read_bytes()[:300_000])
    with pytest.raises(AudioFileError, match="damaged or cut short"):
        separate_file(DelayStream(), source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.flac"]


def test_results_are_replaced_only_when_told(tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{i}.wav", noise(2, 5_000, i)) for i in (1, 2))
    separate_file(DelayStream(), first, tmp_path / "out")
    with pytest.raises(AlreadyThereError):
        separate_file(DelayStream(), second, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out" / "vocals.wav"), read(first))
    separate_file(DelayStream(), second, tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "out" / "vocals.wav"), read(second))


@pytest.mark.parametrize(
    ("muted", "message"),
    [(["kazoo"], "no stem 'kazoo'; there are: vocals"), (["vocals", "drums", "bass"], "nothing to hear")],
)
def test_mutes_that_make_no_sense(tmp_path: Path, muted: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        separate_file(DelayStream(), tmp_path / "a.wav", tmp_path / "out", muted=muted)


def test_a_model_for_surround_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="6 channels"):
        separate_file(DelayStream(channels=6), tmp_path / "a.wav", tmp_path / "out")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Two minutes take no more than a quarter of one, through the decoder, two resamplers and all writers."""
    process = psutil.Process()

    def growth(seconds: int) -> int:
        source = tmp_path / f"{seconds}.flac"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"anoisesrc=r=48000:d={seconds}:a=0.1"]
        subprocess.run([*command, "-ac", "2", str(source)], check=True)
        peak = 0

        def watch(done: float, total: float | None) -> None:
            nonlocal peak
            peak = max(peak, process.memory_info().rss)

        stream = DelayStream(hop=4096)
        before = process.memory_info().rss
        separate_file(
            stream, source, tmp_path / str(seconds), muted=["vocals"], format="flac", progress=watch
        )
        return peak - before

    growth(10)  # whatever is loaded on first use
    # One copy of one stem of the long file would take 46 MB.
    assert growth(120) < growth(15) + 20e6
