"""What a long-running stream must survive: a model gone mad, bad input, a reset, a driver that fails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.worker import RAMP
from rtsep.io.file import FileDriver
from rtsep.spec import DeviceError
from tests.engine.standin import DELAY, HOP, RATE, SHARES, StandIn, delayed, sine, through_file

FADE_HOPS = RAMP // HOP
SETTLING_HOPS = -(-DELAY // HOP)


def muted(engine: InProcessEngine) -> None:
    """Dry and mix then differ."""
    engine.board.set_mute("vocals")


def nan(stems: NDArray[np.float32]) -> None:
    stems[1, 0, 5] = np.nan


def infinite(stems: NDArray[np.float32]) -> None:
    stems[2] = -np.inf


def runaway(stems: NDArray[np.float32]) -> None:
    stems *= 1e4


def check_no_step(out: NDArray[np.float32]) -> None:
    # Mix and dry are up to 0.2 apart, which is what a step would show. A guard that had no warning keeps the
    # value and lets the slope go its own way: 0.4 of the steepest that the sine has, 0.0031.
    assert np.abs(np.diff(out, 2)).max() < 0.005


@pytest.mark.parametrize("spoiling", [nan, infinite, runaway])
def test_a_spoiled_hop_is_dry_counted_and_over(spoiling: Callable[[NDArray[np.float32]], None]) -> None:
    stream = StandIn()
    at = {60, 62, 120}
    stream.spoil = lambda hop, stems: spoiling(stems) if hop in at else None
    audio = sine(240 * HOP)
    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=muted)
    assert telemetry.bad_hops == len(at)
    assert stream.resets >= len(at)
    assert np.isfinite(out).all()
    # The distance between mix and dry, 0.4 of what the input was at that moment, dies away over dry.
    assert np.abs(out).max() < 1.4 * 0.5
    check_no_step(out)
    dry = delayed(audio, latency, out.shape[1])
    for hop in (62, 120):
        # Once the separator has a past again, the mix is heard where it was before.
        begin = latency - DELAY + hop * HOP
        settled = begin + (SETTLING_HOPS + FADE_HOPS + 2) * HOP
        wet = np.float32(1.0 - SHARES[0]) * dry[:, settled : begin + 40 * HOP]
        assert np.abs(out[:, settled : begin + 40 * HOP] - wet).max() < 1e-6


def test_a_state_that_holds_nan_is_washed_out_by_one_reset() -> None:
    """A recurrent network that has once seen a NaN gives nothing else until its state is set to zero."""
    stream = StandIn()
    poisoned_at: list[int] = []

    def poison(hop: int, stems: NDArray[np.float32]) -> None:
        if hop == 50:
            poisoned_at.append(stream.resets)
        if poisoned_at and stream.resets == poisoned_at[0]:
            stems.fill(np.nan)

    stream.spoil = poison
    audio = sine(200 * HOP)
    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=muted)
    assert telemetry.bad_hops == 1
    wet = np.float32(1.0 - SHARES[0]) * delayed(audio, latency, out.shape[1])
    later = slice(latency + 60 * HOP, None)
    assert np.abs(out[:, later] - wet[:, later]).max() < 1e-6


def test_a_model_that_stays_mad_leaves_the_dry_signal() -> None:
    stream = StandIn()
    stream.spoil = lambda hop, stems: stems.fill(np.nan) if hop >= 40 else None
    audio = sine(120 * HOP)
    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=muted)
    # Counted every time, heard as the music without any separation.
    assert telemetry.bad_hops >= 70
    dry = delayed(audio, latency, out.shape[1])
    later = slice(latency + 50 * HOP, 118 * HOP)
    assert np.abs(out[:, later] - dry[:, later]).max() < 1e-6
    check_no_step(out)


def without_other(engine: InProcessEngine) -> None:
    engine.board.set_mute("other")


def vocals_alone(engine: InProcessEngine) -> None:
    engine.board.set_solo("vocals")


def softly(engine: InProcessEngine) -> None:
    for stem in engine.board.stems:
        engine.board.set_gain(stem, -20.0)
    engine.board.set_gain("other", -40.0)


def all_muted(engine: InProcessEngine) -> None:
    for stem in engine.board.stems:
        engine.board.set_mute(stem)


def boosted(engine: InProcessEngine) -> None:
    engine.board.set_gain("drums", 6.0)
    engine.board.set_mute("other")


@pytest.mark.parametrize(
    ("setting", "level"),
    [(without_other, 1.0), (vocals_alone, 1.0), (boosted, 1.0), (softly, 0.1), (all_muted, 0.0)],
)
@pytest.mark.parametrize("how", ["mad", "reset"])
def test_dry_is_heard_whichever_stems_are(
    how: str, setting: Callable[[InProcessEngine], None], level: float
) -> None:
    stream = StandIn()
    mad = range(40, 120)

    def prepare(engine: InProcessEngine) -> None:
        setting(engine)
        if how == "mad":
            stream.spoil = lambda hop, stems: stems.fill(np.nan) if hop in mad else None
        else:
            stream.before = lambda hop: engine.board.request_reset() if hop in mad else None

    audio = sine(240 * HOP)
    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=prepare)
    assert (telemetry.bad_hops > 0) is (how == "mad")
    dry = delayed(audio, latency, out.shape[1])
    begin = latency - DELAY
    during = slice(begin + 50 * HOP, begin + 118 * HOP)
    assert np.abs(out[:, during] - np.float32(level) * dry[:, during]).max() < 1e-6
    # Nothing steps on the way there or back, and afterwards all is where it was set.
    assert np.abs(np.diff(out, 2)).max() < 0.015
    before, after = slice(begin + 20 * HOP, begin + 39 * HOP), slice(begin + 140 * HOP, begin + 200 * HOP)
    for first, second in zip(out[:, before], out[:, after], strict=True):
        was = first @ dry[0, before] / (dry[0, before] @ dry[0, before])
        now = second @ dry[0, after] / (dry[0, after] @ dry[0, after])
        assert now == pytest.approx(was, abs=1e-4)


def test_a_mad_deck_is_heard_on_its_own_side_of_the_crossfader() -> None:
    stream = StandIn(decks=2)

    def prepare(engine: InProcessEngine) -> None:
        engine.board.set_crossfader(0.0)
        engine.board.set_swapped("other")
        engine.board.set_mute("1/other")
        stream.spoil = lambda hop, strips: strips[:4].fill(np.nan) if hop >= 40 else None

    audio = np.concatenate([sine(160 * HOP), sine(160 * HOP, 330.0)])
    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=prepare)
    assert telemetry.deck_bad_hops[0] > 0 == telemetry.deck_bad_hops[1]
    during = slice(latency + 60 * HOP, latency + 150 * HOP)
    whole = delayed(audio[:2], latency, out.shape[1])
    # The second deck's `other` is on the first one's side, as it was asked for.
    aside = np.float32(SHARES[3]) * delayed(audio[2:], latency, out.shape[1])
    assert np.abs(out[:, during] - whole[:, during] - aside[:, during]).max() < 1e-6


def test_a_reset_by_epoch_is_heard_as_dry_for_a_moment_and_nothing_more() -> None:
    stream = StandIn()
    audio = sine(200 * HOP)

    def prepare(engine: InProcessEngine) -> None:
        muted(engine)
        stream.before = lambda hop: engine.board.request_reset() if hop in (60, 130) else None

    out, telemetry, latency = through_file(stream.as_stream(), audio, prepare=prepare)
    assert telemetry.resets == 2 == stream.resets
    assert telemetry.bad_hops == telemetry.underruns == 0
    check_no_step(out)
    dry = delayed(audio, latency, out.shape[1])
    wet = np.float32(1.0 - SHARES[0]) * dry
    for hop in (60, 130):
        begin = latency - DELAY + hop * HOP
        # Before, and soon after, it is the mix, at the same delay.
        assert np.abs(out - wet)[:, begin - 20 * HOP : begin].max() < 1e-6
        settled = begin + (SETTLING_HOPS + 1 + FADE_HOPS + 1) * HOP
        assert np.abs(out - wet)[:, settled : settled + 20 * HOP].max() < 1e-6
        # In between the dry signal was approached.
        assert np.abs(out - wet)[:, begin:settled].max() > 0.1


def test_two_requests_between_two_hops_are_one_reset() -> None:
    stream = StandIn()

    def prepare(engine: InProcessEngine) -> None:
        def ask(hop: int) -> None:
            if hop == 10:
                engine.board.request_reset()
                engine.board.request_reset()

        stream.before = ask

    _, telemetry, _ = through_file(stream.as_stream(), sine(40 * HOP), prepare=prepare)
    assert telemetry.resets == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_input_that_is_no_number_is_silence_for_as_long_as_it_lasts(value: float) -> None:
    stream = StandIn()
    audio = sine(100 * HOP)
    clean = audio.copy()
    audio[0, 5000:5100] = value
    clean[0, 5000:5100] = 0.0
    out, telemetry, latency = through_file(stream.as_stream(), audio)
    assert telemetry.counters["bad_input"] == 100
    assert telemetry.bad_hops == 0
    due = delayed(clean, latency, out.shape[1])
    assert np.abs(out[:, latency + 64 :] - due[:, latency + 64 :]).max() < 1e-6


def test_a_worker_that_fails_ends_the_stream_with_one_line() -> None:
    stream = StandIn()

    def fail(hop: int) -> None:
        if hop == 20:
            raise MemoryError("no room for an activation")

    stream.before = fail
    with pytest.raises(DeviceError, match="no room for an activation") as failure:
        through_file(stream.as_stream(), sine(100 * HOP))
    assert "\n" not in str(failure.value)


def test_a_source_that_fails_ends_the_stream_with_its_own_words() -> None:
    def broken(count: int) -> NDArray[np.float32]:
        raise OSError("the disk has been pulled out")

    driver = FileDriver(broken, None, RATE)
    with pytest.raises(DeviceError, match="the disk has been pulled out"):
        with InProcessEngine(driver, StandIn().as_stream()) as engine:
            engine.wait(20.0)
