"""The demucs package's files: pickles, read so that nothing can run, and made into one offline model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from rtsep.backends.open import open_offline
from rtsep.separators.demucs_package import (
    DemucsPackage,
    DemucsPackageConfig,
    MemberConfig,
    package_classes,
    to_json,
)
from rtsep.separators.offline_folder import write_offline
from rtsep.separators.registry import OfflinePackage
from rtsep.spec import ModelError

_SHARED = {"audio_channels": 2, "samplerate": 44100}
"""What all members of a bag must agree on, with the constructors' defaults."""


def convert(files: Sequence[Path], bag: Mapping[str, Any], folder: Path, **about: Any) -> OfflinePackage:
    """Write a model folder, load it and run it once.

    Args:
        files: as the package saves models, in the bag's order; the same may come more than once.
        bag: `weights` and `segment` of `rtsep.separators.demucs_package.DemucsPackageConfig`, if any.
        folder: an empty folder, named as the model.
        about: title, description, version, licence and training of the manifest.

    Raises:
        BackendError: when the demucs package is not there.
        ModelError: when a file is none of the package's, is quantised, does not fit its network or the other
            files, or the network gives numbers that are not finite.
    """
    members, states, shared = [], [], []
    for file in files:
        member, arguments, state = _read(file)
        members.append(member)
        states.append(state)
        shared.append((tuple(arguments["sources"]), *(arguments.get(n, v) for n, v in _SHARED.items())))
    for file, other in zip(files, shared, strict=True):
        if other != shared[0]:
            raise ModelError(f"{file}: its sources, channels or rate are not those of the other files")
    sources, channels, rate = shared[0]
    try:
        config = DemucsPackageConfig.model_validate(
            {"sample_rate": rate, "channels": channels, "sources": sources, "members": members, **bag}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ModelError(f"{files[0]}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    wanted = DemucsPackage(config).state_dict()
    weights = {}
    for name, tensor in wanted.items():
        _, index, key = name.split(".", 2)
        found = states[int(index)].get(key)
        if found is None or found.shape != tensor.shape:
            raise ModelError(f"{files[int(index)]}: its '{key}' does not fit the network that it describes")
        # Published files are in half precision.
        weights[name] = found.to(tensor.dtype).contiguous().clone()
    package = write_offline(folder, DemucsPackage, config, weights, **about)
    _try(package, config)
    return package


def _read(file: Path) -> tuple[MemberConfig, dict[str, Any], dict[str, Tensor]]:
    """A file's network, its constructor's arguments, and its weights."""
    classes = package_classes()
    # A restricted unpickler: of all that a pickle could name, only these, none of which does anything.
    scalar = np.float64(0.0).__reduce__()[0]
    harmless: list[Any] = [
        *classes.values(),
        Fraction,
        np.dtype,
        type(np.dtype(np.float64)),
        (scalar, "numpy.core.multiarray.scalar"),
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(harmless):
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror or error}") from None
    except Exception:  # the unpickler raises whatever the damage leads to
        # What torch says of it advises to load the file whatever it may do.
        raise ModelError(
            f"{file}: is no model of the demucs package: it is damaged, or holds other things, which are not"
            " loaded"
        ) from None
    names = {kind: name for name, kind in classes.items()}
    try:
        name, positional = names[content["klass"]], content["args"]
        arguments, state = dict(content["kwargs"]), dict(content["state"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{file}: is no model of the demucs package, version 3 or 4") from None
    if state.pop("__quantized", False):
        raise ModelError(f"{file}: is quantised; take the model that is not")
    if positional:
        # All three constructors begin with the sources.
        arguments["sources"], *rest = positional
        if rest:
            raise ModelError(f"{file}: has more than its sources without a name among its arguments")
    if "sources" not in arguments or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file}: is no model of the demucs package, version 3 or 4")
    plain = {key: to_json(value) for key, value in arguments.items()}
    return MemberConfig.model_validate({"model": name, "arguments": plain}), arguments, state


def _try(package: OfflinePackage, config: DemucsPackageConfig) -> None:
    noise = np.random.default_rng(0).standard_normal((config.channels, config.sample_rate)) * 0.1
    model = open_offline(package)
    stems = model.separate(noise.astype(np.float32))
    model.close()
    if not np.isfinite(stems).all():
        raise ModelError(f"{package.name}: the network gives numbers that are not finite")
