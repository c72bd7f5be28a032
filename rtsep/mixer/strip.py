"""What a listener sets for each stem, and the one gain that it amounts to."""

from __future__ import annotations

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
    """

    gain_db: float = 0.0
    mute: bool = False
    solo: bool = False


def effective_gains(strips: Sequence[ChannelStrip], *, bypass: bool = False) -> Doubles:
    """The amplitude factor of every strip.

    Solos add to each other; mute is stronger than solo. Bypass makes every factor exactly one, so
    that the sum is the mixture, and forgets nothing: without it the strips act again.

    Returns:
        (strips,) float64, as `Mixer.set_targets` takes it.

    Raises:
        UsageError: when a gain is not a number, or plus infinity.
    """
    gains = np.ones(len(strips))
    if bypass:
        return gains
    any_solo = any(strip.solo for strip in strips)
    for k, strip in enumerate(strips):
        silent = strip.mute or (any_solo and not strip.solo)
        level = db_to_linear(strip.gain_db)
        gains[k] = 0.0 if silent else level
    return gains
