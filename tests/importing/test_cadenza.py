"""The Cadenza project's Conv-TasNet: its state dict gives here what its equations give.

The recipe's code is no package, so the reference is written here from the equations: Luo and Mesgarani,
arXiv:1809.07454, section II, in the recipe's causal form, with convolutions over (batch, features, frames)
and the recipe's names of weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from rtsep.backends.stream import open_stream
from rtsep.engine.offline import separate_array
from rtsep.importing.cadenza import convert
from rtsep.importing.published import PUBLISHED
from rtsep.separators.cadenza_tasnet import CadenzaTasNet, CadenzaTasNetConfig
from rtsep.separators.catalogue import load_weights
from rtsep.separators.registry import ModelPackage
from rtsep.spec import ModelError

CONFIG: dict[str, Any] = {
    "N": 14, "L": 20, "B": 8, "H": 12, "P": 3, "X": 3, "R": 2, "C": 2, "audio_channels": 2,
    "samplerate": 44100, "norm_type": "cLN", "causal": True, "mask_nonlinear": "relu",
}  # fmt: skip
ABOUT = {"title": "", "description": "", "version": "1", "licence": "Apache-2.0"}


def shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The state dict of the recipe's `ConvTasNetStereo`."""
    n, b, h = c["N"], c["B"], c["H"]
    made: dict[str, tuple[int, ...]] = {
        "encoder.conv1d_U.weight": (n, c["audio_channels"], c["L"]),
        "separator.network.0.gamma": (1, n, 1),
        "separator.network.0.beta": (1, n, 1),
        "separator.network.1.weight": (b, n, 1),
    }
    for block in (f"separator.network.2.{r}.{x}.net" for r in range(c["R"]) for x in range(c["X"])):
        made |= {
            f"{block}.0.weight": (h, b, 1),
            f"{block}.1.weight": (1,),
            f"{block}.2.gamma": (1, h, 1),
            f"{block}.2.beta": (1, h, 1),
            f"{block}.3.net.0.weight": (h, 1, c["P"]),
            f"{block}.3.net.2.weight": (1,),
            f"{block}.3.net.3.gamma": (1, h, 1),
            f"{block}.3.net.3.beta": (1, h, 1),
            f"{block}.3.net.4.weight": (b, h, 1),
        }
    return made | {
        "separator.network.3.weight": (c["C"] * n, b, 1),
        "decoder.basis_signals.weight": (c["audio_channels"] * c["L"], n),
    }


def random_state(config: dict[str, Any]) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {name: 0.5 * torch.randn(shape) + 0.05 for name, shape in shapes(config).items()}


def reference(mix: Tensor, w: dict[str, Tensor], c: dict[str, Any]) -> Tensor:
    """(batch, channels, samples) to (batch, stems, channels, samples), by the equations."""

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        return w[f"{name}.gamma"] * centred / (variance + 1e-8).sqrt() + w[f"{name}.beta"]

    features = functional.conv1d(mix, w["encoder.conv1d_U.weight"], stride=c["L"] // 2).relu()
    x = functional.conv1d(norm(features, "separator.network.0"), w["separator.network.1.weight"])
    for r in range(c["R"]):
        for i in range(c["X"]):
            block = f"separator.network.2.{r}.{i}.net"
            y = functional.prelu(functional.conv1d(x, w[f"{block}.0.weight"]), w[f"{block}.1.weight"])
            y = functional.pad(norm(y, f"{block}.2"), ((c["P"] - 1) * 2**i, 0))
            y = functional.conv1d(y, w[f"{block}.3.net.0.weight"], dilation=2**i, groups=c["H"])
            y = norm(functional.prelu(y, w[f"{block}.3.net.2.weight"]), f"{block}.3.net.3")
            x = x + functional.conv1d(y, w[f"{block}.3.net.4.weight"])
    masks = functional.conv1d(x, w["separator.network.3.weight"]).relu()
    masked = masks.unflatten(1, (c["C"], c["N"])) * features.unsqueeze(1)
    frames = torch.einsum("bcnk,ln->bckl", masked, w["decoder.basis_signals.weight"])
    frames = frames.unflatten(-1, (c["audio_channels"], c["L"])).transpose(2, 3)
    out = torch.zeros(*frames.shape[:3], mix.shape[-1])
    for k in range(frames.shape[3]):
        start = k * (c["L"] // 2)
        out[..., start : start + c["L"]] += frames[:, :, :, k]
    return out


def saved(folder: Path, state: dict[str, Tensor], **changes: Any) -> Path:
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    return folder


def imported(source: Path) -> ModelPackage:
    folder = source.parent / "models" / "tasnet"
    folder.mkdir(parents=True)
    return convert(source, folder, **ABOUT)


def test_whole_and_streamed_it_is_the_recipes_network(tmp_path: Path) -> None:
    state = random_state(CONFIG)
    package = imported(saved(tmp_path / "theirs", state))
    assert package.spec.stems == ("vocals", "accompaniment")
    assert (package.spec.hop, package.spec.delay) == (320, 10)
    mix = 0.3 * torch.randn(1, 2, 3333)
    # In a stream frames begin half a window before the first sample, and the last one is completed.
    wanted = reference(functional.pad(mix, (10, 17)), state, CONFIG)[..., 10 : 10 + mix.shape[-1]]
    assert wanted.abs().max() > 0.5
    with torch.no_grad():
        whole = load_weights(package)(mix)
    assert (whole - wanted).abs().max() <= 1e-4
    with open_stream(package) as stream:
        streamed = separate_array(stream, mix[0].numpy())
    assert (torch.from_numpy(streamed) - wanted[0]).abs().max() <= 1e-4


def test_it_hears_no_future() -> None:
    network = CadenzaTasNet(
        CadenzaTasNetConfig(filters=8, bottleneck=8, hidden=8, blocks=3, repeats=2)
    ).eval()
    mix = torch.randn(1, 2, 2000)
    changed = mix.clone()
    changed[..., 1000:] = 0.0
    with torch.no_grad():
        before, after = network(mix), network(changed)
    assert torch.equal(before[..., :990], after[..., :990])
    assert not torch.equal(before[..., 1000:], after[..., 1000:])


def test_the_published_sizes_are_the_default_ones() -> None:
    published = PUBLISHED["cadenza-convtasnet"].config
    assert published is not None
    theirs = sum(torch.Size(shape).numel() for shape in shapes(published).values())
    with torch.device("meta"):
        ours = sum(p.numel() for p in CadenzaTasNet(CadenzaTasNetConfig()).parameters())
    assert ours == theirs
    assert 43.3e6 < 4 * theirs < 43.5e6, "the published file has 43.4 MB"


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"causal": False}, "'causal' is False"),
        ({"norm_type": "gLN"}, "'norm_type' is gLN"),
        ({"mask_nonlinear": "softmax"}, "'mask_nonlinear' is softmax"),
        ({"N": "many"}, "is not the config of a Conv-TasNet"),
        ({"P": 1}, "kernel"),
        ({"X": 2}, "'separator.network.2.0.2.net.0.weight'"),
        ({"X": 4}, "has no 'separator.network.2.0.3.net.0.weight'"),
        ({"H": 13}, "not"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        imported(saved(tmp_path / "theirs", random_state(CONFIG), **change))
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_said(tmp_path: Path) -> None:
    folder = saved(tmp_path / "theirs", random_state(CONFIG))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="neither of model.safetensors and pytorch_model.bin"):
        imported(folder)
