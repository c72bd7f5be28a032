"""MIDI ports by name, of any system that RtMidi knows: found, opened, lost, and found again.

Where the system's MIDI is JACK's, RtMidi would call back on JACK's own process thread, and a client that
waits there for Python holds up the sound of everybody. So no Python is put there: RtMidi's queue takes the
messages, in its own compiled code, and a thread of ours empties it every millisecond. Elsewhere RtMidi calls
from a thread of its own, as a message comes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from rtsep.io.devices import quiet
from rtsep.spec import DeviceError

JACK = "jack"
CLIENT = "rtsep"

Side = Literal["input", "output"]
Receive = Callable[[list[int], float], None]
"""A message, and seconds since the one before."""

_QUEUE = 4096
_SETTLE_SECONDS = 0.05
"""Some cycles of a JACK server, even one with long blocks."""


def load_rtmidi() -> Any:
    """The rtmidi module. Raises DeviceError where it is not installed."""
    try:
        import rtmidi
    except ImportError:
        raise DeviceError("MIDI needs python-rtmidi: pip install 'rtsep[midi]'") from None
    return rtmidi


def usable_apis(wanted: str | None = None) -> list[str]:
    """The MIDI systems that answer here, such as "alsa", "jack", "core" or "windowsmm".

    Args:
        wanted: only this one.

    Raises:
        DeviceError: when none does, in one line.
    """
    rtmidi = load_rtmidi()
    known = [rtmidi.get_api_name(api) for api in rtmidi.get_compiled_api()]
    if wanted is not None and wanted not in known:
        raise DeviceError(f"no MIDI system {wanted!r}: this python-rtmidi has {', '.join(known)}")
    usable = []
    for name in known if wanted is None else [wanted]:
        client = _client("input", name)
        if client is not None:
            client.delete()
            usable.append(name)
    if not usable:
        tried = ", ".join(known if wanted is None else [wanted])
        raise DeviceError(f"no MIDI: neither a sequencer nor a server answers (tried {tried})")
    return usable


def list_ports(side: Side, apis: Sequence[str]) -> list[tuple[str, str]]:
    """System and name of every port of others: those that are heard ("input"), or spoken to ("output")."""
    found = []
    for api in apis:
        client = _client(side, api)
        if client is None:
            continue
        try:
            found += [(api, name) for name in client.get_ports() if not _is_ours(name)]
        finally:
            client.delete()
    return found


def find_port(names: Sequence[str], wanted: str) -> str | None:
    """The port that is meant: the one of just this name, or the first of which it is a part, in any case."""
    others = [name for name in names if not _is_ours(name)]
    if wanted in others:
        return wanted
    return next((name for name in others if wanted.lower() in name.lower()), None)


class Connection:
    """A port of ours that follows a port of others by its name, or that others connect to.

    `poll` and `send` are for one thread, `drain` for another; messages come on a third where there is no need
    to drain.

    Args:
        side: "input" receives.
        wanted: name of the other's port, or a part of it; of our own where it is virtual.
        apis: MIDI systems in which to look, in this order.
        virtual: make a port, for others to connect to.
        receive: for an input: takes each message.

    Raises:
        DeviceError: for a virtual port where there can be none.
    """

    def __init__(
        self,
        side: Side,
        wanted: str,
        apis: Sequence[str],
        virtual: bool = False,
        receive: Receive | None = None,
    ) -> None:
        if virtual and sys.platform == "win32":
            raise DeviceError(
                "Windows has no virtual MIDI ports: use --midi with the port of a loopback driver"
            )
        self.side = side
        self.wanted = wanted
        self.name: str | None = None
        self._apis = list(apis)
        self._virtual = virtual
        self._receive = receive
        self._clients: dict[str, Any] = {}
        self._open: str | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """There is somebody, or somebody could come."""
        return self._open is not None

    @property
    def must_drain(self) -> bool:
        """Messages wait until `drain` is called."""
        return self.side == "input" and JACK in self._apis

    def poll(self) -> Literal["found", "lost"] | None:
        """Look whether the port has come or gone, and open or close ours."""
        with self._lock:
            if self._open is not None:
                if self._virtual or self.name in self._clients[self._open].get_ports():
                    return None
                # A client that has lost its port is not used again: not every system lets go of one.
                let_go(self._clients.pop(self._open))
                self._open = self.name = None
                return "lost"
            return "found" if self._find() else None

    def _find(self) -> bool:
        for api in self._apis:
            client = self._clients.get(api) or _client(self.side, api)
            if client is None:
                continue
            self._clients[api] = client
            names = client.get_ports()
            name = self.wanted if self._virtual else find_port(names, self.wanted)
            if name is None:
                continue
            if self.side == "input":
                # Nothing is left out: the times between messages are then those between all of them.
                client.ignore_types(sysex=False, timing=False, active_sense=False)
                if api != JACK:
                    client.set_callback(self._called)
            ours = f"{self.wanted} {'in' if self.side == 'input' else 'out'}"
            if self._virtual:
                client.open_virtual_port(ours)
            else:
                client.open_port(names.index(name), ours)
            self.name, self._open = name, api
            return True
        return False

    def _called(self, event: tuple[list[int], float], data: object) -> None:
        if self._receive is not None:
            self._receive(*event)

    def drain(self) -> int:
        """Give away what has come, where nothing calls by itself. Returns how many messages."""
        count = 0
        with self._lock:
            if self._open != JACK or self._receive is None:
                return 0
            client = self._clients[JACK]
            while (event := client.get_message()) is not None:
                self._receive(*event)
                count += 1
        return count

    def send(self, message: Sequence[int]) -> None:
        """Send one message; to nobody, where nobody is."""
        if self._open is not None:
            self._clients[self._open].send_message(list(message))

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._open = self.name = None
            let_go(*self._clients.values())
            self._clients.clear()


def let_go(*clients: Any) -> None:
    """Close RtMidi's clients and free them.

    Freeing one at once can crash: for JACK, RtMidi frees the buffer of an output before it has stopped the
    thread that reads it. Where the port is closed that thread looks no further, so it is closed first, and
    what the thread had begun is given the time to end.
    """
    opened = [client for client in clients if client.is_port_open()]
    for client in opened:
        client.close_port()
    if opened:
        time.sleep(_SETTLE_SECONDS)
    for client in clients:
        client.delete()


def _is_ours(name: str) -> bool:
    return name.startswith(CLIENT)


def _client(side: Side, api: str) -> Any:
    """RtMidi's end of a system, with no port yet; None where it does not answer."""
    rtmidi = load_rtmidi()
    number = rtmidi.get_compiled_api_by_name(api)
    try:
        with quiet():
            if side == "input":
                return rtmidi.MidiIn(number, name=CLIENT, queue_size_limit=_QUEUE)
            return rtmidi.MidiOut(number, name=CLIENT)
    except (rtmidi.RtMidiError, rtmidi.SystemError):
        return None
