"""Write the folder of an offline model: what is imported and what is trained look alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from rtsep.separators.manifest import MANIFEST_NAME, OfflineFiles, OfflineManifest
from rtsep.separators.open_unmix import OpenUnmix, OpenUnmixConfig
from rtsep.separators.registry import OfflinePackage, describe_file, read_package

CHUNK_SECONDS = 30.0
"""What is separated at once."""

OVERLAP_SECONDS = 3.0
"""Cross-fade of two chunks. The published networks hear about that far."""

_WEIGHTS = "weights.safetensors"


def write_offline(
    folder: Path, config: OpenUnmixConfig, weights: Mapping[str, Tensor], **about: Any
) -> OfflinePackage:
    """Write weights and manifest into an empty folder, named as the model.

    Args:
        folder: exists.
        config: the network's.
        weights: its state dict, contiguous tensors on the CPU.
        about: title, description, version, licence, and scores and training if any, of the manifest.
    """
    (folder / _WEIGHTS).write_bytes(save(dict(weights)))
    OfflineManifest(
        name=folder.name,
        kind="offline",
        architecture=OpenUnmix.architecture,
        sample_rate=config.sample_rate,
        channels=config.channels,
        stems=config.stems,
        config=config.model_dump(mode="json"),
        chunk=round(CHUNK_SECONDS * config.sample_rate),
        overlap=round(OVERLAP_SECONDS * config.sample_rate),
        files=OfflineFiles(weights=describe_file(folder, _WEIGHTS)),
        **about,
    ).write(folder / MANIFEST_NAME)
    package = read_package(folder)
    assert isinstance(package, OfflinePackage)
    return package
