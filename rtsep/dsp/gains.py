"""Gains that move smoothly: decibels, and ramps that neither step nor bend the waveform.

A ramp's state is a few plain arrays, and every gain is computed from how many samples are left rather
than from the gain before it: nothing accumulates, the target is met exactly, and how a stream is
cut into blocks cannot be heard in it.

The way from gain to gain is the cubic 3 x^2 - 2 x^3, which leaves and arrives with no slope, as a raised
cosine does (and lies within 1 % of it) without computing one. What a fade adds to a sound's spectrum then
falls by 18 dB an octave, where a straight line's corners make it 12 dB: a bass note that is muted in 6 ms
does not tick.
"""

from __future__ import annotations

import math

import numpy as np

from rtsep.dsp.kernel import Doubles, Floats, Integers, kernel
from rtsep.spec import UsageError


def db_to_linear(decibels: float) -> float:
    """Amplitude factor of a level in dB; minus infinity is 0.

    Raises:
        UsageError: when `decibels` is not a number, or plus infinity.
    """
    if math.isnan(decibels) or decibels == math.inf:
        raise UsageError(f"not a level in dB: {decibels}")
    # 0 dB must be exactly 1, which 10 ** 0.0 is.
    return float(10.0 ** (decibels / 20.0))


def linear_to_db(amplitude: float) -> float:
    """Level in dB of an amplitude; 0 is minus infinity, and the sign is ignored."""
    return 20.0 * math.log10(abs(amplitude)) if amplitude else -math.inf


STEEPEST = 1.5
"""Slope of a ramp in its middle, where a straight line's is 1."""


@kernel("float64(float64, float64, int64, int64)")
def gain_at(start: float, target: float, left: int, length: int) -> float:
    """The gain when `left` of a ramp's `length` samples are still to come: exactly `target` at 0."""
    if left == 0:
        return target
    rest = left / length
    return target + (start - target) * (rest * rest * (3.0 - 2.0 * rest))


@kernel("void(float64[::1], float64[::1], int64[::1], int64[::1], float64[::1], int64[::1])")
def retarget(
    start: Doubles, target: Doubles, left: Integers, length: Integers, goals: Doubles, wanted: Integers
) -> None:
    """Send every gain whose goal has changed towards it, from where it is now.

    A goal that is not finite is ignored: it can only be a half-written or mistaken parameter, and the
    gain stays what it was. A goal that is the present target leaves a ramp under way alone.

    Args:
        start, target: (gains,) float64, the ends of each ramp; updated.
        left: (gains,) int64, samples of each ramp still to come; updated.
        length: (gains,) int64, samples of each ramp in all; updated.
        goals: (gains,) float64.
        wanted: (gains,) int64, samples that each new ramp is to take, 1 at least.
    """
    for k in range(start.shape[0]):
        if np.isfinite(goals[k]) and goals[k] != target[k]:
            start[k] = gain_at(start[k], target[k], left[k], length[k])
            target[k] = goals[k]
            length[k] = max(wanted[k], 1)
            left[k] = length[k]


@kernel("void(float64[::1], float64[::1], int64[::1], int64[::1], int64, float32[:, ::1])")
def advance(
    start: Doubles, target: Doubles, left: Integers, length: Integers, samples: int, gains: Floats
) -> None:
    """Write the next `samples` gains of every ramp and move on by as many.

    Args:
        start, target, left, length: as in `retarget`; `left` is updated.
        samples: how many, at most the columns of `gains`.
        gains: (gains, at least samples) float32; its first `samples` columns are overwritten.
    """
    for k in range(start.shape[0]):
        moving = min(left[k], samples)
        for i in range(moving):
            gains[k, i] = gain_at(start[k], target[k], left[k] - 1 - i, length[k])
        settled = np.float32(target[k])
        for i in range(moving, samples):
            gains[k, i] = settled
        left[k] -= moving


class Ramp:
    """Some gains that go smoothly to their targets, each in the time that its change was given.

    A change of target while a ramp is under way starts a new one from the gain reached. The slope is
    therefore at most `STEEPEST` times the distance over the length, at all times.

    Attributes:
        count, length: as given.
        start, target: (count,) float64, the ends of each ramp.
        left, lengths: (count,) int64, samples of each ramp still to come and in all.
    """

    def __init__(self, count: int, length: int, initial: float = 1.0) -> None:
        """Args:
            count: number of gains.
            length: samples from one target to the next where nothing else is said, 1 at least.
            initial: amplitude at which all of them begin.

        Raises:
            UsageError: for a count or length below 1.
        """
        if count < 1 or length < 1:
            raise UsageError(f"a ramp of {count} gains over {length} samples")
        self.count = count
        self.length = length
        self.start = np.full(count, initial, np.float64)
        self.target = np.full(count, initial, np.float64)
        self.left = np.zeros(count, np.int64)
        self.lengths = np.full(count, length, np.int64)
        self._usual = np.full(count, length, np.int64)

    @property
    def moving(self) -> bool:
        """Whether any gain is still on its way."""
        return bool(self.left.any())

    def set(self, goals: Doubles, lengths: Integers | None = None) -> None:
        """Begin to move to `goals` (count,) float64 amplitudes; those not finite are ignored.

        Args:
            goals: where to.
            lengths: (count,) int64, samples that those which change take; `length` when left out.

        Raises:
            ValueError: for another number of goals or lengths.
        """
        wanted = self._usual if lengths is None else lengths
        if goals.shape[0] != self.count or wanted.shape[0] != self.count:
            raise ValueError(f"expected {self.count} gains, got {goals.shape[0]} and {wanted.shape[0]}")
        retarget(self.start, self.target, self.left, self.lengths, goals, wanted)

    def hurry(self, index: int, length: int) -> None:
        """Let one ramp be over in at most `length` samples, from where it is now."""
        if self.left[index] > length:
            self.start[index] = self.value(index)
            self.left[index] = self.lengths[index] = length

    def land(self) -> None:
        """Be at the targets at once: for a stream that begins anew, with nothing sounding."""
        self.left.fill(0)

    def fill(self, gains: Floats, samples: int | None = None) -> None:
        """Write the gains of the next samples.

        Args:
            gains: (count, columns) float32, C-contiguous.
            samples: how many columns to write, from the first; all unless given.

        Raises:
            ValueError: for another number of rows, or more samples than columns.
        """
        columns = gains.shape[1]
        if samples is None:
            samples = columns
        if gains.shape[0] != self.count or not 0 <= samples <= columns:
            raise ValueError(f"expected {self.count} rows and {samples} columns, got {gains.shape}")
        advance(self.start, self.target, self.left, self.lengths, samples, gains)

    def value(self, index: int) -> float:
        """The gain of number `index` at the last sample written."""
        left, length = int(self.left[index]), int(self.lengths[index])
        return float(gain_at(self.start[index], self.target[index], left, length))
