"""How much of the processors and of the GPU is taken, asked now and then, never on the audio path."""

from __future__ import annotations

import importlib
import math
import os
import time
from typing import Any

LOOK_SECONDS = 1.0


class Loads:
    """This process's share of a processor's time, and how busy the GPU is that it computes on.

    Args:
        device: "cpu", "cuda" or "cuda:1". A GPU is asked through NVIDIA's management library
            (`nvidia-ml-py`); where that is not installed, or does not answer, nothing is known of it.

    Attributes:
        cpu: processor seconds a second, of all the process's threads: 1 is one core. NaN before a look.
        gpu: share of the time in which any kernel ran, whosever it was, 0 to 1; NaN where it is not known.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.cpu = self.gpu = math.nan
        self._library: Any
        self._handle: Any
        self._library, self._handle = _gpu(device) if device.startswith("cuda") else (None, None)
        self._wall, self._used = time.monotonic(), time.process_time()

    def look(self) -> bool:
        """Measure anew, where the last time was `LOOK_SECONDS` ago; returns whether it was."""
        wall = time.monotonic()
        if wall - self._wall < LOOK_SECONDS:
            return False
        used = time.process_time()
        self.cpu = (used - self._used) / (wall - self._wall)
        self._wall, self._used = wall, used
        if self._library is not None:
            try:
                self.gpu = self._library.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100.0
            except self._library.NVMLError:
                self.gpu = math.nan
        return True


def _gpu(device: str) -> tuple[Any, Any]:
    """NVIDIA's library and its handle of a GPU; twice None where there is no asking."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
    except Exception:  # whatever a missing or unfit driver raises: the figure is not worth the music
        return None, None
    _, _, number = device.partition(":")
    place = int(number or 0)
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[place] if place < len(visible) else str(place)
    try:
        if name.isdigit():
            return library, library.nvmlDeviceGetHandleByIndex(int(name))
        return library, library.nvmlDeviceGetHandleByUUID(name)
    except library.NVMLError:
        return None, None
