"""What a listener sets for each stem, and the gains that it amounts to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtsep.dsp.gains import db_to_linear
from rtsep.dsp.kernel import Doubles


@dataclass(slots=True)
class ChannelStrip:
    """One stem's controls.

    Attributes:
        gain_db: level in dB; minus infinity is silence.
        mute: silent, whatever else is set.
        solo: heard, with every other soloed stem; the rest are silent.
        pan: -1 (left) to +1 (right); see `balance`.
        inverted: polarity turned over.
        send: amplitude factor of what goes to the effect bus, taken behind everything above.
    """

    gain_db: float = 0.0
    mute: bool = False
    solo: bool = False
    pan: float = 0.0
    inverted: bool = False
    send: float = 0.0


def balance(pan: float) -> tuple[float, float]:
    """Factors of the left and right channel of a stereo stem at a position from -1 to +1.

    Constant power, with unity in the centre: sqrt(2) cos and sqrt(2) sin of (pan + 1) pi / 4, so that a
    stem that is the same in both channels (most vocals and basses) keeps its power wherever it is put. At
    an end one channel is silent and the other 3 dB up. The centre is exactly one, bit for bit.
    """
    if pan == 0.0:
        return 1.0, 1.0
    angle = (min(max(pan, -1.0), 1.0) + 1.0) * math.pi / 4.0
    # cos(pi / 2) is not quite zero in floating point; an end of the pot is.
    left = 0.0 if pan >= 1.0 else math.sqrt(2.0) * math.cos(angle)
    right = 0.0 if pan <= -1.0 else math.sqrt(2.0) * math.sin(angle)
    return left, right


def effective_gains(strips: Sequence[ChannelStrip]) -> Doubles:
    """The amplitude factor of every strip, its sign the polarity, before its pan.

    Solos add to each other; mute is stronger than solo.

    Returns:
        (strips,) float64.

    Raises:
        UsageError: when a gain is not a number, or plus infinity.
    """
    gains = np.ones(len(strips))
    any_solo = any(strip.solo for strip in strips)
    for k, strip in enumerate(strips):
        silent = strip.mute or (any_solo and not strip.solo)
        level = db_to_linear(strip.gain_db)
        gains[k] = 0.0 if silent else -level if strip.inverted else level
    return gains


def channel_gains(strips: Sequence[ChannelStrip], channels: int) -> Doubles:
    """The amplitude factor of every channel of every strip, with its pan, as `Mixer.set_targets` takes it.

    Pan moves the first two channels of a stem; a mono stem has no place to move to.

    Returns:
        (strips, channels) float64.

    Raises:
        UsageError: as `effective_gains`.
    """
    gains = np.repeat(effective_gains(strips)[:, None], channels, axis=1)
    if channels > 1:
        for k, strip in enumerate(strips):
            gains[k, :2] *= balance(strip.pan)
    return gains
