"""The band-split network: its phases, and what its groups have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rtsep.separators.band_split import BandSplit, BandSplitConfig
from tests.models import build_tiny_network


def tiny(**config: int) -> BandSplit:
    network = build_tiny_network("band-split", **config)
    assert isinstance(network, BandSplit)
    return network


@pytest.mark.parametrize("dilation", [2, 3, 5])
def test_each_phase_hears_what_a_network_with_a_long_hop_hears(dilation: int) -> None:
    slow, fast = tiny(dilation=1), tiny(dilation=dilation)
    fast.load_state_dict(slow.state_dict())
    features = torch.randn(2, 4 * dilation + 1, slow.views * slow.bands)
    with torch.no_grad():
        found, _ = fast.decide(features)
        for phase in range(dilation):
            expected, _ = slow.decide(features[:, phase::dilation])
            np.testing.assert_allclose(found[:, phase::dilation], expected, atol=1e-5)
            np.testing.assert_allclose(fast.decide_phase(features[:, phase::dilation]), expected, atol=1e-5)


@pytest.mark.parametrize("first", [1, 2, 3, 4, 9])
def test_phases_keep_their_turn_wherever_a_song_is_cut(first: int) -> None:
    network = tiny(dilation=3)
    features = torch.randn(1, 11, network.views * network.bands)
    with torch.no_grad():
        whole, last = network.decide(features)
        start, state = network.decide(features[:, :first])
        end, after = network.decide(features[:, first:], state)
    np.testing.assert_allclose(torch.cat((start, end), dim=1), whole, atol=1e-5)
    for name, value in after.items():
        np.testing.assert_allclose(value, last[name], atol=1e-5)


def test_fewer_frames_than_phases() -> None:
    network = tiny(dilation=4)
    features = torch.randn(1, 6, network.views * network.bands)
    with torch.no_grad():
        whole, _ = network.decide(features)
        state, parts = network.init_state(1), []
        for frame in range(6):
            out, state = network.decide(features[:, frame : frame + 1], state)
            parts.append(out)
    np.testing.assert_allclose(torch.cat(parts, dim=1), whole, atol=1e-5)


@pytest.mark.parametrize("group", [1, 3, 7, 40, 1000])
def test_any_group_holds_every_band(group: int) -> None:
    network = BandSplit(BandSplitConfig(analysis=512, synthesis=256, hop=128, wide_bands=8, group=group))
    with torch.no_grad():
        # A mask that follows its own band's bias says whether bands keep their order.
        network.mask_weight.zero_()
        order = torch.arange(network.groups * group, dtype=torch.float32).view(network.groups, 1, group)
        network.mask_bias.copy_(order.expand(-1, 8, -1).reshape(network.groups, -1))
        logits, _ = network.decide(torch.randn(1, 2, network.views * network.bands))
    assert torch.equal(logits, torch.arange(network.bands, dtype=torch.float32).expand(1, 2, 4, 2, -1))


def test_a_favoured_stem_gains_and_the_others_keep_their_order() -> None:
    network = tiny()
    features = torch.randn(1, 5, network.views * network.bands)
    with torch.no_grad():
        before, _ = network.decide(features)
        network.favour("vocals", 1.5)
        after, _ = network.decide(features)
    np.testing.assert_allclose(after[:, :, 0], before[:, :, 0] + 1.5, atol=1e-5)
    np.testing.assert_allclose(after[:, :, 1:], before[:, :, 1:], atol=1e-5)
