"""What is turned on a running engine is heard as a ramp, never as a step: gain, mute, solo, bypass, reset.

The parameters are written to the board from within the separator's step, so that each change lands at a known
hop; for the engine that is no different from a fader that is moved at that moment.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.dsp.gains import STEEPEST
from rtsep.engine.board import Board
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.worker import RAMP
from rtsep.spec import STEMS, UsageError
from tests.engine.standin import HOP, RATE, SHARES, StandIn, delayed, sine, through_file

EVERY = 8
"""Hops from one change to the next: 1024 samples, four times a ramp."""


def every(action: Callable[[str], None]) -> None:
    for stem in STEMS:
        action(stem)


Change = tuple[Callable[[Board], None], float]

CHANGES: list[Change] = [
    # What is done, and the gain of the whole that it leads to; shares are 0.4, 0.3, 0.2 and 0.1.
    (lambda board: board.set_mute("vocals"), 0.6),
    (lambda board: board.set_gain("drums", -6.0), 0.3 + 0.3 * 10 ** (-6 / 20)),
    (lambda board: board.set_solo("bass"), 0.2),
    (lambda board: board.set_solo("vocals"), 0.2),  # muted: mute is stronger
    (lambda board: board.set_mute("vocals", False), 0.6),
    (lambda board: board.set_bypass(), 1.0),
    (lambda board: board.set_gain("other", 12.0), 1.0),  # not heard while bypassed
    (lambda board: board.set_solo("bass", False), 1.0),
    (lambda board: board.set_bypass(False), 0.4),  # the vocals are still soloed
    (lambda board: board.set_solo("vocals", False), 0.6 + 0.3 * 10 ** (-6 / 20) + 0.1 * 10 ** (12 / 20)),
    (lambda board: board.set_gain("other", -np.inf), 0.6 + 0.3 * 10 ** (-6 / 20)),
    (lambda board: every(lambda stem: board.set_gain(stem, 0.0)), 1.0),
    (lambda board: every(board.set_mute), 0.0),
    (lambda board: every(lambda stem: board.set_mute(stem, False)), 1.0),
]  # fmt: skip


def play(audio: NDArray[np.float32], changes: dict[int, Callable[[Board], None]]) -> tuple[NDArray, int]:
    """What comes out while the changes are made at the hops given; and the latency."""
    stream = StandIn()

    def prepare(engine: InProcessEngine) -> None:
        stream.before = lambda hop: changes.get(hop, lambda board: None)(engine.board)

    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=prepare)
    assert telemetry.underruns == telemetry.bad_hops == 0
    return out, latency


def sequence() -> dict[int, Callable[[Board], None]]:
    return {EVERY * (k + 1): change for k, (change, _) in enumerate(CHANGES)}


def test_a_constant_is_never_stepped_and_every_change_arrives() -> None:
    level = 0.25
    samples = EVERY * (len(CHANGES) + 2) * HOP
    out, latency = play(np.full((2, samples), level, np.float32), sequence())
    steady = out[:, latency + 64 : samples]
    # No ramp is steeper than the whole of the loudest change, +12 dB on a tenth and all else at once.
    furthest = max(
        abs(b - a) for a, b in zip([1.0, *(g for _, g in CHANGES)], (g for _, g in CHANGES), strict=False)
    )
    assert np.abs(np.diff(steady)).max() <= 1.01 * STEEPEST * level * furthest / RAMP
    for k, (_, gain) in enumerate(CHANGES):
        # A change at a hop's step acts from that hop's output on, which is due one latency after its input,
        # less the separator's own delay.
        begin = latency - HOP + EVERY * (k + 1) * HOP
        settled = out[:, begin + RAMP : begin + EVERY * HOP]
        assert np.abs(settled - level * gain).max() < 1e-6, k


def test_a_sine_is_never_bent_by_more_than_a_ramp_bends_it() -> None:
    amplitude, hertz = 0.5, 110.0
    samples = EVERY * (len(CHANGES) + 2) * HOP
    out, latency = play(sine(samples, hertz, amplitude), sequence())
    # A ramp's second derivative is at most six times the largest change of gain over its length squared, and
    # the sine moves on meanwhile: twice its slope times the ramp's.
    slope, furthest = 2.0 * np.pi * hertz / RATE, 1.1
    bend = amplitude * (furthest * 6.0 / RAMP**2 + 2.0 * slope * furthest * STEEPEST / RAMP + 2.0 * slope**2)
    assert np.abs(np.diff(out[:, latency + 64 :], 2)).max() < bend
    # A step of a tenth of the mix would be twenty times as much.
    assert 20.0 * bend < amplitude * 0.1


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_changes_that_come_faster_than_a_ramp_turn_it_back_without_a_step(apart: int) -> None:
    level = 0.25
    toggles = {
        k * apart: (lambda on: lambda board: board.set_mute("vocals", on))(k % 2 == 0) for k in range(1, 40)
    }
    out, latency = play(np.full((2, 160 * HOP), level, np.float32), toggles)
    slope = np.abs(np.diff(out[:, latency + 64 : 160 * HOP])).max()
    assert 0.0 < slope <= 1.01 * STEEPEST * level * SHARES[0] / RAMP


def test_what_was_set_before_the_start_acts_from_the_first_sound() -> None:
    stream = StandIn()
    audio = sine(64 * HOP)

    def prepare(engine: InProcessEngine) -> None:
        engine.board.set_mute("vocals")
        engine.board.set_gain("bass", -np.inf)

    out, _, latency = through_file(stream.as_stream(), audio, prepare=prepare)
    assert np.abs(out - np.float32(0.4) * delayed(audio, latency, out.shape[1])).max() < 0.01
    late = slice(latency + 1024, None)
    assert (
        np.abs(out[:, late] - np.float32(0.4) * delayed(audio, latency, out.shape[1])[:, late]).max() < 1e-6
    )


def test_what_cannot_be_set_is_refused_and_changes_nothing() -> None:
    board = Board(("vocals", "other"))
    before = bytes(board.words.tobytes())
    for action in (
        lambda: board.set_gain("kazoo", 0.0),
        lambda: board.set_mute("kazoo"),
        lambda: board.set_gain("vocals", 12.1),
        lambda: board.set_gain("vocals", float("nan")),
    ):
        with pytest.raises(UsageError) as refusal:
            action()
        assert "\n" not in str(refusal.value)
    assert bytes(board.words.tobytes()) == before


def test_a_parameter_half_written_by_another_process_is_never_a_step() -> None:
    """NaN and infinity in the shared memory: the gain stays where it was."""
    stream = StandIn()

    def spoil(engine: InProcessEngine) -> None:
        def change(hop: int) -> None:
            words = engine.board.words
            if hop in (20, 30):
                words["gain_db"][0] = np.nan if hop == 20 else np.inf
                words["revision"] += 1

        stream.before = change

    level = 0.25
    out, telemetry, latency = through_file(
        stream.as_stream(), np.full((2, 64 * HOP), level, np.float32), prepare=spoil
    )
    assert telemetry.state == "running", telemetry.error
    assert np.abs(out[:, latency + 64 : 64 * HOP] - level).max() < 1e-6
