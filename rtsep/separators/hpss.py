"""Harmonic and percussive parts by median filtering: causal for streams, centred for files.

D. FitzGerald, "Harmonic/percussive separation using median filtering", DAFx-10, 2010: tones are lines along
time, drums are lines along frequency. A median along time keeps the first and loses the second, a median
along frequency the other way round; the two make a Wiener mask.

A stream cannot wait for the frames that a centred median along time needs. Its median is over the newest
frame and those before it: a tone counts as harmonic once it has sounded for half the filter's length. The
median along frequency needs no other frame. Nothing else differs, so no latency is added to that of the
overlap-add.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.kernel import Complexes, Floats, kernel
from rtsep.dsp.spectra import Transform
from rtsep.spec import ModelError

SILENCE = 1e-20
"""Power below which a bin has no owner; both stems get half of it."""


@kernel("void(float32[::1], float32, float32)")
def _exchange(ordered: Floats, old: float, new: float) -> None:
    """Put `new` into ascending values in place of `old`, one of them."""
    last = ordered.shape[0] - 1
    place = 0
    # Not beyond the end, even if `old` is not there: what is not a number equals nothing.
    while place < last and ordered[place] != old:
        place += 1
    while place < last and ordered[place + 1] < new:
        ordered[place] = ordered[place + 1]
        place += 1
    while place > 0 and ordered[place - 1] > new:
        ordered[place] = ordered[place - 1]
        place -= 1
    ordered[place] = new


@kernel("int64(int64, int64)")
def _mirrored(index: int, count: int) -> int:
    """An index beyond an end of `count` values reflected at it, the end's own value twice."""
    if index < 0:
        return -1 - index
    return 2 * count - 1 - index if index >= count else index


@kernel(
    "void(complex64[:, ::1], float32[:, ::1], float32[:, ::1], float32[::1], float32[::1], float32[::1],"
    " complex64[:, :, ::1])"
)
def _separate(
    mix: Complexes,
    history: Floats,
    ordered: Floats,
    position: Floats,
    magnitudes: Floats,
    column: Floats,
    stems: Complexes,
) -> None:
    channels, bins = mix.shape
    frames = history.shape[0]
    now = int(position[0])
    for k in range(bins):
        power = np.float32(0.0)
        for c in range(channels):
            power += mix[c, k].real ** 2 + mix[c, k].imag ** 2
        magnitudes[k] = np.sqrt(power)
        _exchange(ordered[k], history[now, k], magnitudes[k])
        history[now, k] = magnitudes[k]
    position[0] = np.float32((now + 1) % frames)

    reach = column.shape[0] // 2
    for i in range(column.shape[0]):
        column[i] = magnitudes[_mirrored(i - reach, bins)]
    column.sort()
    for k in range(bins):
        if k > 0:
            old = magnitudes[_mirrored(k - 1 - reach, bins)]
            _exchange(column, old, magnitudes[_mirrored(k + reach, bins)])
        harmonic = ordered[k, frames // 2] ** 2
        percussive = column[reach] ** 2
        total = harmonic + percussive
        mask = np.float32(0.5)
        if not total < SILENCE:
            mask = harmonic / total
        for c in range(channels):
            stems[0, c, k] = mask * mix[c, k]
            stems[1, c, k] = mix[c, k] - stems[0, c, k]


class CausalHPSS:
    """One step of the causal version; see `rtsep.separators.builtin.SpectralMethod`.

    The mask is made of the magnitude over all channels together and is the same for all of them: the image
    does not move.

    Args:
        config: "bins": length of the median along frequency, an odd number.
        state: all zero at the start: "history" (frames, bins), the magnitudes of the newest frames in a ring;
            "sorted" (bins, frames), the same in ascending order; "position" (1,) in the ring. Frames are the
            length of the median along time, an odd number.

    Raises:
        ModelError: when a length is even, or there are fewer bins than the filter is long.
    """

    def __init__(self, config: Mapping[str, float], state: Mapping[str, NDArray[np.float32]]) -> None:
        bins, frames = state["sorted"].shape
        wide = int(config["bins"])
        if frames % 2 == 0 or wide % 2 == 0 or wide > bins:
            raise ModelError(f"medians over {frames} frames and {wide} of {bins} bins")
        self._state = (state["history"], state["sorted"], state["position"])
        self._magnitudes = np.zeros(bins, np.float32)
        self._column = np.zeros(wide, np.float32)

    def step(self, mix: NDArray[np.complex64], stems: NDArray[np.complex64]) -> None:
        """From (channels, bins) to harmonic and percussive (2, channels, bins), which add up to `mix`."""
        _separate(mix, *self._state, self._magnitudes, self._column, stems)


def fitting(size: int, count: int) -> int:
    """The length of a median over at most `count` values: scipy's, when longer, reads what is not there."""
    return min(size, count - 1 + count % 2)


class CentredHPSS:
    """The published method on whole pieces, with librosa's medians and masks.

    Args:
        config: "frames" and "bins" as in `CausalHPSS`; "analysis" and "hop" in samples.
    """

    def __init__(self, config: Mapping[str, int], sample_rate: int) -> None:
        self._size = (config["frames"], config["bins"])
        self._transform = Transform(config["analysis"], config["analysis"], config["hop"])

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, samples) to (2, channels, samples)."""
        import librosa.decompose

        spectra, samples = self._transform.whole(mix), mix.shape[-1]
        magnitude = np.sqrt(np.sum(np.abs(spectra) ** 2, axis=0)).T
        size = (fitting(self._size[0], magnitude.shape[1]), fitting(self._size[1], magnitude.shape[0]))
        mask, _ = librosa.decompose.hpss(magnitude, kernel_size=size, power=2.0, mask=True)
        harmonic = self._transform.signal(mask.T * spectra, samples)
        return np.stack([harmonic, mix - harmonic]).astype(np.float32)
