"""FB-IRM: ideal ratio masks on an encoding that was learned, to judge the encoding before its separator.

A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, section 5.2: an encoder and a decoder as
Conv-TasNet has them, with ideal masks in place of the network between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.oracles import ratio_masks
from rtsep.separators.registry import ModelPackage
from rtsep.spec import ModelError, UsageError

Audio = NDArray[np.floating]

BLOCK = 4096
"""Frames worked on at a time."""


@dataclass(frozen=True)
class Filterbank:
    """A linear encoder and decoder on frames that overlap by half.

    Attributes:
        sample_rate: Hz that it was learned at.
        channels: of the audio; a frame holds all of them.
        window: samples of a frame, even; frames start every half of it.
        encoder: (filters, channels x window).
        decoder: (channels x window, filters).
        rectified: whether the encoding is cut off below zero, as Conv-TasNet's is.
    """

    sample_rate: int
    channels: int
    window: int
    encoder: NDArray[np.float64]
    decoder: NDArray[np.float64]
    rectified: bool

    @classmethod
    def read(cls, package: ModelPackage) -> Filterbank:
        """The encoder and decoder of a causal Conv-TasNet.

        Raises:
            ModelError: when the model is another architecture's, or its weights cannot be read or do not fit.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        manifest = package.manifest
        if manifest.architecture != "conv-tasnet":
            raise ModelError(
                f"{package.name}: is a {manifest.architecture}; only a conv-tasnet has a learned filterbank"
            )
        package.verify()
        try:
            weights = load_file(package.weights)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{package.weights}: cannot be loaded: {error}") from None
        # Frames overlap by half, so what the stream trails by is half a frame.
        window = 2 * manifest.delay
        samples = manifest.channels * window
        encoder, decoder = weights.get("encoder.weight"), weights.get("decoder.weight")
        if encoder is None or decoder is None or encoder.shape[1:] != (samples,):
            raise ModelError(f"{package.weights}: has no encoder and decoder for frames of {window} samples")
        if decoder.shape != encoder.shape[::-1]:
            raise ModelError(f"{package.weights}: decoder {decoder.shape}, encoder {encoder.shape}")
        return cls(
            manifest.sample_rate,
            manifest.channels,
            window,
            encoder.astype(np.float64),
            decoder.astype(np.float64),
            rectified=True,
        )

    def inverted(self) -> Filterbank:
        """The same encoder, not rectified, with its pseudo-inverse as decoder.

        With at least as many filters as a frame has samples it reconstructs perfectly.
        """
        # Half of it: every sample lies in two frames.
        decoder = np.linalg.pinv(self.encoder).astype(np.float64) / 2.0
        return replace(self, decoder=decoder, rectified=False)

    def encode(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., channels x window) to (..., filters)."""
        features: NDArray[np.float64] = frames @ self.encoder.T
        return np.maximum(features, 0.0) if self.rectified else features


def filterbank_irm(stems: Audio, filterbank: Filterbank, alpha: float = 1.0) -> NDArray[np.float64]:
    """Ideal ratio masks on a learned encoding.

    Mocanu's equation 5.1: the masks are |e_j|^alpha / sum over j' of |e_j'|^alpha, of the stems' encodings
    e_j, applied to the mixture's encoding. What the stems then lack of the mixture is shared out equally, as
    the causal Conv-TasNet does.

    Args:
        stems: (stems, channels, samples) at the filterbank's rate; their sum is the mixture.
        filterbank: the encoding.
        alpha: 1 as in the thesis, or 2.

    Returns:
        (stems, channels, samples), adding up to the mixture.

    Raises:
        UsageError: when the shape is another, or the channels are not the filterbank's.
    """
    if stems.ndim != 3 or 0 in stems.shape:
        raise UsageError(f"expected (stems, channels, samples) of audio, not {stems.shape}")
    count, channels, samples = stems.shape
    if channels != filterbank.channels:
        raise UsageError(f"the filterbank is for {filterbank.channels} channels, the track has {channels}")
    window, stride = filterbank.window, filterbank.window // 2
    frames = -(-samples // stride) + 1
    truth = np.asarray(stems, np.float64)
    padded = np.pad(truth, ((0, 0), (0, 0), (stride, frames * stride - samples)))
    out = np.zeros_like(padded)
    for start in range(0, frames, BLOCK):
        stop = min(start + BLOCK, frames)
        piece = padded[..., start * stride : (stop + 1) * stride]
        view = np.lib.stride_tricks.sliding_window_view(piece, window, axis=-1)[..., ::stride, :]
        flat = view.transpose(0, 2, 1, 3).reshape(count, stop - start, channels * window)
        masks = ratio_masks(np.abs(filterbank.encode(flat)), alpha)
        masked = masks * filterbank.encode(flat.sum(axis=0))
        decoded = (masked @ filterbank.decoder.T).reshape(count, stop - start, channels, window)
        decoded = decoded.transpose(0, 2, 1, 3)
        flow = (count, channels, (stop - start) * stride)
        out[..., start * stride : stop * stride] += decoded[..., :stride].reshape(flow)
        out[..., (start + 1) * stride : (stop + 1) * stride] += decoded[..., stride:].reshape(flow)
    estimates = out[..., stride : stride + samples]
    missing = truth.sum(axis=0) - estimates.sum(axis=0)
    result: NDArray[np.float64] = estimates + missing / count
    return result
