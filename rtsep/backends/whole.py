"""torch: an offline network over a whole piece of a song."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rtsep.separators.catalogue import load_offline
from rtsep.separators.registry import OfflinePackage
from rtsep.spec import AudioSpec, BackendError


class TorchOfflineModel:
    """Runs an offline model; see `rtsep.backends.base.OfflineModel`.

    Args:
        package: the model; its weights are checked against its network.
        device: "cpu" or "cuda".
        threads: CPU threads. torch keeps this number for the whole process.

    Attributes:
        spec, chunk, overlap: as the manifest says.

    Raises:
        BackendError: when the device is not there.
        ModelError: when the weights cannot be loaded or do not fit.
    """

    def __init__(self, package: OfflinePackage, device: str = "cpu", threads: int = 1) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendError(
                "torch finds no CUDA device here: it needs a GPU, its driver and a CUDA build of torch"
            )
        torch.set_num_threads(threads)
        self.spec: AudioSpec = package.spec
        self.chunk = package.manifest.chunk
        self.overlap = package.manifest.overlap
        self._device = device
        self._network = load_offline(package).to(device).requires_grad_(False)

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stems (stems, channels, samples) of `mix` (channels, samples), any length from one up."""
        with torch.inference_mode():
            stems = self._network(torch.from_numpy(np.ascontiguousarray(mix)).to(self._device))
        result: NDArray[np.float32] = stems.cpu().numpy()
        return result

    def close(self) -> None:
        """Let go of the network and its device memory."""
        self._network = None  # type: ignore[assignment]
