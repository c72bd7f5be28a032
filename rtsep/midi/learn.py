"""MIDI learn: which control was just moved, and a mapping file that says so from then on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtsep.io.textfiles import replace_text
from rtsep.midi.decode import LSB_OFFSET, Event, Order
from rtsep.midi.mapping import FORMAT, MappingFile, read_mapping
from rtsep.spec import UsageError

SETTLE_SECONDS = 0.4
"""So long after the last move it is clear what a control sends."""

_MANY = 24
"""So many moves are enough."""


@dataclass(frozen=True)
class Learned:
    """A control, as a mapping names it.

    Attributes:
        kind, number: "cc", "cc14", "nrpn", "note", "program" or "pitch", and which.
        channel: 1 to 16.
        order: of a cc14.
        pressed: it is a button, not a fader or knob.
    """

    kind: str
    number: int
    channel: int
    order: Order = "msb-first"
    pressed: bool = False

    def __str__(self) -> str:
        what = "pitch wheel" if self.kind == "pitch" else f"{self.kind} {self.number}"
        return f"{what} on channel {self.channel}"

    def entry(self, address: str) -> dict[str, Any]:
        """As a `[[map]]` of a file."""
        entry: dict[str, Any] = {self.kind: True if self.kind == "pitch" else self.number}
        entry["channel"] = self.channel
        if self.order != "msb-first":
            entry["order"] = self.order
        entry["address"] = address
        return entry


class Learner:
    """Watches the events of a controller until one control has been moved.

    The events must come from a decoder that knows no pairs and no NRPNs, for these are what is to be found.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._last: float | None = None

    def feed(self, event: Event, now: float) -> None:
        """Something was moved; may be called on MIDI's thread."""
        if event.kind not in ("cc", "note", "program", "pitch") or (event.kind == "note" and not event.value):
            return
        self._events.append(event)
        self._last = now

    def result(self, now: float) -> Learned | None:
        """The control, as soon as it is clear which."""
        events = list(self._events)
        if not events:
            return None
        for event in events:
            if event.kind in ("note", "program"):
                return Learned(event.kind, event.number, event.channel, pressed=True)
        if self._last is not None and now - self._last < SETTLE_SECONDS and len(events) < _MANY:
            return None
        return _found(events)


def _found(events: list[Event]) -> Learned | None:
    if any(event.kind == "pitch" for event in events):
        channel = next(event.channel for event in events if event.kind == "pitch")
        return Learned("pitch", 0, channel)
    nrpn = _nrpn(events)
    if nrpn is not None:
        return nrpn
    # Of several, the one that was moved farthest is meant: another may tremble.
    values: dict[tuple[int, int], list[int]] = {}
    for event in events:
        values.setdefault((event.channel, event.number), []).append(event.value)
    pair = _pair(events, values)
    if pair is not None:
        return pair
    (channel, number), seen = max(
        values.items(), key=lambda item: (max(item[1]) - min(item[1]), len(item[1]))
    )
    pressed = set(seen) <= {0, 127} and len(seen) <= 4
    return Learned("cc", number, channel, pressed=pressed)


def _nrpn(events: list[Event]) -> Learned | None:
    for channel in {event.channel for event in events}:
        own = [event for event in events if event.channel == channel]
        at = {number: [e.value for e in own if e.number == number] for number in (99, 98, 6)}
        if all(at.values()):
            return Learned("nrpn", at[99][-1] << 7 | at[98][-1], channel)
    return None


def _pair(events: list[Event], values: Mapping[tuple[int, int], list[int]]) -> Learned | None:
    for channel, number in values:
        other = (channel, number + LSB_OFFSET)
        if number >= LSB_OFFSET or other not in values:
            continue
        ours = [e.number for e in events if e.channel == channel and e.number in (number, other[1])]
        after = Counter(b for a, b in zip(ours[::2], ours[1::2], strict=False) if a != b)
        # Two faders that happen to be 32 apart do not move by turns.
        if 2 * after.total() >= len(ours) - 1 and after.total() >= 1:
            lower_last = after[other[1]] >= after[number]
            return Learned("cc14", number, channel, "msb-first" if lower_last else "lsb-first")
    return None


def save(file: Path, entry: Mapping[str, Any], like: MappingFile | None = None) -> MappingFile:
    """Put an entry into a mapping file, in the place of what the same control did; leave the rest alone.

    Args:
        file: made if it is not there.
        entry: as `Learned.entry` makes it, and more keys if wanted.
        like: what a new file begins with.

    Returns:
        The file as it is then.

    Raises:
        UsageError: when the file is no mapping, or cannot be written; it is then as it was.
    """
    if file.exists():
        before = read_mapping(str(file)).text
    else:
        before = like.text if like is not None else f"format = {FORMAT}\n"
    # Refuses what would not be read again.
    made = MappingFile(file.stem, amended(before, entry, str(file)), file)
    _write(file, made.text)
    return made


def amended(text: str, entry: Mapping[str, Any], place: str) -> str:
    """The text of a mapping with an entry added, in the place of what the same control did.

    Args:
        text: of a mapping.
        entry: as for `save`.
        place: what the file is called in a message.

    Raises:
        UsageError: when nothing can be added.
    """
    import tomlkit
    from tomlkit.items import AoT

    document = tomlkit.parse(text)
    maps = document.get("map")
    if not isinstance(maps, AoT):
        if maps is not None:
            raise UsageError(f"{place}: 'map' is no list of tables, to which an entry could be added")
        maps = tomlkit.aot()
        document.append("map", maps)
    default = document.get("channel")
    control = _control(entry, default)
    for number in reversed(range(len(maps))):
        if _control(maps[number], default) == control:
            del maps[number]
    table = tomlkit.table()
    for key, value in entry.items():
        table.append(key, value)
    maps.append(table)
    return tomlkit.dumps(document)


def _control(entry: Mapping[str, Any], channel: int | None) -> tuple[Any, ...]:
    names = ("cc", "cc14", "nrpn", "note", "program", "pitch")
    return (*(entry.get(name) for name in names), entry.get("channel", channel))


def _write(file: Path, text: str) -> None:
    try:
        replace_text(file, text, mode=0o600)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
