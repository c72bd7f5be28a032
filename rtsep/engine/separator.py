"""`rtsep.load`: a separator for what is already recorded; a causal one works as it does live."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soxr
from numpy.typing import NDArray

from rtsep.backends.base import OfflineModel
from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.backends.stream import HopStream
from rtsep.engine.offline import open_model, separate_array
from rtsep.io.soundfiles import HIGHEST_RATE, LOWEST_RATE
from rtsep.separators.registry import DEFAULT_MODEL, AnyPackage
from rtsep.spec import AudioSpec, ModelError, UsageError


class Separator:
    """A loaded model, causal or offline. Not for use from two threads at once."""

    def __init__(self, model: HopStream | OfflineModel) -> None:
        self._model = model
        self._closed = False

    @property
    def stream(self) -> HopStream:
        """The hop stream underneath, for those who feed it themselves.

        Raises:
            ModelError: when the model is an offline one, which has none.
        """
        if not isinstance(self._model, HopStream):
            raise ModelError("an offline model has no stream")
        return self._model

    @property
    def spec(self) -> AudioSpec:
        """Rate, channels and stems of the model; of a causal one also hop and delay, as `StreamSpec`."""
        return self._model.spec

    def separate(self, audio: NDArray[np.floating], sample_rate: int) -> dict[str, NDArray[np.float32]]:
        """Separate a whole signal.

        Args:
            audio: (channels, samples) or (samples,), any floating type, within +-1; mono or stereo.
            sample_rate: of `audio`, Hz; resampled to the model's and back if they differ.

        Returns:
            Every stem by name, float32, of the shape and rate of `audio` and aligned with it to the
            sample. The stems of rtsep's own networks add up to `audio`: what it has above the model's
            rate goes to its rest (`AudioSpec.rest`).

        Raises:
            UsageError: for other shapes, an impossible rate, or samples that are not finite; and once closed.
        """
        if self._closed:
            raise UsageError("the separator is closed: load another")
        given = np.asarray(audio, np.float32)
        if given.ndim not in (1, 2) or given.size == 0 or (given.ndim == 2 and given.shape[0] > 2):
            raise UsageError(f"expected (samples,) or (1 or 2 channels, samples) of audio, not {given.shape}")
        if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:  # NaN is in no range
            raise UsageError(
                f"a sample rate of {sample_rate} Hz is not possible;"
                f" rtsep takes {LOWEST_RATE} to {HIGHEST_RATE} Hz"
            )
        if not np.isfinite(given).all():
            raise UsageError("the audio holds samples that are not finite")
        planar = np.atleast_2d(given)
        rate, channels = self.spec.sample_rate, self.spec.channels
        song = with_channels(planar, channels)
        mix = resampled(song, sample_rate, rate)

        def returned(heard: NDArray[np.float32]) -> NDArray[np.float32]:
            return _with_length(resampled(heard, rate, sample_rate), song.shape[1])

        separated = separate_array(self._model, mix)
        stems = {name: returned(stem) for name, stem in zip(self.spec.stems, separated, strict=True)}
        if rate != sample_rate:
            # As for files: see `rtsep.engine.lost_band`.
            stems[self.spec.rest] = stems[self.spec.rest] + (song - returned(mix))
        return {
            name: with_channels(stem, planar.shape[0]).reshape(given.shape) for name, stem in stems.items()
        }

    def close(self) -> None:
        """Release the device that the network runs on; nothing can be separated afterwards."""
        self._closed = True
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(
    model: str | Path | AnyPackage = DEFAULT_MODEL,
    *,
    backend: str = DEFAULT_BACKEND,
    device: str = "cpu",
    threads: int = 1,
) -> Separator:
    """Load a model, checked and warmed up.

    Args:
        model: a model's name, the folder of one, or a package that was found already.
        backend: of a causal model; "torch" alone imports torch; "auto" is the fastest. Offline models run on
            torch, and built-in methods on their own, whatever this says.
        device: "cpu" or "cuda"; never replaced by the other.
        threads: CPU threads.

    Raises:
        ModelError: when there is no such model, or its files are damaged or do not fit.
        BackendError: when backend or device are unknown or not there.
    """
    return Separator(open_model(model, backend=backend, device=device, threads=threads))


def resampled(audio: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """(channels, samples) at another rate, with the resampler's delay taken out."""
    if rate == wanted:
        return audio
    return np.ascontiguousarray(soxr.resample(audio.T, rate, wanted, quality="VHQ").T, np.float32)


def with_channels(audio: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """One channel by the mean of all, or several by copying the one."""
    if audio.shape[0] == channels:
        return audio
    if channels == 1:
        return audio.mean(axis=0, keepdims=True, dtype=np.float32)
    return np.repeat(audio, channels, axis=0)


def _with_length(audio: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    short = max(samples - audio.shape[1], 0)
    return np.pad(audio[:, :samples], ((0, 0), (0, short)))
