"""OSC in and out: `/rtsep/stem/vocals/gain -6.0` sets, and what anybody sets is told to who has asked.

Open Sound Control 1.0 (M. Wright, 2002) over UDP. The desk's addresses stand behind `/rtsep/`, in two forms:

    /rtsep/stem/vocals/gain <value>          in the parameter's own unit
    /rtsep/place/stem/vocals/gain <0..1>     where a controller's fader stands

Without an argument, a message asks for the value; `/rtsep/subscribe` asks for all of them, then every change
and the meters, until nothing was heard from there for a minute.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from types import TracebackType
from typing import Self

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import BuildError, OscMessageBuilder
from pythonosc.osc_packet import OscPacket, ParseError

from rtsep.control.parameters import Value, strip_path
from rtsep.control.session import Session
from rtsep.engine.ports import OSC_PORT
from rtsep.engine.telemetry import Telemetry
from rtsep.spec import UsageError

ROOT = "/rtsep/"
PLACE = "place/"
LARGEST_BYTES = 4096
LISTENERS = 16
KEPT_SECONDS = 60.0
METERS_SECONDS = 0.05
STATE_SECONDS = 0.5
MESSAGES_PER_SECOND = 2000

Address = tuple[str, int]


class OscServer:
    """Listens and tells while entered.

    Args:
        session: what is controlled.
        bind: address to listen at.
        port: UDP port; 0 for any that is free.
        send: "HOST:PORT" that are told everything whether they ask or not.

    Raises:
        UsageError: for a target that is none, and on entering when the port cannot be had.
    """

    def __init__(
        self, session: Session, bind: str = "127.0.0.1", port: int = OSC_PORT, send: tuple[str, ...] = ()
    ) -> None:
        self._session = session
        self._desk = session.desk
        self._bind = bind
        self._port = port
        self._always = tuple(_target(text) for text in send)
        self._listeners: dict[Address, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._socket: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self._bind else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_DGRAM)
        try:
            listener.bind((self._bind, self._port))
        except (OSError, OverflowError) as error:
            listener.close()
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"OSC cannot be heard at {self._bind}, port {self._port}: {reason}") from None
        listener.settimeout(0.25)
        self._socket = listener
        self._port = int(listener.getsockname()[1])
        for job, name in ((self._hear, "OSC in"), (self._tell, "OSC out"), (self._tell_meters, "OSC meters")):
            thread = threading.Thread(target=job, args=(listener,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2.0)
        if self._socket is not None:
            self._socket.close()

    # -- in --------------------------------------------------------------------------------------------

    def _hear(self, listener: socket.socket) -> None:
        second, heard = 0, 0
        while not self._over.is_set():
            try:
                data, sender = listener.recvfrom(LARGEST_BYTES + 1)
            except OSError:  # nothing came, or an earlier answer found nobody
                continue
            now = int(time.monotonic())
            second, heard = (now, heard + 1) if now == second else (now, 1)
            if len(data) > LARGEST_BYTES or heard > MESSAGES_PER_SECOND:
                continue
            address: Address = (sender[0], sender[1])
            try:
                # What a bundle dates for later is done now: a fader is not a score.
                messages = [timed.message for timed in OscPacket(data).messages]
            except (ParseError, ValueError, IndexError, RecursionError):
                continue
            for message in messages:
                self._do(listener, message, address)

    def _do(self, listener: socket.socket, message: OscMessage, sender: Address) -> None:
        address = str(message.address)
        if not address.startswith(ROOT):
            return
        path = address.removeprefix(ROOT)
        arguments = list(message.params)
        with self._lock:
            if sender in self._listeners:
                self._listeners[sender] = time.monotonic()
        try:
            if path in ("subscribe", "unsubscribe"):
                self._subscribe(listener, sender, path == "subscribe")
                return
            place = path.startswith(PLACE)
            path = path.removeprefix(PLACE)
            parameter = self._desk.parameter(path)
            if not arguments and parameter.kind != "trigger":
                value = self._desk.get_normalised(path) if place else self._desk.get(path)
                _send(listener, [sender], [_message(address, value)])
            elif place and arguments:
                self._desk.set_normalised(path, float(arguments[0]))
            else:
                # A pad without an argument is a pad that is pressed.
                self._desk.set(path, arguments[0] if arguments else True)
        except (UsageError, TypeError, ValueError) as error:
            _send(listener, [sender], [_message(f"{ROOT}error", f"{address}: {error}")])

    def _subscribe(self, listener: socket.socket, sender: Address, on: bool) -> None:
        with self._lock:
            if not on:
                self._listeners.pop(sender, None)
                return
            self._forget_old()
            if sender not in self._listeners and len(self._listeners) >= LISTENERS:
                raise UsageError("too many listen already")
            self._listeners[sender] = time.monotonic()
        _, values = self._desk.changes_since(-1)
        _send(listener, [sender], [m for a, v in values.items() for m in self._both(a, v)])

    # -- out -------------------------------------------------------------------------------------------

    def _tell(self, listener: socket.socket) -> None:
        """Every change, as soon as it is made."""
        version = -1 if self._always else self._desk.version
        while not self._over.is_set():
            if version >= 0 and not self._desk.wait_for_change(version, 0.25):
                continue
            version, values = self._desk.changes_since(version)
            known = set(self._desk.addresses)
            told = [m for a, v in values.items() if a in known for m in self._both(a, v)]
            _send(listener, self._everyone(), told)

    def _tell_meters(self, listener: socket.socket) -> None:
        state_due = 0.0
        while not self._over.wait(METERS_SECONDS):
            everyone = self._everyone()
            if not everyone:
                continue
            telemetry = self._desk.telemetry()
            told = _meters(telemetry)
            if time.monotonic() >= state_due:
                state_due = time.monotonic() + STATE_SECONDS
                told += _state(telemetry, self._session)
            _send(listener, everyone, told)

    def _both(self, address: str, value: Value) -> list[OscMessage]:
        told = [_message(ROOT + address, value)]
        parameter = self._desk.parameter(address)
        if parameter.kind != "name":
            told.append(_message(f"{ROOT}{PLACE}{address}", parameter.to_normalised(value)))
        return told

    def _everyone(self) -> list[Address]:
        with self._lock:
            self._forget_old()
            return [*self._always, *(a for a in self._listeners if a not in self._always)]

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._listeners = {a: when for a, when in self._listeners.items() if now - when < KEPT_SECONDS}


def _meters(t: Telemetry) -> list[OscMessage]:
    """Levels in dBFS, silence as -120."""
    told = [_message(f"{ROOT}meter/{strip_path(stem)}", _db(level)) for stem, level in t.stem_levels.items()]
    told += [_message(f"{ROOT}meter/out/{n}", _db(peak)) for n, peak in enumerate(t.peaks, start=1)]
    return [*told, _message(f"{ROOT}meter/reduction", t.reduction_db)]


def _state(t: Telemetry, session: Session) -> list[OscMessage]:
    latency = session.latency
    late = latency.milliseconds(latency.total) if latency is not None else 0.0
    facts: dict[str, Value | int] = {
        "state": t.state,
        "model": session.options.model,
        "latency": late,
        "underruns": t.underruns,
        "late_hops": t.late_hops,
        "xruns": t.xruns,
        "load": t.load,
        "hop_p99": 0.0 if math.isnan(t.hop_p99) else 1000.0 * t.hop_p99,
    }
    return [_message(f"{ROOT}engine/{name}", fact) for name, fact in facts.items()]


def _db(level: float) -> float:
    return 20.0 * math.log10(level) if level > 1e-6 else -120.0


def _message(address: str, value: Value | int) -> OscMessage:
    builder = OscMessageBuilder(address)
    # Switches as 1.0 and 0.0: not every controller knows OSC's T and F.
    plain = float(value) if isinstance(value, bool | float) else value
    builder.add_arg(plain)
    return builder.build()


def _send(listener: socket.socket, targets: list[Address], messages: list[OscMessage]) -> None:
    """UDP: who is not there misses it, and nobody waits."""
    for target in targets:
        for message in messages:
            with contextlib.suppress(OSError, BuildError):
                listener.sendto(message.dgram, target)


def _target(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is not HOST:PORT, such as 192.168.1.20:9000")
    try:
        return socket.gethostbyname(host.strip("[]")), int(port)
    except OSError as error:
        raise UsageError(f"{text}: {error.strerror}") from None
