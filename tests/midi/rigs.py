"""A desk with one controller's mapping, without ports: events in, messages out."""

from __future__ import annotations

from rtsep.control.desk import Desk
from rtsep.engine.board import Board
from rtsep.midi.bindings import bind
from rtsep.midi.clock import Clock
from rtsep.midi.decode import Decoder
from rtsep.midi.feedback import Feedback
from rtsep.midi.mapping import MappingFile
from rtsep.midi.schedule import Scheduler
from rtsep.spec import STEMS

TICK_SECONDS = 60.0 / (120.0 * 24)


class Rig:
    """What a `Controller` does with messages, with a time of its own.

    Attributes:
        sent: messages to the controller since they were looked at last.
    """

    def __init__(self, *entries: str, top: str = "", decks: int = 1) -> None:
        blocks = "".join(f"[[map]]\n{entry}\n" for entry in entries)
        self.file = MappingFile("rig", f"format = 1\n{top}\n{blocks}")
        self.desk = Desk(Board(STEMS, decks=decks))
        self.clock = Clock()
        self.scheduler = Scheduler(self.clock)
        self.table = bind(self.file, self.desk, self.scheduler)
        self.decoder = Decoder(self.file.mapping.pairs, self.file.mapping.nrpn_channels)
        self.sent: list[list[int]] = []
        self.feedback = Feedback(self.table, self.sent.append)
        self.now = 10.0

    def send(self, *message: int) -> None:
        """A message from the controller."""
        for event in self.decoder.feed(message):
            for binding in self.table.get(event[:3], ()):
                self.feedback.touched(event, self.now)
                binding.act(event.value, self.now)

    def tick(self, count: int = 1) -> None:
        """The clock goes on at 120 beats a minute."""
        for _ in range(count):
            self.now += TICK_SECONDS
            self.clock.on_tick(self.now)
            self.scheduler.on_tick()

    def shown(self) -> list[list[int]]:
        """What the controller is told now."""
        self.feedback.update(self.now)
        sent = list(self.sent)
        self.sent.clear()
        return sent
