"""What is done to stems: repeatable, of the same length, and no more than it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.training.augmentation import (
    add_room,
    change_speed,
    db,
    dissolve,
    harmonise,
    place,
    rms,
    saturate,
    shape_spectrum,
    widen,
)

Audio = NDArray[np.float32]
Change = Callable[[Audio, np.random.Generator], Audio]
SAMPLES = 44100

CHANGES = pytest.mark.parametrize(
    "change", [shape_spectrum, add_room, dissolve, harmonise, saturate, widen, place]
)


def noise(seed: int = 0, samples: int = SAMPLES) -> Audio:
    return np.float32(0.1) * np.random.default_rng(seed).standard_normal((2, samples), dtype=np.float32)


def tone(frequency: float, samples: int = SAMPLES) -> Audio:
    wave = 0.5 * np.sin(2.0 * np.pi * frequency * np.arange(samples) / 44100.0)
    return np.stack((wave, wave)).astype(np.float32)


@CHANGES
def test_a_change_keeps_the_shape_and_depends_on_its_generator_alone(change: Change) -> None:
    for seed in range(12):
        original = noise(seed)
        given = original.copy()
        first = change(given, np.random.default_rng(seed))
        assert np.array_equal(given, original), "the input was written to"
        assert first.shape == (2, SAMPLES) and first.dtype == np.float32 and np.isfinite(first).all()
        assert np.array_equal(first, change(given, np.random.default_rng(seed)))


@CHANGES
def test_silence_stays_silent(change: Change) -> None:
    for seed in range(8):
        assert not change(np.zeros((2, SAMPLES), np.float32), np.random.default_rng(seed)).any()


@CHANGES
def test_no_change_makes_a_sound_many_times_louder(change: Change) -> None:
    for seed in range(12):
        assert rms(change(noise(seed), np.random.default_rng(seed))) < 4.0 * rms(noise(seed))


def test_the_level_is_that_of_what_sounds() -> None:
    audio = noise()
    assert rms(audio) == pytest.approx(0.1, rel=0.02)
    half = np.concatenate((audio, np.zeros_like(audio)), axis=1)
    assert rms(half) == pytest.approx(rms(audio), rel=0.05)
    assert rms(np.zeros((2, SAMPLES), np.float32)) == 0.0
    assert rms(noise(samples=100)) == pytest.approx(0.1, rel=0.2)


def test_decibels() -> None:
    assert db(0.0) == 1.0 and db(20.0) == pytest.approx(10.0) and db(-6.0206) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_moves_the_pitch(factor: float) -> None:
    faster = change_speed(tone(1000.0), factor, SAMPLES // 2)
    assert faster.shape == (2, SAMPLES // 2) and faster.dtype == np.float32
    middle = faster[0, 2000 : 2000 + 16384] * np.hanning(16384)
    peak = np.argmax(np.abs(np.fft.rfft(middle))) * 44100.0 / 16384
    assert peak == pytest.approx(1000.0 * factor, abs=3.0)


def test_what_ends_too_early_is_filled_with_silence() -> None:
    faster = change_speed(tone(1000.0), 2.0, SAMPLES)
    assert faster.shape == (2, SAMPLES)
    assert faster[:, : SAMPLES // 2 - 100].any() and not faster[:, SAMPLES // 2 + 100 :].any()


def test_an_equaliser_changes_the_balance_of_a_tone_and_not_its_pitch() -> None:
    gains = []
    for seed in range(20):
        spectrum = np.abs(np.fft.rfft(shape_spectrum(tone(1000.0), np.random.default_rng(seed))[0]))
        assert np.argmax(spectrum) == 1000
        gains.append(20.0 * np.log10(spectrum[1000] / (0.25 * SAMPLES)))
    assert np.std(gains) > 2.0 and max(gains) < 10.1


def test_a_room_follows_the_sound_and_never_precedes_it() -> None:
    click = np.zeros((2, SAMPLES), np.float32)
    click[:, 20000:20100] = 0.5
    for seed in range(6):
        wet = add_room(click, np.random.default_rng(seed))
        before, after = np.abs(wet[:, :19900]).max(), np.abs(wet[:, 21000:]).max()
        assert after > 0.0
        assert before < 1e-3


def test_placing_keeps_the_energy_of_both_sides_together_unless_it_narrows() -> None:
    audio = noise()
    seen = set()
    for seed in range(60):
        placed = place(audio, np.random.default_rng(seed))
        for name, candidate in (
            ("same", audio),
            ("swapped", audio[::-1]),
            ("flipped", -audio),
            ("both", -audio[::-1]),
        ):
            if np.array_equal(placed, candidate):
                seen.add(name)
                break
        else:
            seen.add("narrowed")
            left, right = placed.astype(np.float64)
            assert abs(np.corrcoef(left, right)[0, 1]) == pytest.approx(1.0, abs=1e-6)
    assert seen == {"same", "swapped", "flipped", "both", "narrowed"}


def test_widening_makes_the_ears_differ() -> None:
    for seed in range(8):
        wide = widen(tone(300.0) + tone(710.0), np.random.default_rng(seed))
        assert np.abs(wide[0] - wide[1]).max() > 1e-3


def test_a_dissolved_burst_sounds_all_the_time_and_as_loud() -> None:
    burst = tone(440.0)
    burst[:, SAMPLES // 8 :] = 0.0
    for seed in range(6):
        pad = dissolve(burst, np.random.default_rng(seed))
        assert rms(pad) == pytest.approx(rms(burst), rel=1e-3)
        # One second at most a fifth of its tail: the last eighth has the burst's reverberation still.
        assert rms(pad[:, -SAMPLES // 8 :]) > 0.01 * rms(pad)
        assert not np.allclose(pad[0], pad[1], atol=1e-3), "both ears hear the same"


@pytest.mark.parametrize("change", [dissolve, widen])
def test_the_width_has_a_limit(change: Callable[[Audio, np.random.Generator, float], Audio]) -> None:
    centred = np.repeat(noise()[:1], 2, axis=0)

    def width(audio: Audio) -> float:
        return float(np.sum((audio[0] - audio[1]) ** 2) / np.sum((audio[0] + audio[1]) ** 2))

    narrow = [width(change(centred, np.random.default_rng(seed), 0.3)) for seed in range(16)]
    wide = [width(change(centred, np.random.default_rng(seed), 1.0)) for seed in range(16)]
    assert max(narrow) < 0.2 < max(wide)
    assert np.mean(narrow) < 0.5 * np.mean(wide)


def test_saturation_adds_overtones_and_no_level() -> None:
    for seed in range(8):
        driven = saturate(tone(441.0), np.random.default_rng(seed))
        assert rms(driven) == pytest.approx(rms(tone(441.0)), rel=1e-3)
        lines = np.abs(np.fft.rfft(driven[0]))[441:4000:441]
        # The limit is the same up and down, so odd harmonics come and even ones do not.
        assert lines[2] > 1e-3 * lines[0] > 10.0 * lines[1]
