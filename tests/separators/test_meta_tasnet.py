"""Meta-TasNet: weights made of embeddings, three stages, masks that sum to one, and losses of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from rtsep.separators.meta_tasnet import (
    Generated,
    GeneratedConvolution,
    GeneratedNorm,
    MetaTasNet,
    MetaTasNetConfig,
    dissimilarity,
    similarity,
)

SIZES: dict[str, Any] = {
    "sample_rate": 16000, "rates": (2000, 4000, 8000), "filters": 16, "bands": 6, "bottleneck": 8,
    "hidden": 8, "blocks": 2, "repeats": 1, "groups": 4, "embedding": 3, "narrow": 2,
}  # fmt: skip


def made(**changes: Any) -> MetaTasNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return MetaTasNet(MetaTasNetConfig.model_validate(SIZES | changes)).eval()


def noise(*shape: int) -> Tensor:
    return 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("samples", [1, 333, 16001])
@pytest.mark.parametrize(
    "channels,stems,rates",
    [(1, ("a", "b"), (2000,)), (2, ("a", "b", "c"), (4000, 8000)), (2, ("a", "b"), (2000, 4000, 8000))],
)
def test_any_length_comes_back(
    channels: int, stems: tuple[str, ...], rates: tuple[int, ...], samples: int
) -> None:
    network = made(channels=channels, stems=stems, rates=rates)
    with torch.no_grad():
        assert network(noise(channels, samples)).shape == (len(stems), channels, samples)
        batch = network.estimate(noise(3, channels, samples))
    assert batch.shape == (3, len(stems), channels, samples) and batch.isfinite().all()


@pytest.mark.parametrize("factor", [-300.0, 0.01])
def test_stems_are_as_loud_as_the_mixture_whatever_level_the_decoder_has_learnt(factor: float) -> None:
    network = made()
    mix = noise(2, 16000)
    with torch.no_grad():
        before = network(mix)
        for weight in network.stages[-1].decoder.convolutions.parameters():
            weight.mul_(factor)
        louder = network.estimate(mix[None])[0]
        after = network(mix)
    assert not torch.allclose(louder, before, rtol=0.5)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5)
    whole = after.sum(dim=0)
    # The least squares' condition: what is left of the mixture has nothing of the sum.
    assert abs(float(((mix - whole) * whole).sum())) < 1e-3 * float(whole.square().sum())


def test_silence_stays_silent() -> None:
    with torch.no_grad():
        assert made()(torch.zeros(2, 4000)).isfinite().all()


def test_its_size_is_the_one_that_is_told() -> None:
    with torch.device("meta"):
        network = MetaTasNet(MetaTasNetConfig())
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(45.1, abs=0.05)


def test_generated_layers_are_plain_layers_of_each_stem() -> None:
    config = MetaTasNetConfig.model_validate(SIZES)
    embeddings, x = noise(4, 3), noise(2, 4, 8, 30)
    for arguments in ((8, 12), (8, 12, 3, 2), (8, 8, 3, 4, True)):
        layer = GeneratedConvolution(config, *arguments)
        weights = layer.weights(embeddings)
        wanted = [
            functional.conv1d(
                x[:, stem], weights[stem], padding=layer.reach, dilation=layer.dilation, groups=layer.groups
            )
            for stem in range(4)
        ]
        torch.testing.assert_close(layer(embeddings, x), torch.stack(wanted, dim=1))
    norm = GeneratedNorm(config, 8)
    gains, offsets = norm.gain(embeddings).flatten(1), norm.offset(embeddings).flatten(1)
    wanted = [functional.group_norm(x[:, stem], 4, gains[stem], offsets[stem], eps=1e-8) for stem in range(4)]
    torch.testing.assert_close(norm(embeddings, x), torch.stack(wanted, dim=1))


def test_weights_are_two_linear_layers_of_the_embedding() -> None:
    made_weights = Generated(MetaTasNetConfig.model_validate(SIZES), 5, 2)
    embeddings = noise(4, 3)
    narrow = embeddings @ made_weights.narrow.weight.T + made_weights.narrow.bias
    assert narrow.shape == (4, 2)
    wide = narrow @ made_weights.wide.weight.T + made_weights.wide.bias
    torch.testing.assert_close(made_weights(embeddings), wide.reshape(4, 5, 2))


def test_equal_embeddings_separate_alike() -> None:
    """All that tells the stems apart is their embedding."""
    network = made()
    with torch.no_grad():
        different = network(noise(2, 3000))
        for stage in network._stages():
            stage.embeddings.copy_(stage.embeddings[:1].expand(4, -1))
        same = network(noise(2, 3000))
    assert (different[0] - different[1]).abs().max() > 1e-4
    torch.testing.assert_close(same, same[:1].expand(4, -1, -1), rtol=0.0, atol=1e-6)


def test_masks_sum_to_one_and_pass_from_stage_to_stage() -> None:
    network = made()
    first, second = network._stages()[:2]
    signals = network._at_rates(noise(2, 8000))
    assert [s.shape[-1] for s in signals] == [1000, 2000, 4000], "as many frames at every rate"
    with torch.no_grad():
        _, through, encoded = first(signals[0], None)
        torch.testing.assert_close(through.sum(dim=1), encoded, rtol=0.0, atol=1e-5)
        there = second(signals[1], through)[0]
        without = second(signals[1], torch.zeros_like(through))[0]
    assert (there - without).abs().max() > 1e-5


def test_begin_takes_what_normalises_the_spectrogram() -> None:
    network = made()
    mixes = noise(3, 2, 16000)
    network.begin(mixes)
    for stage, signal in zip(network._stages(), network._at_rates(mixes.flatten(0, 1)), strict=True):
        spectrogram = stage.encoder.spectrogram
        normal = (spectrogram.powers(signal) - spectrogram.mean) / spectrogram.spread
        torch.testing.assert_close(normal.mean(dim=(0, 2)), torch.zeros(normal.shape[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(normal.std(dim=(0, 2)), torch.ones(normal.shape[1]), rtol=0, atol=1e-3)


def test_every_weight_learns_and_the_future_is_heard() -> None:
    network = made(stages_weight=0.0, similarity=0.0, dissimilarity=0.0, reconstruction=0.0).train()
    mix = noise(2, 2, 6000).requires_grad_()
    stems = network.estimate(mix)
    (heard,) = torch.autograd.grad(stems[..., 900:1000].square().sum(), mix, retain_graph=True)
    assert heard[..., 2000:].abs().max() > 0.0
    (stems - noise(2, 1, 2, 6000)).square().sum().backward()
    silent = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0.0}
    # Only the last stage's sound comes out; what the others decode has losses of its own.
    assert silent == {
        n for n, _ in network.named_parameters() if n.startswith(("stages.0.dec", "stages.1.dec"))
    }


def own(network: MetaTasNet, parts: Tensor, groups: Tensor) -> Tensor:
    stems = network.estimate(parts.sum(dim=1))
    loss = network.own_loss(stems, parts, groups)
    assert loss is not None and loss.shape == ()
    return loss


def test_its_own_loss_reaches_every_stage() -> None:
    network = made().train()
    parts = noise(2, 4, 2, 6000)
    own(network, parts, torch.eye(4).expand(2, 4, 4)).backward()
    learnt = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0.0}
    assert {n for n, _ in network.named_parameters() if ".encoder." in n or ".decoder." in n} <= learnt
    assert {n for n, _ in network.named_parameters() if n.startswith("stages.1.separator")} <= learnt


@pytest.mark.parametrize("weight", ["similarity", "dissimilarity", "reconstruction", "stages_weight"])
def test_each_loss_has_its_weight(weight: str) -> None:
    nothing = dict.fromkeys(("similarity", "dissimilarity", "reconstruction", "stages_weight"), 0.0)
    parts, groups = noise(2, 4, 2, 3000), torch.eye(4).expand(2, 4, 4)
    values = [
        float(own(made(**nothing | {weight: w}).train(), parts, groups).detach()) for w in (0.0, 1.0, 2.0)
    ]
    assert values[0] == 0.0 and abs(values[1]) > 1e-3
    assert values[2] == pytest.approx(2.0 * values[1], rel=1e-4)


def test_parts_that_hold_several_stems_have_no_encoding_to_compare() -> None:
    """Nor have those that are silent or not used: their loss is that of the reconstruction alone."""
    network = made(reconstruction=0.0).train()
    parts = noise(2, 4, 2, 3000)
    groups = torch.zeros(2, 4, 4)
    groups[:, 0, :2] = 1.0
    assert float(own(network, parts, groups).detach()) == 0.0
    silent = torch.zeros(2, 4, 2, 3000)
    assert float(own(network, silent, torch.eye(4).expand(2, 4, 4)).detach()) == 0.0
    assert network.own_loss(parts, parts, groups) is None, "there is nothing left to judge"
    network.eval().estimate(parts[:, 0])
    assert network.own_loss(parts, parts, groups) is None, "it keeps nothing once it is trained"


def test_cosines_are_those_of_pairs_that_are_there() -> None:
    codes = torch.zeros(4, 3, 2, 5)  # two examples of two channels, three stems, two features
    codes[:, 0, 0], codes[:, 1, 1], codes[:, 2] = 1.0, 1.0, -1.0
    known = torch.tensor([[1.0, 1.0, 0.0]]).expand(4, 3)
    assert float(dissimilarity(codes, known)) == 0.0, "stems 0 and 1 are orthogonal, 2 is not known"
    both = torch.tensor([[1.0, 0.0, 1.0]]).expand(4, 3)
    assert float(dissimilarity(codes, both)) == pytest.approx(0.5**0.5)
    assert float(similarity(codes, known, channels=2)) == pytest.approx(1.0)
    codes[2:, 0] *= -1.0
    assert float(similarity(codes, known, channels=2)) == pytest.approx(0.0, abs=1e-6)
    assert float(similarity(codes[:2], known[:2], channels=2)) == 0.0, "a single example has no other"


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"rates": (2000, 3000)}, "twice"),
        ({"window": 10}, "stride"),
        ({"stride": 9, "window": 9}, "even"),
        ({"kernel": 2}, "odd"),
        ({"filters": 12}, "multiple of 8"),
        ({"hidden": 6}, "hidden must be a multiple"),
        ({"stems": ("a",)}, "stems"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        MetaTasNetConfig.model_validate(SIZES | change)
