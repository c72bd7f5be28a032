"""Where a sound lies between the loudspeakers: the middle alone, or every azimuth.

Both methods see one frame at a time, share every bin of it out among their stems, and so add no latency to
that of the overlap-add. They need stereo: of a mono recording everything lies in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.kernel import Complexes, Floats, kernel

SILENCE = 1e-20
"""Power below which a bin lies nowhere."""


@kernel("void(complex64[:, ::1], float32[:, ::1], float32[::1], float64, float64, complex64[:, :, ::1])")
def _centre(
    mix: Complexes, powers: Floats, share: Floats, memory: float, width: float, stems: Complexes
) -> None:
    half = np.float32(0.5)
    past, now = np.float32(memory), np.float32(1.0 - memory)
    for k in range(mix.shape[1]):
        left, right = mix[0, k], mix[1, k]
        both = left.real**2 + left.imag**2 + right.real**2 + right.imag**2
        common = np.float32(2.0) * (left.real * right.real + left.imag * right.imag)
        powers[0, k] = past * powers[0, k] + now * both
        powers[1, k] = past * powers[1, k] + now * common
        mask = share[k]
        if not powers[0, k] < SILENCE:
            distance = (np.float32(1.0) - powers[1, k] / powers[0, k]) / np.float32(width)
            mask *= np.exp(-half * distance * distance)
        middle = mask * half * (left + right)
        stems[0, 0, k] = middle
        stems[0, 1, k] = middle
        stems[1, 0, k] = left - middle
        stems[1, 1, k] = right - middle


class Centre:
    """The middle of the image by the similarity of the two channels.

    C. Avendano, "Frequency-domain source identification and manipulation in stereo mixes for enhancement,
    suppression and re-panning applications", WASPAA 2003: bins whose panning index is near the middle's are
    kept by a Gaussian window around it. The similarity here is the real part of the smoothed cross-spectrum
    over the channels' mean power (the same author and J.-M. Jot, "A frequency-domain approach to multichannel
    upmix", J. Audio Eng. Soc. 52(7/8), 2004, smooth it so): 1 for what is the same in both channels, and
    unlike a magnitude it is not 1 for what is upside down in one of them.

    The middle is the same in both channels: what the mask leaves of their mean.

    Args:
        config: "memory", the smoothing's weight of the past, 0 to 1; "width" of the Gaussian, in units of one
            less the similarity; "low_hz" below which everything belongs to the sides (bass and bass drum lie
            in the middle too, and who mutes it wants the voice gone); "bin_hz", the distance of two bins.
        state: zero at the start: "powers" (2, bins), recursive means of the power in both channels and of
            what they share.
    """

    def __init__(self, config: Mapping[str, float], state: Mapping[str, NDArray[np.float32]]) -> None:
        self._powers = state["powers"]
        self._memory, self._width = config["memory"], config["width"]
        frequencies = np.arange(self._powers.shape[1]) * config["bin_hz"]
        # Over an octave, along half a wave: a step would ring.
        octave = np.clip(np.log2(np.maximum(frequencies, 1e-3) / config["low_hz"]), 0.0, 1.0)
        self._share = (0.5 - 0.5 * np.cos(np.pi * octave)).astype(np.float32)

    def step(self, mix: NDArray[np.complex64], stems: NDArray[np.complex64]) -> None:
        """From (2, bins) to (2, 2, bins), overwritten: centre, sides. They add up to `mix`."""
        _centre(mix, self._powers, self._share, self._memory, self._width, stems)


@kernel("void(complex64[:, ::1], float64, complex64[:, :, ::1])")
def _adress(mix: Complexes, width: float, stems: Complexes) -> None:
    one, none = np.float32(1.0), np.float32(0.0)
    for k in range(mix.shape[1]):
        left, right = mix[0, k], mix[1, k]
        power_left = left.real**2 + left.imag**2
        power_right = right.real**2 + right.imag**2
        common = left.real * right.real + left.imag * right.imag
        strong, weak = max(power_left, power_right), min(power_left, power_right)
        azimuth, clear = none, none
        if not strong < SILENCE:
            # |weak - g strong|^2 is a parabola in g: the scan's smallest and largest values are at hand.
            gain = min(max(common / strong, none), one)
            lowest = max(weak - np.float32(2.0) * gain * common + gain * gain * strong, none)
            highest = max(weak, weak - np.float32(2.0) * common + strong)
            if highest > none:
                clear = max(one - np.sqrt(lowest / highest), none)
            azimuth = one - gain
        middle = max(one - azimuth / np.float32(width), none)
        beside = clear * (one - middle)
        middle = clear * middle
        to_left = beside if power_left > power_right else none
        for c in range(2):
            stems[0, c, k] = to_left * mix[c, k]
            stems[1, c, k] = middle * mix[c, k]
            stems[2, c, k] = (beside - to_left) * mix[c, k]
            stems[3, c, k] = mix[c, k] - stems[0, c, k] - stems[1, c, k] - stems[2, c, k]


class Adress:
    """Azimuth discrimination and resynthesis.

    D. Barry, B. Lawlor, E. Coyle, "Sound source separation: azimuth discrimination and resynthesis", DAFx-04,
    2004: one channel is scaled by every gain g from 0 to 1 and taken from the other; where a source of that
    panning sounds alone, the difference vanishes. The gain at which it is smallest is the bin's azimuth, and
    the largest difference less the smallest its magnitude there.

    They scan a hundred gains; the difference's square is a parabola in g, so that both extremes are computed
    instead. What they leave out, the smallest difference over the largest, is the stem "diffuse": all stems
    add up to the mixture. Their azimuth subspace of a width is a triangle around the middle here, with left
    and right beside it.

    Args:
        config: "width": where the triangle ends, in azimuth from 0 (middle) to 1 (one channel alone).
        state: empty.
    """

    def __init__(self, config: Mapping[str, float], state: Mapping[str, NDArray[np.float32]]) -> None:
        self._width = config["width"]

    def step(self, mix: NDArray[np.complex64], stems: NDArray[np.complex64]) -> None:
        """From (2, bins) to (4, 2, bins), overwritten: left, centre, right, diffuse. They add up to `mix`."""
        _adress(mix, self._width, stems)
