"""What a fader, a pad or a page can move: addresses, ranges, the curve from a control's 0..1 to a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from rtsep.dsp.gains import db_to_linear, linear_to_db
from rtsep.engine.board import HIGHEST_DB, LONGEST_FADE_MS, LOWEST_CEILING_DB
from rtsep.spec import UsageError

Kind = Literal["level", "number", "switch", "trigger", "name"]
Value = float | bool | str

DETENT_DB = 0.1
"""A level that a control puts so close to 0 dB is 0 dB, which 128 steps could not meet otherwise."""
_WORDS = {
    "on": True,
    "true": True,
    "yes": True,
    "1": True,
    "off": False,
    "false": False,
    "no": False,
    "0": False,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that can be set.

    Attributes:
        address: such as "stem/vocals/gain".
        kind: "level" is in dB, from silence up, on a fader's curve; "number" is even from low to high;
            "switch" is on or off; "trigger" does something when it is set to true, and has no value; "name"
            does it with a name, such as that of a snapshot.
        low, high, default: in the parameter's unit; a switch has 0 and 1.
        unit: "dB", "ms" or "".
        meaning: in plain words.
        recalled: whether a snapshot holds it.
    """

    address: str
    kind: Kind
    low: float
    high: float
    default: Value
    unit: str
    meaning: str
    recalled: bool = True

    def check(self, value: Any) -> Value:
        """`value` as this parameter's own type.

        Raises:
            UsageError: for another type, or a value out of range.
        """
        if self.kind == "name":
            if not isinstance(value, str):
                raise UsageError(f"{self.address}: {value!r} is not a name")
            return value
        if self.kind in ("switch", "trigger"):
            return self._switch(value)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise UsageError(f"{self.address}: {value!r} is not a number")
        try:
            number = float(value)
        except ValueError:
            raise UsageError(f"{self.address}: {value!r} is not a number") from None
        if not self.low <= number <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            raise UsageError(
                f"{self.address}: {number:g} is not between {self.low:g} and {self.high:g}{unit}"
            )
        return number

    def _switch(self, value: Any) -> bool:
        word = _WORDS.get(value.lower()) if isinstance(value, str) else None
        if word is None and isinstance(value, bool | int | float) and not math.isnan(value):
            # Controllers send floats: pressed is the upper half.
            word = value >= 0.5
        if word is None:
            raise UsageError(f"{self.address}: {value!r} is neither on nor off")
        return bool(word)

    def from_normalised(self, place: float) -> Value:
        """The value of a control at `place`, 0 to 1; beyond is the nearer end.

        A level's curve is cubic in amplitude, so that a fader's throw resembles loudness: 0 is silence, 0.63
        is 0 dB, 1 is the highest.

        Raises:
            UsageError: for a place that is not a number, or a parameter that takes a name.
        """
        if self.kind == "name":
            raise UsageError(f"{self.address} takes a name, which has no place between 0 and 1")
        if math.isnan(place):
            raise UsageError(f"{self.address}: not a number")
        place = min(max(place, 0.0), 1.0)
        if self.kind in ("switch", "trigger"):
            return place >= 0.5
        if self.kind == "level":
            db = min(linear_to_db(db_to_linear(self.high) * place**3), self.high)
            return 0.0 if abs(db) <= DETENT_DB else db
        return self.low + (self.high - self.low) * place

    def to_normalised(self, value: Value) -> float:
        """Where a control that shows `value` stands, 0 to 1.

        Raises:
            UsageError: as `check`; for a parameter that takes a name.
        """
        value = self.check(value)
        if isinstance(value, str):
            raise UsageError(f"{self.address} takes a name, which has no place between 0 and 1")
        if self.kind == "level":
            return float((db_to_linear(float(value)) / db_to_linear(self.high)) ** (1.0 / 3.0))
        return (float(value) - self.low) / (self.high - self.low)

    def describe(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "kind": self.kind,
            "low": self.low,
            "high": self.high,
            "default": self.default,
            "unit": self.unit,
            "meaning": self.meaning,
        }


def strip_path(strip: str) -> str:
    """Where a strip's addresses begin: "stem/vocals", or "deck/2/stem/vocals" of "2/vocals"."""
    deck, slash, stem = strip.partition("/")
    return f"deck/{deck}/stem/{stem}" if slash else f"stem/{strip}"


def strip_parameters(path: str, stem: str) -> list[Parameter]:
    """The parameters of one stem's strip, whose addresses begin with `path`."""
    return [
        _level(f"{path}/gain", 0.0, f"level of {stem}"),
        _switch(f"{path}/mute", f"{stem} silent"),
        _switch(f"{path}/solo", f"{stem} heard, and only what else is soloed"),
        Parameter(f"{path}/pan", "number", -1.0, 1.0, 0.0, "", f"place of {stem}, left to right"),
        _switch(f"{path}/polarity", f"{stem} turned over"),
        _level(f"{path}/send", -math.inf, f"what {stem} gives to the effect bus"),
    ]


def master_parameters() -> list[Parameter]:
    """The parameters of what all stems pass."""
    return [
        _level("master/gain", 0.0, "level of all that is heard"),
        _switch("master/limiter", "no sample exceeds the ceiling"),
        Parameter("master/ceiling", "number", LOWEST_CEILING_DB, 0.0, 0.0, "dB", "the limiter's ceiling"),
        Parameter("master/dry_wet", "number", 0.0, 1.0, 1.0, "", "the delayed input (0) to the mix (1)"),
        _switch("master/bypass", "the delayed input in place of the mix", recalled=False),
        _switch("master/panic", "the same, at once and whatever else is set", recalled=False),
        Parameter(
            "fade", "number", 0.0, 10_000.0, 0.0, "ms", "time of gestures that have none of their own", False
        ),
    ]


def deck_parameters(decks: int, stems: tuple[str, ...]) -> list[Parameter]:
    """What several decks have beside their strips; two of them, a crossfader too."""
    found = []
    for deck in range(1, decks + 1):
        found.append(_level(f"deck/{deck}/gain", 0.0, f"level of deck {deck}"))
        found.append(_trigger(f"deck/{deck}/reset", f"forget what deck {deck} heard, as after a seek"))
    if decks == 2:
        found.append(Parameter("crossfader", "number", 0.0, 1.0, 0.5, "", "deck 1 (0) to deck 2 (1)"))
        found.append(_switch("crossfader/cut", "both decks in full but for the crossfader's ends"))
        for stem in stems:
            found.append(_switch(f"swap/{stem}", f"{stem} of either deck on the other's side"))
            found.append(_trigger(f"gesture/swap/{stem}", f"exchange which deck {stem} is heard from"))
    return found


def gesture_parameters(voice: bool, path: str = "") -> list[Parameter]:
    """What is done to the strips of one deck at once. `voice`: whether there are vocals."""
    found = [_trigger(f"{path}gesture/everything", "every stem heard")]
    if voice:
        found.insert(0, _trigger(f"{path}gesture/instrumental", "all but the vocals"))
        found.insert(1, _trigger(f"{path}gesture/acapella", "the vocals alone"))
    return found


def desk_parameters() -> list[Parameter]:
    """What else does something rather than is something."""
    return [
        _trigger("reset", "forget what was heard, as after a seek"),
        Parameter("snapshot/capture", "name", 0.0, 1.0, "", "", "keep what is set under a name", False),
        Parameter("snapshot/recall", "name", 0.0, 1.0, "", "", "go back to what a name holds", False),
        Parameter(
            "snapshot/morph", "number", 0.0, LONGEST_FADE_MS, 0.0, "ms", "time that a recall takes", False
        ),
    ]


def _level(address: str, default: float, meaning: str) -> Parameter:
    return Parameter(address, "level", -math.inf, HIGHEST_DB, default, "dB", meaning)


def _switch(address: str, meaning: str, recalled: bool = True) -> Parameter:
    return Parameter(address, "switch", 0.0, 1.0, False, "", meaning, recalled)


def _trigger(address: str, meaning: str) -> Parameter:
    return Parameter(address, "trigger", 0.0, 1.0, False, "", meaning, False)
