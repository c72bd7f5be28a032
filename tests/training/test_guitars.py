"""Synthesised guitars, in tune; and, as of synthesisers: sound, finite, drawn again the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rtsep.training.augmentation import Audio
from rtsep.training.guitars import _pluck, guitar
from rtsep.training.synths import synth

RATE = 44100


@pytest.mark.parametrize("play", [guitar, synth])
@pytest.mark.parametrize("seed", range(8))
def test_what_plays_itself_sounds_and_is_the_same_again(play: Callable[..., Audio], seed: int) -> None:
    first = play(RATE, np.random.default_rng(seed))
    assert first.shape == (2, RATE) and first.dtype == np.float32
    assert np.isfinite(first).all() and np.abs(first).max() == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_array_equal(first, play(RATE, np.random.default_rng(seed)))


def test_seeds_differ_and_some_are_wide() -> None:
    played = [guitar(RATE, np.random.default_rng(seed)) for seed in range(10)]
    assert not np.allclose(played[0], played[1])
    likeness = [np.corrcoef(g)[0, 1] for g in played]
    # One at a place is the same on both sides but for its level; two takes are not.
    assert max(likeness) > 0.99 and min(likeness) < 0.9


@pytest.mark.parametrize("hz", [82.4, 196.0, 659.3, 1318.5])
def test_a_string_is_in_tune_and_rings_down(hz: float) -> None:
    out = np.zeros(2 * RATE, np.float32)
    noise = np.random.default_rng(0).standard_normal(int(RATE / hz) + 2).astype(np.float32)
    _pluck(out, 0, 2 * RATE, hz, 0.0, 2.0, 0.7, noise)
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    near = np.arange(int(hz * 2 * 0.9), int(hz * 2 * 1.1))
    found = near[np.argmax(spectrum[near])] / 2.0
    assert abs(1200.0 * np.log2(found / hz)) < 20.0
    assert np.square(out[-RATE // 4 :]).mean() < 0.2 * np.square(out[: RATE // 4]).mean()


def test_a_bend_ends_two_semitones_higher() -> None:
    out = np.zeros(2 * RATE, np.float32)
    noise = np.random.default_rng(1).standard_normal(200).astype(np.float32)
    _pluck(out, 0, 2 * RATE, 440.0, 2.0, 4.0, 0.7, noise)
    end = out[-RATE // 2 :]
    spectrum = np.abs(np.fft.rfft(end * np.hanning(len(end))))
    near = np.arange(210, 270)
    assert near[np.argmax(spectrum[near])] * 2.0 == pytest.approx(440.0 * 2 ** (2 / 12), rel=0.01)
