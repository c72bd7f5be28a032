"""What the sum passes before it leaves: dry against wet, level, limiter, and the way around it all.

The limiter looks nowhere ahead, so it adds no latency: its envelope rises with the very sample that is too
loud, and falls exponentially. With an envelope e that is never below the sample and a ceiling t, the factor
min(1, t / e) keeps every sample within the ceiling, and is exactly one until a sample exceeds it. An
instantaneous attack flattens the first crest, which is what a look-ahead would avoid; on a stage its
milliseconds are dearer than one crest.

At full scale, where its ceiling begins, the limiter lets through what the input itself has above that: from
one program to another samples may be as loud as they like, and with no fader touched the music leaves as it
came. A lower ceiling has been asked for, and holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtsep.dsp.gains import Ramp, db_to_linear
from rtsep.dsp.kernel import Doubles, Floats, Integers, kernel
from rtsep.spec import UsageError

RELEASE_SECONDS = 0.1
"""In which the limiter's envelope falls to 1 / e."""

# Rows of the ramps.
_WET, _LEVEL, _LIMIT, _CEILING, _ACTIVE = range(5)
_ROWS = 5
_ALLOWED = 1.0001
"""Of the input's own level, at full scale: stems sum to it but for their rounding."""


@dataclass(slots=True)
class MasterStrip:
    """The master's controls.

    Attributes:
        gain_db: level in dB; minus infinity is silence.
        dry: share of the delayed input in what is heard, 0 (the mix alone) to 1. Its law is linear: dry and
            wet are the same music, in phase, and a linear law keeps its level.
        limiter: whether the limiter works.
        ceiling_db: level that no sample exceeds while it does, dB of full scale; at 0 dB, unless the input
            itself does.
        bypass: the delayed input, exactly, in place of everything.
    """

    gain_db: float = 0.0
    dry: float = 0.0
    limiter: bool = False
    ceiling_db: float = 0.0
    bypass: bool = False


@kernel("float32(float32)")
def _finite(value: float) -> float:
    if np.isfinite(value):
        return value
    return 0.0


@kernel("void(float32[:, :], float32[:, :], float32[:, ::1], float64[::1], float64)")
def _finish(out: Floats, dry: Floats, rows: Floats, state: Doubles, release: float) -> None:
    """The master section in place; `state`: envelopes of sum and input, and the limiter's least factor."""
    channels, samples = out.shape
    one = np.float32(1.0)
    envelope, own, least = state[0], state[1], state[2]
    for i in range(samples):
        wet, level, active = rows[_WET, i], rows[_LEVEL, i], rows[_ACTIVE, i]
        peak = own_peak = 0.0
        for c in range(channels):
            # Weights of one change no bit, and what has no weight has no say, be it a NaN.
            value = _finite(out[c, i])
            if wet != one:
                value = value * wet + _finite(dry[c, i]) * (one - wet)
            value *= level
            out[c, i] = value
            peak = max(peak, abs(value))
            own_peak = max(own_peak, abs(_finite(dry[c, i])))
        envelope, own = max(peak, envelope * release), max(own_peak, own * release)
        amount, ceiling = rows[_LIMIT, i], float(rows[_CEILING, i])
        if ceiling == one:
            ceiling = max(ceiling, own * _ALLOWED)
        if amount > 0.0 and envelope > ceiling:
            factor = 1.0 + amount * (ceiling / envelope - 1.0)
            least = min(least, factor)
            for c in range(channels):
                value = float(out[c, i]) * factor
                if amount == one:
                    # The quotient is rounded; the ceiling is not.
                    value = min(max(value, -ceiling), ceiling)
                out[c, i] = value
        if active != one:
            for c in range(channels):
                value = _finite(dry[c, i])
                if active != 0.0:
                    value = out[c, i] * active + value * (one - active)
                out[c, i] = value
    state[0], state[1], state[2] = envelope, own, least


class Master:
    """Finishes the sum of the stems, hop by hop; at its defaults it changes no bit of it.

    One thread uses a master; nothing it does allocates.

    Attributes:
        ramps: wet share, level, limiter, ceiling and bypass; `ramps.target` is what was set last.
    """

    def __init__(self, hop: int, ramp: int, sample_rate: int) -> None:
        """Args:
            hop: the most samples that one call brings.
            ramp: samples in which a control goes to a new place where nothing else is said.
            sample_rate: Hz.

        Raises:
            UsageError: for values below 1.
        """
        if min(hop, ramp, sample_rate) < 1:
            raise UsageError(f"master: hop {hop}, ramp {ramp}, {sample_rate} Hz")
        self.ramps = Ramp(_ROWS, ramp)
        self._goals: Doubles = np.ones(_ROWS)
        self._lengths: Integers = np.full(_ROWS, ramp, np.int64)
        self._rows: Floats = np.ones((_ROWS, hop), np.float32)
        self._state: Doubles = np.array([0.0, 0.0, 1.0])
        self._release = float(np.exp(-1.0 / (RELEASE_SECONDS * sample_rate)))
        self._ramp = ramp
        self.set(MasterStrip())
        self.ramps.land()

    def set(self, strip: MasterStrip, length: int | None = None, bypass_length: int | None = None) -> None:
        """Send the controls to where `strip` has them, in `length` samples.

        Args:
            strip: the controls.
            length: samples that those which change take; the usual ramp when left out.
            bypass_length: the same for the bypass alone, one under way included; `length` when left out.

        Raises:
            UsageError: for a level that is not a number, or plus infinity.
        """
        length = self._ramp if length is None else length
        self._lengths.fill(length)
        self._lengths[_ACTIVE] = length if bypass_length is None else bypass_length
        goals = self._goals
        goals[_WET] = 1.0 - strip.dry
        goals[_LEVEL] = db_to_linear(strip.gain_db)
        goals[_LIMIT] = 1.0 if strip.limiter else 0.0
        goals[_CEILING] = db_to_linear(strip.ceiling_db)
        goals[_ACTIVE] = 0.0 if strip.bypass else 1.0
        self.ramps.set(goals, self._lengths)
        if bypass_length is not None:
            self.ramps.hurry(_ACTIVE, bypass_length)

    def reset(self) -> None:
        """Begin a new stream: controls at their targets, the limiter at rest."""
        self.ramps.land()
        self._state[:] = 0.0, 0.0, 1.0

    def process(self, out: Floats, dry: Floats) -> None:
        """Finish one hop in place.

        Args:
            out: (channels, n) float32, the sum of the stems; overwritten.
            dry: (channels, n) float32, the input that the stems belong to, delayed as they are; samples that
                are not finite count as silence.

        Raises:
            ValueError: for shapes that do not fit.
        """
        samples = out.shape[1]
        if dry.shape != out.shape or samples > self._rows.shape[1]:
            raise ValueError(f"expected up to {self._rows.shape[1]} samples, got {out.shape} and {dry.shape}")
        self.ramps.fill(self._rows, samples)
        _finish(out, dry, self._rows, self._state, self._release)

    def take_reduction(self) -> float:
        """The limiter's least factor since this was last asked; 1 where it had nothing to do."""
        least = float(self._state[2])
        self._state[2] = 1.0
        return least
