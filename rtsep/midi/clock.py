"""MIDI clock: tempo, and where the bar stands, from 24 ticks a quarter note that arrive unevenly.

Source of the filter: Fons Adriaensen, "Using a DLL to filter time", Linux Audio Conference 2005: a
delay-locked loop of second order, which averages the jitter of the ticks' times and lags behind a steady
tempo not at all.
"""

from __future__ import annotations

import math
from typing import Literal

TICKS_PER_BEAT = 24
TICKS_PER_SIXTEENTH = 6
Unit = Literal["beat", "bar"]

_BANDWIDTH_HZ = 1.0
_LOST_TICKS = 8.0
_LOST_SECONDS = 0.5
_LONGEST_TICK, _SHORTEST_TICK = 60.0 / (TICKS_PER_BEAT * 20.0), 60.0 / (TICKS_PER_BEAT * 400.0)
"""Slower than 20 and faster than 400 beats a minute no clock is taken to be."""


class Clock:
    """Follows a MIDI clock.

    A start makes the next tick the first of a bar. Where none has been heard, as from DJ mixers that send
    ticks only, the first tick is taken for one.

    Args:
        beats_per_bar: quarter notes.
        tempo: beats a minute where there is no clock, for lengths that are given in beats.
    """

    def __init__(self, beats_per_bar: int = 4, tempo: float = 120.0) -> None:
        self.beats_per_bar = beats_per_bar
        self.tick = -1
        """Number of the last tick since the song's beginning; -1 before the first."""
        self._period = 60.0 / (TICKS_PER_BEAT * tempo)
        self._expected: float | None = None
        self._last: float | None = None
        self._locked = False
        self._stopped = False

    @property
    def tempo(self) -> float:
        """Beats a minute, smoothed."""
        return 60.0 / (TICKS_PER_BEAT * self._period)

    def rolling(self, now: float) -> bool:
        """Ticks are coming and the song is not stopped: there is a bar to wait for."""
        return not self._stopped and self._last is not None and now - self._last < self._patience

    @property
    def _patience(self) -> float:
        return max(_LOST_SECONDS, _LOST_TICKS * self._period)

    def on_tick(self, now: float) -> None:
        """A tick has arrived; times in seconds, of any clock that only rises."""
        if not self._stopped:
            self.tick += 1
        last, self._last = self._last, now
        if last is None or now - last > self._patience or self._expected is None:
            self._locked, self._expected = False, now + self._period
            return
        if not self._locked:
            # The second tick gives the first idea of the period; a double one gives none.
            if _SHORTEST_TICK <= now - last <= _LONGEST_TICK:
                self._period, self._locked = now - last, True
            self._expected = now + self._period
            return
        error = now - self._expected
        omega = 2.0 * math.pi * _BANDWIDTH_HZ * self._period
        self._expected += math.sqrt(2.0) * omega * error + self._period
        # Bursts of ticks must not turn time round.
        self._period = min(max(self._period + omega * omega * error, _SHORTEST_TICK), _LONGEST_TICK)
        if abs(now + self._period - self._expected) > _LOST_TICKS * self._period:
            self._locked, self._expected = False, now + self._period

    def on_start(self) -> int:
        """The song begins: the next tick is its first. Returns by how much the count was moved."""
        return self._go_to(-1)

    def on_continue(self) -> None:
        """The song goes on where it stands."""
        self._stopped = False

    def on_stop(self) -> None:
        """The song stands still, though ticks may go on."""
        self._stopped = True

    def on_position(self, sixteenths: int) -> int:
        """The next tick is that of so many sixteenths. Returns by how much the count was moved."""
        stopped = self._stopped
        moved = self._go_to(sixteenths * TICKS_PER_SIXTEENTH - 1)
        self._stopped = stopped
        return moved

    def _go_to(self, tick: int) -> int:
        moved = tick - self.tick
        self.tick = tick
        self._stopped = False
        return moved

    def ticks(self, count: int, unit: Unit) -> int:
        """So many beats or bars, in ticks."""
        return count * TICKS_PER_BEAT * (self.beats_per_bar if unit == "bar" else 1)

    def next(self, unit: Unit) -> int:
        """The first tick of the next beat or bar."""
        length = self.ticks(1, unit)
        return (self.tick // length + 1) * length

    def time_of(self, tick: int, now: float) -> float:
        """When a tick is due, going by the tempo as it was last."""
        if self._expected is None:
            return now + (tick - self.tick) * self._period
        return self._expected + (tick - self.tick - 1) * self._period
