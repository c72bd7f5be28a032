"""Losses on waveforms: lowest at the truth, finite at silence, blind to what they should be blind to."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rtsep.training.losses import HEARD_DB, HIGHEST_SDR_DB, LOSSES, RESOLUTIONS, Scene, weighted
from rtsep.training.objective import WaveformObjective, Waveforms

RATE = 8000
SHAPE = (2, 4, 2, RATE)
"""Batch, parts, channels, samples."""
RELATIVE = {"si_sdr", "mr_stft"}

names = pytest.mark.parametrize("name", sorted(LOSSES))


def noise(seed: int, level: float = 0.1, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return level * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scene(estimate: Tensor, truth: Tensor, mix: Tensor | None = None) -> Scene:
    return Scene(estimate, truth, truth.sum(dim=1) if mix is None else mix, RATE // 2)


@names
def test_the_truth_is_lowest(name: str) -> None:
    truth = noise(0)
    best = LOSSES[name](scene(truth, truth))
    assert best.shape == SHAPE[:2]
    lowest = -HIGHEST_SDR_DB if name == "si_sdr" else 0.0
    torch.testing.assert_close(best, torch.full(SHAPE[:2], lowest), rtol=0.0, atol=0.01)
    if name != "silence":  # of which there is none here
        assert (LOSSES[name](scene(truth + noise(1, 0.02), truth)) > best + 1e-5).all()


@names
@settings(max_examples=8, deadline=None)
@given(near=st.floats(0.01, 0.3), further=st.floats(1.5, 4.0), seed=st.integers(0, 100))
def test_more_error_costs_more(name: str, near: float, further: float, seed: int) -> None:
    truth = noise(seed, shape=(1, 1, 2, 4096))
    if name == "silence":
        truth = torch.zeros_like(truth)
    error = noise(seed + 1000, near * 0.1, (1, 1, 2, 4096))
    mix = noise(seed + 2000, shape=(1, 2, 4096))
    one = LOSSES[name](scene(truth + error, truth, mix))
    other = LOSSES[name](scene(truth + further * error, truth, mix))
    assert (other > one).all()


@names
@pytest.mark.parametrize("silent", ["truth", "estimate", "both", "everything", "short"])
def test_the_gradient_is_finite_at_silence(name: str, silent: str) -> None:
    shape = (1, 2, 2, 700) if silent == "short" else (1, 2, 2, 4096)
    estimate, truth, mix = noise(0, shape=shape), noise(1, shape=shape), noise(2, shape=(1, 2, shape[-1]))
    if silent in ("estimate", "both", "everything"):
        estimate = torch.zeros_like(estimate)
    if silent in ("truth", "both", "everything"):
        truth = torch.zeros_like(truth)
    if silent == "everything":
        mix = torch.zeros_like(mix)
    estimate.requires_grad_()
    value = LOSSES[name](scene(estimate, truth, mix))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert estimate.grad is not None and torch.isfinite(estimate.grad).all()


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 100.0), error=st.floats(0.05, 3.0))
def test_si_sdr_does_not_see_scale_and_is_the_known_figure(scale: float, error: float) -> None:
    truth, wrong = noise(0), noise(1, 0.1 * error)
    value = LOSSES["si_sdr"](scene(truth + wrong, truth))
    torch.testing.assert_close(
        LOSSES["si_sdr"](scene(scale * (truth + wrong), truth)), value, rtol=0.0, atol=1e-3
    )
    flat = (truth + wrong).flatten(2).double()
    reference = truth.flatten(2).double()
    alpha = (flat * reference).sum(2) / reference.square().sum(2)
    target = alpha[..., None] * reference
    plain = 10.0 * torch.log10(target.square().sum(2) / (flat - target).square().sum(2))
    soft = -10.0 * torch.log10(10.0 ** (-plain / 10.0) + 10.0 ** (-HIGHEST_SDR_DB / 10.0))
    torch.testing.assert_close(value.double(), -soft, rtol=0.0, atol=0.02)


def test_terms_are_of_one_scale() -> None:
    """White noise of power p gives p in time and in the complex spectrum: Parseval."""
    truth, estimate = torch.zeros(SHAPE), noise(3, 0.1)
    power = LOSSES["mse"](scene(estimate, truth, noise(4)[:, 0]))
    spectral = LOSSES["magnitude"](scene(estimate, truth, noise(4)[:, 0]))
    torch.testing.assert_close(power, torch.full(SHAPE[:2], 0.01), rtol=0.05, atol=0.0)
    torch.testing.assert_close(spectral, power, rtol=0.05, atol=0.0)
    dual = LOSSES["dual"](scene(estimate, truth, noise(4)[:, 0]))
    torch.testing.assert_close(dual, 0.9 * spectral + 0.1 * power)


def test_only_the_spectral_terms_without_phase_ignore_polarity() -> None:
    truth = noise(0)
    for name in ("magnitude", "magnitude_l1", "mr_stft"):
        torch.testing.assert_close(
            LOSSES[name](scene(-truth, truth)), torch.zeros(SHAPE[:2]), rtol=0, atol=1e-3
        )
    for name in ("l1", "mse", "complex", "compressed"):
        assert (LOSSES[name](scene(-truth, truth)) > 0.01).all(), name


def test_silent_parts_are_the_silence_terms_affair() -> None:
    truth = noise(0)
    truth[:, 1] = 0.0
    mix = truth.sum(dim=1)
    estimate = truth + noise(1, 0.01)
    for name in RELATIVE:
        value = LOSSES[name](scene(estimate, truth, mix))
        assert not value[:, 1].any() and value[:, 0].all()
    value = LOSSES["silence"](scene(estimate, truth, mix))
    assert not value[:, [0, 2, 3]].any()
    # Three parts of 0.1 make a mixture 24.8 dB above the error, 5.2 dB above what matters.
    expected = math.log10(1.0 + 0.01**2 / (3 * 0.1**2) / 10.0 ** (HEARD_DB / 10.0))
    torch.testing.assert_close(value[:, 1], torch.full((2,), expected), rtol=0.1, atol=0.0)


def test_silence_is_looked_at_second_by_second() -> None:
    truth, mix = noise(0), noise(9)[:, 0]
    truth[..., : RATE // 2] = 0.0
    estimate = truth.clone()
    estimate[:, 0, :, : RATE // 2] += noise(5, 0.05)[:, 0, :, : RATE // 2]
    estimate[:, 1, :, RATE // 2 :] += noise(5, 0.05)[:, 1, :, RATE // 2 :]
    value = LOSSES["silence"](scene(estimate, truth, mix))
    assert (value[:, 0] > 0.3).all() and not value[:, 1:].any()


def test_the_sum_is_weighted_and_consistency_is_of_all_stems() -> None:
    truth = noise(0)
    estimate = truth + noise(1, 0.02)
    s = scene(estimate, truth)
    remainder = truth.sum(dim=1) - estimate.sum(dim=1)
    found = weighted(s, remainder, {"l1": 2.0, "consistency": 0.5})
    lacking = remainder.abs().mean(dim=(1, 2)).unsqueeze(1)
    torch.testing.assert_close(found, 2.0 * LOSSES["l1"](s) + 0.5 * lacking.expand(2, 4))
    assert len(RESOLUTIONS) == 3


# -- as an objective ------------------------------------------------------------------------------------


class Given(torch.nn.Module):
    """Stems that are known beforehand, whatever it hears."""

    def __init__(self, stems: Tensor) -> None:
        super().__init__()
        self.stems = torch.nn.Parameter(stems)

    def forward(self, mix: Tensor) -> Tensor:
        return self.stems[: len(mix)]


INSIDE = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 1.0], [0, 0, 0, 0]])


def objective(vocals: float = 1.0, **terms: float) -> WaveformObjective:
    return WaveformObjective(terms, vocals, RATE, lambda: torch.autocast("cpu", enabled=False))


def test_partial_labels_ask_for_the_sum_only() -> None:
    stems = noise(0)
    parts = torch.einsum("ps,bsct->bpct", INSIDE, stems)
    batch = Waveforms(parts, INSIDE.expand(2, 4, 4))
    wrong = stems.clone()
    wrong[:, 2] += 0.3
    wrong[:, 3] -= 0.3
    for terms in ({"l1": 1.0}, {"mr_stft": 1.0}, {"complex": 1.0, "consistency": 1.0}):
        value = objective(**terms).loss(Given(wrong), batch)
        torch.testing.assert_close(value, torch.zeros(()), rtol=0, atol=1e-5)
    wrong[:, 3] += 0.1
    # A tenth in one of three known parts.
    torch.testing.assert_close(objective(l1=1.0).loss(Given(wrong), batch).item(), 0.1 / 3, rtol=1e-4, atol=0)
    network = Given(wrong)
    objective(mse=1.0).loss(network, batch).backward()
    grad = network.stems.grad
    assert grad is not None
    assert torch.equal(grad[:, 2], grad[:, 3]) and grad[:, 2].any() and not grad[:, :2].abs().max() > 1e-9


def test_vocals_may_count_more() -> None:
    stems = noise(0)
    batch = Waveforms(stems, torch.eye(4).expand(2, 4, 4))
    wrong = stems.clone()
    wrong[:, 0] += 0.1
    for vocals, expected in ((1.0, 0.1 / 4), (3.0, 0.3 / 6)):
        o = objective(vocals, l1=1.0)
        assert o.loss(Given(wrong), batch).item() == pytest.approx(expected, rel=1e-4)
        assert o.weight(batch) == 2 * (3 + vocals)


def test_a_batch_may_be_cut() -> None:
    """The weighted mean of the pieces' losses is the loss of the whole, labels being what they may."""
    stems = noise(0, shape=(3, 4, 2, 4096))
    groups = torch.stack([torch.eye(4), INSIDE, torch.eye(4)])
    parts = torch.einsum("bps,bsct->bpct", groups, stems)
    o = objective(2.0, l1=1.0, si_sdr=0.1, silence=1.0, consistency=1.0)
    guess = stems + noise(1, 0.05, (3, 4, 2, 4096))
    whole = Waveforms(parts, groups)
    pieces = [(Waveforms(parts[k], groups[k]), guess[k]) for k in (slice(0, 1), slice(1, 3))]
    mean = sum(o.weight(b) * o.loss(Given(g), b) for b, g in pieces) / o.weight(whole)
    torch.testing.assert_close(mean, o.loss(Given(guess), whole))
