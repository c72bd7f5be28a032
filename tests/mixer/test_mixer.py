"""The sum of the stems: exact at unity, without steps on the way elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.dsp.gains import STEEPEST
from rtsep.mixer.mixer import Mixer
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(mixer: Mixer, stems: NDArray[np.float32], blocks: list[int]) -> NDArray[np.float32]:
    out = np.full(stems.shape[1:], np.nan, np.float32)
    done = 0
    for n in blocks:
        mixer.mix(stems[:, :, done : done + n], out[:, done : done + n])
        done += n
    assert done == stems.shape[2]
    return out


@given(seed=st.integers(0, 2**32 - 1), stems=st.integers(1, 6), channels=st.integers(1, 3))
@settings(deadline=None)
def test_unity_is_the_exact_sum(seed: int, stems: int, channels: int) -> None:
    audio = noise(stems, channels, 64, seed=seed)
    before = audio.copy()
    stem_out = np.empty_like(audio)
    out = np.empty((channels, 64), np.float32)
    mixer = Mixer(stems, channels, 64, 100)
    mixer.set_targets(np.ones(stems))
    mixer.process(audio, stem_out, out)
    expected = audio[0].copy()
    for stem in audio[1:]:
        expected += stem
    assert np.array_equal(out.view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(stem_out.view(np.uint32), audio.view(np.uint32))
    assert np.array_equal(audio, before)


def test_unity_returns_bit_for_bit_after_a_mute() -> None:
    audio = noise(4, 2, 256)
    mixer = Mixer(4, 2, 256, 100)
    untouched = run(Mixer(4, 2, 256, 100), audio, [256])
    mixer.set_targets(np.array([0.0, 1.0, 0.3, 2.0]))
    run(mixer, audio, [256])
    mixer.set_targets(np.ones(4))
    run(mixer, audio, [256])
    assert np.array_equal(run(mixer, audio, [256]), untouched)


@pytest.mark.parametrize("ramp", [1, 7, 441, 2000])
def test_a_gain_change_never_steps(ramp: int) -> None:
    mixer = Mixer(2, 1, 512, ramp)
    dc = np.zeros((2, 1, 4096), np.float32)
    dc[0] = 1.0
    for goal in (0.0, 1.0):
        mixer.set_targets(np.array([goal, 1.0]))
        out = run(mixer, dc, [512] * 8)[0].astype(np.float64)
        slopes = np.abs(np.diff(np.concatenate([[1.0 - goal], out])))
        assert slopes.max() <= STEEPEST / ramp + 1.2e-7
        assert np.count_nonzero(slopes) == ramp
        assert (out[ramp - 1 :] == goal).all()


@settings(deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3), st.integers(1, 64)),
        min_size=1,
        max_size=20,
    ),
    ramp=st.integers(1, 200),
)
def test_no_sequence_of_changes_steps(changes: list[tuple[list[float], int]], ramp: int) -> None:
    mixer = Mixer(3, 1, 64, ramp)
    line = [1.0]
    for goals, samples in changes:
        mixer.set_targets(np.array(goals))
        out = np.empty((1, samples), np.float32)
        dc = np.zeros((3, 1, samples), np.float32)
        dc[1] = 1.0
        mixer.mix(dc, out)
        line.extend(out[0])
    assert np.abs(np.diff(line)).max() <= STEEPEST / ramp + 1.2e-7


@settings(deadline=None)
@given(blocks=st.lists(st.integers(0, 128), min_size=1, max_size=12), ramp=st.integers(1, 500))
def test_any_chunking_gives_the_same_samples(blocks: list[int], ramp: int) -> None:
    audio = noise(4, 2, sum(blocks))
    goals = np.array([0.0, 0.5, 1.0, 1.7])
    whole, cut = Mixer(4, 2, 2048, ramp), Mixer(4, 2, 128, ramp)
    whole.set_targets(goals)
    cut.set_targets(goals)
    assert np.array_equal(run(whole, audio, [audio.shape[2]]), run(cut, audio, blocks))


def test_stem_outputs_are_behind_the_gains_and_may_be_in_place() -> None:
    audio = noise(4, 2, 128)
    goals = np.array([0.0, 0.5, 1.0, 2.0])
    mixer = Mixer(4, 2, 128, 1)
    mixer.set_targets(goals)
    stem_out, out = np.empty_like(audio), np.empty((2, 128), np.float32)
    mixer.process(audio, stem_out, out)
    assert np.array_equal(stem_out, audio * goals[:, None, None].astype(np.float32))
    in_place, out_in_place = audio.copy(), np.empty_like(out)
    mixer.process(in_place, in_place, out_in_place)
    assert np.array_equal(in_place, stem_out)
    assert np.array_equal(out_in_place, out)


def test_targets_that_are_not_finite_change_nothing() -> None:
    audio = noise(2, 1, 64)
    mixer = Mixer(2, 1, 64, 10)
    mixer.set_targets(np.array([math.nan, math.inf]))
    assert np.array_equal(run(mixer, audio, [64]), run(Mixer(2, 1, 64, 10), audio, [64]))


def test_meters_show_what_is_heard() -> None:
    mixer = Mixer(2, 2, 128, 1)
    mixer.set_targets(np.array([0.5, 0.0]))
    audio = noise(2, 2, 256)
    out = run(mixer, audio, [100, 100, 56])
    peak, mean_square = np.empty(3, np.float32), np.empty(3, np.float32)
    mixer.meters.read(peak, mean_square)
    heard = [audio[0] * np.float32(0.5), audio[1] * 0, out]
    assert peak == pytest.approx([np.abs(h).max() for h in heard])
    assert mean_square == pytest.approx([np.mean(h.astype(np.float64) ** 2) for h in heard])
    mixer.meters.read(peak, mean_square)
    assert not peak.any()
    assert not mean_square.any()


def test_reset_lands_the_gains() -> None:
    mixer = Mixer(2, 1, 64, 10_000)
    mixer.set_targets(np.array([0.0, 1.0]))
    mixer.reset()
    audio = noise(2, 1, 64)
    assert np.array_equal(run(mixer, audio, [64])[0], audio[1, 0])


def test_impossible_sizes_are_refused() -> None:
    for sizes in [(0, 2, 512, 10), (4, 0, 512, 10), (4, 2, 0, 10), (4, 2, 512, 0)]:
        with pytest.raises(UsageError, match="mixer"):
            Mixer(*sizes)


def test_wrong_arguments_are_refused() -> None:
    mixer = Mixer(2, 1, 64, 10)
    out = np.zeros((1, 64), np.float32)
    with pytest.raises(ValueError, match="expected 2"):
        mixer.set_targets(np.ones(3))
    with pytest.raises(ValueError, match="expected 2 stems"):
        mixer.mix(noise(3, 1, 64), out)
    with pytest.raises(ValueError, match="up to 64"):
        mixer.mix(noise(2, 1, 65), np.zeros((1, 65), np.float32))
    with pytest.raises(ValueError, match="expected 2 stems"):
        mixer.process(noise(2, 1, 64), noise(2, 1, 63), out)
    with pytest.raises(TypeError):
        mixer.mix(noise(2, 1, 64).astype(np.float64), out)  # type: ignore[arg-type]


def test_no_allocation() -> None:
    mixer = Mixer(4, 2, 512, 1000)
    audio, dry = noise(4, 2, 512), noise(2, 512)
    stem_out, out = np.zeros_like(audio), np.zeros_like(dry)
    peak, mean_square = np.zeros(5, np.float32), np.zeros(5, np.float32)
    goals = np.ones(4)

    def hop() -> None:
        goals[0] = 1.0 - goals[0]
        mixer.set_targets(goals)
        mixer.sanitise(audio, dry)
        mixer.mix(audio, out)
        mixer.process(audio, stem_out, out)
        mixer.meters.read(peak, mean_square)

    assert_allocates_nothing(hop)


def test_sends_gather_what_is_behind_the_strips_and_come_back_into_the_sum() -> None:
    audio = noise(3, 2, 64)
    mixer = Mixer(3, 2, 64, 1)
    stem_out, out, dry = np.empty_like(audio), np.empty((2, 64), np.float32), np.zeros((2, 64), np.float32)
    assert mixer.strips(audio, stem_out) is False
    assert not mixer.bus.any()
    mixer.set_targets(np.array([1.0, 0.5, 0.0]))
    mixer.set_sends(np.array([0.5, 2.0, 1.0]))
    assert mixer.strips(audio, stem_out) is True
    assert mixer.bus == pytest.approx(0.5 * stem_out[0] + 2.0 * stem_out[1], abs=1e-6)
    mixer.total(stem_out, out, mixer.bus)
    mixer.finish(stem_out, out, dry)
    assert out == pytest.approx(stem_out.sum(axis=0) + mixer.bus, abs=1e-6)
    # The send closes by a ramp, and then the bus is silent and costs nothing.
    mixer.set_sends(np.zeros(3))
    assert mixer.strips(audio, stem_out) is True
    assert mixer.strips(audio, stem_out) is False
    assert not mixer.bus.any()
    with pytest.raises(ValueError, match="return"):
        mixer.total(stem_out, out, noise(2, 63))


@pytest.mark.parametrize("what", ["mute", "polarity", "pan", "send"])
def test_a_fade_adds_nothing_above_its_band(what: str) -> None:
    """A bass note that is faded in 6 ms: where a step would tick, there is nothing."""
    rate, length, hop = 44100, 256, 128
    time = np.arange(8192) / rate
    tone = np.sin(2.0 * np.pi * 50.0 * time) * np.hanning(8192)
    audio = np.stack([tone, tone])[None].astype(np.float32)

    def heard(ramp: int) -> NDArray[np.float64]:
        mixer = Mixer(1, 2, hop, ramp)
        pieces = []
        for begin in range(0, 8192, hop):
            if begin == 4096:
                goals = {"mute": [[0.0, 0.0]], "polarity": [[-1.0, -1.0]], "pan": [[0.0, 2**0.5]]}
                mixer.set_targets(np.array(goals.get(what, [[1.0, 1.0]])))
                mixer.set_sends(np.array([1.0 if what == "send" else 0.0]))
            stem_out, out = np.empty((1, 2, hop), np.float32), np.empty((2, hop), np.float32)
            mixer.strips(audio[:, :, begin : begin + hop], stem_out)
            mixer.total(stem_out, out)
            mixer.finish(stem_out, out, np.zeros_like(out))
            pieces.append((mixer.bus if what == "send" else out).copy())
        return np.hstack(pieces).astype(np.float64)

    def above(sound: NDArray[np.float64], hertz: float = 2000.0) -> float:
        spectrum = np.abs(np.fft.rfft(sound[0])) ** 2
        high = np.fft.rfftfreq(sound.shape[1], 1.0 / rate) > hertz
        return float(10.0 * np.log10(spectrum[high].sum() / np.square(np.abs(np.fft.rfft(tone))).sum()))

    assert above(heard(length)) < -85.0
    # The test can fail: a step is heard.
    assert above(heard(1)) > -55.0
