"""A controller that is a program: a JACK MIDI output, and an input that keeps what it is told."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import pytest
import rtmidi

from rtsep.midi.ports import let_go


class Pads:
    """Ports called NAME on the JACK server in use; skips the test where rtmidi knows no JACK."""

    def __init__(self, name: str) -> None:
        if rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api():
            pytest.skip("this python-rtmidi was built without JACK")
        self.name = name
        self._out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="pads")
        self._out.open_virtual_port(name)
        self._in = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="pads-in")
        self._in.ignore_types(sysex=False, timing=False, active_sense=False)
        self._in.open_virtual_port(name)

    def send(self, *message: int) -> None:
        """Send one message."""
        self._out.send_message(list(message))

    def told(self, seconds: float = 0.0) -> list[list[int]]:
        """Messages that have come since it was asked last; waits so long for the first."""
        deadline = time.monotonic() + seconds
        found: list[list[int]] = []
        while True:
            event = self._in.get_message()
            if event is not None:
                found.append(event[0])
            elif found or time.monotonic() >= deadline:
                return found
            else:
                time.sleep(0.005)

    def close(self) -> None:
        """Pull the plug."""
        let_go(self._out, self._in)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
