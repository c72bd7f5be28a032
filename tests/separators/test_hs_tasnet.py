"""HS-TasNet: sizes, transforms, state, and stems that sum to the mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rtsep.separators.hs_tasnet import HSTasNet, HSTasNetConfig
from tests.models import build_tiny_network

VARIANTS: list[dict[str, Any]] = [{}, {"depth": 2, "merge": "concatenate"}]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("channels,stems", [(1, ("a", "b")), (2, ("a", "b", "c")), (6, ("a",))])
def test_shapes_follow_the_config(channels: int, stems: tuple[str, ...], variant: dict[str, Any]) -> None:
    network = build_tiny_network("hs-tasnet", channels=channels, stems=list(stems), **variant)
    with torch.no_grad():
        assert network(torch.randn(3, channels, 1001)).shape == (3, len(stems), channels, 1001)
        state = network.init_state(3)
        out, after = network.step(torch.randn(3, channels, 64), state)
    assert out.shape == (3, len(stems), channels, 64)
    assert [(name, v.shape) for name, v in after.items()] == [(name, v.shape) for name, v in state.items()]


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 65, 500])
def test_any_length_comes_back_and_stems_sum_to_the_mixture(samples: int) -> None:
    network = build_tiny_network("hs-tasnet")
    mix = 4.0 * torch.randn(2, 2, samples)
    with torch.no_grad():
        stems = network(mix)
    assert stems.shape == (2, 4, 2, samples)
    np.testing.assert_allclose(stems.sum(dim=1), mix, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_give_what_the_whole_gives(variant: dict[str, Any]) -> None:
    network = build_tiny_network("hs-tasnet", **variant)
    mix = 0.3 * torch.randn(2, 2, 64 * 20)
    with torch.no_grad():
        whole = network(mix)
        state, hops = network.init_state(2), []
        for start in range(0, mix.shape[-1], 64):
            out, state = network.step(mix[..., start : start + 64], state)
            hops.append(out)
    streamed = torch.cat(hops, dim=-1)
    np.testing.assert_allclose(streamed[..., 64:], whole[..., :-64], atol=1e-5)
    assert (whole[:, 0] - whole[:, 1]).abs().max() > 0.01


def test_a_step_leaves_its_state_alone() -> None:
    network = build_tiny_network("hs-tasnet")
    state = network.init_state(1)
    with torch.no_grad():
        network.step(torch.randn(1, 2, 64), state)
    assert not any(value.any() for value in state.values())


def test_the_spectral_branch_reconstructs() -> None:
    """With masks of one and a silent learned branch, each stem is the mixture without being made so."""
    network = build_tiny_network("hs-tasnet")
    assert isinstance(network, HSTasNet)
    mix = 0.3 * torch.randn(1, 2, 64 * 12)
    with torch.no_grad():
        network.decoder.weight.zero_()
        network.spectrum_masks.weight.zero_()
        network.spectrum_masks.bias.fill_(100.0)
        heads, tails = network._separate(mix, None)
    overlapped = (heads[:, 1:] + tails[:, :-1]).permute(0, 2, 3, 1, 4).flatten(3)
    for stem in overlapped[0]:
        np.testing.assert_allclose(stem, mix[0, :, 64:-64], atol=1e-5)


def test_the_matrices_are_the_transform() -> None:
    network = build_tiny_network("hs-tasnet")
    assert isinstance(network, HSTasNet)
    frame = torch.randn(128)
    real, imaginary = (frame @ network.to_spectrum).split(65)
    expected = torch.fft.rfft(frame * network.fade.sqrt())
    np.testing.assert_allclose(real, expected.real, atol=1e-4)
    np.testing.assert_allclose(imaginary, expected.imag, atol=1e-4)


@pytest.mark.parametrize(
    "variant,millions",
    [
        ({}, 19.3),
        ({"depth": 2, "merge": "concatenate"}, 41.4),
        ({"filters": 1500}, 22.5),
        ({"filters": 1500, "depth": 2, "merge": "concatenate"}, 44.5),
    ],
    ids=["small", "full", "small-1500", "full-1500"],
)
def test_sizes_are_those_that_are_told(variant: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        network = HSTasNet(HSTasNetConfig(**variant))
    assert network.spec.algorithmic_latency == 1024 and network.spec.hop == 512
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    "change,complaint", [({"window": 15}, "window"), ({"merge": "product"}, "merge"), ({"magic": 1}, "magic")]
)
def test_impossible_configs_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        HSTasNetConfig(**change)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns(variant: dict[str, Any]) -> None:
    network = build_tiny_network("hs-tasnet", **variant).train()
    network(torch.randn(1, 2, 1600))[:, 0].square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name
