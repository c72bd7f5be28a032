"""Curves as they grow: event files for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rtsep.spec import UsageError

FOLDER = "events"
"""Inside the run's folder: `tensorboard --logdir runs` finds every run's."""


class Events(Protocol):
    """Takes figures and pictures, each at a step."""

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Show a picture."""

    def close(self) -> None:
        """Write what has not been written yet."""


class NoEvents:
    """Where nobody watches."""

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TensorBoardEvents:
    """Event files, through torch's own writer.

    Args:
        folder: the run's.
        step: the run's, now: what an interrupted run wrote beyond it is struck out.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=step + 1 if step else None)  # type: ignore[no-untyped-call]

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve, and let it be seen."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Show a PNG."""
        import io

        from matplotlib.image import imread

        pixels = imread(io.BytesIO(png), format="png")[..., :3]
        self._writer.add_image(name, (255 * pixels).astype(np.uint8), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Write what has not been written yet."""
        self._writer.close()


def open_events(wanted: str, folder: Path, step: int) -> Events:
    """A place for figures and pictures, as the [monitor] table's `tensorboard` says.

    Raises:
        UsageError: when it says "on" and TensorBoard is not installed.
    """
    if wanted == "off":
        return NoEvents()
    try:
        return TensorBoardEvents(folder, step)
    except ModuleNotFoundError as error:
        if wanted == "auto":
            return NoEvents()
        raise UsageError(
            f"[monitor] tensorboard: {error.name} is not installed: pip install 'rtsep[tensorboard]'"
        ) from None
