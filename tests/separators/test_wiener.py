"""The filter separates what its model holds of, and agrees with the openunmix package where that is exact."""

from __future__ import annotations

import norbert
import pytest
import torch

import tests.open_unmix  # noqa: F401 - lets the package be imported
from rtsep.separators.wiener import EPSILON, wiener
from rtsep.spec import UsageError


def spectra(sources: int, channels: int, bins: int = 9, frames: int = 50) -> torch.Tensor:
    """Sources as the filter models them: a power at each bin and frame, a direction at each bin."""
    directions = torch.randn(sources, channels, bins, 1, dtype=torch.complex128)
    powers = torch.rand(sources, 1, bins, frames, dtype=torch.float64) ** 4
    noise = 0.05 * torch.randn(sources, channels, bins, frames, dtype=torch.complex128)
    return powers * (directions * torch.randn(sources, 1, bins, frames, dtype=torch.complex128) + noise)


@pytest.mark.parametrize("level", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_agrees_with_the_package_in_double_precision(
    channels: int, residual: bool, iterations: int, level: float
) -> None:
    from openunmix.filtering import wiener as peer

    sources = level * spectra(3, channels)
    mix = sources.sum(dim=0)
    magnitudes = sources.abs()[:2]
    found = wiener(magnitudes, mix, iterations, residual)
    theirs = peer(
        magnitudes.permute(3, 2, 1, 0).contiguous(),
        torch.view_as_real(mix.permute(2, 1, 0).contiguous()),
        iterations,
        residual=residual,
    )
    wanted = torch.view_as_complex(theirs.permute(4, 2, 1, 0, 3).contiguous())
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_agrees_with_norbert(channels: int, iterations: int) -> None:
    sources = spectra(3, channels)
    mix = sources.sum(dim=0)
    magnitudes = sources.abs().permute(3, 2, 1, 0).numpy()
    spectrum = mix.permute(2, 1, 0).numpy().copy()  # it is worked on in place
    theirs = norbert.wiener(magnitudes, spectrum, iterations, use_softmask=False, eps=EPSILON)
    wanted = torch.from_numpy(theirs).permute(3, 2, 1, 0)
    found = wiener(sources.abs(), mix, iterations, False)
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_sources_sum_to_the_mixture_where_it_is_not_silent() -> None:
    sources = spectra(3, 2)
    mix = sources.sum(dim=0)
    left = (wiener(sources.abs(), mix, 2, False).sum(dim=0) - mix).abs()
    assert left.max() <= 0.02 * mix.abs().max()


def test_directions_tell_sources_apart() -> None:
    """With perfect magnitudes the mixture's phase is the error that is left; the filter lessens it."""
    sources = spectra(2, 2, frames=200)
    mix = sources.sum(dim=0)
    before, after = (
        (wiener(sources.abs(), mix, rounds, False) - sources).abs().square().sum() for rounds in (0, 2)
    )
    assert after < 0.3 * before


def test_a_mixture_in_the_middle_stays_finite_and_in_the_middle() -> None:
    """Both channels alike: every covariance is singular."""
    one = spectra(2, 1).to(torch.complex64)
    found = wiener(one.expand(-1, 2, -1, -1).abs(), one.sum(dim=0).expand(2, -1, -1), 2, False)
    assert found.isfinite().all()
    assert (found[:, 0] - found[:, 1]).abs().max() <= 1e-5 * found.abs().max()


def test_one_source_alone_is_refused() -> None:
    mix = spectra(1, 2)[0]
    with pytest.raises(UsageError, match="two sources"):
        wiener(mix.abs().unsqueeze(0), mix, 1, False)
