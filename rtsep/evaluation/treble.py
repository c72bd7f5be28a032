"""How much of a stem's treble an estimate has: whether separating dulls it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.spectra import Transform
from rtsep.spec import UsageError

Audio = NDArray[np.floating]

TREBLE_HZ = 12_000.0
AUDIBLE_DB = -90.0
"""Below this level above 12 kHz, in dB of full scale, a stem has no treble that could be lost."""

_TRANSFORM = Transform(2048, 2048, 1024)


def treble_energy(audio: Audio, sample_rate: int, above: float = TREBLE_HZ) -> float:
    """Mean power of (channels, samples) above a frequency in Hz, over all channels; zero when there is none.

    Measured on windowed frames: the jumps at the ends of a song, or of a rectangular frame, have treble of
    their own.
    """
    samples = audio.shape[-1]
    if samples == 0:
        raise UsageError("cannot measure a signal without samples")
    first = int(np.ceil(above * _TRANSFORM.analysis / sample_rate))
    if first >= _TRANSFORM.bins:
        return 0.0
    padded = _TRANSFORM.pad(audio)
    total = 0.0
    for block in _TRANSFORM.blocks(samples):
        total += float(np.sum(np.abs(_TRANSFORM.spectra(padded, block)[..., first:]) ** 2))
    # Parseval: each bin but the last stands for itself and its mirror image, and the squares of square-root
    # Hann windows overlap to one.
    return 2.0 * total / (_TRANSFORM.analysis * samples * audio.shape[0])


def treble_ratio(target: Audio, estimate: Audio, sample_rate: int, above: float = TREBLE_HZ) -> float:
    """Level of the estimate above a frequency, against the target's there.

    Zero is as bright as the truth; what is far below it has been low-passed. What else got into the estimate
    counts as well: this is no measure of quality, it only shows a dull one.

    Args:
        target, estimate: (channels, samples).
        sample_rate: Hz.
        above: Hz.

    Returns:
        dB, never below -120; NaN when the target has nothing there (-90 dB of full scale or less).

    Raises:
        UsageError: when the shapes differ, or there are no samples.
    """
    if target.shape != estimate.shape:
        raise UsageError(f"cannot compare {target.shape} with {estimate.shape}")
    truth = treble_energy(target, sample_rate, above)
    if truth <= 10.0 ** (AUDIBLE_DB / 10.0):
        return float("nan")
    return 10.0 * float(np.log10(max(treble_energy(estimate, sample_rate, above) / truth, 1e-12)))
