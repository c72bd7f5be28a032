"""Encoders have the filters that they should, lose nothing where they should not, and can be learnt."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad_vec

from rtsep.separators.encoders import (
    BankCodec,
    EncodingConfig,
    GammatoneBank,
    SincBank,
    Spectrogram,
    ideal_ratio_stems,
    make_codec,
    spaced,
)

RATE = 8000
SMALL = {"sample_rate": RATE, "filters": 24, "window": 12, "stride": 6, "stft_frame": 64}
ENCODINGS: dict[str, dict[str, Any]] = {
    "convolution": {"encoding": "convolution"},
    "sinc": {"encoding": "filterbank", "bank": "sinc"},
    "sinc paired": {"encoding": "filterbank", "bank": "sinc", "paired": True},
    "gammatone": {"encoding": "filterbank", "bank": "gammatone", "spacing": "uniform"},
    "inverse decoder": {"encoding": "filterbank", "bank": "gammatone", "inverse": "decoder"},
    "inverse encoder": {"encoding": "filterbank", "bank": "gammatone", "inverse": "encoder"},
    "hybrid convolution": {"bank": "convolution"},
    "hybrid sinc": {"bank": "sinc"},
    "hybrid gammatone": {"bank": "gammatone", "layers": 2, "mixed": True},
    "hybrid stft": {"bank": "stft"},
    "hybrid linear stft": {"bank": "stft", "stft_scale": "linear"},
    "no bank": {"bank_share": 0.0},
    "bank only": {"bank": "stft", "bank_share": 1.0},
    "deep": {"encoding": "deep", "layers": 2},
}


def codec_of(**changes: Any) -> Any:
    return make_codec(EncodingConfig.model_validate(SMALL | changes))


def noise(batch: int, samples: int) -> torch.Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("name", ENCODINGS)
def test_any_length_goes_there_and_back_and_everything_is_learnt(name: str) -> None:
    codec = codec_of(**ENCODINGS[name])
    codec.begin(noise(2, 400))
    for samples in (1, 6, 7, 301):
        features = codec.encode(noise(2, samples))
        assert features.shape == (2, 24, codec.frames(samples))
        waves = codec.decode(features, samples)
        assert waves.shape == (2, samples) and waves.isfinite().all()
    (waves - noise(2, 301)).square().sum().backward()
    for parameter, value in codec.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(), parameter


@given(
    shape=st.sampled_from([(12, 6), (12, 12), (12, 4), (20, 20), (9, 3), (25, 25)]),
    samples=st.integers(1, 300),
    inverse=st.sampled_from(["encoder", "decoder"]),
    kind=st.sampled_from(["convolution", "gammatone", "sinc paired"]),
)
@settings(max_examples=25, deadline=None)
def test_a_pseudo_inverse_reconstructs(shape: tuple[int, int], samples: int, inverse: str, kind: str) -> None:
    window, stride = shape
    changes = ENCODINGS[kind] | {"window": window, "stride": stride, "filters": 80, "inverse": inverse}
    signal = noise(1, samples)
    with torch.no_grad():
        codec = codec_of(**changes)
        again = codec.decode(codec.encode(signal), samples)
    torch.testing.assert_close(again, signal, atol=2e-3, rtol=0.0)


def test_the_sinc_filters_of_the_thesis_see_half_of_a_frame() -> None:
    """They are even: as many filters as one likes span half the window's dimensions."""
    kernels = SincBank(80, 20, RATE, "mel", False).kernels().detach()
    torch.testing.assert_close(kernels, kernels.flip(1), atol=1e-5, rtol=0.0)
    assert torch.linalg.matrix_rank(kernels.double(), rtol=1e-6) == 10
    paired = SincBank(80, 20, RATE, "mel", True).kernels().detach()
    assert torch.linalg.matrix_rank(paired.double(), rtol=1e-6) == 20


def test_sinc_filters_are_windowed_band_passes() -> None:
    bank = SincBank(12, 25, RATE, "uniform", False)
    low, high = (edge.detach().numpy() for edge in bank.bands())
    for kernel, first, last in zip(bank.kernels().detach().numpy(), low, high, strict=True):
        if last >= 0.5:
            continue  # scipy makes no band-pass up to half the rate
        theirs = scipy.signal.firwin(25, [first, last], pass_zero=False, fs=1.0, scale=False)
        np.testing.assert_allclose(kernel, theirs / np.linalg.norm(theirs), atol=1e-5)


def test_sinc_pairs_are_cosines_and_sines_of_one_band() -> None:
    bank = SincBank(6, 11, RATE, "mel", True)
    low, high = (edge.detach().numpy() for edge in bank.bands())
    times = 2.0 * np.pi * (np.arange(11) - 5.0)
    for band in range(3):
        for odd, function in ((0, np.cos), (1, np.sin)):
            wave, _ = quad_vec(lambda f, g=function: 2.0 * g(times * f), low[band], high[band])
            wave *= np.hamming(11)
            kernel = bank.kernels().detach().numpy()[2 * band + odd]
            np.testing.assert_allclose(kernel, wave / np.linalg.norm(wave), atol=1e-5)


def test_gammatone_filters_are_scipys() -> None:
    bank = GammatoneBank(10, 40, RATE, "mel")
    with torch.no_grad():
        bank.phase.zero_()
    for kernel, frequency in zip(bank.kernels().detach().numpy(), bank.frequency.tolist(), strict=True):
        theirs, _ = scipy.signal.gammatone(frequency * RATE, "fir", order=2, numtaps=41, fs=RATE)
        np.testing.assert_allclose(kernel, theirs[1:] / np.linalg.norm(theirs), atol=1e-4)


def test_spacings_are_the_scales() -> None:
    theirs = librosa.mel_frequencies(12, fmin=50.0, fmax=4000.0, htk=True)
    np.testing.assert_allclose(spaced(12, 50.0, 4000.0, "mel").numpy(), theirs, rtol=1e-4)
    np.testing.assert_allclose(spaced(3, 0.0, 4000.0, "uniform").numpy(), [0.0, 2000.0, 4000.0])


def test_shares_of_a_hybrid() -> None:
    config = EncodingConfig.model_validate(SMALL | {"bank_share": 0.75, "layers": 2})
    codec = make_codec(config)
    assert config.split() == (6, 18)
    assert [b.kernels().shape for b in codec.banks] == [(9, 12), (9, 24)]
    assert [b.kernels().shape for b in codec.convolutions] == [(3, 12), (3, 24)]


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_ideal_masks_separate_and_lose_nothing(alpha: float) -> None:
    """Equation 5.1, on an encoding that loses nothing: the masks' stems sum to the mixture."""
    time = torch.arange(2000) / RATE
    stems = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (200.0, 1100.0, 2900.0)])[None]
    changes = {"window": 40, "stride": 10, "filters": 80, "inverse": "decoder"}
    codec = codec_of(**ENCODINGS["sinc paired"] | changes)
    with torch.no_grad():
        estimates = ideal_ratio_stems(codec, stems, alpha)
    torch.testing.assert_close(estimates.sum(dim=1), stems.sum(dim=1), atol=2e-3, rtol=0.0)
    assert relative(estimates, stems).max() < 0.02
    assert relative(stems.sum(dim=1, keepdim=True), stems).min() > 1.5


def relative(estimates: torch.Tensor, stems: torch.Tensor) -> torch.Tensor:
    """Power of the error against the stem's."""
    return (estimates - stems).square().sum(dim=2) / stems.square().sum(dim=2)


def test_convolutions_are_rectified_unless_inverted() -> None:
    assert isinstance(codec_of(**ENCODINGS["convolution"]), BankCodec)
    signal = noise(1, 300)
    assert codec_of(**ENCODINGS["convolution"]).encode(signal).min() == 0.0
    assert codec_of(encoding="convolution", inverse="decoder").encode(signal).min() < 0.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stride": 13}, "leaves gaps"),
        ({"inverse": "decoder"}, "a hybrid encoding has no pseudo-inverse"),
        ({"encoding": "deep", "bank": "stft"}, "of sinc or gammatone"),
        ({"encoding": "filterbank", "bank": "convolution"}, "of sinc or gammatone"),
        ({"bank_share": 0.05, "layers": 2}, "cannot be shared by 2 layers"),
        ({"bank_share": 1.5}, "less than or equal"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_impossible_encodings_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        EncodingConfig.model_validate(SMALL | change)


def test_a_linear_spectrogram_is_nothing_in_silence_and_doubles_with_the_sound() -> None:
    """Of a logarithmic one neither holds: there a masked bin does not shrink with what is masked."""
    for scale, proportional in (("linear", True), ("logarithmic", False)):
        config = EncodingConfig.model_validate(SMALL | {"bank": "stft", "stft_scale": scale})
        spectrogram = Spectrogram(config, 12)
        signal = 0.1 * noise(1, 600)
        spectrogram.begin(signal)
        with torch.no_grad():
            assert spectrogram.mix.bias is not None
            spectrogram.mix.bias.zero_()
            once, twice, never = (spectrogram(gain * signal, 50) for gain in (1.0, 2.0, 0.0))
        assert torch.allclose(2.0 * once, twice, atol=1e-3) is proportional
        assert bool(never.abs().max() < 0.05 * once.abs().max()) is proportional
