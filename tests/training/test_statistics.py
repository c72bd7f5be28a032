"""Band statistics against the complex arithmetic that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rtsep.separators.causal_lstm import CausalLSTM, CausalLSTMConfig
from rtsep.training.statistics import Statistics, StatisticsExtractor, join
from tests.training.corpora import NETWORK, RATE


def make_network(**changes: Any) -> CausalLSTM:
    return CausalLSTM(CausalLSTMConfig(**NETWORK | changes))


def make_parts(used: int, channels: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Parts (4, channels, samples), of which `used` sound, and groups; the last takes what is left."""
    generator = torch.Generator().manual_seed(seed)
    parts, groups = torch.zeros(4, channels, RATE // 4), torch.zeros(4, 4)
    parts[:used] = 0.1 * torch.randn(used, channels, RATE // 4, generator=generator)
    for p in range(used):
        groups[p, p] = 1.0
    groups[used - 1, used:] = 1.0
    return parts, groups


def spectra_of(network: CausalLSTM, parts: Tensor) -> Tensor:
    """(parts, time, channels, bins) complex128, as the masks see it: mid and side where they act on these."""
    x = network.analyse(parts).to(torch.complex128)
    if network.config.channels == 2 and network.config.stereo == "mid-side":
        left, right = x[:, :, 0], x[:, :, 1]
        return torch.stack((left + right, left - right), dim=2) / 2.0**0.5
    return x


@pytest.mark.parametrize("stereo", ["mid-side", "left-right"])
@pytest.mark.parametrize("used", [1, 2, 4])
def test_sums_are_those_of_the_complex_bins(stereo: str, used: int) -> None:
    network = make_network(stereo=stereo)
    parts, groups = make_parts(used)
    found = StatisticsExtractor(network)(parts, groups)
    targets = spectra_of(network, parts)
    mixture = targets.sum(dim=0)
    to_bins = network.to_bins.double()  # (bands, bins)
    torch.testing.assert_close(
        found.mixture[0].double(), mixture.abs().square() @ to_bins.T, rtol=1e-4, atol=1e-6
    )
    for p in range(4):
        cross = (mixture.conj() * targets[p]).real @ to_bins.T
        torch.testing.assert_close(found.cross[0, :, p].double(), cross, rtol=1e-4, atol=1e-5)
        energy = targets[p].abs().square() @ to_bins.T
        torch.testing.assert_close(found.target[0, :, p].double(), energy, rtol=1e-4, atol=1e-6)
    assert torch.equal(found.groups[0], groups)


def test_a_window_may_stand_in_for_the_networks_own() -> None:
    network, short = make_network(synthesis=128), make_network(synthesis=32, hop=16)
    parts, groups = make_parts(3)
    found = StatisticsExtractor(network, (128, 32))(parts, groups, 1)
    usual = StatisticsExtractor(network)(parts, groups)
    assert torch.equal(StatisticsExtractor(network, (128, 32))(parts, groups, 0).mixture, usual.mixture)
    # Frames that end with the same samples are the short network's: four of its hops are one of the other's.
    expected = StatisticsExtractor(short)(parts, groups)
    frames = min(found.mixture.shape[1], expected.mixture.shape[1] // 4)
    torch.testing.assert_close(found.mixture[:, :frames], expected.mixture[:, 3::4][:, :frames])
    assert not torch.allclose(found.mixture, usual.mixture, rtol=1e-2)


def test_mono() -> None:
    network = make_network(channels=1)
    parts, groups = make_parts(3, channels=1)
    found = StatisticsExtractor(network)(parts, groups)
    mixture = network.analyse(parts).sum(dim=0)
    expected = mixture.abs().square().double() @ network.to_bins.double().T
    torch.testing.assert_close(found.mixture[0].double(), expected, rtol=1e-4, atol=1e-6)


def test_they_give_the_error_of_any_mask_that_is_constant_over_a_band() -> None:
    """m^2 |X|^2 - 2 m Re(X* T) + |T|^2, summed over a band, is |m X - T|^2 summed over its bins."""
    network = make_network()
    parts, groups = make_parts(2)
    s = StatisticsExtractor(network)(parts, groups)
    masks = torch.rand(s.mixture.shape[1:], generator=torch.Generator().manual_seed(1)).double()
    targets = spectra_of(network, parts)
    single = int(network.config.linear_below / (RATE / network.config.analysis))  # bins with a band each
    m = masks[..., :single]
    expected = (m * targets.sum(dim=0)[..., :single] - targets[1][..., :single]).abs().square()
    x, r, t = (v.double()[..., :single] for v in (s.mixture[0], s.cross[0, :, 1], s.target[0, :, 1]))
    torch.testing.assert_close(m * m * x - 2.0 * m * r + t, expected, rtol=1e-4, atol=1e-5)


def test_no_energy_is_lost_between_bands() -> None:
    network = make_network()
    parts, groups = make_parts(4)
    found = StatisticsExtractor(network)(parts, groups)
    whole = network.analyse(parts).sum(dim=0).abs().square().sum()
    assert float(found.mixture.sum()) == pytest.approx(float(whole), rel=1e-5)


def test_features_are_the_networks_own() -> None:
    network = make_network()
    parts, groups = make_parts(4)
    found = StatisticsExtractor(network)(parts, groups)
    mixture = network.analyse(parts.sum(dim=0, keepdim=True))
    expected = network.features(torch.view_as_real(mixture))
    torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-4)


def test_batches_are_joined_in_order() -> None:
    extractor = StatisticsExtractor(make_network())
    singles = [extractor(*make_parts(used, seed=used)) for used in (1, 2, 4)]
    joined = join(singles)
    for name in Statistics.__dataclass_fields__:
        assert getattr(joined, name).shape[0] == 3
        for k, single in enumerate(singles):
            assert torch.equal(getattr(joined, name)[k : k + 1], getattr(single, name))
