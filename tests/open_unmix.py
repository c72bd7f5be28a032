"""Small Open-Unmix networks made and saved by the openunmix package itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

FRAME, HOP, RATE = 512, 128, 16000

# The package imports torchaudio when it is loaded, and needs it to resample and to read files only, which is
# not done here. Wheels of torchaudio are built for one build of torch each: beside torch without CUDA the one
# that pip takes cannot be loaded at all.
sys.modules.setdefault("torchaudio", ModuleType("torchaudio"))


def save_models(
    folder: Path,
    targets: Sequence[str],
    *,
    channels: int = 2,
    width: int = 16,
    depth: int = 3,
    bins: int = 200,
    unidirectional: bool = False,
) -> Path:
    """Write what the package reads: a state dict and a JSON file for each target, and `separator.json`."""
    from openunmix.model import OpenUnmix
    from openunmix.utils import save_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    for target in targets:
        network = OpenUnmix(
            nb_bins=FRAME // 2 + 1,
            nb_channels=channels,
            hidden_size=width,
            nb_layers=depth,
            unidirectional=unidirectional,
            max_bin=bins,
        )
        state: dict[str, Any] = network.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point():
                # Statistics too: a fresh batch norm would hide whether they are used.
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if name.endswith("var") else 0.6 * (noise - 0.4))
        save_checkpoint({"state_dict": state}, True, str(folder), target)
        about = {"args": {"nfft": FRAME, "nhop": HOP, "nb_channels": channels, "hidden_size": width}}
        (folder / f"{target}.json").write_text(json.dumps(about))
    about = {"sample_rate": RATE, "nfft": FRAME, "nhop": HOP, "nb_channels": channels}
    (folder / "separator.json").write_text(json.dumps(about))
    return folder


def peer_separator(folder: Path, targets: Sequence[str], *, iterations: int, residual: bool) -> Any:
    """The package's own separator over these files."""
    from openunmix.utils import load_separator

    separator = load_separator(
        str(folder), targets=list(targets), niter=iterations, residual=residual, wiener_win_len=40
    )
    separator.freeze()
    return separator
