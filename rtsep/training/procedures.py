"""Four procedures that make stems of instruments, and a mixture of stems.

A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, section 4.1.2. Two of them, averaging and
scaling, give mixtures that are softer than the sum of their stems: the thesis scores their stems as they are,
which costs SDR, and prefers adaptive rescaling. A mask cannot be louder than what it is laid on, so training
takes the stems as they lie in the mixture (`Mixdown.shares`). With those, scaling is adaptive rescaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from rtsep.spec import UsageError
from rtsep.training.spectra import Audio

Procedure = Literal["sum", "average", "scale", "adaptive"]


@dataclass(frozen=True)
class Mixdown:
    """A mixture and what it was made of.

    Attributes:
        mixture: (channels, samples).
        stems: of the same shape, as the procedure gives them.
        gain: what every stem was multiplied by on its way into the mixture.
    """

    mixture: Audio
    stems: tuple[Audio, ...]
    gain: float

    @property
    def shares(self) -> tuple[Audio, ...]:
        """The stems as they lie in the mixture: their sum."""
        return tuple(_scaled(stem, self.gain) for stem in self.stems)


def combine(instruments: Sequence[Sequence[Audio]], procedure: Procedure) -> Mixdown:
    """Mix.

    - "sum": a stem is the sum of its instruments, the mixture the sum of the stems. It may pass full scale;
      in floating point nothing is clipped by that.
    - "average": a stem is the mean of its instruments, the mixture the mean of the stems. If no instrument
      passes full scale, nothing does.
    - "scale": a stem is the sum of its instruments, divided by its peak where that passes full scale; the
      mixture is made of the stems in the same way. Neither passes full scale.
    - "adaptive": as "scale", and what the mixture was divided by, the stems are divided by too: they sum to
      it.

    Args:
        instruments: for every stem one signal or more, (channels, samples), all of one shape.
        procedure: one of these four.

    Raises:
        UsageError: for another name, or nothing to mix.
    """
    if procedure not in get_args(Procedure):
        raise UsageError(f"no mixing procedure '{procedure}'; there are {', '.join(get_args(Procedure))}")
    if not instruments or not all(instruments):
        raise UsageError("a mixture takes at least one stem, and a stem at least one instrument")
    stems = [_total(signals) for signals in instruments]
    if procedure == "average":
        means = [_scaled(stem, 1.0 / len(signals)) for stem, signals in zip(stems, instruments, strict=True)]
        gain = 1.0 / len(means)
        return Mixdown(_scaled(_total(means), gain), tuple(means), gain)
    if procedure == "sum":
        return Mixdown(_total(stems), tuple(stems), 1.0)
    fitting = [_scaled(stem, _fit(stem)) for stem in stems]
    mixture = _total(fitting)
    gain = _fit(mixture)
    mixture = _scaled(mixture, gain)
    if procedure == "scale":
        return Mixdown(mixture, tuple(fitting), gain)
    return Mixdown(mixture, tuple(_scaled(stem, gain) for stem in fitting), 1.0)


def _total(stems: Sequence[Audio]) -> Audio:
    total: Audio = np.sum(np.stack(list(stems)), axis=0, dtype=np.float32)
    return total


def _scaled(audio: Audio, factor: float) -> Audio:
    scaled: Audio = audio * np.float32(factor)
    return scaled


def _fit(audio: Audio) -> float:
    """The largest factor up to 1 with which nothing passes full scale."""
    peak = float(np.abs(audio).max(initial=0.0))
    # A hair less, or rounding would lift the highest sample over it.
    return (1.0 - 1e-6) / peak if peak > 1.0 else 1.0
