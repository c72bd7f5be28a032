"""The loss in one compiled pass, against the same written out in plain tensors of double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rtsep.training.mask_loss import (
    FAINT,
    NEARLY_PERFECT,
    NEARLY_SILENT,
    SILENT_FLOOR,
    SOUNDING_FLOOR,
    WHITE_SHARE,
    _BandProducts,
    band_products,
    loss,
)
from rtsep.training.statistics import Statistics

FRAMES = 5
SHAPE = (2, 13, 4, 2, 7)
"""Batch, time (two segments and a rest), stems, channels, bands."""

FOUR = torch.eye(4)
INSIDE = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 1.0], [0, 0, 0, 0]])
TWO = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 1.0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]])


def make_statistics(groups: Tensor, seed: int = 0, silent: tuple[int, ...] = ()) -> Statistics:
    """Of random complex bins, one a band; parts without a group, and `silent` ones, are silent."""
    batch, time, _, channels, bands = SHAPE
    generator = torch.Generator().manual_seed(seed)
    size = (batch, time, 4, channels, bands)
    bins = torch.complex(torch.randn(size, generator=generator), torch.randn(size, generator=generator))
    bins = bins * torch.logspace(0.5, -2.0, bands)
    used = groups.amax(dim=1)
    used[list(silent)] = 0.0
    bins = bins * used.view(1, 1, 4, 1, 1)
    mixture = bins.sum(dim=2)
    return Statistics(
        features=torch.zeros(batch, time, 1),
        mixture=mixture.abs().square(),
        cross=(mixture.conj().unsqueeze(2) * bins).real.contiguous(),
        target=bins.abs().square(),
        groups=groups.expand(batch, 4, 4).contiguous(),
    )


def make_logits(seed: int = 1, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def plain_floor(share: Tensor | float) -> Tensor | float:
    """Below the part while it sounds, below the mixture while it is silent; in shares of the mixture."""
    return SOUNDING_FLOOR * share + SILENT_FLOOR * FAINT / (FAINT + share)


def plain_level(error: Tensor, truth: Tensor) -> Tensor:
    """dB of an error's share of the mixture, above the floor of a part with such a share."""
    return 10.0 * torch.log10(error + plain_floor(truth))


def plain_level_of_silence(error: Tensor, truth: Tensor) -> Tensor:
    """dB of it above one hundredth of the mixture, as far as the part is silent."""
    return FAINT / (FAINT + truth) * 10.0 * torch.log10(1.0 + error / NEARLY_SILENT)


def plain_loss(
    logits: Tensor, s: Statistics, frames: int, level_of: Callable[[Tensor, Tensor], Tensor] = plain_level
) -> Tensor:
    """Mean over examples, known parts (vocals twice) and whole segments of the error's level in dB."""
    x, cross, target, groups = (v.double() for v in (s.mixture, s.cross, s.target, s.groups))
    masks = torch.softmax(logits.double(), dim=2)
    part_masks = torch.einsum("bps,btsck->btpck", groups, masks)
    error = part_masks**2 * x.unsqueeze(2) - 2.0 * part_masks * cross + target
    spectrum = x.mean(dim=(1, 2))
    white = 1.0 / (spectrum + 1e-4 * spectrum.mean(dim=1, keepdim=True) + 1e-12)
    total, count = torch.zeros((), dtype=torch.float64), 0.0
    for b in range(x.shape[0]):
        segments = [slice(n * frames, (n + 1) * frames) for n in range(max(x.shape[1] // frames, 1))]
        for weights, share in ((torch.ones_like(white[b]), 1.0 - WHITE_SHARE), (white[b], WHITE_SHARE)):
            own = [(x[b, cut] * weights).sum() for cut in segments]
            average = sum(own) / len(own)
            for cut, level in zip(segments, own, strict=True):
                reference = level + 1e-3 * average + 1e-9
                for p in range(groups.shape[1]):
                    if groups[b, p].any():
                        importance = 2.0 if groups[b, p, 0] else 1.0
                        wrong = (error[b, cut, p] * weights).sum() / reference
                        sounds = (target[b, cut, p] * weights).sum() / reference
                        total = total + share * importance * level_of(wrong, sounds)
                        count += share * importance
    return total / count


def plain_si_sdr(logits: Tensor, s: Statistics) -> Tensor:
    """Mean over examples and known parts (vocals twice) of minus SI-SDR over all frames, dB."""
    x, cross, target, groups = (v.double() for v in (s.mixture, s.cross, s.target, s.groups))
    part_masks = torch.einsum("bps,btsck->btpck", groups, torch.softmax(logits.double(), dim=2))
    spectrum = x.mean(dim=(1, 2))
    white = 1.0 / (spectrum + 1e-4 * spectrum.mean(dim=1, keepdim=True) + 1e-12)
    total, count = torch.zeros((), dtype=torch.float64), 0.0
    for b in range(x.shape[0]):
        for weights, share in ((torch.ones_like(white[b]), 1.0 - WHITE_SHARE), (white[b], WHITE_SHARE)):
            for p in range(groups.shape[1]):
                if groups[b, p].any():
                    importance = 2.0 if groups[b, p, 0] else 1.0
                    count += share * importance
                    estimate = (part_masks[b, :, p] ** 2 * x[b] * weights).sum()
                    along = (part_masks[b, :, p] * cross[b, :, p] * weights).sum()
                    truth = (target[b, :, p] * weights).sum()
                    if truth == 0.0:
                        continue
                    good = along**2 / truth
                    # What is orthogonal to the truth has an SI-SDR of -60 dB and no less.
                    least = 1e-6 * estimate
                    ratio = (good + least) / (estimate - good + NEARLY_PERFECT * good + least)
                    total = total - share * importance * 10.0 * torch.log10(ratio)
    return total / count


@pytest.mark.parametrize("groups", [FOUR, INSIDE, TWO], ids=["four", "inside", "two"])
@pytest.mark.parametrize("silent", [(), (0,), (1,)])
def test_what_silent_parts_are_given_is_added_as_written_out(groups: Tensor, silent: tuple[int, ...]) -> None:
    statistics = make_statistics(groups, silent=silent)
    logits = make_logits().requires_grad_()
    value = loss(logits, statistics, FRAMES, scale_free=1.0, silent_parts=0.5)
    value.backward()
    plain = make_logits().double().requires_grad_()
    expected = plain_si_sdr(plain, statistics)
    expected = expected + 0.5 * plain_loss(plain, statistics, FRAMES, plain_level_of_silence)
    expected.backward()
    assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=1e-3)
    assert logits.grad is not None and plain.grad is not None
    torch.testing.assert_close(logits.grad.double(), plain.grad, rtol=5e-3, atol=2e-5)


def test_a_voice_where_none_sings_costs_what_a_free_scale_lets_pass() -> None:
    statistics = make_statistics(TWO, silent=(0,))
    heard, kept_out = torch.zeros(SHAPE), torch.zeros(SHAPE)
    kept_out[:, :, 0] = -20.0
    free = [float(loss(x, statistics, FRAMES, scale_free=1.0)) for x in (heard, kept_out)]
    asked = [float(loss(x, statistics, FRAMES, scale_free=1.0, silent_parts=1.0)) for x in (heard, kept_out)]
    assert free[0] == pytest.approx(free[1], abs=0.01)
    assert asked[1] == pytest.approx(free[1], abs=0.01) and asked[0] > free[0] + 5.0


@pytest.mark.parametrize("groups", [FOUR, INSIDE, TWO], ids=["four", "inside", "two"])
@pytest.mark.parametrize("scale_free", [1.0, 0.3])
@pytest.mark.parametrize("silent", [(), (1,)])
def test_with_a_free_scale_value_and_gradient_equal_the_plain_ones(
    groups: Tensor, scale_free: float, silent: tuple[int, ...]
) -> None:
    statistics = make_statistics(groups, silent=silent)
    logits = make_logits().requires_grad_()
    value = loss(logits, statistics, FRAMES, scale_free=scale_free)
    value.backward()
    plain = make_logits().double().requires_grad_()
    expected = scale_free * plain_si_sdr(plain, statistics)
    expected = expected + (1.0 - scale_free) * plain_loss(plain, statistics, FRAMES)
    expected.backward()
    assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=1e-3)
    assert logits.grad is not None and plain.grad is not None
    torch.testing.assert_close(logits.grad.double(), plain.grad, rtol=5e-3, atol=2e-5)


def test_a_free_scale_does_not_ask_how_loud_an_estimate_is() -> None:
    """Half of a part, all over, is as good as all of it; the error's level says otherwise."""
    statistics = make_statistics(TWO, silent=(1,))
    loud, soft = torch.zeros(SHAPE), torch.zeros(SHAPE)
    loud[:, :, 0] = 20.0
    voice = Statistics(
        **{n: getattr(statistics, n) for n in Statistics.__dataclass_fields__ if n != "groups"},
        groups=statistics.groups * torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1),
    )
    free = [float(loss(logits, voice, FRAMES, scale_free=1.0)) for logits in (loud, soft)]
    assert free[0] == pytest.approx(free[1], abs=0.01) and free[0] == pytest.approx(-30.0, abs=0.1)
    levels = [float(loss(logits, voice, FRAMES)) for logits in (loud, soft)]
    assert levels[0] < levels[1] - 1.0


@pytest.mark.parametrize("groups", [FOUR, INSIDE, TWO], ids=["four", "inside", "two"])
@pytest.mark.parametrize("frames", [FRAMES, 100])
def test_value_and_gradient_equal_the_plain_ones(groups: Tensor, frames: int) -> None:
    statistics = make_statistics(groups)
    logits = make_logits().requires_grad_()
    value = loss(logits, statistics, frames)
    value.backward()
    plain = make_logits().double().requires_grad_()
    expected = plain_loss(plain, statistics, frames)
    expected.backward()
    assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=1e-4)
    assert logits.grad is not None and plain.grad is not None
    torch.testing.assert_close(logits.grad.double(), plain.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_the_slope(seed: int) -> None:
    statistics = make_statistics(INSIDE, seed)
    logits = make_logits(seed).requires_grad_()
    loss(logits, statistics, FRAMES).backward()
    assert logits.grad is not None
    direction = logits.grad / logits.grad.norm()
    step = 0.05
    with torch.no_grad():
        above = loss(logits + step * direction, statistics, FRAMES)
        below = loss(logits - step * direction, statistics, FRAMES)
    assert float(above - below) / (2.0 * step) == pytest.approx(float(logits.grad.norm()), rel=0.01)


def test_masks_of_a_known_error() -> None:
    """Equal masks on a mixture that is all vocals: errors of 9/16, and of 1/16 for each silent stem."""
    statistics = make_statistics(FOUR, silent=(1, 2, 3))
    value = loss(torch.zeros(SHAPE), statistics, FRAMES)
    vocals = 9 / 16 / 1.001 + plain_floor(1 / 1.001)
    silence = 1 / 16 / 1.001 + plain_floor(0.0)
    levels = [10.0 * math.log10(vocals), 10.0 * math.log10(silence)]
    assert float(value) == pytest.approx((2.0 * levels[0] + 3.0 * levels[1]) / 5.0, abs=1e-3)


def test_what_is_not_known_does_not_count() -> None:
    """Which of drums, bass and other an accompaniment consists of makes no difference."""
    statistics = make_statistics(TWO)
    logits = make_logits()
    moved = logits[:, :, [0, 3, 1, 2]]
    assert float(loss(moved, statistics, FRAMES)) == pytest.approx(
        float(loss(logits, statistics, FRAMES)), abs=1e-5
    )
    logits.requires_grad_()
    loss(logits, statistics, FRAMES).backward()
    assert logits.grad is not None
    # A shift from one of them to another, in proportion to their masks, leaves their sum and so the loss.
    shares = torch.softmax(logits.detach(), dim=2)
    slope = logits.grad / shares
    torch.testing.assert_close(slope[:, :, 1], slope[:, :, 2], rtol=1e-2, atol=1e-5)


def test_frames_beyond_the_last_whole_segment_have_no_gradient() -> None:
    logits = make_logits().requires_grad_()
    loss(logits, make_statistics(FOUR), FRAMES).backward()
    assert logits.grad is not None
    assert logits.grad[:, :10].abs().amax() > 0.0
    assert not logits.grad[:, 10:].any()


@pytest.mark.parametrize(("scale_free", "silent_parts"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5)])
@pytest.mark.parametrize("scale", [0.0, 50.0, 1000.0])
def test_masks_however_hard_and_silence_stay_finite(
    scale: float, scale_free: float, silent_parts: float
) -> None:
    statistics = make_statistics(FOUR)
    silent = Statistics(
        **{n: torch.zeros_like(getattr(statistics, n)) for n in Statistics.__dataclass_fields__}
    )
    silent.groups.copy_(statistics.groups)
    for s in (statistics, silent):
        logits = make_logits(scale=scale).requires_grad_()
        value = loss(logits, s, FRAMES, scale_free=scale_free, silent_parts=silent_parts)
        value.backward()
        assert torch.isfinite(value)
        assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_bfloat16_logits_give_bfloat16_gradients() -> None:
    logits = make_logits().to(torch.bfloat16).requires_grad_()
    value = loss(logits, make_statistics(FOUR), FRAMES)
    value.backward()
    assert value.dtype == torch.float32
    assert logits.grad is not None and logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("groups", [FOUR, INSIDE, TWO], ids=["four", "inside", "two"])
def test_a_gpus_way_gives_the_same(groups: Tensor) -> None:
    """The chain of tensor operations that runs where the compiled pass cannot."""
    statistics = make_statistics(groups)
    weights = 0.1 + torch.rand(SHAPE[0], SHAPE[-1], generator=torch.Generator().manual_seed(3))
    compiled, plain = make_logits().requires_grad_(), make_logits().requires_grad_()
    upstream = torch.randn(*SHAPE[:3], 4, generator=torch.Generator().manual_seed(4))
    one = _BandProducts.apply(compiled, statistics, weights)
    other = band_products(plain, statistics, weights)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    (one * upstream).sum().backward()
    (other * upstream).sum().backward()
    torch.testing.assert_close(compiled.grad, plain.grad, rtol=1e-3, atol=1e-4)
