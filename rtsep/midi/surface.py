"""Controllers on a desk: ports that come and go, messages in, lamps and motor faders, learning, the clock."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtsep.control.desk import Desk
from rtsep.midi.bindings import Table, bind, resolve
from rtsep.midi.clock import Clock
from rtsep.midi.decode import Decoder, Event
from rtsep.midi.feedback import Feedback
from rtsep.midi.learn import Learned, Learner, amended, save
from rtsep.midi.mapping import MappingFile, mapping_for, read_mapping
from rtsep.midi.ports import Connection, usable_apis
from rtsep.midi.schedule import Scheduler
from rtsep.spec import RtsepError, UsageError

DRAIN_SECONDS = 0.001
PORTS_SECONDS = 0.25
"""How often it is looked whether a controller has come or gone."""

_TICK_SECONDS = 0.02
_CLOCK = ("tick", "start", "continue", "stop", "position")


@dataclass(frozen=True)
class Wanted:
    """A controller to be attached.

    Attributes:
        port: name of its port or a part of it; of ours where it is virtual.
        file: its mapping.
        virtual: make a port for others to connect to.
    """

    port: str
    file: MappingFile
    virtual: bool = False


def parse_wanted(text: str, virtual: bool = False) -> Wanted:
    """PORT, or PORT=MAPPING with the name of a shipped mapping or the path of a file.

    Raises:
        UsageError: for no port, or a mapping that is none.
    """
    port, equals, name = text.rpartition("=")
    if not equals:
        port, name = text, ""
    if not port or (equals and not name):
        raise UsageError(f"{text!r}: write PORT or PORT=MAPPING")
    return Wanted(port, read_mapping(name) if name else mapping_for(port), virtual)


@dataclass
class Learning:
    """A control that is being learned.

    Attributes:
        address: what it will move.
        more: keys that its entry gets besides.
        learned: the control; None as long as it was not moved.
        port: where it was moved.
        file: into which it was written; None where it is kept only until the end, as with a shipped mapping.
        error: why it could not be kept, in one line.
        over: set when it was learned, failed or was cancelled.
    """

    address: str
    more: Mapping[str, Any] = field(default_factory=dict)
    learned: Learned | None = None
    port: str = ""
    file: Path | None = None
    error: str | None = None
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Live:
    """What a message needs; replaced as a whole when the mapping changes."""

    decoder: Decoder
    table: Table
    feedback: Feedback


class Controller:
    """One controller: its two ports, its mapping, and what became of the time."""

    def __init__(self, wanted: Wanted, surface: Surface, apis: Sequence[str]) -> None:
        self.wanted = wanted
        self._surface = surface
        self._stamp: float | None = None
        self.learner: Learner | None = None
        self._plain = Decoder()
        self.input = Connection("input", wanted.port, apis, wanted.virtual, self._receive)
        self.output = Connection("output", wanted.port, apis, wanted.virtual)
        self.use(wanted.file)

    def use(self, file: MappingFile) -> None:
        """Go by another mapping from the next message on. Raises UsageError when it does not fit the desk."""
        table = bind(file, self._surface.desk, self._surface.scheduler)
        decoder = Decoder(file.mapping.pairs, file.mapping.nrpn_channels)
        self._live = _Live(decoder, table, Feedback(table, self.output.send))
        self.file = file

    def receive(self, message: Sequence[int], now: float) -> None:
        """Do what a message means: one look-up, one write. `now` is in seconds of `time.monotonic`."""
        live, surface = self._live, self._surface
        for event in live.decoder.feed(message):
            if event.kind in _CLOCK:
                surface.on_clock(self, event, now)
                continue
            if surface.watcher is not None:
                surface.watcher(self, event)
            if self.learner is not None:
                continue
            for binding in live.table.get(event[:3], ()):
                live.feedback.touched(event, now)
                try:
                    binding.act(event.value, now)
                except RtsepError as error:
                    surface.notices.append(str(error))
        if self.learner is not None:
            for event in self._plain.feed(message):
                self.learner.feed(event, now)

    def _receive(self, message: list[int], delta: float) -> None:
        # The times between messages were taken where they arrived, which is evener than when we hear of them.
        now = time.monotonic()
        stamp = now if self._stamp is None else min(self._stamp + delta, now)
        self._stamp = stamp if now - stamp < 0.1 else now
        self.receive(message, self._stamp)

    def poll(self) -> None:
        """Look whether it has come or gone."""
        name = self.wanted.port
        before = self.input.name
        change = self.input.poll()
        if change == "lost":
            now = time.monotonic()
            for binding in {id(b): b for found in self._live.table.values() for b in found}.values():
                binding.let_go(now)
            self._surface.notices.append(f"MIDI port {before!r} has gone; waiting for it")
        elif change == "found" and self._surface.is_running and not self.wanted.virtual:
            self._surface.notices.append(f"MIDI port {self.input.name!r} is here (wanted: {name!r})")
        if self.output.poll() == "found":
            for message in self.file.mapping.greeting:
                self.output.send(message)
            self._live.feedback.forget()

    def update(self, now: float) -> None:
        """Show what is set."""
        if self.output.is_open:
            self._live.feedback.update(now)

    def close(self) -> None:
        """Let go of its ports."""
        self.input.close()
        self.output.close()


class Surface:
    """Attaches controllers to a desk until it is closed.

    MIDI's thread looks up an event and writes to the desk; everything else (ports, lamps, learning, what the
    clock does not bring about) is done on a thread of its own. Of several ports that send a clock the first
    is followed, until it is silent.

    Args:
        desk: what they move.
        wanted: the controllers; one that is not there is waited for.
        tell: takes one line when a controller comes or goes, or something could not be done.
        api: the MIDI system to use; all that answer if None.

    Raises:
        UsageError: for a mapping that does not fit the desk.
        DeviceError: where there is no MIDI at all.
    """

    def __init__(
        self,
        desk: Desk,
        wanted: Sequence[Wanted],
        tell: Callable[[str], None] = lambda line: None,
        api: str | None = None,
    ) -> None:
        beat = wanted[0].file.mapping.clock if wanted else None
        self.desk = desk
        self.clock = Clock(beat.beats_per_bar, beat.tempo) if beat else Clock()
        self.scheduler = Scheduler(self.clock)
        self.notices: deque[str] = deque(maxlen=100)
        self.watcher: Callable[[Controller, Event], None] | None = None
        self.is_running = False
        self._tell = tell
        self._clock_of: Controller | None = None
        self._learning: Learning | None = None
        self._learning_lock = threading.Lock()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        apis = usable_apis(api)
        self.controllers: list[Controller] = []
        try:
            for one in wanted:
                controller = Controller(one, self, apis)
                self.controllers.append(controller)
                controller.poll()
        except BaseException:
            self.close()
            raise
        for controller in self.controllers:
            if not controller.input.is_open:
                self._tell(f"MIDI port {controller.wanted.port!r} is not there yet; waiting for it")
        self.is_running = True
        self._start(self._control, "MIDI control")
        if any(controller.input.must_drain for controller in self.controllers):
            self._start(self._drain, "MIDI in")

    def close(self) -> None:
        """Let go of all ports. May be called more than once."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self.cancel_learning()
        for controller in self.controllers:
            controller.close()

    def __enter__(self) -> Surface:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the clock -------------------------------------------------------------------------------------

    def on_clock(self, controller: Controller, event: Event, now: float) -> None:
        """The clock of a controller has said something."""
        clock, scheduler = self.clock, self.scheduler
        if self._clock_of is not controller:
            if self._clock_of is not None and clock.rolling(now):
                return
            self._clock_of = controller
        if event.kind == "tick":
            clock.on_tick(now)
            scheduler.on_tick()
        elif event.kind == "start":
            scheduler.on_moved(clock.on_start())
        elif event.kind == "continue":
            clock.on_continue()
        elif event.kind == "stop":
            clock.on_stop()
        elif event.kind == "position":
            scheduler.on_moved(clock.on_position(event.value))

    # -- learning --------------------------------------------------------------------------------------

    @property
    def learning(self) -> Learning | None:
        """What is being learned; None if nothing is."""
        return self._learning

    def learn(self, address: str, more: Mapping[str, Any] | None = None) -> Learning:
        """From now on until a control is moved, wait for one; it will then move an address.

        Controls do nothing else meanwhile. What was being learned before is cancelled.

        Args:
            address: of the desk.
            more: keys for the entry, such as {"mode": "momentary"}.

        Raises:
            UsageError: when the desk has no such address.
        """
        resolved = resolve(address, self.desk)
        self.desk.parameter(resolved if resolved is not None else address)
        self.cancel_learning()
        with self._learning_lock:
            learning = self._learning = Learning(address, dict(more or {}))
            for controller in self.controllers:
                controller.learner = Learner()
        return learning

    def cancel_learning(self) -> None:
        """Stop to wait for a control."""
        with self._learning_lock:
            self._end_learning()

    def _end_learning(self) -> None:
        learning, self._learning = self._learning, None
        for controller in self.controllers:
            controller.learner = None
        if learning is not None:
            learning.over.set()

    def _see_what_was_learned(self, now: float) -> None:
        with self._learning_lock:
            learning = self._learning
            if learning is None:
                return
            for controller in self.controllers:
                learned = controller.learner.result(now) if controller.learner is not None else None
                if learned is not None:
                    learning.learned, learning.port = learned, controller.wanted.port
                    try:
                        self._keep(learning, learned, controller)
                    except UsageError as error:
                        learning.error = str(error)
                    self._end_learning()
                    return

    def _keep(self, learning: Learning, learned: Learned, controller: Controller) -> None:
        resolved = resolve(learning.address, self.desk) or learning.address
        kind = self.desk.parameter(resolved).kind
        entry = complete(learned, learning.address, kind, learning.more)
        file = controller.file
        if file.path is not None:
            # Tried on the desk before it is written.
            controller.use(MappingFile(file.name, amended(file.text, entry, file.place()), file.path))
            learning.file = save(file.path, entry).path
        else:
            text = amended(file.text, entry, file.place())
            controller.use(MappingFile(file.name, text))

    # -- threads ---------------------------------------------------------------------------------------

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drain(self) -> None:
        inputs = [controller.input for controller in self.controllers]
        while not self._ending.is_set():
            if not sum(port.drain() for port in inputs):
                time.sleep(DRAIN_SECONDS)

    def _control(self) -> None:
        version, looked = -1, time.monotonic()
        while not self._ending.is_set():
            self.desk.wait_for_change(version, _TICK_SECONDS)
            version, now = self.desk.version, time.monotonic()
            try:
                self.scheduler.poll(now)
            except RtsepError as error:
                self.notices.append(str(error))
            self._see_what_was_learned(now)
            if now - looked >= PORTS_SECONDS:
                looked = now
                for controller in self.controllers:
                    controller.poll()
            for controller in self.controllers:
                controller.update(now)
            while self.notices:
                self._tell(self.notices.popleft())
            # Many changes in a row are shown together.
            self._ending.wait(_TICK_SECONDS / 2)


def complete(learned: Learned, address: str, kind: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """An entry for a control that was learned: a button on a switch turns it over unless told otherwise."""
    entry = {**learned.entry(address), **more}
    if learned.kind == "cc" and kind == "switch":
        entry.setdefault("mode", "toggle")
    return entry
