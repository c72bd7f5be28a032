"""What the desk tells the controller: lamps and motor faders show what is set, whoever has set it."""

from __future__ import annotations

from collections.abc import Callable

from rtsep.midi.bindings import Binding, Key, Table
from rtsep.midi.decode import Event, encode

Send = Callable[[list[int]], None]

TOUCHED_SECONDS = 0.3
"""A fader that was moved this shortly ago is still in a hand, which a motor must not fight."""


class Feedback:
    """Sends what has changed to one controller. For one thread, which is not that of MIDI in.

    Args:
        table: of the controller's mapping.
        send: sends one message.
    """

    def __init__(self, table: Table, send: Send) -> None:
        self._send = send
        # A control that is heard on any channel is told on the first.
        first: dict[int, tuple[Key, Binding]] = {}
        for key, bindings in table.items():
            for binding in bindings:
                if binding.entry.feedback:
                    first.setdefault(id(binding), (key, binding))
        self._told = list(first.values())
        self._sent: dict[int, int] = {}
        self._touched: dict[Key, float] = {}

    def forget(self) -> None:
        """The controller is another one, or was switched off: it shows nothing that was sent."""
        self._sent.clear()

    def touched(self, event: Event, now: float) -> None:
        """A control was moved. Called on MIDI's thread."""
        self._touched[event[:3]] = now

    def update(self, now: float) -> None:
        """Send whatever should look other than it does."""
        for key, binding in self._told:
            value = binding.shown()
            lamp = binding.entry.lamp
            moves = lamp is None and key[0] in ("cc", "cc14", "nrpn", "pitch")
            if moves and now - self._touched.get(key, -TOUCHED_SECONDS) < TOUCHED_SECONDS:
                # It may end elsewhere than the hand thinks, by takeover: it is told when it is let go.
                self._sent.pop(id(binding), None)
                continue
            if self._sent.get(id(binding)) == value:
                continue
            self._sent[id(binding)] = value
            kind, channel, number = key
            if lamp is not None:
                channel = lamp.channel or channel
                if lamp.cc is not None:
                    kind, number = "cc", lamp.cc
                elif lamp.note is not None:
                    kind, number = "note", lamp.note
            if kind != "program":
                for message in encode(kind, channel, number, value, binding.entry.order):
                    self._send(message)
