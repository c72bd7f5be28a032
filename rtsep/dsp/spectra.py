"""The short-time Fourier transform of whole recordings, a block of frames at a time.

The same frames as the stream's (`rtsep.dsp.stft`): each ends at the newest sample of its hop, and only its
last `synthesis` samples are overlap-added. In double precision, and without a stream's constraints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.windows import asymmetric_pair

Audio = NDArray[np.floating]
Spectra = NDArray[np.complexfloating]

BLOCK = 128
"""Frames worked on at a time: bounds memory, whatever the song's length."""


@dataclass(frozen=True)
class Transform:
    """Analysis and synthesis with a window pair that reconstructs perfectly.

    Attributes:
        analysis, synthesis, hop: samples; see `rtsep.dsp.windows.asymmetric_pair`.

    Raises:
        UsageError: when the three sizes cannot reconstruct.
    """

    analysis: int = 4096
    synthesis: int = 4096
    hop: int = 1024
    _windows: tuple[NDArray[np.float32], NDArray[np.float32]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        windows = asymmetric_pair(self.analysis, self.synthesis, self.hop)
        object.__setattr__(self, "_windows", windows)

    @property
    def bins(self) -> int:
        """Frequencies from zero to half the sample rate."""
        return self.analysis // 2 + 1

    def frames(self, samples: int) -> int:
        """How many frames it takes to synthesise every sample of a signal."""
        return (samples - 1 + self.synthesis - self.hop) // self.hop + 1

    def blocks(self, samples: int) -> Iterator[slice]:
        """The frames of a signal in runs of at most `BLOCK`."""
        count = self.frames(samples)
        for start in range(0, count, BLOCK):
            yield slice(start, min(start + BLOCK, count))

    def pad(self, audio: Audio) -> NDArray[np.float64]:
        """(..., samples) with the silence around it that the first and last frames reach into."""
        samples = audio.shape[-1]
        before = self.analysis - self.hop
        after = (self.frames(samples) - 1) * self.hop + self.analysis - before - samples
        widths = [(0, 0)] * (audio.ndim - 1) + [(before, max(after, 0))]
        return np.pad(np.asarray(audio, np.float64), widths)

    def spectra(self, padded: NDArray[np.float64], block: slice) -> NDArray[np.complex128]:
        """Spectra of a run of frames.

        Args:
            padded: (..., samples) from `pad`.
            block: which frames.

        Returns:
            (..., frames, bins).
        """
        start = block.start * self.hop
        stop = (block.stop - 1) * self.hop + self.analysis
        view = np.lib.stride_tricks.sliding_window_view(padded[..., start:stop], self.analysis, axis=-1)
        spectra: NDArray[np.complex128] = np.fft.rfft(view[..., :: self.hop, :] * self._windows[0])
        return spectra

    def add(self, spectra: Spectra, block: slice, out: NDArray[np.float64]) -> None:
        """Overlap-add a run of frames.

        Args:
            spectra: (..., frames, bins).
            block: which frames.
            out: (..., samples) of the padded length; added to.
        """
        frames = np.fft.irfft(spectra, self.analysis)[..., -self.synthesis :] * self._windows[1]
        for index in range(frames.shape[-2]):
            start = (block.start + index) * self.hop + self.analysis - self.synthesis
            out[..., start : start + self.synthesis] += frames[..., index, :]

    def crop(self, padded: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
        """What `pad` put around it taken off again: (..., samples)."""
        start = self.analysis - self.hop
        return padded[..., start : start + samples]

    def whole(self, audio: Audio) -> NDArray[np.complex128]:
        """All spectra of a signal at once: (..., samples) to (..., frames, bins).

        Takes some 16 bytes a sample and channel times `analysis / hop`: for pieces, not for songs.
        """
        return self.spectra(self.pad(audio), slice(0, self.frames(audio.shape[-1])))

    def signal(self, spectra: Spectra, samples: int) -> NDArray[np.float64]:
        """What `whole` took apart: (..., frames, bins) to (..., samples)."""
        out = np.zeros_like(self.pad(np.zeros((*spectra.shape[:-2], samples))))
        self.add(spectra, slice(0, spectra.shape[-2]), out)
        return self.crop(out, samples)
