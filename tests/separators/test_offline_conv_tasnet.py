"""The offline Conv-TasNet is the paper's equations, hears both ways, and every weight of it is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from rtsep.separators.levels import as_loud_as
from rtsep.separators.offline_conv_tasnet import EPSILON, OfflineConvTasNet, OfflineConvTasNetConfig

SMALL: dict[str, Any] = {
    "sample_rate": 8000, "filters": 10, "window": 8, "stride": 4, "bottleneck": 6, "hidden": 7, "blocks": 2,
    "repeats": 2, "stft_frame": 64,
}  # fmt: skip
Array = NDArray[np.float64]


def network_of(**changes: Any) -> OfflineConvTasNet:
    return OfflineConvTasNet(OfflineConvTasNetConfig.model_validate(SMALL | changes)).eval()


def pointwise(x: Array, weights: dict[str, Array], name: str) -> Array:
    """(channels, frames) through a convolution of kernel 1."""
    return weights[f"{name}.weight"][:, :, 0] @ x + weights[f"{name}.bias"][:, None]


def prelu(x: Array, weights: dict[str, Array], name: str) -> Array:
    return np.where(x > 0.0, x, weights[f"{name}.weight"] * x)


def global_norm(x: Array, weights: dict[str, Array], name: str) -> Array:
    """Equation 13 of the paper: over channels and frames together."""
    normed = (x - x.mean()) / np.sqrt(x.var() + EPSILON)
    return weights[f"{name}.weight"][:, None] * normed + weights[f"{name}.bias"][:, None]


def by_the_paper(network: OfflineConvTasNet, mix: Array) -> Array:
    """One mono mixture, (samples,), to (stems, samples): sections II-A to II-C, term by term."""
    c = network.config
    w = {name: value.double().numpy() for name, value in network.state_dict().items()}
    frames = -(-(len(mix) + c.window - c.stride) // c.stride)
    padded = np.zeros((frames - 1) * c.stride + c.window)
    first = c.window - c.stride
    padded[first : first + len(mix)] = mix
    cut = np.stack([padded[k * c.stride :][: c.window] for k in range(frames)], axis=1)
    encoded = np.maximum(w["codec.analysis.taps"] @ cut, 0.0)
    x = pointwise(global_norm(encoded, w, "norm"), w, "bottleneck")
    skips: Array | float = 0.0
    for index in range(c.repeats * c.blocks):
        name = f"blocks.{index}"
        y = prelu(pointwise(x, w, f"{name}.convolutions.0"), w, f"{name}.convolutions.1")
        y = global_norm(y, w, f"{name}.convolutions.2")
        dilation = 2 ** (index % c.blocks)
        taps = w[f"{name}.convolutions.3.weight"][:, 0]
        reach = dilation * (c.kernel // 2)
        wide = np.pad(y, ((0, 0), (reach, reach)))
        y = sum(
            (taps[:, [p]] * wide[:, p * dilation : p * dilation + frames] for p in range(c.kernel)),
            w[f"{name}.convolutions.3.bias"][:, None],
        )
        y = global_norm(prelu(y, w, f"{name}.convolutions.4"), w, f"{name}.convolutions.5")
        if c.skip:
            skips = skips + pointwise(y, w, f"{name}.skip")
        if f"{name}.residual.weight" in w:
            x = x + pointwise(y, w, f"{name}.residual")
    logits = pointwise(prelu(np.asarray(skips) if c.skip else x, w, "masks_prelu"), w, "masks")
    masks = (1.0 / (1.0 + np.exp(-logits))).reshape(len(c.stems), c.filters, frames)
    stems = np.zeros((len(c.stems), len(padded)))
    for k in range(frames):
        stems[:, k * c.stride : k * c.stride + c.window] += (masks[:, :, k] * encoded[:, k]) @ w[
            "codec.synthesis.taps"
        ]
    return stems[:, first : first + len(mix)]


@pytest.mark.parametrize("skip", [0, 5])
def test_is_the_papers(skip: int) -> None:
    network = network_of(encoding="convolution", channels=1, skip=skip)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
        mix = torch.randn(203, generator=generator)
        stems = network.double().estimate(mix.double()[None, None])[0]
        found = stems[:, 0].numpy()
        torch.testing.assert_close(network(mix.double()[None]), as_loud_as(mix.double()[None], stems))
    wanted = by_the_paper(network, mix.double().numpy())
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("encoding", [{}, {"bank": "stft"}, {"encoding": "filterbank", "inverse": "decoder"}])
@pytest.mark.parametrize("skip", [0, 5])
def test_shapes_and_gradients(skip: int, encoding: dict[str, Any]) -> None:
    network = network_of(skip=skip, **encoding).train()
    mix = 0.1 * torch.randn(2, 2, 405)
    network.begin(mix)
    stems = network.estimate(mix)
    assert stems.shape == (2, 4, 2, 405)
    stems.square().sum().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(), name


@pytest.mark.parametrize("samples", [1, 3, 4, 41])
def test_any_length_comes_back(samples: int) -> None:
    with torch.no_grad():
        stems = network_of()(torch.randn(2, samples))
    assert stems.shape == (4, 2, samples) and stems.isfinite().all()


def test_hears_the_future() -> None:
    network = network_of()
    mix = torch.randn(2, 400)
    changed = mix.clone()
    changed[:, -40:] = 0.0
    with torch.no_grad():
        assert (network(mix) - network(changed))[..., :100].abs().max() > 1e-5


def test_the_defaults_are_the_thesis() -> None:
    """Table A.1, by its letters."""
    c = OfflineConvTasNetConfig()
    table = {
        "B": c.bottleneck, "H": c.hidden, "N": c.filters, "L": c.window, "W": c.stride, "kernel": c.kernel,
        "layers": c.blocks, "stack": c.repeats, "sample_rate": c.sample_rate, "encoding": c.encoding,
        "fb_ratio": c.bank_share, "fb_type": c.bank, "filters": c.layers, "init_type": c.spacing,
        "who_is_pinv": c.inverse,
    }  # fmt: skip
    assert table == {
        "B": 160, "H": 160, "N": 440, "L": 20, "W": 20, "kernel": 3, "layers": 10, "stack": 4,
        "sample_rate": 44100, "encoding": "hybrid", "fb_ratio": 0.5, "fb_type": "gammatone", "filters": 1,
        "init_type": "mel", "who_is_pinv": "none",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"kernel": 4}, "must be odd"), ({"stems": ("a", "a")}, "distinct"), ({"stride": 9}, "leaves gaps")],
)
def test_impossible_configs_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        OfflineConvTasNetConfig.model_validate(SMALL | change)
