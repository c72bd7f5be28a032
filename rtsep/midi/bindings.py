"""What a control does to the desk, made beforehand, so that an event is one look-up and one write."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

from rtsep.control.desk import Desk
from rtsep.control.parameters import Parameter, Value
from rtsep.midi.decode import HIGHEST, Kind
from rtsep.midi.mapping import Entry, MappingFile
from rtsep.midi.schedule import Scheduler
from rtsep.midi.takeover import Takeover
from rtsep.spec import UsageError

Key = tuple[Kind, int, int]
"""Kind, channel and number of an event."""


class Binding(Protocol):
    """What an event is given to."""

    entry: Entry
    address: str

    def act(self, value: int, now: float) -> None:
        """Do what the control's new value means."""

    def let_go(self, now: float) -> None:
        """The controller has gone: nobody holds it any more."""

    def shown(self) -> int:
        """What the control, or its lamp, should show."""


Table = dict[Key, tuple[Binding, ...]]


class Fader:
    """A control that moves along a number."""

    def __init__(self, entry: Entry, desk: Desk, parameter: Parameter) -> None:
        self.entry = entry
        self.address = parameter.address
        self._desk = desk
        self._highest = HIGHEST[entry.kind]
        self._curve = entry.shape()
        ends = entry.range or (parameter.low, parameter.high)
        self._from, self._to = (parameter.to_normalised(end) for end in ends)
        self._takeover = Takeover(entry.takeover or "pickup", 1.0 / 127.0)

    def act(self, value: int, now: float) -> None:
        """Go where the control stands, if it has hold of the parameter."""
        place = self._from + (self._to - self._from) * self._curve(value / self._highest)
        current = self._desk.get_normalised(self.address)
        wanted = self._takeover.move(place, current)
        if wanted is None:
            return
        self._desk.set_normalised(self.address, wanted, self.entry.fade)
        self._takeover.left(self._desk.get_normalised(self.address), wanted == place)

    def let_go(self, now: float) -> None:
        """When it comes back it may stand anywhere."""
        self._takeover.let_go()

    def shown(self) -> int:
        """Where a motor fader belongs."""
        span = self._to - self._from
        place = (self._desk.get_normalised(self.address) - self._from) / span if span else 0.0
        return round(self._curve.inverse(place) * self._highest)


class Pad:
    """A control that is pressed: a switch, a trigger, or a number that is set to a value.

    A note is pressed by any velocity, a controller in its upper half.

    A gesture with a length that is pressed again before it begins is dropped; once it has begun, the second
    press ends it.
    """

    def __init__(self, entry: Entry, desk: Desk, parameter: Parameter, scheduler: Scheduler) -> None:
        self.entry = entry
        self.address = parameter.address
        self._desk = desk
        self._scheduler = scheduler
        self._kind = parameter.kind
        self._lamp = entry.lamp
        self._value: Value = parameter.check(True if entry.value is None else entry.value)
        self._mode = entry.mode or ("momentary" if entry.kind == "cc" else "toggle")
        self._before: Value | None = None
        self._down = False

    def act(self, value: int, now: float) -> None:
        """A press, or a release."""
        kind = self.entry.kind
        down = value > 0 if kind == "note" else 2 * value > HIGHEST[kind]
        if self.entry.kind == "program":
            self._press(now)
            return
        if down == self._down and not (down and kind == "note"):
            return  # A knob sends many values in the same half. Some pads send no release.
        self._down = down
        if down:
            self._press(now)
        elif self._mode == "momentary" and self._kind != "trigger" and self.entry.length is None:
            self._release(now)

    def _press(self, now: float) -> None:
        if self._scheduler.cancel(self):
            return
        if self._kind in ("trigger", "name"):
            self._plan(lambda: self._set(self._value), now)
        elif not self._lasts and self._mode == "toggle":
            self._plan(self._turn_over, now)
        elif self._before is None:
            self._plan(lambda: self._begin(now), now)
        elif self._lasts:
            self._plan_end(now)
        else:
            self._scheduler.forget_end(self)  # Pressed again before its end: it is still held.

    def _release(self, now: float) -> None:
        if not self._scheduler.cancel(self) and self._before is not None:
            self._plan_end(now)

    def let_go(self, now: float) -> None:
        """A pad that was held is released; a gesture with a length goes on to its end."""
        if self._down:
            self._down = False
            if self._mode == "momentary" and not self._lasts:
                self._release(now)

    @property
    def _lasts(self) -> bool:
        return self.entry.length is not None

    def _plan(self, act: Callable[[], None], now: float) -> None:
        self._scheduler.at(self, self.entry.quantise, act, now)

    def _plan_end(self, now: float) -> None:
        self._scheduler.forget_end(self)
        self._scheduler.at(self, self.entry.quantise, self._end, now, is_end=True)

    def _begin(self, now: float) -> None:
        self._before = self._desk.get(self.address)
        if self._kind == "switch" and not self._lasts:
            # A pad that is held means on while it is held, also where somebody had it on before.
            self._before = not self._value
        self._set(self._value)
        ticks = self.entry.ticks(self._scheduler.clock)
        if ticks is not None:
            self._scheduler.after(self, ticks, self._end, now)

    def _end(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            self._set(before)

    def _turn_over(self) -> None:
        if self._kind == "switch" and self.entry.value is None:
            self._set(not self._desk.get(self.address))
        elif self._kind == "switch":
            self._set(self._value)
        elif self._before is None:
            self._before = self._desk.get(self.address)
            self._set(self._value)
        else:
            self._end()

    def _set(self, value: Value) -> None:
        self._desk.set(self.address, value, self.entry.fade)

    def shown(self) -> int:
        """The lamp."""
        lamp = self._lamp
        on, off = (lamp.on, lamp.off) if lamp else (127, 0)
        if lamp is not None and lamp.waiting is not None and self._scheduler.waits(self):
            return lamp.waiting
        if self._kind in ("trigger", "name"):
            return off
        return on if self._desk.get(self.address) == self._value else off


def bind(file: MappingFile, desk: Desk, scheduler: Scheduler) -> Table:
    """The look-up table of a mapping on a desk.

    Entries for the n-th stem of a model that has fewer are left out; so is, of a shipped mapping, whatever a
    model does not have, such as gestures for vocals.

    Raises:
        UsageError: for an address that the desk lacks, or a value or range that is none of its parameter's;
            with the file and the line.
    """
    table: Table = {}
    for number, entry in enumerate(file.mapping.entries):
        try:
            address = resolve(entry.address, desk)
            if address is None or (file.shipped and not _has(desk, address)):
                continue
            binding = _make(entry, desk, desk.parameter(address), scheduler)
        except UsageError as error:
            raise UsageError(f"{file.place(number)}: {error}") from None
        for channel in entry.channels:
            key = (entry.kind, channel, entry.number)
            table[key] = (*table.get(key, ()), binding)
    return table


def resolve(address: str, desk: Desk) -> str | None:
    """An address in which a stem may be named by its number; None when the model has not so many."""
    words = address.split("/")
    for k, (before, word) in enumerate(pairwise(words), start=1):
        if before in ("stem", "swap") and word.isdecimal() and word not in desk.stems:
            number = int(word)
            if not 1 <= number <= len(desk.stems):
                return None
            words[k] = desk.stems[number - 1]
    return "/".join(words)


def _has(desk: Desk, address: str) -> bool:
    try:
        desk.parameter(address)
    except UsageError:
        return False
    return True


def _make(entry: Entry, desk: Desk, parameter: Parameter, scheduler: Scheduler) -> Binding:
    pressed = entry.is_press or parameter.kind in ("switch", "trigger", "name")
    if not pressed:
        return Fader(entry, desk, parameter)
    if parameter.kind in ("level", "number", "name") and entry.value is None:
        raise UsageError(f"{parameter.address} takes a value: say which, as value = ...")
    if entry.length is not None and parameter.kind in ("trigger", "name"):
        raise UsageError(f"{parameter.address} only happens: it has no end, so no 'for'")
    return Pad(entry, desk, parameter, scheduler)
