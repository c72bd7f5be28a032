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


class ThreeWays(DelayStream):
    """Stems that sum to the input, as those of rtsep's own networks do; "other" is not the last one."""

    def __init__(self, **shape: int) -> None:
        super().__init__(**shape)
        self.spec = StreamSpec(
            self.spec.sample_rate,
            self.spec.channels,
            ("drums", "other", "bass"),
            self.spec.hop,
            self.spec.delay,
        )

    def step(self) -> None:
        super().step()
        for stem, share in zip(self.stems, (0.5, 0.2, 0.3), strict=True):
            stem[:] = np.float32(share) * self._line[:, : self.spec.hop]


@pytest.mark.parametrize("rate", [8_000, 44_101, 48_000, 96_000])
@pytest.mark.parametrize("frames", [1, 5, 16_384, 123_457])
@pytest.mark.parametrize(("heard", "stored"), [(2, 2), (2, 1), (1, 2)])
def test_stems_sum_to_the_file_at_any_rate(
    tmp_path: Path, rate: int, frames: int, heard: int, stored: int
) -> None:
    """White noise, which fills the band up to the top that the model lacks: -100 dB or less is left."""
    audio = noise(stored, frames)
    source = write(tmp_path / "a.wav", audio, rate)
    report = separate_file(ThreeWays(channels=heard), source, tmp_path / "out", muted=["drums"])
    whole = audio.mean(axis=0, keepdims=True) if heard < stored else audio
    total = np.sum([read(file) for file in report.files[:3]], axis=0)
    np.testing.assert_allclose(total, whole, rtol=0, atol=1e-5 * np.sqrt(np.mean(whole**2)))
    np.testing.assert_allclose(read(report.files[3]) + read(report.files[0]), total, rtol=0, atol=1e-6)


def test_only_other_has_what_the_models_rate_lacks(tmp_path: Path) -> None:
    time = np.arange(96_000) / 96_000
    audio = np.tile(0.5 * np.sin(2 * np.pi * 30_000 * time), (2, 1)).astype(np.float32)
    report = separate_file(ThreeWays(), write(tmp_path / "a.wav", audio, 96_000), tmp_path / "out")
    drums, other, bass = (read(file)[:, 2000:-2000] for file in report.files)
    assert max(np.abs(drums).max(), np.abs(bass).max()) < 1e-5
    np.testing.assert_allclose(other, audio[:, 2000:-2000], rtol=0, atol=1e-5)


def test_at_the_models_own_rate_stems_are_what_the_model_gives_bit_for_bit(tmp_path: Path) -> None:
    audio = noise(2, 50_001)
    report = separate_file(ThreeWays(), write(tmp_path / "a.wav", audio), tmp_path / "out")
    for file, stem in zip(report.files, separate_array(ThreeWays(), audio), strict=True):
        np.testing.assert_array_equal(read(file), stem)


@pytest.mark.parametrize(
    ("rate", "written"),
    [(96_000, 48_000), (88_200, 44_100), (192_000, 48_000), (50_000, 48_000), (37_800, 44_100)],
)
def test_an_mp3_has_a_rate_that_it_can_have(tmp_path: Path, rate: int, written: int) -> None:
    """An impulse stays where it was, in every stem."""
    frames = rate + 1
    audio = np.zeros((2, frames), np.float32)
    audio[:, rate // 2] = 0.9
    source = write(tmp_path / "a.wav", audio, rate)
    report = separate_file(ThreeWays(), source, tmp_path / "out", format="mp3")
    assert (report.source_rate, report.sample_rate) == (rate, written)
    assert report.seconds == pytest.approx(frames / rate, abs=1 / written)
    for file in report.files:
        stem, stored = soundfile.read(file, dtype="float32", always_2d=True)
        assert stored == written and abs(len(stem) - frames * written / rate) <= 1
        assert np.argmax(np.abs(stem[:, 0])) == pytest.approx(written // 2, abs=1)


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


def test_what_the_model_fails_with_names_the_file(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", noise(2, 100_000))
    with pytest.raises(ModelError, match=r"a\.wav: no numbers"):
        separate_file(FailingStream(ModelError("no numbers")), source, tmp_path / "out" / "song")


def test_a_full_disk_is_said_with_its_reason_and_the_files_own_name(tmp_path: Path) -> None:
    """A limit on the length of files stands in for the disk: libsndfile meets it in the same way."""
    resource = pytest.importorskip("resource")
    source = write(tmp_path / "a.wav", noise(2, 100_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(AudioFileError) as failure:
            separate_file(DelayStream(), source, tmp_path / "out" / "song")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (
        str(failure.value) == f"{tmp_path / 'out' / 'song' / 'vocals.wav'}: cannot be written: File too large"
    )
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
