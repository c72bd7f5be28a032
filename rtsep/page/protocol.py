"""What server and page say to each other: JSON texts, checked before anything is done.

From the page:

    {"do": "set", "n": 7, "to": [["stem/vocals/gain", 0.63], ...]}   places, 0 to 1; n is told back
    {"do": "name", "at": "snapshot/recall", "name": "verse"}         also snapshot/capture, snapshot/forget
    {"do": "engine", "model": "studio", "input": 3, "output": 3}     another engine
    {"do": "devices"}                                                what devices there are
    {"do": "learn", "at": "stem/vocals/gain"}                        tie the next MIDI control; "" cancels
    {"do": "ping", "n": 3}

To the page: "hello" (all there is, first and whenever it is another), "now" (what has changed), "meters" (25
times a second), "health" (twice a second), "devices", "pong", "sorry" (why something was not done).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtsep.control.desk import Desk
from rtsep.control.parameters import Value
from rtsep.page.limits import SETS_PER_MESSAGE
from rtsep.spec import UsageError

NAMED = ("snapshot/recall", "snapshot/capture", "snapshot/forget")


@dataclass(frozen=True, slots=True)
class Set:
    """Controls go to these places; `number` is told back when they are there."""

    number: int
    places: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Name:
    """A snapshot is captured, recalled or forgotten."""

    address: str
    name: str


@dataclass(frozen=True, slots=True)
class NewEngine:
    """Another model or device is wanted."""

    options: dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Learn:
    """The next control that is moved shall move this; "" for none."""

    address: str


@dataclass(frozen=True, slots=True)
class AskDevices:
    """Which devices are there?"""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    number: int


Request = Set | Name | NewEngine | Learn | AskDevices | Ping


def parse(text: str) -> Request:
    """A page's message.

    Raises:
        UsageError: for a text that is none.
    """
    try:
        # Python's reader would take NaN and Infinity, which are no JSON.
        message = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UsageError("a message is a JSON object") from None
    if not isinstance(message, dict):
        raise UsageError("a message is a JSON object")
    match message.get("do"):
        case "set":
            return Set(_number(message), _places(message.get("to")))
        case "name":
            address = _text(message, "at", 64)
            if address not in NAMED:
                raise UsageError(f"{address!r} takes no name")
            return Name(address, _text(message, "name", 64))
        case "engine":
            return NewEngine(_options(message))
        case "learn":
            return Learn(_text(message, "at", 128))
        case "devices":
            return AskDevices()
        case "ping":
            return Ping(_number(message))
    raise UsageError(f"there is nothing to do that is called {str(message.get('do'))[:32]!r}")


def dump(message: Mapping[str, Any]) -> str:
    """A message to the page as text; what no JSON can say, infinities, becomes null."""
    return json.dumps(_plain(message), allow_nan=False, separators=(",", ":"))


def values_of(desk: Desk, values: Mapping[str, Value]) -> dict[str, list[Any]]:
    """Value and place of each, by address; a name has no place."""
    told: dict[str, list[Any]] = {}
    for address, value in values.items():
        parameter = desk.parameter(address)
        place = None if parameter.kind == "name" else round(parameter.to_normalised(value), 6)
        told[address] = [round(value, 3) if isinstance(value, float) else value, place]
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _refuse(word: str) -> float:
    raise ValueError(word)


def _number(message: dict[str, Any]) -> int:
    number = message.get("n", 0)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise UsageError("n is a whole number")
    return number


def _text(message: dict[str, Any], key: str, longest: int) -> str:
    text = message.get(key)
    if not isinstance(text, str) or len(text) > longest:
        raise UsageError(f"{key} is a text of {longest} characters at most")
    return text


def _places(given: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(given, list) or not 1 <= len(given) <= SETS_PER_MESSAGE:
        raise UsageError(f"'to' is 1 to {SETS_PER_MESSAGE} pairs of address and place")
    found = []
    for pair in given:
        match pair:
            case [str(address), int() | float() as place] if len(address) <= 128:
                # An integer may be longer than any float.
                found.append((address, float(min(max(place, 0), 1))))
            case _:
                raise UsageError("'to' is pairs of address and place, 0 to 1")
    return tuple(found)


def _options(message: dict[str, Any]) -> dict[str, str | int | None]:
    options: dict[str, str | int | None] = {}
    if "model" in message:
        options["model"] = _text(message, "model", 128)
    for side in ("input", "output"):
        if side in message:
            device = message[side]
            whole = isinstance(device, int) and not isinstance(device, bool) and 0 <= device < 10_000
            if device is not None and not whole:
                raise UsageError(f"{side} is a device's number, or null for the system's own")
            options[side] = device
    if "block" in message:
        block = message["block"]
        if isinstance(block, bool) or not isinstance(block, int) or not 16 <= block <= 8192:
            raise UsageError("block is 16 to 8192 frames")
        options["block"] = block
    if not options:
        raise UsageError("another engine: with which model, input, output or block?")
    return options
