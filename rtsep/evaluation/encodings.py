"""FB-IRM on the encoding of an offline Conv-TasNet: whatever encoder it has, its own or a hybrid.

What `rtsep.evaluation.filterbanks` does for the causal one, whose encoder and decoder are one matrix each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsep.separators.registry import OfflinePackage
from rtsep.spec import ModelError, UsageError

Audio = NDArray[np.floating]
ARCHITECTURE = "conv-tasnet-offline"


class TrainedEncoding:
    """An encoder and decoder that were learned with a separator, or on their own.

    Args:
        network: an `rtsep.separators.offline_conv_tasnet.OfflineConvTasNet`, on the CPU.

    Attributes:
        sample_rate: Hz that it was learned at.
        channels: of the audio; each is encoded on its own.
    """

    def __init__(self, network: Any) -> None:
        self.sample_rate: int = network.spec.sample_rate
        self.channels: int = network.spec.channels
        self._network = network

    @classmethod
    def read(cls, package: OfflinePackage) -> TrainedEncoding:
        """The encoding of an offline Conv-TasNet.

        Raises:
            ModelError: when the model is another architecture's, or its weights cannot be read or do not fit.
        """
        if package.manifest.architecture != ARCHITECTURE:
            raise ModelError(
                f"{package.name}: is a {package.manifest.architecture}; only a conv-tasnet has a learned "
                "filterbank"
            )
        package.verify()
        # This loads torch.
        from rtsep.separators.catalogue import load_offline

        return cls(load_offline(package))

    def ideal_ratio_stems(self, stems: Audio, alpha: float = 1.0) -> NDArray[np.float64]:
        """Ideal ratio masks on the encoding; see `rtsep.separators.encoders.ideal_ratio_stems`.

        What the stems lack of the mixture is shared out equally, as on the causal one's.

        Args:
            stems: (stems, channels, samples) at the encoding's rate; their sum is the mixture.
            alpha: exponent of the magnitudes.

        Returns:
            (stems, channels, samples), adding up to the mixture.

        Raises:
            UsageError: when the shape is another, or the channels are not the encoding's.
        """
        if stems.ndim != 3 or 0 in stems.shape:
            raise UsageError(f"expected (stems, channels, samples) of audio, not {stems.shape}")
        if stems.shape[1] != self.channels:
            raise UsageError(
                f"the filterbank is for {self.channels} channels, the track has {stems.shape[1]}"
            )
        truth = np.asarray(stems, np.float64)
        estimates = self._network.ideal_ratio_stems(truth, alpha)
        missing = truth.sum(axis=0) - estimates.sum(axis=0)
        result: NDArray[np.float64] = estimates + missing / len(truth)
        return result
