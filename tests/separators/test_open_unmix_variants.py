"""Variants of Open-Unmix: with nothing chosen it is itself, and each choice does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from pydantic import ValidationError

import tests.open_unmix  # noqa: F401 - lets the package be imported
from rtsep.separators.open_unmix import OpenUnmix, OpenUnmixConfig
from rtsep.separators.open_unmix_variants import (
    OpenUnmixVariant,
    OpenUnmixVariantConfig,
    VariantNetwork,
    positions,
)
from rtsep.separators.open_unmix_waveform import WaveformOpenUnmix, WaveformOpenUnmixConfig

SMALL: dict[str, Any] = {
    "sample_rate": 16000, "frame": 256, "hop": 64, "bandwidth": 6000.0, "width": 16, "depth": 2,
    "targets": ("a", "b"),
}  # fmt: skip
WAVE: dict[str, Any] = {"levels": 3, "features": 4, "width": 12, "depth": 1, "stems": ("a", "b")}


def variant(**changes: Any) -> OpenUnmixVariant:
    return OpenUnmixVariant(OpenUnmixVariantConfig.model_validate(SMALL | changes)).eval()


def network_of(**changes: Any) -> VariantNetwork:
    network = variant(**changes).targets["a"]
    assert isinstance(network, VariantNetwork)
    return network


def waveform(**changes: Any) -> WaveformOpenUnmix:
    return WaveformOpenUnmix(WaveformOpenUnmixConfig.model_validate(WAVE | changes)).eval()


def test_with_nothing_chosen_it_is_open_unmix() -> None:
    ours = variant()
    sizes = {name: value for name, value in SMALL.items() if name != "bandwidth"}
    plain = OpenUnmix(OpenUnmixConfig.model_validate(sizes | {"bins": ours.config.bins})).eval()
    plain.load_state_dict(ours.state_dict())
    mix = 0.1 * torch.randn(2, 3000)
    with torch.no_grad():
        assert torch.equal(ours(mix), plain(mix))


@pytest.mark.parametrize("bandwidth", [9000.0, 11000.0, 13000.0, 15000.0, 16000.0, 44100.0])
def test_a_bandwidth_is_as_many_bins_as_the_package_takes(bandwidth: float) -> None:
    from openunmix.utils import bandwidth_to_max_bin

    config = OpenUnmixVariantConfig(bandwidth=bandwidth)
    assert config.bins == bandwidth_to_max_bin(44100, 4096, bandwidth)
    assert OpenUnmixVariantConfig.model_validate(config.model_dump()) == config


def test_the_default_is_what_open_unmix_hears() -> None:
    assert OpenUnmixVariantConfig().bins == OpenUnmixConfig().bins


@pytest.mark.parametrize("taps", [5, 10, 15, 35])
def test_the_filter_does_to_spectra_what_it_does_to_sound(taps: int) -> None:
    network = network_of(prefilter=taps, frame=2048, hop=512)
    sound = torch.randn(8192, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(network.response(), torch.ones(1025)), "lets everything through at first"
        network.taps.copy_(torch.randn(taps))
        gains = network.response().numpy()
        _, wanted = scipy.signal.freqz(network.taps.numpy(), worN=1025, include_nyquist=True)
        np.testing.assert_allclose(gains, np.abs(wanted), atol=1e-4)
        filtered = torch.from_numpy(scipy.signal.lfilter(network.taps.double().numpy(), 1.0, sound.numpy()))
        spectra = [
            torch.stft(x, 2048, 512, window=torch.hann_window(2048, dtype=torch.float64), return_complex=True)
            .abs().float()[None, None]
            for x in (sound, filtered)
        ]  # fmt: skip
        heard = network.emphasise(spectra[0].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    # Away from the ends, where what is reflected would have to be reflected after the filter.
    heard, wanted = heard[..., 3:-3], spectra[1][..., 3:-3]
    assert (heard - wanted).norm() < 0.05 * wanted.norm()


def test_weights_of_bins_weigh_what_is_heard_not_what_is_masked() -> None:
    network = network_of(premask=True)
    magnitudes = torch.rand(1, 2, 129, 20)
    with torch.no_grad():
        assert network.weights is not None
        network.output_mean.fill_(3.0)  # masks that are surely open
        before = network(magnitudes)
        network.weights[40:60] = 0.0
        after = network(magnitudes)
        assert (after - before).abs().max() > 1e-4, "the network hears a difference"
        assert after[:, :, 40:60].min() > 0.0, "and what it no longer hears still comes through"
        louder = magnitudes.clone()
        louder[:, :, 40:60] *= 2.0
        wanted = after.clone()
        wanted[:, :, 40:60] *= 2.0
        torch.testing.assert_close(network(louder), wanted)


def test_positions_tell_frames_apart() -> None:
    table = positions(50, 16)
    assert torch.cdist(table, table).add(torch.eye(50)).min() > 0.1
    # Equation of section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i / width)).
    assert table[7, 4] == pytest.approx(np.sin(7 / 10000 ** (4 / 16)), abs=1e-5)
    assert table[7, 5] == pytest.approx(np.cos(7 / 10000 ** (4 / 16)), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"premask": True}, {"prefilter": 15}, {"core": "transformer"}])
def test_shapes_and_gradients(options: dict[str, Any]) -> None:
    network = variant(**options).train()
    mix = 0.1 * torch.randn(2, 2, 3000)
    network.begin(mix)
    stems = network.estimate(mix)
    assert stems.shape == (2, 2, 2, 3000)
    stems.square().sum().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(), name
    with torch.no_grad():
        assert network.eval()(mix[0]).shape == (2, 2, 3000)


def test_a_transformer_hears_all_frames() -> None:
    network = variant(core="transformer")
    mix = 0.1 * torch.randn(2, 5000)
    changed = mix.clone()
    changed[:, -300:] = 0.0
    with torch.no_grad():
        assert (network(mix) - network(changed))[..., :1000].abs().max() > 1e-6


def test_responses_are_those_that_are_learnt() -> None:
    assert variant().responses() == {}
    found = variant(prefilter=5, premask=True).responses()
    assert list(found) == ["a", "b"] and found["a"].shape == (129,)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": "wide"}, "bandwidth"),
        ({"prefilter": 300}, "longer than a frame"),
        ({"core": "transformer", "heads": 3}, "multiple of the heads"),
        ({"core": "gru"}, "core"),
    ],
)
def test_impossible_variants_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        OpenUnmixVariantConfig.model_validate(SMALL | change)


# -- in the time domain ---------------------------------------------------------------------------------


def test_waveforms_shapes_and_gradients() -> None:
    network = waveform().train()
    mix = 0.1 * torch.randn(2, 2, 777)
    network.begin(mix)
    stems = network.estimate(mix)
    assert stems.shape == (2, 2, 2, 777)
    stems.square().sum().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(), name


@pytest.mark.parametrize("samples", [1, 7, 8, 100])
def test_waveforms_of_any_length_come_back(samples: int) -> None:
    with torch.no_grad():
        stems = waveform()(torch.randn(2, samples))
    assert stems.shape == (2, 2, samples) and stems.isfinite().all()


def test_waveforms_hear_the_future_through_the_memory() -> None:
    """Convolutions of one tap and interpolation over eight samples reach nowhere near."""
    mix = torch.randn(1, 2, 800, requires_grad=True)
    waveform(down_kernel=1, up_kernel=1).estimate(mix)[..., :600].square().sum().backward()
    assert mix.grad is not None and mix.grad[..., 700:].any()


def test_the_sizes_are_those_of_wave_u_net() -> None:
    """Table 1 of its paper: 12 levels of 24 more features each, kernels of 15 and 5."""
    with torch.device("meta"):
        network = WaveformOpenUnmix(WaveformOpenUnmixConfig(stems=("a", "b"))).networks["a"]
    down = [tuple(layer.weight.shape) for layer in network.down]  # type: ignore[union-attr]
    up = [tuple(layer.weight.shape) for layer in network.up]  # type: ignore[union-attr]
    assert down[0] == (24, 2, 15) and down[-1] == (288, 264, 15) and len(down) == 12
    assert up[0] == (288, 576, 5) and up[1] == (264, 288 + 264, 5) and up[-1] == (24, 48 + 24, 5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"down_kernel": 4}, "odd"), ({"stems": ("a", "a")}, "distinct"), ({"levels": 0}, "levels")],
)
def test_impossible_waveform_configs_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        WaveformOpenUnmixConfig.model_validate(WAVE | change)
