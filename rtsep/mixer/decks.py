"""What two decks have beside their stems' strips: a level each, a crossfader, and which side a stem is on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rtsep.dsp.gains import db_to_linear
from rtsep.dsp.kernel import Doubles

CUT_WIDTH = 0.05
"""Of the fader's throw, at either end, in which the cut goes from full to silent."""


@dataclass(slots=True)
class DeckSection:
    """The controls that are the decks'.

    Attributes:
        gains_db: level of each deck in dB; minus infinity is silence.
        position: of the crossfader, from the first deck (0) to the second (1).
        cut: the crossfader's curve; see `crossfade`.
        swapped: of each stem, whether either deck's is on the other's side of the crossfader.
    """

    gains_db: list[float]
    swapped: list[bool]
    position: float = 0.5
    cut: bool = False
    _linear: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._linear = [1.0] * len(self.gains_db)

    def gains(self) -> list[float]:
        """Amplitude factor of each deck's level."""
        for k, db in enumerate(self.gains_db):
            self._linear[k] = db_to_linear(db)
        return self._linear

    def levels(self, into: Doubles, replaced: Sequence[bool] | None = None) -> None:
        """What the crossfader lets through.

        Args:
            replaced: of each deck, whether its last stem holds its whole input, whose side is the deck's own;
                none if left out.
            into: (decks x stems + decks,) float64, overwritten: amplitude factors of every strip, the first
                deck's first, and of every deck's dry signal, which has the deck's level in it: a strip has it
                in its own gain.
        """
        decks, stems = len(self.gains_db), len(self.swapped)
        sides = crossfade(self.position, self.cut) if decks == 2 else (1.0,) * decks
        gains = self.gains()
        for deck in range(decks):
            for stem, swapped in enumerate(self.swapped):
                whole = replaced is not None and replaced[deck] and stem == stems - 1
                side = 1 - deck if swapped and decks == 2 and not whole else deck
                into[deck * stems + stem] = sides[side]
            into[decks * stems + deck] = sides[deck] * gains[deck]


def crossfade(position: float, cut: bool = False) -> tuple[float, float]:
    """Amplitude factors of the first and the second deck.

    Constant power, cos and sin of position pi / 2: two different pieces of music, as decks play, keep their
    level along the way, 3 dB down each in the middle. A cut has both in full but for `CUT_WIDTH` at either
    end, as scratching wants it. At an end one deck is exactly one, and the other exactly silent.
    """
    position = min(max(position, 0.0), 1.0)
    if cut:
        return min(1.0, (1.0 - position) / CUT_WIDTH), min(1.0, position / CUT_WIDTH)
    if position in (0.0, 1.0):
        return 1.0 - position, position
    return math.cos(position * math.pi / 2.0), math.sin(position * math.pi / 2.0)
