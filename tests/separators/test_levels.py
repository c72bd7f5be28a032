"""Stems that were learnt without a level get the mixture's."""

from __future__ import annotations

import pytest
import torch

from rtsep.separators.levels import as_loud_as


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [-300.0, 0.01, 1.0])
def test_a_common_factor_is_undone(factor: float) -> None:
    stems = noise(3, 2, 500)
    torch.testing.assert_close(as_loud_as(stems.sum(dim=0), factor * stems), stems, rtol=1e-4, atol=1e-5)


def test_no_other_factor_comes_nearer() -> None:
    mix, stems = noise(2, 500), noise(4, 2, 500) + 0.3 * noise(2, 500)
    found = as_loud_as(mix, stems)
    error = (mix - found.sum(dim=0)).square().sum()
    for nearby in (0.9, 1.1):
        assert (mix - nearby * found.sum(dim=0)).square().sum() > error


def test_silence_stays_silent() -> None:
    assert not as_loud_as(torch.zeros(2, 10), noise(3, 2, 10)).any()
    assert not as_loud_as(noise(2, 10), torch.zeros(3, 2, 10)).any()
