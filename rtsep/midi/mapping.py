"""Mappings: TOML files that say which control moves what, checked so that a mistake is found by its line."""

from __future__ import annotations

import re
import tomllib
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtsep.midi.clock import Clock, Unit
from rtsep.midi.curves import Curve, CurveName, Point, check_points
from rtsep.midi.decode import CHANNELS, LSB_OFFSET, Kind, Order, Pairs
from rtsep.midi.schedule import Quantise
from rtsep.midi.takeover import Policy
from rtsep.spec import UsageError

FORMAT = 1
GENERIC = "generic"
"""The mapping of a port for which no other was named or found."""

_SHIPPED = "rtsep.midi.controllers"
_KINDS: tuple[Kind, ...] = ("cc", "cc14", "nrpn", "note", "program", "pitch")
_TELLING = 3
"""So many letters of a controller's name are enough to know it by."""
_LENGTH = re.compile(r"([1-9]\d{0,3}) (beat|bar)s?")
_HEADER = re.compile(r"\s*\[\[\s*map\s*\]\]")

Bits7 = Annotated[int, Field(ge=0, le=127)]
Channel = Annotated[int, Field(ge=1, le=16)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Lamp(_Table):
    """How a control shows that a switch is on. What is left out is as the control itself sends.

    Attributes:
        on, off: velocities or values.
        waiting: while a gesture waits for its beat or bar; as `off` if None.
        note, cc, channel: where the lamp is.
    """

    on: Bits7 = 127
    off: Bits7 = 0
    waiting: Bits7 | None = None
    note: Bits7 | None = None
    cc: Bits7 | None = None
    channel: Channel | None = None


class Entry(_Table):
    """One `[[map]]`: a control, and what it moves.

    Attributes:
        cc, cc14, nrpn, note, program, pitch: exactly one of these is the control: a controller of 7 bits; the
            upper one of a pair of 14 bits; an NRPN; a note; a program change; the pitch wheel, as motor
            faders use it.
        channel: 1 to 16; any if None.
        order: of a cc14, which half is sent first.
        address: of the desk; `stem/2/gain` is the gain of the second stem, whatever it is called.
        mode: of notes, and controllers on a switch: "toggle" turns over at every press, "momentary" is on
            while pressed. None is toggle for a note, momentary for a controller.
        value: what a press sets instead of on.
        fade: ms; the desk's own if None.
        quantise: a press waits for the next beat or bar of the MIDI clock.
        length: such as "8 beats": after which what a press has set is what it was before. The file calls it
            `for`.
        curve: from the control's throw to the fader's.
        range: ends of the throw in the parameter's own unit; [0, -20] turns it round.
        takeover: what a control does that stands elsewhere than its parameter.
        feedback: tell the control where the parameter stands.
        lamp: how it shows that a switch is on; implies feedback.
    """

    cc: Bits7 | None = None
    cc14: Annotated[int, Field(ge=0, lt=LSB_OFFSET)] | None = None
    nrpn: Annotated[int, Field(ge=0, le=16383)] | None = None
    note: Bits7 | None = None
    program: Bits7 | None = None
    pitch: Literal[True] | None = None
    channel: Channel | None = None
    order: Order = "msb-first"
    address: str
    mode: Literal["toggle", "momentary"] | None = None
    value: bool | float | str | None = None
    fade: Annotated[float, Field(ge=0.0)] | None = None
    quantise: Quantise = "now"
    length: str | None = Field(default=None, alias="for")
    curve: CurveName | list[Point] = "linear"
    range: tuple[float, float] | None = None
    takeover: Policy | None = None
    feedback: bool | None = None
    lamp: Lamp | None = None

    @field_validator("curve")
    @classmethod
    def _curve_rises(cls, curve: CurveName | list[Point]) -> CurveName | list[Point]:
        if not isinstance(curve, str):
            check_points(curve)
        return curve

    @field_validator("length")
    @classmethod
    def _length_is_one(cls, length: str | None) -> str | None:
        if length is not None and not _LENGTH.fullmatch(length):
            raise ValueError("write a number of beats or bars, such as '8 beats' or '2 bars'")
        return length

    @model_validator(mode="after")
    def _one_control(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in _KINDS) != 1:
            raise ValueError(f"name exactly one of {', '.join(_KINDS)}")
        if not self.is_press and (self.length is not None or self.quantise != "now"):
            raise ValueError("only presses wait for a beat and end after so many: notes, programs, or a mode")
        return self

    @property
    def kind(self) -> Kind:
        """Of the control."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def number(self) -> int:
        """Of the control; 0 for the pitch wheel."""
        return 0 if self.pitch else int(getattr(self, self.kind))

    @property
    def is_press(self) -> bool:
        """The control is pressed, not moved, as far as the entry alone can tell."""
        return self.kind in ("note", "program") or self.mode is not None or self.value is not None

    @property
    def channels(self) -> list[int]:
        """On which the control is heard."""
        return list(CHANNELS) if self.channel is None else [self.channel]

    def ticks(self, clock: Clock) -> int | None:
        """The length in ticks of a clock."""
        if self.length is None:
            return None
        count, unit = self.length.removesuffix("s").split()
        known: Unit = "bar" if unit == "bar" else "beat"
        return clock.ticks(int(count), known)

    def shape(self) -> Curve:
        """The curve, ready for use."""
        return Curve(self.curve)


class Beat(_Table):
    """`[clock]`: how bars are counted; and the tempo of lengths in beats where there is no clock."""

    beats_per_bar: Annotated[int, Field(ge=1, le=32)] = 4
    tempo: Annotated[float, Field(ge=20.0, le=400.0)] = 120.0


class Mapping(_Table):
    """A whole file.

    Attributes:
        format: 1.
        title: what it is for.
        source: where the numbers of the controls come from.
        ports: parts of names; a port so called gets this mapping if none is asked for.
        channel, takeover, feedback: for entries that have none of their own.
        hello: messages, in hexadecimal, that are sent when the controller is found.
        clock: how bars are counted.
        map: the entries.
    """

    format: Literal[1]
    title: str = ""
    source: str = ""
    ports: list[str] = []
    channel: Channel | None = None
    takeover: Policy = "pickup"
    feedback: bool = False
    hello: list[str] = []
    clock: Beat = Beat()
    map: list[Entry] = []

    @field_validator("hello")
    @classmethod
    def _hello_is_midi(cls, hello: list[str]) -> list[str]:
        for text in hello:
            try:
                message = bytes.fromhex(text)
            except ValueError:
                raise ValueError(f"{text!r} is not hexadecimal") from None
            if not message or message[0] < 0x80 or any(b >= 0x80 for b in message[1:-1]):
                raise ValueError(f"{text!r} is not one MIDI message")
        return hello

    @model_validator(mode="after")
    def _controls_do_not_overlap(self) -> Self:
        halves = {
            (channel, number) for channel, upper in self.pairs for number in (upper, upper + LSB_OFFSET)
        }
        for entry in self.entries:
            if entry.kind == "cc" and any((channel, entry.number) in halves for channel in entry.channels):
                raise ValueError(f"cc {entry.number} is half of a cc14")
        return self

    @cached_property
    def entries(self) -> list[Entry]:
        """The entries, with what the file says for all of them."""
        return [
            entry.model_copy(
                update={
                    "channel": self.channel if entry.channel is None else entry.channel,
                    "takeover": entry.takeover or self.takeover,
                    "feedback": self._tells(entry),
                }
            )
            for entry in self.map
        ]

    def _tells(self, entry: Entry) -> bool:
        if entry.feedback is not None:
            return entry.feedback
        return self.feedback or entry.lamp is not None

    @property
    def pairs(self) -> Pairs:
        """For the decoder: controllers that are halves of 14 bits."""
        return {(c, e.number): e.order for e in self.entries if e.kind == "cc14" for c in e.channels}

    @property
    def nrpn_channels(self) -> set[int]:
        """For the decoder."""
        return {channel for e in self.entries if e.kind == "nrpn" for channel in e.channels}

    @property
    def greeting(self) -> list[list[int]]:
        """`hello` as bytes."""
        return [list(bytes.fromhex(text)) for text in self.hello]


class MappingFile:
    """A mapping and the file that it comes from.

    Attributes:
        name: the file's, without its ending.
        path: where it is, or what it is called in a message; None for one that is in no file.
        shipped: it is part of rtsep and not to be written.
        text: as it was read.
        mapping: what it says.
    """

    def __init__(self, name: str, text: str, path: Path | None = None, shipped: bool = False) -> None:
        self.name = name
        self.path = path
        self.shipped = shipped
        self.text = text
        self.mapping = _parse(text, self.place())

    def place(self, entry: int | None = None) -> str:
        """The file, and the line at which an entry begins, for a message."""
        where = f"mapping {self.name!r}" if self.shipped or self.path is None else str(self.path)
        return where if entry is None else f"{where}, line {_line(self.text, ('map', entry))}"


def read_mapping(name: str) -> MappingFile:
    """A shipped mapping by name, or a file by its path.

    Raises:
        UsageError: when there is neither, or the file is not a mapping; one line, with the file's and the
            line.
    """
    if name in shipped_mappings():
        file = resources.files(_SHIPPED).joinpath(f"{name}.toml")
        return MappingFile(name, file.read_text(encoding="utf-8"), None, shipped=True)
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(shipped_mappings())
        raise UsageError(f"{name}: no such file, and no mapping of that name: there are {known}") from None
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: is no TOML: {error}") from None
    return MappingFile(path.stem, text, path)


def shipped_mappings() -> list[str]:
    """Names of the mappings that rtsep brings."""
    files = resources.files(_SHIPPED).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def mapping_for(port: str) -> MappingFile:
    """The shipped mapping for a port of this name, or part of a name; the generic one if there is none."""
    name = port.lower()
    for shipped in shipped_mappings():
        found = read_mapping(shipped)
        for part in (part.lower() for part in found.mapping.ports):
            if part in name or (len(name) >= _TELLING and name in part):
                return found
    return read_mapping(GENERIC)


def _parse(text: str, place: str) -> Mapping:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{place}: is no TOML: {error}") from None
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = [part for part in first["loc"] if not _is_a_type(part)]
        key = ".".join(str(part) for part in where if part != "map" and not isinstance(part, int))
        line = _line(text, tuple(where))
        message = first["msg"].removeprefix("Value error, ")
        given = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
        raise UsageError(f"{place}, line {line}: {key + ': ' if key else ''}{message}{given}") from None


def _is_a_type(part: Any) -> bool:
    """pydantic names the member of a union that it tried, which no reader of a file knows."""
    return isinstance(part, str) and (("[" in part) or part in {"bool", "float", "str", "literal"})


def _line(text: str, where: tuple[Any, ...]) -> int:
    """The line of a key, or of the table that should have it; 1 where that cannot be told."""
    lines = text.splitlines()
    begin, end = 0, len(lines)
    if len(where) > 1 and where[0] == "map":
        headers = [n for n, line in enumerate(lines) if _HEADER.match(line)]
        if where[1] >= len(headers):
            return 1
        begin = headers[where[1]]
        after = (n for n in range(begin + 1, end) if lines[n].lstrip().startswith("["))
        end = next(after, end)
        where = where[2:]
    if where and isinstance(where[-1], int):
        where = where[:-1]
    for key in reversed(where):
        pattern = re.compile(rf"\s*(\[\s*)?['\"]?{re.escape(str(key))}['\"]?\s*[=.\]]")
        for number in range(begin, end):
            if pattern.match(lines[number]):
                return number + 1
    return begin + 1
