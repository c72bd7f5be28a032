"""U-Nets in one and two dimensions: shapes, lengths, masks, gradients, and what the papers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from rtsep.separators.catalogue import classes
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.spectral_masks import SpectralMaskNetwork
from rtsep.separators.spleeter import Spleeter, SpleeterConfig, UNet
from rtsep.separators.stack_u_net import StackUNet
from rtsep.separators.wave_u_net import Between, WaveLayers, WaveUNet, WaveUNetConfig

SPECTROGRAM: dict[str, Any] = {"sample_rate": 8000, "frame": 256, "hop": 64, "bins": 100}
LAYERS: dict[str, Any] = {"width": 4, "depth": 2, "kernel": 4, "stride": 2, "lstm_layers": 1}
SIZES: dict[str, dict[str, Any]] = {
    "demucs-2d": SPECTROGRAM | LAYERS,
    "spleeter": SPECTROGRAM | {"filters": (3, 4, 6)},
    "spleeter-1d": {"sample_rate": 8000, "filters": (3, 4, 6)},
    "stack-u-net": SPECTROGRAM | LAYERS | {"refining_width": 3},
    "wave-u-net": {"sample_rate": 8000, "levels": 3, "filters": 4},
    "wave-u-net-2d": SPECTROGRAM | {"levels": 3, "filters": 3},
}
TWO_DIMENSIONAL = ("demucs-2d", "spleeter", "stack-u-net", "wave-u-net-2d")
every_u_net = pytest.mark.parametrize("architecture", sorted(SIZES))


def made(architecture: str, **changes: Any) -> OfflineNetwork:
    network_class, config_class = classes(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = network_class(config_class.model_validate(SIZES[architecture] | changes)).eval()
    assert isinstance(network, OfflineNetwork)
    return network


def noise(*shape: int) -> Tensor:
    return 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels,stems,samples", [(1, ("a", "b"), 1), (2, ("a", "b", "c"), 3001)])
@every_u_net
def test_any_length_comes_back(
    architecture: str, channels: int, stems: tuple[str, ...], samples: int
) -> None:
    network = made(architecture, channels=channels, stems=stems)
    with torch.no_grad():
        assert network(noise(channels, samples)).shape == (len(stems), channels, samples)
        batch = network.estimate(noise(3, channels, samples))
    assert batch.shape == (3, len(stems), channels, samples) and batch.isfinite().all()


@every_u_net
def test_every_weight_learns_and_the_future_is_heard(architecture: str) -> None:
    network = made(architecture).train()
    mix = noise(2, 2, 2000).requires_grad_()
    stems = network.estimate(mix)
    (heard,) = torch.autograd.grad(stems[..., 900:1000].square().sum(), mix, retain_graph=True)
    assert heard[..., 1000:].abs().max() > 0.0
    (stems - noise(2, 1, 2, 2000)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name


@every_u_net
def test_examples_of_a_batch_do_not_meet(architecture: str) -> None:
    network = made(architecture)
    mixes = noise(2, 2, 1500)
    with torch.no_grad():
        both, alone = network.estimate(mixes), network.estimate(mixes[1:])
    torch.testing.assert_close(both[1:], alone, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    "architecture,millions",
    [
        ("demucs-2d", 40.1),
        ("stack-u-net", 200.2),
        ("wave-u-net", 10.3),
        ("wave-u-net-2d", 4.5),
        ("spleeter-1d", 7.9),
    ],
)
def test_sizes_are_those_that_are_told(architecture: str, millions: float) -> None:
    network_class, config_class = classes(architecture)
    plain = {"rescale": 0.0} if "rescale" in config_class.model_fields else {}
    with torch.device("meta"):
        network = network_class(config_class.model_validate(plain))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


# -- masks of a spectrogram --------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", TWO_DIMENSIONAL)
def test_masks_of_one_give_back_what_lies_below_the_cut(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an exponent each stem is the mixture below the highest bin; with one they share it."""
    network = made(architecture, bins=129, exponent=0.0)
    assert isinstance(network, SpectralMaskNetwork)
    monkeypatch.setattr(network, "masks", lambda m: torch.ones(m.shape[0], 4, *m.shape[1:], dtype=m.dtype))
    mix = noise(2, 1777)
    torch.testing.assert_close(network(mix), mix.expand(4, 2, 1777), rtol=0.0, atol=1e-5)
    network.config = network.config.model_copy(update={"exponent": 2.0})
    torch.testing.assert_close(network(mix), mix.expand(4, 2, 1777) / 4.0, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("architecture", TWO_DIMENSIONAL)
def test_ratio_masks_sum_to_the_mixture_below_the_cut(architecture: str) -> None:
    network = made(architecture)
    times = torch.arange(4000) / 8000.0
    low = 0.3 * torch.sin(2.0 * torch.pi * 440.0 * times).expand(2, -1)
    high = 0.3 * torch.sin(2.0 * torch.pi * 3800.0 * times).expand(2, -1)
    with torch.no_grad():
        stems = network(low + high)
    middle = slice(500, -500)
    assert (stems.sum(dim=0) - low)[:, middle].abs().max() < 0.005


def test_softmax_masks_sum_to_one() -> None:
    network = made("spleeter", softmax=True)
    assert isinstance(network, Spleeter)
    with torch.no_grad():
        masks = network.masks(noise(1, 2, 100, 9).abs())
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(1, 2, 100, 9))


# -- Spleeter ----------------------------------------------------------------------------------------


def test_spleeter_has_twelve_layers_and_its_size() -> None:
    network = Spleeter(SpleeterConfig(stems=("vocals",)))
    one = network.networks[0]
    assert isinstance(one, UNet)
    layers = [*one.down, *one.up]
    assert len(layers) == 12 and all(layer.kernel_size == (5, 5) for layer in layers)
    assert all(layer.stride == (2, 2) for layer in layers)
    assert [layer.out_channels for layer in layers] == [16, 32, 64, 128, 256, 512, 256, 128, 64, 32, 16, 1]
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(9.82, abs=0.005)


@pytest.mark.parametrize("size", [2, 10, 64])
def test_layers_lie_as_tensorflow_puts_them(size: int) -> None:
    """An output for every stride, with the odd one of the surplus behind; transposed it is the adjoint."""
    network = UNet(1, 1, (1,), 1)
    down, up = network.down[0], network.up[0]
    assert isinstance(down, torch.nn.Conv1d) and isinstance(up, torch.nn.ConvTranspose1d)
    taps, x = noise(5), noise(size)
    with torch.no_grad():
        down.weight.copy_(taps.reshape(1, 1, 5))
        up.weight.copy_(taps.reshape(1, 1, 5))
        small = down(functional.pad(x.reshape(1, 1, -1), (1, 2))).flatten()
        wide = up(small.reshape(1, 1, -1)).flatten()[:size]
    matrix = torch.zeros(size // 2, size)
    for row in range(size // 2):
        for tap in range(5):
            if 0 <= (column := 2 * row + tap - 1) < size:
                matrix[row, column] = taps[tap]
    torch.testing.assert_close(small, matrix @ x)
    torch.testing.assert_close(wide, matrix.T @ small)


# -- Wave-U-Net --------------------------------------------------------------------------------------


def test_the_papers_network_has_the_papers_lengths() -> None:
    """Section 4.2: with context, 147443 samples in for 16389 out."""
    network = WaveUNet(WaveUNetConfig())
    assert network.layers.lengths(16389) == (147443, 16389)
    assert network.layers.lengths(16385)[1] == 16389


@settings(deadline=None, max_examples=40)
@given(
    levels=st.integers(1, 4),
    kernels=st.tuples(st.sampled_from([1, 3, 5, 15]), st.sampled_from([1, 3, 5])),
    wanted=st.integers(1, 300),
    padded=st.booleans(),
)
def test_lengths_are_what_comes_out(levels: int, kernels: tuple[int, int], wanted: int, padded: bool) -> None:
    layers = WaveLayers(1, 1, 1, levels, 1, kernels, padded, True)
    length, output = layers.lengths(wanted)
    with torch.no_grad():
        assert layers(torch.zeros(1, 1, length)).shape == (1, 1, output)
    assert wanted <= output <= length


@pytest.mark.parametrize("dimensions", [1, 2])
def test_up_sampling_is_a_mean_by_channel(dimensions: int) -> None:
    between = Between(2, dimensions, learned=True)
    linear = Between(2, dimensions, learned=False)
    x = noise(1, 2, *[5] * dimensions)
    with torch.no_grad():
        assert between.weights is not None
        torch.testing.assert_close(between(x), linear(x))
        mode = "linear" if dimensions == 1 else "bilinear"
        plain = functional.interpolate(x, size=[9] * dimensions, mode=mode, align_corners=True)
        torch.testing.assert_close(linear(x), plain)
        between.weights.copy_(torch.tensor([[-100.0, 100.0]]).expand(dimensions, 2))
        along = between(x)[(..., *[slice(None, None, 2)] * (dimensions - 1), slice(1, None, 2))]
    torch.testing.assert_close(along[:, 0], x[:, 0, ..., 1:])
    torch.testing.assert_close(along[:, 1], x[:, 1, ..., :-1])


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("upsampling", ["learned", "linear"])
def test_additivity(context: bool, upsampling: str) -> None:
    network = made("wave-u-net", context=context, upsampling=upsampling)
    mix = 3.0 * noise(1, 2, 777)
    with torch.no_grad():
        torch.testing.assert_close(network.estimate(mix).sum(dim=1), mix, rtol=0.0, atol=1e-5)
        direct = made("wave-u-net", context=context, upsampling=upsampling, output="direct")
        assert (direct.estimate(mix).sum(dim=1) - mix).abs().max() > 0.01
    two = made("wave-u-net-2d", bins=129, upsampling=upsampling)
    with torch.no_grad():
        torch.testing.assert_close(two.estimate(mix).sum(dim=1), mix, rtol=0.0, atol=1e-5)


def test_context_is_real_sound() -> None:
    """What lies about the output is heard without padding: moved to the side, it comes out the same."""
    network = made("wave-u-net")
    song = noise(1, 2, 4000)
    hop = 2**network.config.levels  # type: ignore[attr-defined]
    with torch.no_grad():
        early = network.estimate(song)[..., 1000:3000]
        late = network.estimate(song[..., 50 * hop :])[..., 1000 - 50 * hop : 3000 - 50 * hop]
        padded = made("wave-u-net", context=False)
        early_padded = padded.estimate(song)[..., 1000:3000]
    torch.testing.assert_close(early, late, rtol=0.0, atol=1e-5)
    assert early_padded.shape == early.shape


# -- the stack ---------------------------------------------------------------------------------------


def test_the_second_stage_filters_each_stem_by_itself() -> None:
    network = made("stack-u-net")
    assert isinstance(network, StackUNet)
    magnitudes = noise(1, 2, 100, 20).abs()
    with torch.no_grad():
        before = network.masks(magnitudes)
        coarse = torch.sigmoid(network.separating(magnitudes)).unflatten(1, (4, 2))
        assert (before <= coarse).all(), "a filter lets nothing through that was not there"
        for parameter in network.refining[2].parameters():
            parameter.add_(0.05)
        after = network.masks(magnitudes)
    changed = (after - before).abs().amax(dim=(0, 2, 3, 4)) > 0.0
    assert changed.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "architecture,change,complaint",
    [
        ("demucs-2d", {"context": 2}, "odd"),
        ("demucs-2d", {"kernel": 1}, "skip"),
        ("spleeter", {"bins": 130}, "has 129 bins"),
        ("spleeter", {"hop": 129}, "at most half a frame"),
        ("spleeter", {"filters": ()}, "filters"),
        ("wave-u-net", {"down_kernel": 4}, "odd"),
        ("wave-u-net", {"up_kernel": 2}, "odd"),
        ("wave-u-net", {"stems": ("a",)}, "stems"),
        ("wave-u-net-2d", {"kernel": 2}, "odd"),
        ("wave-u-net-2d", {"upsampling": "sinc"}, "upsampling"),
        ("stack-u-net", {"refining_width": 0}, "refining_width"),
        ("spleeter-1d", {"surprise": 1}, "surprise"),
    ],
)
def test_impossible_configs_are_refused(architecture: str, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        made(architecture, **change)
