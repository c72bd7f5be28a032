"""Gestures that wait for the next beat or bar, and end after so many: "mute the vocals for eight beats"."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rtsep.midi.clock import Clock, Unit

Quantise = Literal["now", "beat", "bar"]


@dataclass(slots=True)
class _Waiting:
    """Something that is due at a tick; or, where there was no clock, at a time."""

    owner: object
    act: Callable[[], None]
    is_end: bool
    tick: int
    unit: Unit | None = None
    time: float | None = None


class Scheduler:
    """Does things at ticks of a clock.

    What has begun ends, whatever happens to the clock: should it stop or be lost, ends come by the tempo as
    it was last, and what had not begun is dropped. Where there is no clock at all, everything begins at once.
    Several threads may use it: ticks come on MIDI's, time on the controlling one.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._waiting: list[_Waiting] = []

    def at(
        self, owner: object, quantise: Quantise, act: Callable[[], None], now: float, is_end: bool = False
    ) -> bool:
        """Begin something, or end it, at the next beat or bar. Returns False when it was done at once."""
        with self._lock:
            if quantise == "now" or not self.clock.rolling(now):
                act()
                return False
            due = self.clock.next(quantise)
            self._waiting.append(_Waiting(owner, act, is_end, due, quantise))
            return True

    def after(self, owner: object, ticks: int, act: Callable[[], None], now: float) -> None:
        """End something so many ticks after the one that was last."""
        with self._lock:
            due = self.clock.tick + ticks
            time = None if self.clock.rolling(now) else self.clock.time_of(due, now)
            self._waiting.append(_Waiting(owner, act, True, due, None, time))

    def cancel(self, owner: object) -> bool:
        """Drop what has not begun for an owner. Returns whether there was anything."""
        return self._drop(lambda w: w.owner is owner and not w.is_end)

    def forget_end(self, owner: object) -> bool:
        """Drop the end of what has begun for an owner, who ends it. Returns whether there was one."""
        return self._drop(lambda w: w.owner is owner and w.is_end)

    def waits(self, owner: object) -> bool:
        """Something has not begun yet for an owner."""
        with self._lock:
            return any(w.owner is owner and not w.is_end for w in self._waiting)

    def on_tick(self) -> None:
        """The clock has counted a tick."""
        if not self._waiting:
            return
        with self._lock:
            self._do(lambda w: w.time is None and w.tick <= self.clock.tick)

    def on_moved(self, ticks: int) -> None:
        """The clock's count was moved: ends keep their distance, beginnings wait for the new next bar."""
        with self._lock:
            for waiting in self._waiting:
                if waiting.unit is None:
                    waiting.tick += ticks
                else:
                    waiting.tick = self.clock.next(waiting.unit)

    def poll(self, now: float) -> None:
        """Time has passed: see to what the clock does not."""
        if not self._waiting:
            return
        with self._lock:
            rolling = self.clock.rolling(now)
            if not rolling:
                self._drop(lambda w: not w.is_end)
            self._do(lambda w: w.is_end and self._is_past(w, rolling, now))

    def _is_past(self, waiting: _Waiting, rolling: bool, now: float) -> bool:
        if waiting.time is not None:
            return now >= waiting.time
        return not rolling and now >= self.clock.time_of(waiting.tick, now)

    def _do(self, due: Callable[[_Waiting], bool]) -> None:
        ready = [w for w in self._waiting if due(w)]
        if not ready:
            return
        self._waiting = [w for w in self._waiting if w not in ready]
        # Ends first, so that what begins on the same beat is what stays.
        for waiting in sorted(ready, key=lambda w: (w.tick, not w.is_end)):
            waiting.act()

    def _drop(self, which: Callable[[_Waiting], bool]) -> bool:
        with self._lock:
            before = len(self._waiting)
            self._waiting = [w for w in self._waiting if not which(w)]
            return len(self._waiting) < before
