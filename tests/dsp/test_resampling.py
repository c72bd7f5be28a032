"""Streaming sample rate conversion: against soxr, against sines, and against itself in other pieces."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.dsp.resampling import StreamingResampler, design, pass_band
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing

RATES = [
    (44100, 48000),
    (48000, 44100),
    (96000, 44100),
    (44100, 96000),
    (88200, 44100),
    (44100, 88200),
    (32000, 44100),
    (44100, 32000),
    (22050, 44100),
    (44100, 22050),
    (8000, 44100),
    (192000, 44100),
]


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def converted(resampler: StreamingResampler, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.full((resampler.channels, resampler.frames_out(audio.shape[1])), np.nan, np.float32)
    assert resampler.push(audio, out) == out.shape[1]
    return out


def band_limited(rate: int, edge: float, samples: int) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(samples))
    spectrum[np.fft.rfftfreq(samples, 1 / rate) > edge] = 0
    audio = np.fft.irfft(spectrum, samples)
    return (0.25 * audio / np.std(audio)).astype(np.float32)


def sweep(rate: int, edge: float, samples: int) -> NDArray[np.float32]:
    t = np.arange(samples) / samples
    low = 20.0
    span = np.log(edge / low)
    phase = 2 * np.pi * low * samples / rate / span * np.expm1(t * span)
    return (0.5 * np.sin(phase)).astype(np.float32)


@pytest.mark.parametrize("signal", [band_limited, sweep])
@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_equals_soxr_after_the_stated_delay(rate_in: int, rate_out: int, signal) -> None:  # type: ignore[no-untyped-def]
    edge = 0.9 * pass_band(rate_in, rate_out)
    audio = signal(rate_in, edge, rate_in // 2)
    resampler = StreamingResampler(rate_in, rate_out, 1)
    ours = converted(resampler, audio[None])[0]
    # soxr compensates its delay; delaying its input by ours, a whole number, aligns the two exactly.
    assert resampler.delay.denominator == 1
    delayed = np.concatenate([np.zeros(int(resampler.delay), np.float32), audio])
    theirs = soxr.resample(delayed.astype(np.float64), rate_in, rate_out, quality="VHQ")
    middle = slice(len(ours) // 8, len(ours) * 7 // 8)
    error = ours[middle] - theirs[: len(ours)][middle]
    level = 10 * np.log10(np.mean(error**2) / np.mean(theirs[middle] ** 2))
    # What is left is mostly soxr's own error: the exact comparison below is the finer one.
    assert level < -80


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_equals_exact_interpolation_of_band_limited_noise(rate_in: int, rate_out: int) -> None:
    # Periodic noise is its Fourier series, which can be evaluated at any time whatever.
    period = rate_in // 100
    audio = np.tile(band_limited(rate_in, pass_band(rate_in, rate_out), period), 8)
    series = np.fft.rfft(audio[:period].astype(np.float64))[1:-1] / period
    resampler = StreamingResampler(rate_in, rate_out, 1)
    ours = converted(resampler, audio[None])[0]
    k = np.arange(len(ours) - 2 * rate_out // 100, len(ours))
    time = k * float(1 / resampler.ratio) - float(resampler.delay)
    turns = np.outer(time, np.arange(1, len(series) + 1)) / period
    exact = 2 * (np.exp(2j * np.pi * turns) @ series).real + audio[:period].mean(dtype=np.float64)
    error = ours[k] - exact
    assert 10 * np.log10(np.mean(error**2) / np.mean(exact**2)) < -100


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_filter_meets_its_specification(rate_in: int, rate_out: int) -> None:
    table, delay = design(rate_in, rate_out)
    phases, taps = table.shape
    impulse = table[:, ::-1].T.reshape(-1).astype(np.float64)
    assert np.array_equal(impulse[1:], impulse[:0:-1]), "a symmetric filter has one delay for all"
    assert impulse[0] == 0.0, "its mirror image would lie beyond the end"
    assert delay == Fraction(taps, 2)
    size = 1 << int(np.ceil(np.log2(len(impulse) * 16)))
    gain = np.abs(np.fft.rfft(impulse, size)) / phases
    frequency = np.arange(len(gain)) * rate_in * phases / size
    edge = pass_band(rate_in, rate_out)
    assert np.abs(20 * np.log10(gain[frequency <= edge])).max() < 0.001
    assert 20 * np.log10(gain[frequency >= min(rate_in, rate_out) - edge].max()) < -95


def test_flat_to_20_khz_at_44100() -> None:
    assert pass_band(44100, 48000) == pass_band(48000, 44100) == pass_band(96000, 192000) == 20000.0


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_a_sine_is_where_the_delay_says(rate_in: int, rate_out: int) -> None:
    hertz = 0.8 * pass_band(rate_in, rate_out)
    audio = np.sin(2 * np.pi * hertz * np.arange(4000) / rate_in).astype(np.float32)
    resampler = StreamingResampler(rate_in, rate_out, 1)
    ours = converted(resampler, audio[None])[0]
    time = np.arange(len(ours)) / rate_out - resampler.delay_seconds
    settled = time > resampler.delay_seconds
    assert np.abs(ours - np.sin(2 * np.pi * hertz * time))[settled].max() < 1e-4


@settings(deadline=None, max_examples=60)
@given(
    rates=st.sampled_from([*RATES, (48000, 48000)]),
    channels=st.integers(1, 3),
    blocks=st.lists(st.integers(0, 700), min_size=1, max_size=20),
)
def test_any_chunking_gives_the_same_samples(
    rates: tuple[int, int], channels: int, blocks: list[int]
) -> None:
    audio = noise(channels, sum(blocks))
    expected = converted(StreamingResampler(*rates, channels), audio)
    resampler = StreamingResampler(*rates, channels)
    out = np.empty((channels, resampler.frames_out(700)), np.float32)
    pieces = [np.empty((channels, 0), np.float32)]
    taken = 0
    for samples in blocks:
        made = resampler.push(audio[:, taken : taken + samples], out)
        taken += samples
        pieces.append(out[:, :made].copy())
        assert sum(p.shape[1] for p in pieces) == resampler.frames_out(taken)
    assert np.array_equal(np.hstack(pieces), expected)


@given(rates=st.sampled_from(RATES), total=st.integers(0, 10**13))
def test_schedule_is_exact_for_ever(rates: tuple[int, int], total: int) -> None:
    resampler = StreamingResampler(*rates, 1)
    frames = resampler.frames_out(total)
    # Output k exists as soon as input time k / ratio has begun.
    assert (frames - 1) / resampler.ratio < total or total == 0
    assert frames / resampler.ratio >= total
    assert resampler.frames_out(resampler.frames_in(frames)) >= frames
    assert frames == 0 or resampler.frames_out(resampler.frames_in(frames) - 1) < frames


def test_a_minute_has_its_exact_length() -> None:
    resampler = StreamingResampler(44100, 48000, 2)
    block = np.zeros((2, 441), np.float32)
    out = np.empty((2, 480), np.float32)
    assert [resampler.push(block, out) for _ in range(6000)] == [480] * 6000


def test_equal_rates_pass_through() -> None:
    resampler = StreamingResampler(44100, 44100, 2)
    audio = noise(2, 1000)
    assert np.array_equal(converted(resampler, audio), audio)
    assert resampler.delay == 0
    assert resampler.delay_seconds == 0.0


def test_reset_is_as_new() -> None:
    resampler = StreamingResampler(48000, 44100, 2)
    audio = noise(2, 777)
    first = converted(resampler, audio)
    resampler.reset()
    assert np.array_equal(converted(resampler, audio), first)


def test_not_a_number_passes_by() -> None:
    resampler = StreamingResampler(44100, 48000, 1)
    audio = noise(1, 400)
    audio[0, 10] = np.nan
    out = converted(resampler, audio)[0]
    assert np.isnan(out[20])
    assert np.isfinite(out[-200:]).all()


def test_too_little_room_changes_nothing() -> None:
    resampler = StreamingResampler(44100, 48000, 1)
    audio = noise(1, 100)
    with pytest.raises(ValueError, match="109 frames are due"):
        resampler.push(audio, np.empty((1, 108), np.float32))
    assert np.array_equal(converted(resampler, audio), converted(StreamingResampler(44100, 48000, 1), audio))


def test_impossible_conversions_are_refused() -> None:
    with pytest.raises(UsageError, match="0 Hz"):
        StreamingResampler(0, 44100, 2)
    with pytest.raises(UsageError, match="0 channels"):
        StreamingResampler(48000, 44100, 0)
    with pytest.raises(UsageError, match="no simple ratio"):
        StreamingResampler(44100, 191999, 2)
    with pytest.raises(ValueError, match="2 channels"):
        StreamingResampler(48000, 44100, 2).push(np.zeros((1, 8), np.float32), np.zeros((2, 8), np.float32))


def test_no_allocation() -> None:
    resampler = StreamingResampler(48000, 44100, 2)
    block = noise(2, 480)
    out = np.zeros((2, 441), np.float32)
    assert_allocates_nothing(lambda: resampler.push(block, out))
