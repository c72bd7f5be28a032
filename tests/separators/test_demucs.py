"""Demucs gives what the demucs package gives, of any length, and can be averaged over shifts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rtsep.separators.demucs import Demucs, DemucsConfig
from rtsep.separators.resampling import Resampler

SIZES: dict[str, Any] = {"width": 4, "depth": 3, "sample_rate": 16000, "lstm_layers": 1}


def made(**changes: Any) -> Demucs:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Demucs(DemucsConfig.model_validate(SIZES | changes)).eval()


def noise(*shape: int) -> Tensor:
    return 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("samples", [1, 5, 900, 4001])
@pytest.mark.parametrize("channels,stems", [(1, ("a",)), (2, ("a", "b", "c"))])
def test_any_length_comes_back(channels: int, stems: tuple[str, ...], samples: int) -> None:
    network = made(channels=channels, stems=stems)
    with torch.no_grad():
        assert network(noise(channels, samples)).shape == (len(stems), channels, samples)
        assert network.estimate(noise(3, channels, samples)).shape == (3, len(stems), channels, samples)


@pytest.mark.parametrize("samples", [1, 997, 3000])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resample": False},
        {"normalise": False, "lstm_layers": 2},
        {"context": 1, "kernel": 5, "stride": 3},
    ],
    ids=lambda c: ",".join(c) or "all",
)
def test_is_the_packages(changes: dict[str, Any], samples: int) -> None:
    from demucs.demucs import Demucs as Peer

    ours = made(**changes)
    c = ours.config
    peer = Peer(
        list(c.stems), c.channels, c.width, depth=c.depth, kernel_size=c.kernel, stride=c.stride,
        context=c.context // 2, lstm_layers=c.lstm_layers, resample=c.resample, normalize=c.normalise,
        gelu=False, norm_starts=c.depth, dconv_mode=0,
    ).eval()  # fmt: skip
    peer.load_state_dict(dict(ours.state_dict()))
    assert sum(p.numel() for p in peer.parameters()) == sum(p.numel() for p in ours.parameters())
    mix = noise(2, c.channels, samples)
    with torch.no_grad():
        if c.normalise and samples == 1:
            # The package divides by the spread of a single sample, which is not a number.
            assert peer(mix).isnan().all() and ours.estimate(mix).isfinite().all()
            return
        wanted, found = peer(mix), ours.estimate(mix)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("before,after", [(1, 2), (2, 1), (44100, 8000), (32000, 44100), (5, 5)])
@pytest.mark.parametrize("samples", [1, 400, 1001])
def test_the_resampler_is_juliuss(before: int, after: int, samples: int) -> None:
    import julius

    mix = noise(2, 3, samples)
    found = Resampler(before, after)(mix)
    # julius makes its kernels in single precision.
    torch.testing.assert_close(found, julius.resample_frac(mix, before, after), rtol=0.0, atol=5e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 32000])
def test_a_low_tone_survives_resampling(rate: int) -> None:
    """Down to the lower rate it is the tone of that rate, and up again it is the one of before."""

    def tone_at(rate: int) -> Tensor:
        return torch.sin(2.0 * torch.pi * 440.0 * torch.arange(rate, dtype=torch.float64) / rate).float()

    tone = tone_at(44100)
    down, up = Resampler(44100, rate), Resampler(rate, 44100)
    low = down(tone)
    assert low.shape == (rate,) == (down.length(44100),)
    middle = slice(rate // 10, -rate // 10)
    torch.testing.assert_close(low[middle], tone_at(rate)[middle], rtol=0.0, atol=1e-4)
    torch.testing.assert_close(up(low)[4410:-4410], tone[4410:-4410], rtol=0.0, atol=2e-4)


def test_the_spread_of_fresh_weights_is_drawn_to_the_reference() -> None:
    plain, scaled = made(rescale=0.0), made(rescale=0.1)
    for name, weight in plain.named_parameters():
        ours = dict(scaled.named_parameters())[name]
        if "lstm" in name or name.endswith("bias"):
            continue
        torch.testing.assert_close(ours.std(), (weight.std() * 0.1).sqrt())


def test_its_size_is_the_one_that_is_told() -> None:
    with torch.device("meta"):
        network = Demucs(DemucsConfig(rescale=0.0))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(265.7, abs=0.05)


def test_shifts_are_averaged() -> None:
    plain, twice = made(), made(shifts=2)
    twice.load_state_dict(plain.state_dict())
    mix = noise(2, 2000)
    late = round(0.25 * plain.config.sample_rate)
    with torch.no_grad():
        shifted = plain(torch.nn.functional.pad(mix, (late, 0)))[..., late:]
        torch.testing.assert_close(twice(mix), (plain(mix) + shifted) / 2.0, rtol=0.0, atol=1e-6)


def test_every_weight_learns_and_the_future_is_heard() -> None:
    network = made().train()
    mix = noise(2, 2, 2000).requires_grad_()
    stems = network.estimate(mix)
    stems[..., :200].square().sum().backward()
    assert mix.grad is not None and mix.grad[..., 1500:].abs().max() > 0.0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"kernel": 3}, "skip"),
        ({"context": 2}, "odd"),
        ({"stems": ()}, "stems"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DemucsConfig.model_validate(SIZES | change)
