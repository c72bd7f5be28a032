"""What the sum passes last: nothing is changed until it is asked for, and the limiter keeps its word."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.dsp.gains import STEEPEST
from rtsep.mixer.master import Master, MasterStrip
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing

RATE = 44100
HOP = 256
RAMP = 64


def noise(samples: int, amplitude: float = 0.3, seed: int = 0) -> NDArray[np.float32]:
    return (amplitude * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def run(master: Master, audio: NDArray[np.float32], dry: NDArray[np.float32] | None = None) -> NDArray:
    dry = np.zeros_like(audio) if dry is None else dry
    out = audio.copy()
    for begin in range(0, out.shape[1], HOP):
        master.process(out[:, begin : begin + HOP], dry[:, begin : begin + HOP])
    return out


def settled(strip: MasterStrip) -> Master:
    master = Master(HOP, RAMP, RATE)
    master.set(strip)
    master.reset()
    return master


def test_untouched_it_changes_no_bit_however_loud() -> None:
    audio = noise(1000, amplitude=5.0)
    assert np.array_equal(run(Master(HOP, RAMP, RATE), audio).view(np.uint32), audio.view(np.uint32))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    loudness=st.floats(0.01, 100.0),
    ceiling_db=st.floats(-24.0, 0.0),
    gain_db=st.floats(-20.0, 12.0),
)
def test_no_sample_exceeds_the_ceiling(seed: int, loudness: float, ceiling_db: float, gain_db: float) -> None:
    audio = noise(3 * HOP, loudness, seed)
    audio[:, 100:140] = 0.0
    audio[0, 300] = 1e6
    out = run(settled(MasterStrip(gain_db, limiter=True, ceiling_db=ceiling_db)), audio)
    assert np.abs(out).max() <= np.float32(10.0 ** (ceiling_db / 20.0))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), loudness=st.floats(0.1, 30.0))
def test_with_nothing_touched_music_above_full_scale_leaves_as_it_came(seed: int, loudness: float) -> None:
    dry = noise(4 * HOP, loudness, seed)
    dry[:, 300:500] *= np.float32(0.1)
    # As stems sum to it, with the rounding of loud ones.
    audio = dry * (1.0 + 1e-5 * np.random.default_rng(seed).uniform(-1.0, 1.0, dry.shape)).astype(np.float32)
    master = settled(MasterStrip(limiter=True))
    assert np.array_equal(run(master, audio, dry).view(np.uint32), audio.view(np.uint32))
    assert master.take_reduction() == 1.0
    # What is louder than input and full scale is held at the louder of them, and a lower ceiling holds all.
    out = run(settled(MasterStrip(6.0, limiter=True)), audio, dry)
    assert np.abs(out).max() <= 1.001 * max(1.0, np.abs(dry).max())
    out = run(settled(MasterStrip(limiter=True, ceiling_db=-1.0)), audio, dry)
    assert np.abs(out).max() <= np.float32(10.0 ** (-1.0 / 20.0))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), ceiling_db=st.floats(-24.0, 0.0))
def test_below_the_ceiling_no_bit_is_changed(seed: int, ceiling_db: float) -> None:
    audio = noise(3 * HOP, 1.0, seed)
    audio *= np.float32(0.999 * 10.0 ** (ceiling_db / 20.0) / np.abs(audio).max())
    master = settled(MasterStrip(limiter=True, ceiling_db=ceiling_db))
    assert np.array_equal(run(master, audio).view(np.uint32), audio.view(np.uint32))
    assert master.take_reduction() == 1.0


def test_both_channels_are_turned_down_together_and_come_back() -> None:
    audio = np.full((2, 2 * RATE), 0.1, np.float32)
    audio[0, 1000:1010] = 2.0
    master = settled(MasterStrip(limiter=True))
    out = run(master, audio)
    # The image stays: what one channel loses the other loses too.
    assert out[1, 1005] == pytest.approx(0.05, rel=1e-3)
    assert np.array_equal(out[:, :1000], audio[:, :1000])
    # e^-t/0.1 s from 2 to 1 takes 69 ms; from there on nothing is changed.
    assert np.array_equal(out[:, 1010 + int(0.0694 * RATE) :], audio[:, 1010 + int(0.0694 * RATE) :])
    # The gain comes back without a step.
    assert np.abs(np.diff(out[1, 1010:])).max() < 3e-5
    assert master.take_reduction() == pytest.approx(0.5)
    assert master.take_reduction() == 1.0


def test_a_loud_sine_is_held_at_the_ceiling_with_little_distortion() -> None:
    time = np.arange(RATE) / RATE
    sine = np.stack([2.0 * np.sin(2.0 * np.pi * 441.0 * time)] * 2).astype(np.float32)
    out = run(settled(MasterStrip(limiter=True)), sine)[0, -RATE // 2 :].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2
    tone = int(441 * len(out) / RATE)
    rest = np.delete(spectrum, slice(tone - 4, tone + 5)).sum()
    assert np.abs(out).max() == pytest.approx(1.0, abs=1e-3)
    # A clipper leaves about -13 dB.
    assert 10.0 * math.log10(rest / spectrum.sum()) < -35.0


def test_switching_the_limiter_and_moving_the_ceiling_never_step() -> None:
    audio = np.full((2, 40 * HOP), 2.0, np.float32)
    master = Master(HOP, RAMP, RATE)
    line = [2.0]
    for strip in (
        MasterStrip(limiter=True),
        MasterStrip(limiter=True, ceiling_db=-12.0),
        MasterStrip(limiter=True, ceiling_db=0.0),
        MasterStrip(),
    ):
        master.set(strip)
        line.extend(run(master, audio[:, : 4 * HOP])[0])
    assert np.abs(np.diff(line)).max() <= 1.01 * STEEPEST / RAMP
    assert line[-1] == 2.0


@pytest.mark.parametrize("wet", [0.0, 0.25, 0.5, 1.0])
def test_dry_and_wet_that_are_equal_make_the_same_at_any_share(wet: float) -> None:
    audio = noise(4 * HOP)
    master = Master(HOP, RAMP, RATE)
    master.set(MasterStrip(dry=1.0 - wet))
    assert np.abs(run(master, audio, audio) - audio).max() < 1e-6
    # And what is not in the dry signal is heard at its share.
    assert np.abs(run(master, audio) - np.float32(wet) * audio).max() < 1e-6


def test_bypass_is_the_dry_signal_bit_for_bit_whatever_is_set() -> None:
    audio, dry = noise(4 * HOP), noise(4 * HOP, amplitude=2.0, seed=1)
    audio[0, 0] = math.nan
    master = settled(MasterStrip(12.0, dry=0.5, limiter=True, ceiling_db=-20.0, bypass=True))
    assert np.array_equal(run(master, audio, dry).view(np.uint32), dry.view(np.uint32))


def test_the_way_to_bypass_and_back_is_a_fade() -> None:
    ones, zeros = np.ones((2, 4 * HOP), np.float32), np.zeros((2, 4 * HOP), np.float32)
    master = Master(HOP, RAMP, RATE)
    master.set(MasterStrip(bypass=True), length=500)
    gone = run(master, ones, zeros)[0]
    assert gone[498] > 0.0 == gone[499]
    master.set(MasterStrip(), length=200)
    back = run(master, ones, zeros)[0]
    assert back[198] < 1.0 == back[199]
    assert np.abs(np.diff(np.concatenate([gone, back]))).max() <= 1.01 * STEEPEST / 200


def test_a_panic_does_not_wait_for_a_slow_bypass() -> None:
    ones, zeros = np.ones((2, 4 * HOP), np.float32), np.zeros((2, 4 * HOP), np.float32)
    master = Master(HOP, RAMP, RATE)
    master.set(MasterStrip(bypass=True), length=1_000_000)
    run(master, ones, zeros)
    master.set(MasterStrip(bypass=True), length=1_000_000, bypass_length=RAMP)
    out = run(master, ones, zeros)[0]
    assert np.abs(np.diff(out)).max() <= STEEPEST / RAMP and not out[RAMP - 1 :].any()


def test_what_is_not_finite_becomes_silence_and_poisons_nothing() -> None:
    audio, dry = noise(HOP), noise(HOP, seed=1)
    audio[0, 10], audio[1, 20], dry[0, 30] = math.nan, math.inf, math.nan
    master = settled(MasterStrip(dry=0.5, limiter=True))
    assert np.isfinite(run(master, audio, dry)).all()
    after = noise(HOP, 0.1)
    assert np.abs(run(master, after, after) - after).max() < 1e-6


def test_any_chunking_gives_the_same_samples() -> None:
    audio, dry = noise(600, 2.0), noise(600, seed=1)
    strip = MasterStrip(3.0, dry=0.3, limiter=True, ceiling_db=-3.0)
    whole, cut = Master(600, RAMP, RATE), Master(600, RAMP, RATE)
    outs = []
    for master, edges in ((whole, [0, 600]), (cut, [0, 1, 8, 200, 201, 600])):
        master.set(strip)
        out = audio.copy()
        for begin, end in pairwise(edges):
            master.process(out[:, begin:end], dry[:, begin:end])
        outs.append(out)
    assert np.array_equal(*outs)


def test_wrong_arguments_are_refused() -> None:
    for sizes in [(0, 10, RATE), (HOP, 0, RATE), (HOP, 10, 0)]:
        with pytest.raises(UsageError, match="master"):
            Master(*sizes)
    master = Master(HOP, RAMP, RATE)
    with pytest.raises(ValueError, match="expected up to 256"):
        master.process(noise(HOP + 1), noise(HOP + 1))
    with pytest.raises(ValueError, match="expected"):
        master.process(noise(HOP), noise(HOP - 1))
    with pytest.raises(UsageError, match="not a level"):
        master.set(MasterStrip(gain_db=math.nan))


def test_no_allocation() -> None:
    master = Master(HOP, RAMP, RATE)
    out, dry = noise(HOP), noise(HOP)
    strips = [MasterStrip(limiter=True, bypass=True), MasterStrip(-6.0, dry=0.5)]

    def hop() -> None:
        strips.reverse()
        master.set(strips[0])
        master.process(out, dry)
        master.take_reduction()

    assert_allocates_nothing(hop)
