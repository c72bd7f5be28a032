"""Catches a separator that has gone mad, before it is heard.

A hop in which any stem is not finite, or many times louder than the mixture, is thrown away whole and
replaced by stems that sum to the mixture: all of it in the last stem, nothing in the others. Neither
the way there nor the way back steps the waveform of any stem, whatever the gains are that follow: the
value a stem last had, over and above what replaces it, dies away in a straight line; and once the
separator is well again its stems are faded in the same way.
"""

from __future__ import annotations

import numpy as np

from rtsep.dsp.kernel import Floats, Integers, kernel
from rtsep.spec import UsageError

LIMIT = 8.0
"""Amplitude that no sane stem exceeds, for a mixture within full scale: 18 dB above it."""

# Positions in the kernel's integer state.
_TAIL_LEFT, _FADE_LEFT, _WAS_BAD = 0, 1, 2


@kernel("boolean(float32[:, :, :], float32[:, :], float32)")
def is_sane(stems: Floats, dry: Floats, limit: float) -> bool:
    """Whether every sample is finite and within `limit` times the mixture's peak (or full scale)."""
    loudest = np.float32(1.0)
    channels, samples = dry.shape
    for c in range(channels):
        for i in range(samples):
            value = abs(dry[c, i])
            if np.isfinite(value):
                loudest = max(loudest, value)
    ceiling = limit * loudest
    mad = False
    for s in range(stems.shape[0]):
        for c in range(channels):
            for i in range(samples):
                # A NaN compares false, and is caught by asking for what must be true.
                mad |= not abs(stems[s, c, i]) <= ceiling
    return not mad


@kernel("float32(float32)")
def _finite(value: float) -> float:
    if np.isfinite(value):
        return value
    return 0.0


@kernel(
    "void(float32[:, :, :], float32[:, :], boolean, int64, int64[::1], float32[:, ::1], float32[:, ::1],"
    " float32[::1])"
)
def _repair(
    stems: Floats,
    dry: Floats,
    bad: bool,
    length: int,
    state: Integers,
    tail: Floats,
    newest: Floats,
    newest_dry: Floats,
) -> None:
    """Replace or fade in one hop; `state`, `tail` and the newest values are carried to the next."""
    count, channels, samples = stems.shape
    one = np.float32(1.0)
    if bad:
        if state[_WAS_BAD] == 0:
            # What each stem was beyond its replacement, to die away from here.
            for s in range(count):
                for c in range(channels):
                    base = newest_dry[c] if s == count - 1 else np.float32(0.0)
                    tail[s, c] = newest[s, c] - base
            state[_TAIL_LEFT] = length
        state[_FADE_LEFT] = length
    state[_WAS_BAD] = 1 if bad else 0
    tail_left, fade_left = state[_TAIL_LEFT], state[_FADE_LEFT]
    if bad or tail_left > 0 or fade_left > 0:
        for s in range(count):
            for c in range(channels):
                for i in range(samples):
                    base = _finite(dry[c, i]) if s == count - 1 else np.float32(0.0)
                    remaining = np.float32(max(tail_left - 1 - i, 0) / length)
                    value = base + tail[s, c] * remaining
                    if not bad:
                        weight = one - np.float32(max(fade_left - 1 - i, 0) / length)
                        # At weight one the stem itself, bit for bit.
                        value = stems[s, c, i] * weight + base * (one - weight) + tail[s, c] * remaining
                    stems[s, c, i] = value
        state[_TAIL_LEFT] = max(tail_left - samples, 0)
        if not bad:
            state[_FADE_LEFT] = max(fade_left - samples, 0)
    if samples > 0:
        for c in range(channels):
            newest_dry[c] = _finite(dry[c, samples - 1])
            for s in range(count):
                newest[s, c] = stems[s, c, samples - 1]


class Guard:
    """Replaces the hops of a stream that cannot be let through.

    Attributes:
        replaced: hops replaced since the stream began.
    """

    def __init__(self, stems: int, channels: int, ramp: int, limit: float = LIMIT) -> None:
        """Args:
            stems, channels: shape of the stream.
            ramp: samples in which to fade, 1 at least.
            limit: largest sane amplitude, as a multiple of the mixture's peak or of full scale,
                whichever is more.

        Raises:
            UsageError: for a ramp below 1 or a limit that is not positive.
        """
        if ramp < 1 or not limit > 0:
            raise UsageError(f"guard: ramp of {ramp} samples, limit {limit}")
        self.replaced = 0
        self._limit = limit
        self._ramp = ramp
        self._state = np.zeros(3, np.int64)
        self._tail = np.zeros((stems, channels), np.float32)
        self._newest = np.zeros((stems, channels), np.float32)
        self._newest_dry = np.zeros(channels, np.float32)
        self._shape = (stems, channels)

    def reset(self) -> None:
        """Forget the past of the stream, as if newly made."""
        self.replaced = 0
        for array in (self._state, self._tail, self._newest, self._newest_dry):
            array.fill(0)

    def sanitise(self, stems: Floats, dry: Floats, force: bool = False) -> bool:
        """Check one hop and mend it in place.

        A sane hop long after the last bad one is left untouched, bit for bit. A separator whose hop
        was replaced should have its state reset, or it will most likely stay mad.

        Args:
            stems: (stems, channels, n) float32, any strides; changed where the hop is not sane or the
                last bad one is less than a fade away.
            dry: (channels, n) float32, the mixture that the stems belong to, delayed as they are;
                samples that are not finite count as silence.
            force: replace the hop even if it is sane, because its stems are not complete: while a
                separator that was reset has too little past. Such hops are not counted.

        Returns:
            Whether the hop was replaced.

        Raises:
            ValueError: for other shapes; TypeError for other types.
        """
        if stems.shape[:2] != self._shape or stems.shape[1:] != dry.shape:
            raise ValueError(f"expected {self._shape} stems, got {stems.shape} with a mixture {dry.shape}")
        sane = is_sane(stems, dry, self._limit)
        bad = force or not sane
        _repair(
            stems, dry, bad, self._ramp, self._state, self._tail, self._newest, self._newest_dry
        )  # fmt: skip
        if not sane:
            self.replaced += 1
        return bad
