"""Open-Unmix's state dicts, one file a target, made into one offline model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from torch import Tensor

from rtsep.backends.open import open_offline
from rtsep.importing.state_dicts import read_state_dict
from rtsep.separators.offline_folder import write_offline
from rtsep.separators.open_unmix import OpenUnmix, OpenUnmixConfig
from rtsep.separators.registry import OfflinePackage
from rtsep.spec import STEMS, ModelError

SEPARATOR_FILE = "separator.json"
"""Beside the weights of one's own trainings: what they share."""


@dataclass(frozen=True, slots=True)
class Source:
    """State dicts and what is not in them.

    Attributes:
        files: by target.
        sample_rate: Hz.
        hop: samples between frames; None for a quarter of a frame, as published models have it.
    """

    files: Mapping[str, Path]
    sample_rate: int = 44100
    hop: int | None = None


def find_files(folder: Path) -> Source:
    """The state dicts of a folder as the package's own loader expects it.

    `separator.json`, and for each target `<target>.pth` or `<target>-<digits>.pth`.

    Raises:
        ModelError: when there are no such files, or `separator.json` does not say what it should.
    """
    files = {target_of(file): file for file in sorted(folder.glob("*.pth"))}
    if not files:
        raise ModelError(f"{folder}: there is no <target>.pth in it")
    about = folder / SEPARATOR_FILE
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
        return Source(files, int(content["sample_rate"]), int(content["nhop"]))
    except FileNotFoundError:
        return Source(files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{about}: is not as Open-Unmix writes it: {type(error).__name__} {error}") from None


def target_of(file: Path) -> str:
    """The target that a file of weights is for: "vocals" for `vocals-b62c91ce.pth`."""
    return file.stem.partition("-")[0]


def convert(source: Source, folder: Path, **about: Any) -> OfflinePackage:
    """Write a model folder, load it and run it once.

    Args:
        source: the state dicts. With a single target the model has a second stem, the residual.
        folder: an empty folder, named as the model.
        about: title, description, version, licence and training of the manifest.

    Raises:
        ModelError: when a file is no state dict of Open-Unmix's, files do not fit each other, or the network
            gives numbers that are not finite.
    """
    states = {target: read_state_dict(source.files[target]) for target in _ordered(source.files)}
    configs = {target: _config(source, target, state) for target, state in states.items()}
    first = next(iter(configs.values()))
    for target, config in configs.items():
        if config != first:
            raise ModelError(f"{source.files[target]}: its sizes are not those of the other targets")
    config = first.model_copy(update={"targets": tuple(states), "residual": len(states) == 1})
    # Through the class again: a copy is not checked.
    config = _checked(config.model_dump(), folder)
    wanted = OpenUnmix(config).state_dict()
    weights = {}
    for name in wanted:
        _, target, key = name.split(".", 2)
        tensor = states[target].get(key)
        if tensor is None:
            raise ModelError(f"{source.files[target]}: has no '{key}', which Open-Unmix needs")
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"{source.files[target]}: '{key}' is {list(tensor.shape)}, not {list(wanted[name].shape)}"
            )
        weights[name] = tensor.to(wanted[name].dtype).contiguous()
    # Other entries are left behind: early versions saved the window of their own transform, and the rate.
    package = write_offline(folder, OpenUnmix, config, weights, **about)
    _try(package, config)
    return package


def _ordered(targets: Iterable[str]) -> list[str]:
    """The known stems in their usual order, then the others."""
    known = list(STEMS)
    return sorted(targets, key=lambda name: (known.index(name) if name in known else len(known), name))


def _config(source: Source, target: str, state: Mapping[str, Tensor]) -> OpenUnmixConfig:
    """The sizes that a state dict shows."""
    file = source.files[target]
    try:
        bins, all_bins = len(state["input_mean"]), len(state["output_mean"])
        width, inputs = state["fc1.weight"].shape
    except (KeyError, ValueError, TypeError):
        raise ModelError(f"{file}: is no state dict of Open-Unmix's") from None
    frame = 2 * (all_bins - 1)
    content = {
        "sample_rate": source.sample_rate,
        "channels": inputs // max(bins, 1),
        "targets": (target,),
        "frame": frame,
        "hop": source.hop or max(frame // 4, 1),
        "bins": bins,
        "width": width,
        "depth": sum(name.startswith("lstm.weight_ih_l") for name in state if "reverse" not in name),
        "bidirectional": "lstm.weight_ih_l0_reverse" in state,
        "residual": True,
    }
    return _checked(content, file).model_copy(update={"targets": STEMS, "residual": False})


def _checked(content: dict[str, Any], file: Path) -> OpenUnmixConfig:
    try:
        return OpenUnmixConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{file}: no sizes of Open-Unmix's: {field} {first['msg']}".strip()) from None


def _try(package: OfflinePackage, config: OpenUnmixConfig) -> None:
    noise = np.random.default_rng(0).standard_normal((config.channels, 4 * config.frame)) * 0.1
    model = open_offline(package)
    stems = model.separate(noise.astype(np.float32))
    model.close()
    if not np.isfinite(stems).all():
        raise ModelError(f"{package.name}: the network gives numbers that are not finite")
