"""Networks that mask in bands: sizes, state, and stems that sum to the mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rtsep.separators.catalogue import build
from rtsep.separators.mask_network import MaskNetwork
from rtsep.spec import RtsepError
from tests.models import build_tiny_network

pytestmark = pytest.mark.parametrize("architecture", ["band-split", "causal-lstm"])


@pytest.mark.parametrize("channels,stems", [(1, ("a", "b")), (2, ("a", "b", "c")), (2, ("a",))])
def test_shapes_follow_the_config(architecture: str, channels: int, stems: tuple[str, ...]) -> None:
    network = build_tiny_network(architecture, channels=channels, stems=list(stems))
    with torch.no_grad():
        assert network(torch.randn(3, channels, 1001)).shape == (3, len(stems), channels, 1001)
        state = network.init_state(3)
        out, after = network.step(torch.randn(3, channels, 257, 2), state)
    assert out.shape == (3, len(stems), channels, 257, 2)
    assert {name: value.shape for name, value in after.items()} == {
        name: v.shape for name, v in state.items()
    }
    assert list(after) == list(state)


@pytest.mark.parametrize("stereo", ["left-right", "mid-side"])
@pytest.mark.parametrize("samples", [1, 127, 128, 5000])
def test_stems_sum_to_the_mixture(architecture: str, stereo: str, samples: int) -> None:
    network = build_tiny_network(architecture, stereo=stereo)
    mix = torch.randn(2, 2, samples)
    with torch.no_grad():
        stems = network(mix)
    assert stems.shape == (2, 4, 2, samples)
    np.testing.assert_allclose(stems.sum(dim=1), mix, atol=2e-6)


def test_frames_at_once_equal_frames_one_by_one(architecture: str) -> None:
    network = build_tiny_network(architecture)
    assert isinstance(network, MaskNetwork)
    # Bins of noise at this level are about as large as samples at full scale.
    mix = 0.05 * torch.randn(2, 2, 4000)
    with torch.no_grad():
        spectrum = network.analyse(mix)
        whole, last = network.separate_spectrum(spectrum, network.init_state(2))
        state = network.init_state(2)
        for frame in range(spectrum.shape[1]):
            out, state = network.step(torch.view_as_real(spectrum[:, frame].contiguous()), state)
            np.testing.assert_allclose(out, torch.view_as_real(whole[:, frame]), atol=2e-5)
    for name in state:
        np.testing.assert_allclose(state[name], last[name], atol=1e-5)


def test_a_song_in_two_parts_goes_on_where_it_stopped(architecture: str) -> None:
    network = build_tiny_network(architecture)
    assert isinstance(network, MaskNetwork)
    with torch.no_grad():
        spectrum = network.analyse(torch.randn(1, 2, 4000))
        whole, _ = network.separate_spectrum(spectrum, network.init_state(1))
        first, state = network.separate_spectrum(spectrum[:, :13], network.init_state(1))
        second, _ = network.separate_spectrum(spectrum[:, 13:], state)
    np.testing.assert_allclose(torch.cat([first, second], dim=1), whole, atol=2e-5)


def test_a_step_leaves_its_state_alone(architecture: str) -> None:
    network = build_tiny_network(architecture)
    frame = torch.randn(1, 2, 257, 2)
    with torch.no_grad():
        _, state = network.step(frame, network.init_state(1))
        saved = {name: value.clone() for name, value in state.items()}
        first, _ = network.step(frame, state)
        second, _ = network.step(frame, state)
    assert torch.equal(first, second)
    assert all(torch.equal(saved[name], state[name]) for name in saved)


def test_silence_gives_silence(architecture: str) -> None:
    network = build_tiny_network(architecture)
    with torch.no_grad():
        stems = network(torch.zeros(1, 2, 2000))
    assert torch.equal(stems, torch.zeros(1, 4, 2, 2000))


def test_a_centred_sound_stays_centred_with_mid_and_side_masks(architecture: str) -> None:
    network = build_tiny_network(architecture, stereo="mid-side")
    mono = torch.randn(1, 1, 3000)
    with torch.no_grad():
        stems = network(mono.expand(1, 2, 3000))
    np.testing.assert_allclose(stems[:, :, 0], stems[:, :, 1], atol=1e-6)


def test_masks_reach_beyond_the_bandwidth(architecture: str) -> None:
    # The input is cropped; the output is not: what lies above is shared out like the topmost band.
    network = build_tiny_network(architecture, bandwidth=8000.0)
    time = torch.arange(8000) / 44100
    tone = torch.sin(2 * torch.pi * 18000.0 * time).expand(1, 2, 8000)
    with torch.no_grad():
        stems = network(tone)
    np.testing.assert_allclose(stems.sum(dim=1), tone, atol=2e-6)
    assert stems.square().mean() > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"synthesis": 4096},
        {"hop": 500},
        {"hop": 1024},
        {"bandwidth": 100.0},
        {"wide_bands": 5000},
        {"channels": 3},
        {"stereo": "surround"},
        {"magic": 1},
    ],
)
def test_impossible_configs_are_refused(architecture: str, change: dict[str, Any]) -> None:
    with pytest.raises(RtsepError):
        build(architecture, change)


def test_every_weight_learns(architecture: str) -> None:
    network = build_tiny_network(architecture).train()
    stems = network(torch.randn(1, 2, 3000))
    target = torch.randn(stems.shape, generator=torch.Generator().manual_seed(0))
    (stems * target).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name


@pytest.mark.parametrize("frames", [1, 5, 1000])
def test_a_song_in_pieces_is_the_song(architecture: str, frames: int) -> None:
    network = build_tiny_network(architecture)
    assert isinstance(network, MaskNetwork)
    mix = torch.randn(2, 2, 4003)
    with torch.no_grad():
        np.testing.assert_allclose(network.separate(mix, frames), network(mix), atol=2e-5)
