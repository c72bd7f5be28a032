"""Conv-TasNet: sizes, state, and stems that sum to the mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rtsep.separators.conv_tasnet import ConvTasNet, ConvTasNetConfig
from tests.models import build_tiny_network


@pytest.mark.parametrize("channels,stems", [(1, ("a", "b")), (2, ("a", "b", "c")), (6, ("a",))])
def test_shapes_follow_the_config(channels: int, stems: tuple[str, ...]) -> None:
    network = build_tiny_network("conv-tasnet", channels=channels, stems=list(stems))
    with torch.no_grad():
        assert network(torch.randn(3, channels, 1001)).shape == (3, len(stems), channels, 1001)
        state = network.init_state(3)
        out, after = network.step(torch.randn(3, channels, 64), state)
    assert out.shape == (3, len(stems), channels, 64)
    assert {name: value.shape for name, value in after.items()} == {
        name: v.shape for name, v in state.items()
    }
    assert list(after) == list(state)


@pytest.mark.parametrize("samples", [0, 1, 7, 8, 9, 63])
def test_any_length_comes_back(samples: int) -> None:
    network = build_tiny_network("conv-tasnet")
    mix = torch.randn(1, 2, samples)
    with torch.no_grad():
        stems = network(mix)
    assert stems.shape == (1, 4, 2, samples)
    np.testing.assert_allclose(stems.sum(dim=1), mix, atol=1e-6)


def test_stems_sum_to_the_mixture_even_when_loud() -> None:
    network = build_tiny_network("conv-tasnet")
    mix = 4.0 * torch.randn(2, 2, 4000)
    with torch.no_grad():
        stems = network(mix)
    assert (stems.sum(dim=1) - mix).abs().max() < 1e-5
    assert (stems - mix.unsqueeze(1) / 4).abs().max() > 0.1


def test_balanced_stems_are_made_of_the_others_and_sum_to_the_mixture() -> None:
    rows = ((1.25, 0.0, -0.5), (-0.25, 1.0, 0.25), (0.0, 0.0, 1.25))
    names = ["a", "b", "c"]
    plain = build_tiny_network("conv-tasnet", stems=names)
    balanced = build_tiny_network("conv-tasnet", stems=names, balance=rows)
    # Weights are the same ones: how stems are balanced is none of their business.
    balanced.load_state_dict(plain.state_dict())
    mix = torch.randn(2, 2, 640)
    with torch.no_grad():
        stems = balanced(mix)
        expected = torch.einsum("ks,bsct->bkct", torch.tensor(rows), plain(mix))
        hop, _ = balanced.step(mix[..., :64], balanced.init_state(2))
    np.testing.assert_allclose(stems, expected, atol=1e-6)
    np.testing.assert_allclose(stems.sum(dim=1), mix, atol=1e-5)
    delay = balanced.spec.delay
    np.testing.assert_allclose(hop[..., delay:], stems[..., : 64 - delay], atol=1e-5)


def test_a_step_leaves_its_state_alone_and_a_saved_state_resumes() -> None:
    network = build_tiny_network("conv-tasnet")
    hops = torch.randn(12, 1, 2, 64)
    with torch.no_grad():
        state = network.init_state(1)
        outputs, states = [], [state]
        for hop in hops:
            out, state = network.step(hop, state)
            outputs.append(out)
            states.append(state)
        saved = {name: value.clone() for name, value in states[5].items()}
        again = states[5]
        for index in range(5, 12):
            out, again = network.step(hops[index], again)
            assert torch.equal(out, outputs[index])
    assert all(torch.equal(saved[name], states[5][name]) for name in saved)
    assert not any(value.any() for value in states[0].values())


def test_batches_do_not_mix() -> None:
    network = build_tiny_network("conv-tasnet")
    mix = torch.randn(3, 2, 2000)
    with torch.no_grad():
        together = network(mix)
        alone = torch.cat([network(one[None]) for one in mix])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_convolutions_reach_as_far_back_as_said() -> None:
    # Norms remember everything; with their horizon at one frame only the convolutions look back.
    network = build_tiny_network("conv-tasnet", norm_seconds=1e-6)
    assert isinstance(network, ConvTasNet)
    config = network.config
    assert config.horizon == 1
    reach = config.receptive_field
    assert reach == (2 * 2 * 7) * 8 + 16
    grain = config.stride
    at = 40 * grain
    mix = torch.randn(1, 2, at + 2 * reach)
    other = mix.clone()
    other[..., at : at + grain] += 1.0
    with torch.no_grad():
        changed = (network(mix) - network(other)).abs().amax(dim=(0, 1, 2))
    last = int(torch.nonzero(changed > 1e-7).max())
    assert last == at + reach - 1


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"window": 15}, "window must be even"),
        ({"hop": 100, "window": 64}, "hop 100 must be a multiple of half the window, 32"),
        ({"kernel": 1}, "kernel"),
        ({"filters": 0}, "filters"),
        ({"norm_seconds": 1e5, "window": 2, "hop": 2}, "more frames than can be counted"),
        ({"magic": 1}, "magic"),
        ({"balance": ((1.0,),)}, "balance must have 4 rows of 4 numbers"),
        ({"balance": ((1.0, 0.1), (0.0, 1.0)), "stems": ("a", "b")}, "every column must sum to one"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ConvTasNetConfig(**change)


def test_every_weight_learns() -> None:
    network = build_tiny_network("conv-tasnet").train()
    stems = network(torch.randn(1, 2, 1600))
    stems.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name
