"""The desk on a running engine: what is turned is heard as it should be, and what is dry lines up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream, open_stream
from rtsep.control.desk import Desk
from rtsep.dsp.gains import STEEPEST
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import Telemetry
from rtsep.engine.worker import RAMP
from rtsep.spec import STEMS
from tests.engine.standin import HOP, RATE, SHARES, StandIn, delayed, sine, through_file
from tests.models import ARCHITECTURES, build_tiny_model
from tests.waiting import until

Heard = tuple[NDArray[np.float32], Telemetry, int]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HopStream:
    return open_stream(build_tiny_model(tmp_path_factory.mktemp("models"), request.param))


def noise(samples: int) -> NDArray[np.float32]:
    return (0.2 * np.random.default_rng(5).standard_normal((2, samples))).astype(np.float32)


def play(audio: NDArray[np.float32], changes: dict[int, Callable[[Desk], object]]) -> Heard:
    """Through the stand-in, with changes made at the hops given."""
    stand_in = StandIn()

    def prepare(engine: InProcessEngine) -> None:
        desk = Desk(engine.board)
        for change in [changes[0]] if 0 in changes else []:
            change(desk)
        stand_in.before = lambda hop: hop > 0 and hop in changes and changes[hop](desk)  # type: ignore

    return through_file(stand_in.as_stream(), audio, prepare=prepare)


def residual_db(out: NDArray[np.float32], due: NDArray[np.float32]) -> float:
    rest = np.sqrt(np.mean(np.square(out.astype(np.float64) - due)))
    return float(20.0 * np.log10(max(rest, 1e-12) / np.sqrt(np.mean(np.square(due.astype(np.float64))))))


@pytest.mark.parametrize("block", [128, 509])
@pytest.mark.parametrize("wet", [0.0, 0.5])
def test_dry_and_wet_null_against_the_delayed_input(stream: HopStream, block: int, wet: float) -> None:
    audio = noise(RATE)
    out, telemetry, latency = through_file(
        stream, audio, block, prepare=lambda engine: Desk(engine.board).set_dry_wet(wet)
    )
    assert telemetry.underruns == 0
    assert residual_db(out, delayed(audio, latency, out.shape[1])) < (-100.0 if wet else -150.0)


@pytest.mark.parametrize("around", [Desk.set_bypass, Desk.panic])
def test_around_the_mix_the_input_is_heard_bit_for_bit(
    stream: HopStream, around: Callable[[Desk], None]
) -> None:
    audio = noise(RATE)

    def prepare(engine: InProcessEngine) -> None:
        desk = Desk(engine.board)
        desk.acapella()
        desk.set_master(-12.0)
        desk.set_limiter(ceiling_db=-24.0)
        desk.set_polarity("vocals")
        around(desk)

    out, _, latency = through_file(stream, audio, prepare=prepare)
    due = delayed(audio, latency, out.shape[1])
    # Set on an engine that is open, it begins with a ramp.
    assert np.array_equal(out[:, 1024:], due[:, 1024:])


def test_bypass_is_the_input_where_underruns_are_silence() -> None:
    """The dry signal that the performer asks for is not the fallback that an underrun gets."""
    from rtsep.io.file import FileDriver, array_reader

    audio, heard = noise(100 * HOP), []
    driver = FileDriver(array_reader(audio), lambda p: heard.append(p.copy()), RATE, 2, 2, 128, align=False)
    with InProcessEngine(driver, StandIn().as_stream(), fallback="silence") as engine:
        Desk(engine.board).set_bypass()
        assert engine.wait(60.0)
        latency = engine.latency.stream
    out = np.concatenate(heard, axis=1)
    late = slice(20 * HOP, 90 * HOP)
    assert np.array_equal(out[:, late], delayed(audio, latency, out.shape[1])[:, late])


def test_with_the_limiter_on_nothing_leaves_above_its_ceiling() -> None:
    audio = sine(200 * HOP, amplitude=0.9)

    def loud(desk: Desk) -> None:
        desk.set_limiter(ceiling_db=-1.0)
        for stem in STEMS:
            desk.set_gain(stem, 12.0)

    out, telemetry, _ = play(audio, {0: loud})
    assert np.abs(out).max() <= np.float32(10.0 ** (-1.0 / 20.0))
    assert np.abs(out).max() > 0.88
    assert telemetry.reduction_db < -3.0


def test_pan_and_polarity_are_heard() -> None:
    audio = np.full((2, 60 * HOP), 0.25, np.float32)
    out, _, latency = play(
        audio, {20: lambda desk: desk.set_pan("vocals", 1.0), 40: lambda d: d.set_polarity("drums")}
    )
    begin = latency - HOP
    panned = out[:, begin + 20 * HOP + RAMP : begin + 40 * HOP]
    assert panned[0] == pytest.approx(0.25 * (1.0 - SHARES[0]), abs=1e-6)
    assert panned[1] == pytest.approx(0.25 * (1.0 + (2**0.5 - 1.0) * SHARES[0]), abs=1e-6)
    turned = out[0, begin + 40 * HOP + RAMP : begin + 59 * HOP]
    assert turned == pytest.approx(0.25 * (1.0 - SHARES[0] - 2.0 * SHARES[1]), abs=1e-6)


def test_a_snapshot_morphs_evenly_over_its_time_and_arrives_to_the_sample() -> None:
    level, morph_hops = 0.25, 64
    # A whole number of hops, and half a sample so that rounding can't take one away.
    morph_ms = 1000.0 * (morph_hops * HOP + 0.5) / RATE

    def prepared(desk: Desk) -> None:
        for stem in STEMS[:2]:
            desk.set_mute(stem)
        desk.set_master(6.0)
        desk.capture("thin")
        desk.everything()
        desk.set_master(0.0)

    audio = np.full((2, 120 * HOP), level, np.float32)
    out, _, latency = play(audio, {0: prepared, 20: lambda desk: desk.recall("thin", morph=morph_ms)})
    begin = latency - HOP + 20 * HOP
    wanted = level * (1.0 - SHARES[0] - SHARES[1]) * 10 ** (6.0 / 20.0)
    morphing = out[0, begin : begin + morph_hops * HOP].astype(np.float64)
    assert morphing[0] == pytest.approx(level, abs=1e-5)
    assert out[0, begin + morph_hops * HOP - 1 : begin + 90 * HOP] == pytest.approx(wanted, abs=1e-6)
    # Gain down by 0.7 and master up by 2 at once: no sample moves faster than both together can.
    fastest = level * (0.7 * 2.0 + 1.0) * STEEPEST / (morph_hops * HOP)
    assert np.abs(np.diff(morphing)).max() < 1.05 * fastest
    # It is under way the whole time, not at once with a wait.
    assert abs(morphing[morph_hops * HOP // 2] - level) > 0.01 * level


def test_a_change_of_many_parameters_is_seen_whole_or_not_at_all() -> None:
    """The engine runs while the desk is in the midst of it: not one sample follows half a change."""
    audio = np.full((2, 60 * HOP), 0.25, np.float32)
    held: list[object] = []

    def begin_swap(desk: Desk) -> None:
        change = desk._board.change()
        change.__enter__()
        held.append(change)
        desk._board.set_mute("vocals")

    def end_swap(desk: Desk) -> None:
        # Vocals and drums have changed places: 0.4 out, then 0.3 more out and 0.4 back.
        desk._board.set_mute("vocals", False)
        held[0].__exit__(None, None, None)  # type: ignore[attr-defined]

    out, _, latency = play(audio, {20: begin_swap, 40: end_swap})
    assert np.abs(out[:, latency + 64 : 60 * HOP] - 0.25).max() < 1e-6
    # The test can fail: without the bracket the mute is heard.
    out, _, latency = play(audio, {20: lambda d: d.set_mute("vocals"), 40: lambda d: d.everything()})
    assert np.abs(out[:, latency + 64 : 60 * HOP] - 0.25).max() > 0.05


@pytest.mark.realtime
def test_a_desk_in_this_process_moves_an_engine_in_another(tmp_path: Path) -> None:
    import rtsep

    with rtsep.Engine(build_tiny_model(tmp_path), audio="null") as engine:
        engine.desk.instrumental(fade=20.0)
        engine.solo("drums")
        assert engine.desk.get("stem/drums/solo") is True
        until(lambda: engine.telemetry().hops >= 20, "twenty hops")
        assert engine.telemetry().state == "running" and engine.telemetry().bad_hops == 0
        assert engine.desk.telemetry().hops >= 20
