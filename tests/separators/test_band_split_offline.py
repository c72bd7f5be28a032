"""The band-split network that hears the future: how it begins, and that it listens both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rtsep.separators.band_split import BandSplit, BandSplitConfig
from rtsep.separators.band_split_offline import BandSplitOffline
from rtsep.separators.mask_network import masks_of
from rtsep.spec import ModelError

SIZES = BandSplitConfig(
    analysis=512, synthesis=256, hop=128, wide_bands=8, group=6, features=8, memory=6, across=4, depth=2
)


@pytest.fixture
def network() -> BandSplitOffline:
    torch.manual_seed(3)
    return BandSplitOffline(SIZES).eval()


def test_what_has_grown_from_a_causal_network_first_does_as_that_does(network: BandSplitOffline) -> None:
    causal = BandSplit(SIZES.model_copy(update={"dilation": 2, "hop": 64, "synthesis": 128})).eval()
    same = BandSplit(SIZES).eval()
    same.load_state_dict(causal.state_dict())
    network.grow(causal)
    mix = torch.randn(1, 2, 5000)
    with torch.no_grad():
        np.testing.assert_allclose(network.estimate(mix), same(mix), atol=1e-5)


def test_it_grows_only_from_what_has_its_sizes(network: BandSplitOffline) -> None:
    with pytest.raises(ModelError, match="same bands"):
        network.grow(BandSplit(SIZES.model_copy(update={"memory": 7})))


def test_what_comes_later_changes_what_came_before(network: BandSplitOffline) -> None:
    mix = torch.randn(2, 8000)
    other = mix.clone()
    other[:, 6000:] = 0.0
    with torch.no_grad():
        difference = (network(mix) - network(other))[..., :4000].abs().max()
    assert difference > 1e-4


def test_stems_sum_to_the_mixture_whatever_its_length(network: BandSplitOffline) -> None:
    with torch.no_grad():
        for samples in (1, 127, 128, 4001):
            mix = torch.randn(2, samples)
            np.testing.assert_allclose(network(mix).sum(dim=0), mix, atol=1e-5)


def test_it_cannot_stream(network: BandSplitOffline) -> None:
    masks = masks_of(network)
    assert masks is not None
    with pytest.raises(ModelError, match="frame by frame"):
        masks.decide_once(torch.zeros(1, masks.views * masks.bands), {})
    with pytest.raises(ModelError, match="dilation"):
        BandSplitOffline(SIZES.model_copy(update={"dilation": 2}))
