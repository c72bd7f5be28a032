"""Delay lines, the queue and the crossfade: to the sample, for any blocks, and nothing allocated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.effects.lines import Crossfade, DelayLine, Queue
from tests.dsp.allocation import assert_allocates_nothing
from tests.effects.streams import Audio, late, noise


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 300), st.lists(st.integers(0, 200), min_size=1, max_size=12), st.booleans())
def test_a_delay_line_delays(delay: int, lengths: list[int], in_place: bool) -> None:
    audio = np.stack([noise(sum(lengths), seed) for seed in range(3)])
    line = DelayLine(3, 2, delay)
    out, at = np.empty_like(audio), 0
    for length in lengths:
        block = audio[:, :, at : at + length].copy()
        delayed = block if in_place else np.empty_like(block)
        line.push(block, delayed)
        out[:, :, at : at + length] = delayed
        at += length
    assert np.array_equal(out, np.stack([late(one, delay) for one in audio]))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 64), min_size=20, max_size=40))
def test_a_queue_evens_out_whatever_comes_in_time(lengths: list[int]) -> None:
    hop = 32
    behind = np.cumsum(hop - np.array(lengths))
    shortfall = max(0, int(behind.max()))
    audio, at, out = noise(sum(lengths)), 0, []
    queue = Queue(2, hop, shortfall)
    for length in lengths:
        made: Audio = np.empty((2, hop), np.float32)
        if not queue.exchange(audio[:, at : at + length], made):
            # Refused for want of room only: it had far more than it needs.
            assert shortfall + at + length - hop * len(out) > shortfall + 4 * hop
            break
        at += length
        out.append(made)
    joined = np.concatenate(out, axis=1) if out else np.zeros((2, 0), np.float32)
    expected = np.pad(audio, ((0, 0), (shortfall, 0)))[:, : joined.shape[1]]
    assert np.array_equal(joined, expected)


def test_a_queue_says_when_it_runs_dry() -> None:
    queue = Queue(2, 32, 10)
    out = np.ones((2, 32), np.float32)
    assert not queue.exchange(np.zeros((2, 21), np.float32), out)
    assert out.all()
    assert queue.exchange(np.zeros((2, 22), np.float32), out)


def test_a_crossfade_is_smooth_and_exact_at_its_ends() -> None:
    fade = Crossfade(64, 100, wet=True)
    dry, wet = np.zeros((2, 64), np.float32), np.ones((2, 64), np.float32)
    out = np.empty((2, 64), np.float32)
    heard = []
    for hop in range(6):
        if hop == 1:
            fade.set(False)
        fade.mix(dry, wet, out)
        heard.append(out[0].copy())
    joined = np.concatenate(heard)
    assert (joined[:64] == 1.0).all() and (joined[164:] == 0.0).all()
    assert np.all(np.diff(joined[63:165]) <= 0.0) and np.abs(np.diff(joined[63:165])).max() < 0.016
    assert joined[113] == pytest.approx(0.5, abs=0.02)


def test_nothing_is_allocated() -> None:
    line, queue, fade = DelayLine(1, 2, 100), Queue(2, 1024, 50), Crossfade(1024, 64, True)
    block, out = noise(1024), np.zeros((2, 1024), np.float32)

    def hop() -> None:
        line.push(block[np.newaxis], out[np.newaxis])
        queue.exchange(block, out)
        fade.mix(block, out, out)

    assert_allocates_nothing(hop)
