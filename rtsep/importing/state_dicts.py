"""Weights as others save them, read so that nothing in the file can run."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rtsep.spec import ModelError


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of one that `torch.save` wrote, by name.

    A checkpoint that holds its weights under `state_dict` is taken for these. Pickles are read with torch's
    restricted unpickler: one that holds anything but tensors and plain containers is refused.

    Raises:
        ModelError: when the file cannot be read, or is no state dict.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            # Of pickles that it may not understand: what it does not, it refuses.
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise ModelError(f"{file}: cannot be read: {error}") from None
    except Exception:  # the unpickler raises whatever the damage leads to
        # What torch says of it advises to load the file whatever it may do.
        raise ModelError(
            f"{file}: is no file of weights alone: it is damaged, or holds other things, which are not loaded"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{file}: holds no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(f"{file}: holds no state dict: '{name}' is no tensor")
    return dict(content)
