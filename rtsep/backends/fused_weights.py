"""A model's weights for a step that is compiled: taken by name, of the sizes that its loops will trust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from rtsep.dsp.kernel import Floats
from rtsep.spec import ModelError


def require(config: Mapping[str, Any], names: Iterable[str], path: Path) -> None:
    """Complain of what a compiled step must know and the manifest of these weights does not say.

    Raises:
        ModelError: with the names.
    """
    if missing := [name for name in names if name not in config]:
        raise ModelError(f"{path.parent}: the manifest's config lacks {', '.join(missing)}")


def room(*shape: int) -> Floats:
    """Memory to keep a state or to work in."""
    return np.zeros(shape, np.float32)


class Weights:
    """A model's tensors by name; each is taken once, and none may be left.

    Raises (here and from all that takes one):
        ModelError: when the file cannot be read, or lacks a tensor of that name and shape.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be loaded: {error}") from None
        self.names = tuple(self._tensors)

    def take(self, name: str, *shape: int | None, keep: bool = False) -> Floats:
        """One of this shape; None is any size. `keep`: it is only looked at."""
        tensor = self._tensors.get(name) if keep else self._tensors.pop(name, None)
        if tensor is None:
            raise ModelError(f"{self._path}: has no tensor '{name}'")
        sizes = zip(tensor.shape, shape, strict=False)
        self.expect(tensor.ndim == len(shape) and all(want in (None, size) for size, want in sizes), name)
        return np.ascontiguousarray(tensor, np.float32)

    def expect(self, fits: bool, name: str) -> None:
        """Complain that a tensor is of another network, unless it fits."""
        if not fits:
            raise ModelError(f"{self._path}: '{name}' is not of the network that the manifest describes")

    def matrix(self, name: str, *shape: int | None) -> Floats:
        """(outputs, inputs) as torch keeps it, turned to (inputs, outputs)."""
        return np.ascontiguousarray(self.take(name, *shape).T)

    def norm(self, name: str, width: int) -> tuple[Floats, Floats]:
        """Gain and bias of a norm, (width,) each."""
        return self.take(f"{name}.weight", width), self.take(f"{name}.bias", width)

    def linear(self, name: str, outputs: int, inputs: int) -> tuple[Floats, Floats]:
        """(inputs, outputs) and the bias, (outputs,)."""
        return self.matrix(f"{name}.weight", outputs, inputs), self.take(f"{name}.bias", outputs)

    def finish(self) -> None:
        """Complain of what nobody has taken."""
        if self._tensors:
            raise ModelError(f"{self._path}: has a tensor '{min(self._tensors)}' that the network lacks")
