"""Tempo out of uneven ticks; bars; and what waits for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.midi.clock import TICKS_PER_BEAT, Clock
from rtsep.midi.schedule import Scheduler

FEW = settings(max_examples=30, deadline=None)
BAR = 4 * TICKS_PER_BEAT


def run(clock: Clock, ticks: int, tempo: float = 120.0, jitter: float = 0.0, begin: float = 100.0) -> float:
    """Tick so often; returns the time of the last."""
    period = 60.0 / (tempo * TICKS_PER_BEAT)
    shifts = jitter * np.random.default_rng(3).uniform(-1.0, 1.0, ticks)
    for k in range(ticks):
        clock.on_tick(begin + k * period + float(shifts[k]))
    return begin + (ticks - 1) * period


@pytest.mark.parametrize("tempo", [60.0, 97.3, 128.0, 174.0])
def test_a_steady_clock_is_followed_exactly(tempo: float) -> None:
    clock = Clock()
    last = run(clock, 48, tempo)
    assert clock.tempo == pytest.approx(tempo, rel=1e-6)
    assert clock.time_of(clock.tick + BAR, last) == pytest.approx(last + 4 * 60.0 / tempo, abs=1e-6)


def test_jitter_is_smoothed() -> None:
    clock, jitter = Clock(), 0.003
    run(clock, 40 * TICKS_PER_BEAT, 128.0, jitter)
    # Two ticks alone would be off by up to 30 %.
    assert clock.tempo == pytest.approx(128.0, rel=0.02)
    tempos, now = [], 200.0
    for k in range(200):
        clock.on_tick(now + k * 60.0 / (128.0 * 24) + jitter * (-1) ** k)
        tempos.append(clock.tempo)
    assert np.ptp(tempos[50:]) < 3.0


def test_a_change_of_tempo_is_followed() -> None:
    clock = Clock()
    last = run(clock, 100, 120.0)
    run(clock, 240, 140.0, begin=last + 60.0 / (140.0 * 24))
    assert clock.tempo == pytest.approx(140.0, rel=0.01)


@FEW
@given(st.lists(st.floats(0.0, 3.0), max_size=200))
def test_no_times_upset_it(gaps: list[float]) -> None:
    clock, now = Clock(), 0.0
    for gap in gaps:
        now += gap
        clock.on_tick(now)
        assert 19.9 <= clock.tempo <= 400.1
        assert np.isfinite(clock.time_of(clock.tick + 1, now))


def test_bars_count_from_the_start_and_from_a_song_position() -> None:
    clock = Clock(beats_per_bar=3)
    run(clock, 10)
    clock.on_start()
    run(clock, 1)
    assert (clock.tick, clock.next("bar"), clock.next("beat")) == (0, 72, 24)
    clock.on_stop()
    clock.on_position(16)  # sixteenths: four beats
    clock.on_continue()
    run(clock, 1)
    assert (clock.tick, clock.next("beat"), clock.next("bar")) == (96, 120, 144)


def test_rolling_ends_with_the_ticks_and_with_a_stop() -> None:
    clock = Clock()
    assert not clock.rolling(0.0)
    last = run(clock, 30)
    assert clock.rolling(last + 0.1) and not clock.rolling(last + 1.0)
    clock.on_stop()
    assert not clock.rolling(last)
    tick = clock.tick
    run(clock, 5, begin=last)
    assert clock.tick == tick and not clock.rolling(last + 0.1)


class Player:
    """A clock and a scheduler, ticked together; notes down at which tick what was done."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.scheduler = Scheduler(self.clock)
        self.done: list[tuple[str, int]] = []
        self.now = 50.0

    def note(self, what: str) -> None:
        self.done.append((what, self.clock.tick))

    def tick(self, count: int) -> None:
        for _ in range(count):
            self.now += 60.0 / (120.0 * TICKS_PER_BEAT)
            self.clock.on_tick(self.now)
            self.scheduler.on_tick()
            self.scheduler.poll(self.now)

    def gesture(self, beats: int) -> None:
        def begin() -> None:
            self.note("on")
            self.scheduler.after(self, beats * TICKS_PER_BEAT, lambda: self.note("off"), self.now)

        self.scheduler.at(self, "bar", begin, self.now)


@FEW
@given(st.integers(1, 2 * BAR), st.integers(1, 16))
def test_from_the_next_bar_for_so_many_beats_to_the_tick(pressed: int, beats: int) -> None:
    player = Player()
    player.tick(pressed)
    player.gesture(beats)
    player.tick(2 * BAR + 16 * TICKS_PER_BEAT)
    bar = ((pressed - 1) // BAR + 1) * BAR
    assert player.done == [("on", bar), ("off", bar + beats * TICKS_PER_BEAT)]


def test_without_a_clock_it_begins_at_once_and_ends_by_the_tempo() -> None:
    player = Player()
    player.gesture(8)
    assert player.done == [("on", -1)]
    player.scheduler.poll(player.now + 3.9)
    assert len(player.done) == 1
    player.scheduler.poll(player.now + 4.1)
    assert [what for what, _ in player.done] == ["on", "off"]


def test_when_the_clock_is_lost_what_has_begun_still_ends_and_nothing_new_begins() -> None:
    player = Player()
    player.tick(BAR - 10)
    player.gesture(8)
    player.tick(20)
    player.scheduler.at(player, "bar", lambda: player.note("late"), player.now)
    player.scheduler.poll(player.now + 1.0)
    assert player.done == [("on", BAR)] and not player.scheduler.waits(player)
    player.scheduler.poll(player.now + 4.0)
    assert [what for what, _ in player.done] == ["on", "off"]


def test_a_start_in_between_keeps_the_length() -> None:
    player = Player()
    player.tick(BAR)
    player.gesture(8)
    player.tick(1 + 4 * TICKS_PER_BEAT)  # begun, four beats of it are over
    assert player.done == [("on", BAR)]
    player.scheduler.on_moved(player.clock.on_start())
    player.tick(4 * TICKS_PER_BEAT - 1)
    assert len(player.done) == 1
    player.tick(1)
    assert [what for what, _ in player.done] == ["on", "off"]


def test_a_start_is_the_bar_that_is_waited_for() -> None:
    player = Player()
    player.tick(10)
    player.gesture(1)
    player.scheduler.on_moved(player.clock.on_start())
    player.tick(1)
    assert player.done == [("on", 0)]


def test_what_waits_can_be_cancelled() -> None:
    player = Player()
    player.tick(10)
    player.gesture(4)
    assert player.scheduler.cancel(player) and not player.scheduler.cancel(player)
    player.tick(3 * BAR)
    assert player.done == []
