"""What pedalboard does to stems: in time with what they were."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.spec import UsageError
from rtsep.training import effects
from rtsep.training.effects import codec_delay, compress, distort, reverberate, stretch

Audio = NDArray[np.float32]
RATE = 44100


def melody(seconds: float = 1.0, frequency: float = 440.0) -> Audio:
    time = np.arange(int(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2.0 * np.pi * frequency * time) * (0.6 + 0.4 * np.sin(2.0 * np.pi * 3.0 * time))
    return np.stack((wave, 0.5 * wave)).astype(np.float32)


def clicks(seconds: float = 1.0) -> Audio:
    audio = np.zeros((2, int(seconds * RATE)), np.float32)
    audio[:, RATE // 4 : RATE // 4 + 20] = 0.5
    return audio


def lag(late: Audio, early: Audio) -> int:
    """Samples by which the first of two is behind, by cross-correlation."""
    n = 2 * early.shape[1]
    spectrum = np.fft.rfft(late[0], n) * np.conj(np.fft.rfft(early[0], n))
    peak = int(np.argmax(np.fft.irfft(spectrum, n)))
    return peak - n if peak > n // 2 else peak


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("quality", [0.0, 5.0, 9.0])
def test_the_codec_is_in_time(rate: int, quality: float) -> None:
    audio = (0.1 * np.random.default_rng(1).standard_normal((2, 24000))).astype(np.float32)
    coded = compress(audio, rate, quality)
    assert coded.shape == audio.shape and coded.dtype == np.float32
    assert lag(coded, audio) == 0
    # It begins and ends where its input does.
    for part in (slice(0, 6000), slice(-6000, None)):
        assert np.vdot(coded[:, part], audio[:, part]) > 0.2 * np.vdot(audio[:, part], audio[:, part])


def test_a_delay_that_pedalboard_leaves_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = effects._mp3

    def late(audio: Audio, rate: int, quality: float) -> Audio:
        return np.pad(whole(audio, rate, quality), ((0, 0), (1105, 0)))[:, : audio.shape[1]]

    monkeypatch.setattr(effects, "_mp3", late)
    codec_delay.cache_clear()
    try:
        assert codec_delay(RATE) == 1105
        audio = (0.1 * np.random.default_rng(1).standard_normal((2, 24000))).astype(np.float32)
        coded = compress(audio, RATE, 2.0)
        assert coded.shape == audio.shape and lag(coded, audio) == 0
        assert np.abs(coded[:, -1000:]).max() > 0.05
    finally:
        codec_delay.cache_clear()


def test_the_codec_loses_something_and_not_everything() -> None:
    audio = (0.1 * np.random.default_rng(1).standard_normal((2, 24000))).astype(np.float32)
    losses = [float(np.linalg.norm(compress(audio, RATE, q) - audio) / np.linalg.norm(audio)) for q in (0, 9)]
    assert 0.05 < losses[0] < losses[1] < 1.1
    # Level does not matter: it is brought to one that suits the codec.
    assert np.allclose(compress(audio * 100.0, RATE, 5.0), 100.0 * compress(audio, RATE, 5.0), atol=1e-3)


def test_a_rate_that_mp3_does_not_know() -> None:
    codec_delay.cache_clear()
    with pytest.raises(UsageError, match="MP3 cannot be made at 96000 Hz") as caught:
        compress(melody(), 96000, 5.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tempo", "semitones"), [(0.9, 0.0), (1.1, 0.0), (1.0, 3.0), (1.12, -2.0)])
def test_tempo_and_pitch_change_each_by_itself(tempo: float, semitones: float) -> None:
    samples = RATE // 2
    tone = melody(1.0)
    moved = stretch(tone, RATE, tempo, semitones, samples)
    assert moved.shape == (2, samples) and moved.dtype == np.float32
    middle = moved[0, 4000 : 4000 + 16384] * np.hanning(16384)
    peak = float(np.argmax(np.abs(np.fft.rfft(middle, 1 << 18)))) * RATE / (1 << 18)
    assert peak == pytest.approx(440.0 * 2.0 ** (semitones / 12.0), rel=0.01)
    heard = int(np.argmax(np.abs(stretch(clicks(), RATE, tempo, semitones, samples)[0])))
    assert heard == pytest.approx(RATE / 4 / tempo, abs=0.006 * RATE)


def test_parts_that_are_stretched_together_stay_together() -> None:
    song = np.concatenate((melody(), clicks()))
    moved = stretch(song, RATE, 1.1, 0.0, 30000)
    assert np.array_equal(moved[2], moved[3]), "the same in, the same out"
    assert stretch(np.zeros((2, 1000), np.float32), RATE, 1.1, 0.0, 500).shape == (2, 500)


def test_a_room_follows_its_sound() -> None:
    for seed in range(4):
        wet = reverberate(clicks(), RATE, np.random.default_rng(seed))
        assert np.abs(wet[:, : RATE // 4]).max() == 0.0
        assert np.abs(wet[:, RATE // 4 + 3000 :]).max() > 0.0
        assert wet[0, RATE // 4] == pytest.approx(0.5, abs=1e-4)


def test_a_drive_keeps_the_energy_and_adds_overtones() -> None:
    driven = distort(melody(), RATE, 25.0)
    assert np.vdot(driven, driven) == pytest.approx(np.vdot(melody(), melody()), rel=1e-3)
    lines = np.abs(np.fft.rfft(driven[0]))
    assert lines[1320] > 0.02 * lines[440] and np.abs(np.fft.rfft(melody()[0]))[1320] < 1e-3 * lines[440]
    silence = np.zeros((2, 100), np.float32)
    assert not distort(silence, RATE, 25.0).any() and not compress(silence, RATE, 5.0).any()


def test_without_pedalboard_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(UsageError, match=r"pip install 'rtsep\[augment\]'"):
        distort(melody(), RATE, 10.0)
