"""Framing and overlap-add on a stream, against numpy and against the stream itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.dsp.stft import StreamingISTFT, StreamingSTFT
from rtsep.dsp.windows import asymmetric_pair
from rtsep.spec import UsageError
from tests.dsp.allocation import assert_allocates_nothing


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def decibels(error: NDArray[np.floating], signal: NDArray[np.floating]) -> float:
    e = float(np.sum(np.square(error, dtype=np.float64)))
    return 10 * float(np.log10(max(e, 1e-300) / np.sum(np.square(signal, dtype=np.float64))))


def offline_spectra(audio: NDArray[np.float32], window: NDArray[np.float32], hop: int) -> NDArray:
    """Every frame of (channels, samples) at once: (frames, channels, bins), in float64."""
    size = len(window)
    past = np.pad(audio.astype(np.float64), ((0, 0), (size, 0)))
    ends = range(size + hop, past.shape[1] + 1, hop)
    return np.stack([np.fft.rfft(past[:, end - size : end] * window) for end in ends])


@settings(deadline=None, max_examples=60)
@given(
    log_analysis=st.integers(4, 11),
    shorter=st.integers(0, 2),
    hops=st.sampled_from([2, 4, 8]),
    channels=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_reconstructs_delayed_input(
    log_analysis: int, shorter: int, hops: int, channels: int, seed: int
) -> None:
    analysis = 2**log_analysis
    synthesis = max(8, analysis >> shorter)
    hop = synthesis // hops
    window, dual = asymmetric_pair(analysis, synthesis, hop)
    forward = StreamingSTFT(window, hop, channels)
    back = StreamingISTFT(dual, analysis, hop, 1, channels)
    frames = 3 * analysis // hop
    audio = noise(channels, frames * hop, seed=seed)
    out = np.empty_like(audio)
    spectrum = np.empty((channels, forward.bins), np.complex64)
    for f in range(frames):
        span = slice(f * hop, (f + 1) * hop)
        forward.push(audio[:, span], spectrum)
        back.push(spectrum[None], out[None, :, span])
    delay = synthesis - hop
    assert back.delay == delay
    expected = np.pad(audio, ((0, 0), (delay, 0)))[:, : frames * hop]
    assert decibels(out - expected, expected) < -120


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("analysis", "hop"), [(16, 16), (256, 64), (2048, 512), (64, 24)])
def test_spectra_equal_offline(analysis: int, hop: int, channels: int) -> None:
    # hop 24 does not divide 64: blocks wrap around the history's end
    window = noise(analysis, seed=1)
    audio = noise(channels, hop * 20)
    forward = StreamingSTFT(window, hop, channels)
    spectrum = np.empty((channels, forward.bins), np.complex64)
    for f, expected in enumerate(offline_spectra(audio, window, hop)):
        forward.push(audio[:, f * hop : (f + 1) * hop], spectrum)
        assert np.abs(spectrum - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(("stems", "channels"), [(1, 1), (3, 1), (4, 2), (3, 3)])
def test_overlap_add_equals_offline(stems: int, channels: int) -> None:
    analysis, synthesis, hop, frames = 64, 32, 8, 12
    window = noise(synthesis, seed=1)
    shape = (frames, stems, channels, analysis // 2 + 1)
    # Imaginary parts at DC and Nyquist too, which irfft ignores.
    spectra = (noise(*shape, seed=2) + 1j * noise(*shape, seed=3)).astype(np.complex64)
    whole = np.zeros((stems, channels, frames * hop + synthesis))
    for f in range(frames):
        tail = np.fft.irfft(spectra[f].astype(np.complex128))[..., -synthesis:]
        whole[..., f * hop : f * hop + synthesis] += tail * window
    back = StreamingISTFT(window, analysis, hop, stems, channels)
    out = np.empty((stems, channels, hop), np.float32)
    for f in range(frames):
        before = spectra[f].copy()
        back.push(spectra[f], out)
        assert np.array_equal(before, spectra[f])
        assert np.abs(out - whole[..., f * hop : (f + 1) * hop]).max() < 1e-6


def test_frame_ends_at_newest_sample() -> None:
    window = np.zeros(64, np.float32)
    window[-1] = 1.0
    forward = StreamingSTFT(window, 16, 1)
    spectrum = np.empty((1, 33), np.complex64)
    block = np.zeros((1, 16), np.float32)
    block[0, -1] = 0.5
    forward.push(block, spectrum)
    assert np.abs(spectrum) == pytest.approx(0.5)


def test_channels_do_not_leak() -> None:
    # Two channels share one complex FFT; what one holds must not be heard in the other.
    forward = StreamingSTFT(np.ones(1024, np.float32), 256, 2)
    spectrum = np.empty((2, 513), np.complex64)
    block = noise(2, 256)
    block[1] = 0.0
    for _ in range(4):
        forward.push(block, spectrum)
    assert decibels(np.abs(spectrum[1]), np.abs(spectrum[0])) < -130


def test_reset_is_as_new() -> None:
    window, dual = asymmetric_pair(256, 128, 32)
    forward, back = StreamingSTFT(window, 32, 2), StreamingISTFT(dual, 256, 32, 1, 2)
    audio = noise(2, 32 * 11)
    spectrum = np.empty((2, 129), np.complex64)

    def run() -> NDArray[np.float32]:
        out = np.empty_like(audio)
        for f in range(11):
            forward.push(audio[:, f * 32 : f * 32 + 32], spectrum)
            back.push(spectrum[None], out[None, :, f * 32 : f * 32 + 32])
        return out

    first = run()
    carried = run()
    forward.reset()
    back.reset()
    assert np.array_equal(run(), first)
    assert not np.array_equal(carried, first)


def test_not_a_number_leaves_with_its_frame() -> None:
    window, dual = asymmetric_pair(64, 32, 16)
    forward, back = StreamingSTFT(window, 16, 2), StreamingISTFT(dual, 64, 16, 1, 2)
    spectrum = np.empty((2, 33), np.complex64)
    out = np.empty((1, 2, 16), np.float32)
    bad = noise(2, 16)
    bad[0, 3] = np.nan
    for block in [bad] + [noise(2, 16)] * 6:
        forward.push(block, spectrum)
        back.push(spectrum[None], out)
    assert np.isfinite(out).all()


def test_spectra_may_be_views_of_float_pairs() -> None:
    window, dual = asymmetric_pair(256, 128, 64)
    forward, back = StreamingSTFT(window, 64, 2), StreamingISTFT(dual, 256, 64, 4, 2)
    pairs = np.zeros((1, 2, 129, 2), np.float32)
    forward.push(noise(2, 64), pairs[0].view(np.complex64)[..., 0])
    assert np.abs(pairs).max() > 0
    stems = np.ascontiguousarray(np.broadcast_to(pairs[:, None] / 4, (1, 4, 2, 129, 2)))
    out = np.empty((4, 2, 64), np.float32)
    back.push(stems[0].view(np.complex64)[..., 0], out)
    assert np.abs(out).max() > 0


def test_caller_may_change_or_lock_the_window() -> None:
    window = np.ones(16, np.float32)
    window.flags.writeable = False
    forward = StreamingSTFT(window, 16, 1)
    spectrum = np.empty((1, 9), np.complex64)
    forward.push(np.ones((1, 16), np.float32), spectrum)
    assert spectrum[0, 0] == 16


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="power of two"):
        StreamingSTFT(np.ones(1000, np.float32), 500, 2)
    with pytest.raises(UsageError, match="hop 65"):
        StreamingSTFT(np.ones(64, np.float32), 65, 2)
    with pytest.raises(UsageError, match="0 channels"):
        StreamingSTFT(np.ones(64, np.float32), 16, 0)
    with pytest.raises(UsageError, match="synthesis window 128"):
        StreamingISTFT(np.ones(128, np.float32), 64, 16, 4, 2)
    with pytest.raises(UsageError, match="hop 24"):
        StreamingISTFT(np.ones(64, np.float32), 64, 24, 4, 2)
    with pytest.raises(UsageError, match="0 stems"):
        StreamingISTFT(np.ones(64, np.float32), 64, 16, 0, 2)


def test_wrong_arguments_are_refused() -> None:
    forward = StreamingSTFT(np.ones(64, np.float32), 16, 2)
    back = StreamingISTFT(np.ones(64, np.float32), 64, 16, 1, 2)
    spectrum = np.zeros((2, 33), np.complex64)
    with pytest.raises(ValueError, match="expected"):
        forward.push(np.zeros((2, 15), np.float32), spectrum)
    with pytest.raises(TypeError):
        forward.push(np.zeros((2, 16)), spectrum)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected"):
        back.push(spectrum[None], np.zeros((2, 2, 16), np.float32))


def test_no_allocation() -> None:
    window, dual = asymmetric_pair(2048, 1024, 512)
    forward, back = StreamingSTFT(window, 512, 2), StreamingISTFT(dual, 2048, 512, 4, 2)
    block = noise(2, 512)
    spectrum = np.zeros((2, 1025), np.complex64)
    spectra = np.zeros((4, 2, 1025), np.complex64)
    out = np.zeros((4, 2, 512), np.float32)
    assert_allocates_nothing(lambda: forward.push(block, spectrum))
    assert_allocates_nothing(lambda: back.push(spectra, out))
