"""Sample rate conversion of a stream by a ratio of whole numbers, to the sample and without drift.

The ratio of two sample rates in lowest terms is L/M (48000/44100 = 160/147). Output frame k lies at
input time k M / L, and is a dot product of the newest input samples with one of L phases of a
Kaiser-windowed sinc (J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window
function", ISCAS 1974; the polyphase form after R. E. Crochiere and L. R. Rabiner, "Multirate Digital
Signal Processing", 1983). Which phase, and when, is integer arithmetic, so an hour of audio comes out
at exactly the length that the ratio says.

The trade: the filter passes everything up to 20 kHz (or 90.7 % of the lower Nyquist frequency, where
that is less), is 6 dB down at the lower Nyquist frequency, and reaches its stop-band as far above it
as the pass-band ends below. Between the two, aliases and images remain, but they lie above 20 kHz
only: what nobody hears buys half the delay of a filter that would have to be silent at the Nyquist
frequency. At 44.1 kHz to 48 kHz the delay is 35 input samples, 0.79 ms.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from rtsep.dsp.kernel import Floats, Integers, kernel
from rtsep.spec import UsageError

PASS_HZ = 20000.0
"""Nothing above this need pass."""

PASS_FRACTION = 20000.0 / 22050.0
"""End of the pass-band as a fraction of the lower Nyquist frequency, where that ends below PASS_HZ."""

ATTENUATION_DB = 100.0
"""Stop-band attenuation, and pass-band error, that the window is designed for."""

_LARGEST_TABLE = 1 << 22


def pass_band(rate_in: int, rate_out: int) -> float:
    """Hz up to which a conversion is flat; its stop-band begins at `min(rates) - pass_band`."""
    return min(PASS_HZ, PASS_FRACTION * min(rate_in, rate_out) / 2)


def design(rate_in: int, rate_out: int) -> tuple[Floats, Fraction]:
    """The polyphase filter of a conversion and its delay.

    Returns:
        (phases, taps) float32, each row in order of time, oldest sample first; and the group delay
        in input samples, a whole number.

    Raises:
        UsageError: for rates that are not positive, or whose ratio needs an impractical table.
    """
    if rate_in < 1 or rate_out < 1:
        raise UsageError(f"cannot convert from {rate_in} Hz to {rate_out} Hz")
    if rate_in == rate_out:
        return np.ones((1, 1), np.float32), Fraction(0)
    phases = rate_out // math.gcd(rate_in, rate_out)
    lower = min(rate_in, rate_out)
    transition = lower - 2.0 * pass_band(rate_in, rate_out)
    # Kaiser's estimate of the length; an even number of taps makes the delay whole.
    taps = 2 * math.ceil((ATTENUATION_DB - 7.95) / 14.36 * rate_in / transition / 2)
    if phases * taps > _LARGEST_TABLE:
        raise UsageError(f"cannot convert from {rate_in} Hz to {rate_out} Hz: no simple ratio")
    # Time in input samples from the filter's centre, for every tap of every phase. The very first is
    # left out (zero): its mirror image would be one tap beyond the end, and without it the filter is
    # exactly symmetric, hence of exactly constant delay.
    time = (np.arange(phases * taps) - phases * taps // 2).reshape(taps, phases) / phases
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    shape = np.i0(beta * np.sqrt(1.0 - np.square(2.0 * time / taps))) / np.i0(beta)
    shape[0, 0] = 0.0
    cutoff = lower / rate_in
    prototype = cutoff * np.sinc(cutoff * time) * shape
    return np.ascontiguousarray(prototype[::-1].T, dtype=np.float32), Fraction(taps, 2)


@kernel(
    "int64(float32[:, :], float32[:, ::1], int64[::1], float32[:, ::1], int64, float32[:, :])", reorder=True
)
def _resample(block: Floats, history: Floats, state: Integers, table: Floats, step: int, out: Floats) -> int:
    """Convert a block; `state` is the history's next slot and the next output's time within its input."""
    channels, samples = block.shape
    phases, taps = table.shape
    position, phase = state[0], state[1]
    made = 0
    for i in range(samples):
        # Written twice, `taps` apart, so that the newest `taps` samples are always contiguous.
        for c in range(channels):
            history[c, position] = block[c, i]
            history[c, position + taps] = block[c, i]
        position += 1
        if position == taps:
            position = 0
        while phase < phases:
            weights = table[phase]
            for c in range(channels):
                recent = history[c, position : position + taps]
                total = np.float32(0.0)
                for j in range(taps):
                    total += weights[j] * recent[j]
                out[c, made] = total
            made += 1
            phase += step
        phase -= phases
    state[0], state[1] = position, phase
    return made


class StreamingResampler:
    """Converts a stream of any block sizes; the result does not depend on how it was cut into blocks.

    Equal rates pass the samples through, bit for bit and without delay.

    Attributes:
        rate_in, rate_out, channels: as given.
        ratio: output frames per input frame, exactly.
        delay: group delay in input samples, exactly: a sound at input time t is in output frame
            `(t + delay) * ratio`.
        delay_seconds: the same in seconds.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        """Args:
            rate_in, rate_out: Hz.
            channels: any number.

        Raises:
            UsageError: for rates or channels that cannot work.
        """
        if channels < 1:
            raise UsageError(f"cannot resample {channels} channels")
        self._table, self.delay = design(rate_in, rate_out)
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.channels = channels
        self.ratio = Fraction(rate_out, rate_in)
        self.delay_seconds = float(self.delay / rate_in)
        self._history = np.zeros((channels, 2 * self._table.shape[1]), np.float32)
        self._state = np.zeros(2, np.int64)
        self._taken = 0
        self._up = self.ratio.numerator
        self._down = self.ratio.denominator

    def reset(self) -> None:
        """Forget the past, as if newly made."""
        self._history.fill(0.0)
        self._state.fill(0)
        self._taken = 0

    def frames_out(self, total_in: int) -> int:
        """Frames that exist once `total_in` have been taken in since the start: ceil(total_in * ratio)."""
        return -(-total_in * self._up // self._down)

    def frames_in(self, total_out: int) -> int:
        """The fewest frames to take in since the start for `total_out` to exist."""
        return (total_out - 1) * self._down // self._up + 1 if total_out > 0 else 0

    def push(self, block: Floats, out: Floats) -> int:
        """Take in some frames and write all that they complete.

        Args:
            block: (channels, n) float32, any n and any strides.
            out: (channels, capacity) float32; `frames_out(n)` is always capacity enough.

        Returns:
            Frames written to the beginning of `out`.

        Raises:
            ValueError: for other channel counts or too little capacity, before anything is changed;
                TypeError for other types.
        """
        if block.shape[0] != self.channels or out.shape[0] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got {block.shape[0]} and {out.shape[0]}")
        taken = self._taken + block.shape[1]
        due = self.frames_out(taken) - self.frames_out(self._taken)
        if out.shape[1] < due:
            raise ValueError(f"{due} frames are due, and there is room for {out.shape[1]}")
        made: int = _resample(block, self._history, self._state, self._table, self._down, out)
        self._taken = taken
        return made
