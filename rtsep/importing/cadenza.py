"""The Cadenza project's causal Conv-TasNet: its config and state dict made into a streaming model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from rtsep.importing.state_dicts import read_state_dict
from rtsep.separators.cadenza_tasnet import CadenzaTasNet, CadenzaTasNetConfig
from rtsep.separators.registry import ModelPackage
from rtsep.spec import ModelError
from rtsep.training.export import export

CONFIG_FILE = "config.json"
"""The constructor's arguments, as the hub's mixin saves them."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""What the hub's mixin calls weights, the newer name first."""

_LETTERS = {
    "samplerate": "sample_rate",
    "audio_channels": "channels",
    "L": "window",
    "N": "filters",
    "B": "bottleneck",
    "H": "hidden",
    "P": "kernel",
    "X": "blocks",
    "R": "repeats",
}
_REQUIRED = {"causal": True, "norm_type": "cLN", "mask_nonlinear": "relu"}
_DEFAULT_STEMS = {2: ("vocals", "accompaniment")}
HOP_STRIDES = 32
"""Half-windows in a step: 7.3 ms of the published model's. A step of fewer has less latency and more work."""


def convert(source: Path, folder: Path, **about: Any) -> ModelPackage:
    """Write a model folder, its graph checked against the network.

    Args:
        source: the state dict with `config.json` beside it, or the folder of both.
        folder: where the model will lie: an empty folder, named as the model.
        about: title, description, version, licence and training of the manifest.

    Raises:
        ModelError: when the config is of another kind of network, or the state dict does not fit it.
    """
    weights = _weights_in(source) if source.is_dir() else source
    config = _read_config(weights.with_name(CONFIG_FILE))
    network = CadenzaTasNet(config)
    state = _translated(read_state_dict(weights), config, weights)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise ModelError(f"{weights}: '{name}' is {list(state[name].shape)}, not {list(tensor.shape)}")
    network.load_state_dict(state)
    return export(network, folder.parent, folder.name, overwrite=True, **about)


def _weights_in(folder: Path) -> Path:
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder}: has {CONFIG_FILE}, but neither of {' and '.join(WEIGHT_FILES)}")
    return found


def _read_config(file: Path) -> CadenzaTasNetConfig:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        stems = int(content["C"])
        for key, value in _REQUIRED.items():
            if content[key] != value:
                raise ModelError(f"{file}: '{key}' is {content[key]}, only {value} can stream here")
        sizes = {ours: int(content[letter]) for letter, ours in _LETTERS.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: is not the config of a Conv-TasNet: {error}") from None
    names = _DEFAULT_STEMS.get(stems, tuple(f"stem{index + 1}" for index in range(stems)))
    try:
        hop = HOP_STRIDES * (sizes["window"] // 2)
        return CadenzaTasNetConfig.model_validate(sizes | {"stems": names, "hop": hop})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{file}: {field}: {first['msg']}") from None


def _translated(theirs: dict[str, Tensor], config: CadenzaTasNetConfig, file: Path) -> dict[str, Tensor]:
    """Their names and shapes to ours; every tensor of theirs is used once."""
    left = dict(theirs)

    def take(name: str) -> Tensor:
        if name not in left:
            raise ModelError(f"{file}: has no '{name}', which the Conv-TasNet of its config needs")
        return left.pop(name).float()

    def dense(name: str) -> Tensor:  # a convolution of one tap
        return take(name).squeeze(-1)

    def norm(theirs: str, ours: str) -> dict[str, Tensor]:
        # Their gain and offset are shaped (1, channels, 1).
        gain, offset = take(f"{theirs}.gamma").flatten(), take(f"{theirs}.beta").flatten()
        return {f"{ours}.weight": gain, f"{ours}.bias": offset}

    ours = {
        # Kernels (filters, channels, window) lie as our frames do: channel by channel.
        "encoder.weight": take("encoder.conv1d_U.weight").flatten(1),
        **norm("separator.network.0", "input_norm"),
        "bottleneck.weight": dense("separator.network.1.weight"),
        "masks.weight": dense("separator.network.3.weight"),
        "decoder.weight": take("decoder.basis_signals.weight"),
    }
    for index in range(config.repeats * config.blocks):
        repeat, block = divmod(index, config.blocks)
        net, own = f"separator.network.2.{repeat}.{block}.net", f"blocks.{index}"
        ours |= {
            f"{own}.expand.weight": dense(f"{net}.0.weight"),
            f"{own}.expand_prelu.weight": take(f"{net}.1.weight"),
            **norm(f"{net}.2", f"{own}.expand_norm"),
            # (hidden, 1, taps) to (taps, hidden).
            f"{own}.taps": take(f"{net}.3.net.0.weight").squeeze(1).T.contiguous(),
            # Number 1 cuts what the convolution reached ahead, and has no weights.
            f"{own}.depth_prelu.weight": take(f"{net}.3.net.2.weight"),
            **norm(f"{net}.3.net.3", f"{own}.depth_norm"),
            f"{own}.project.weight": dense(f"{net}.3.net.4.weight"),
        }
    if left:
        raise ModelError(f"{file}: has '{min(left)}', which the Conv-TasNet of its config does not know")
    return {name: tensor.to(torch.float32) for name, tensor in ours.items()}
