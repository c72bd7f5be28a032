"""From the bytes of MIDI 1.0 to events: any bytes, in any portions, and never an exception.

Source: MIDI 1.0 Detailed Specification (MIDI Association), data format and table of controllers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

Kind = Literal[
    "cc", "cc14", "nrpn", "note", "program", "pitch", "tick", "start", "continue", "stop", "position"
]
Order = Literal["msb-first", "lsb-first"]
Pairs = Mapping[tuple[int, int], Order]
"""By channel (1 to 16) and number of the upper half (0 to 31): which half comes first."""

CHANNELS = range(1, 17)
LSB_OFFSET = 32
"""The lower half of controller n is controller n + 32."""
HIGHEST: dict[str, int] = {"cc": 127, "cc14": 16383, "nrpn": 16383, "note": 127, "program": 1, "pitch": 16383}
"""The largest value of an event, by kind; the least is 0."""

_REALTIME: dict[int, Kind] = {0xF8: "tick", 0xFA: "start", 0xFB: "continue", 0xFC: "stop"}
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_NRPN_MSB, _NRPN_LSB, _RPN = 99, 98, (100, 101)
_DATA_MSB, _DATA_LSB = 6, 38


class Event(NamedTuple):
    """What was touched, and how far.

    Attributes:
        kind: "cc" and "note" have 7 bits; "cc14", "nrpn" and "pitch" have 14; "program" has value 1. "tick"
            is a 24th of a quarter note; "position" is where a song stands, in sixteenths.
        channel: 1 to 16; 0 for what has none.
        number: of the controller, note or program; 0 for what has none.
        value: 0 to `HIGHEST`; a note that is let go has 0.
    """

    kind: Kind
    channel: int
    number: int
    value: int


class Decoder:
    """Remembers what a stream of MIDI bytes needs: running status, upper halves, the NRPN that is selected.

    Args:
        pairs: controllers that are halves of 14 bits. They give "cc14" events, when the half that comes
            second has arrived, and no "cc" events. Where a fine move sends the second half alone, the first
            one that was heard last counts.
        nrpn: channels on which controllers 6, 38, 98 and 99 are NRPNs. An event comes with the upper half
            (its lower one is then 0) and again with the lower.
    """

    def __init__(self, pairs: Pairs | None = None, nrpn: Collection[int] = ()) -> None:
        self._pairs = dict(pairs or {})
        self._nrpn = frozenset(nrpn)
        self._status = 0
        self._data: list[int] = []
        self._first: dict[tuple[int, int], int] = {}
        self._selected: dict[int, list[int | None]] = {}
        self._data_msb: dict[int, int] = {}

    def feed(self, data: Iterable[int]) -> list[Event]:
        """Events that these bytes complete, in order. What is of no use here, as SysEx, gives none."""
        events: list[Event] = []
        for byte in data:
            if byte >= 0xF8:
                # Real-time bytes may stand inside any other message.
                kind = _REALTIME.get(byte)
                if kind is not None:
                    events.append(Event(kind, 0, 0, 0))
            elif byte >= 0x80:
                self._status = byte
                self._data.clear()
            else:
                self._take(byte, events)
        return events

    def _take(self, byte: int, events: list[Event]) -> None:
        status = self._status
        wanted = _SYSTEM_DATA_BYTES.get(status) if status >= 0xF0 else _DATA_BYTES.get(status & 0xF0)
        if wanted is None:
            return  # SysEx, or data without a status.
        self._data.append(byte)
        if len(self._data) < wanted:
            return
        first, second = self._data[0], self._data[-1]
        self._data.clear()
        if status >= 0xF0:
            self._status = 0  # System messages have no running status.
            if status == 0xF2:
                events.append(Event("position", 0, 0, first | second << 7))
            return
        channel = (status & 0x0F) + 1
        kind = status & 0xF0
        if kind == 0x90:
            events.append(Event("note", channel, first, second))
        elif kind == 0x80:
            events.append(Event("note", channel, first, 0))
        elif kind == 0xC0:
            events.append(Event("program", channel, first, 1))
        elif kind == 0xE0:
            events.append(Event("pitch", channel, 0, first | second << 7))
        elif kind == 0xB0:
            self._control(channel, first, second, events)

    def _control(self, channel: int, number: int, value: int, events: list[Event]) -> None:
        if channel in self._nrpn and self._parameter(channel, number, value, events):
            return
        order = self._pairs.get((channel, number))
        if order is not None:
            self._half(channel, number, value, order == "msb-first", True, events)
            return
        order = self._pairs.get((channel, number - LSB_OFFSET))
        if order is not None:
            self._half(channel, number - LSB_OFFSET, value, order == "lsb-first", False, events)
            return
        events.append(Event("cc", channel, number, value))

    def _half(
        self, channel: int, number: int, value: int, first: bool, upper: bool, events: list[Event]
    ) -> None:
        if first:
            self._first[channel, number] = value
            return
        other = self._first.get((channel, number))
        if other is None:
            return  # Where the whole stands cannot be known yet.
        whole = value << 7 | other if upper else other << 7 | value
        events.append(Event("cc14", channel, number, whole))

    def _parameter(self, channel: int, number: int, value: int, events: list[Event]) -> bool:
        """Whether the controller is part of an NRPN."""
        selected = self._selected.setdefault(channel, [None, None])
        if number == _NRPN_MSB:
            selected[0] = value
        elif number == _NRPN_LSB:
            selected[1] = value
        elif number in _RPN:
            self._selected[channel] = [None, None]
        elif number in (_DATA_MSB, _DATA_LSB):
            upper, lower = selected
            if upper is not None and lower is not None:
                if number == _DATA_MSB:
                    self._data_msb[channel] = value
                    whole = value << 7
                else:
                    whole = self._data_msb.get(channel, 0) << 7 | value
                events.append(Event("nrpn", channel, upper << 7 | lower, whole))
        else:
            return False
        return True


def encode(kind: Kind, channel: int, number: int, value: int, order: Order = "msb-first") -> list[list[int]]:
    """The messages that make up an event, for sending: the reverse of `Decoder`.

    Raises:
        ValueError: for an event that is sent to no controller, such as a tick.
    """
    low, high, place = value & 0x7F, value >> 7, channel - 1
    if kind == "note":
        # With velocity 0 it is a note off, and lamps that are lit by velocity take it as dark.
        return [[0x90 | place, number, value]]
    if kind == "cc":
        return [[0xB0 | place, number, value]]
    if kind == "cc14":
        halves = [[0xB0 | place, number, high], [0xB0 | place, number + LSB_OFFSET, low]]
        return halves if order == "msb-first" else halves[::-1]
    if kind == "pitch":
        return [[0xE0 | place, low, high]]
    if kind == "nrpn":
        status = 0xB0 | place
        return [
            [status, _NRPN_MSB, number >> 7],
            [status, _NRPN_LSB, number & 0x7F],
            [status, _DATA_MSB, high],
            [status, _DATA_LSB, low],
        ]
    if kind == "program":
        return [[0xC0 | place, number]]
    raise ValueError(f"{kind} is not sent to a controller")
