"""Write the folder of an offline model: what is imported and what is trained look alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from safetensors.torch import save
from torch import Tensor

from rtsep.separators.manifest import MANIFEST_NAME, OfflineFiles, OfflineManifest
from rtsep.separators.offline_network import OfflineNetwork, audio_spec
from rtsep.separators.registry import OfflinePackage, describe_file, read_package

_WEIGHTS = "weights.safetensors"


def write_offline(
    folder: Path,
    network: type[OfflineNetwork],
    config: BaseModel,
    weights: Mapping[str, Tensor],
    **about: Any,
) -> OfflinePackage:
    """Write weights and manifest into an empty folder, named as the model.

    Args:
        folder: exists.
        network: its class.
        config: of that class.
        weights: its state dict, contiguous tensors on the CPU.
        about: title, description, version, licence, and scores and training if any, of the manifest.
    """
    spec = audio_spec(config)
    (folder / _WEIGHTS).write_bytes(save(dict(weights)))
    OfflineManifest(
        name=folder.name,
        kind="offline",
        architecture=network.architecture,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        stems=spec.stems,
        config=config.model_dump(mode="json"),
        chunk=round(network.chunk_seconds * spec.sample_rate),
        overlap=round(network.overlap_seconds * spec.sample_rate),
        files=OfflineFiles(weights=describe_file(folder, _WEIGHTS)),
        **about,
    ).write(folder / MANIFEST_NAME)
    package = read_package(folder)
    assert isinstance(package, OfflinePackage)
    return package
