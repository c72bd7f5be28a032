"""The engine's process does not care what the controlling one does; parameters and meters pass between them.

What is asserted about a machine that others use as well: hops are given far more time than any scheduler
takes away, so that what is lost can only be lost to the controlling process. That an engine inside it does
lose, by tens, is shown with less, side by side with one that is outside.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import rtsep
from rtsep.backends.stream import open_stream
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import Telemetry
from rtsep.io.null import NullDriver
from tests.jack_server import JackServer
from tests.models import build_tiny_model
from tests.realtime.iodelay import OUT, meter
from tests.realtime.loads import LOADS, gesturing, under

pytestmark = [pytest.mark.realtime, pytest.mark.alone]

BLOCK = 128
AMPLE = 128 * BLOCK
"""Samples, 0.37 s, for a hop that takes a fraction of a millisecond."""
SHORT = 7 * BLOCK
"""20 ms: less than the GIL is held at a time."""
SECONDS = 2.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"), passthrough=True)


def lost(before: Telemetry, after: Telemetry) -> int:
    return (after.underruns - before.underruns) + (after.jumps - before.jumps)


def test_hops_go_on_and_nothing_underruns_whatever_loads_the_controlling_process(model: Path) -> None:
    with rtsep.Engine(model, audio="null", block=BLOCK, allowance=AMPLE) as engine:
        hop = engine._engine.spec.hop
        for load in LOADS:
            before = engine.telemetry()
            with under(load):
                time.sleep(SECONDS)
                after = engine.telemetry()
            assert after.state == "running"
            assert lost(before, after) == 0, load
            # As many hops as there was audio for, but for what is in flight.
            audio = (after.counters["frames"] - before.counters["frames"]) // hop
            assert audio > 0.5 * SECONDS * 44100 / hop
            assert abs((after.hops - before.hops) - audio) <= AMPLE // hop


def test_nothing_that_is_touched_disturbs_the_sound(model: Path) -> None:
    """Four clients move everything that a desk has while their process is under all the loads at once."""
    with rtsep.Engine(model, audio="null", block=BLOCK, allowance=AMPLE) as engine:
        hop = engine._engine.spec.hop
        before, version = engine.telemetry(), engine.desk.version
        with contextlib.ExitStack() as loads:
            for load in LOADS:
                loads.enter_context(under(load))
            loads.enter_context(gesturing(engine.desk, clients=4))
            time.sleep(SECONDS)
            after = engine.telemetry()
        assert engine.desk.version - version > 20
        assert after.state == "running" and after.resets > 0
        assert lost(before, after) == after.bad_hops == 0
        audio = (after.counters["frames"] - before.counters["frames"]) // hop
        assert abs((after.hops - before.hops) - audio) <= AMPLE // hop


def test_inside_the_loaded_process_the_gil_is_missed_and_outside_it_is_not(model: Path) -> None:
    load = "GIL held 25 ms at a time"
    driver = NullDriver(44100, BLOCK)
    with (
        open_stream(model) as stream,
        rtsep.Engine(model, audio="null", block=BLOCK, allowance=SHORT) as outside,
        InProcessEngine(driver, stream, allowance=SHORT) as inside,
    ):
        before = inside.telemetry(), outside.telemetry()
        with under(load):
            time.sleep(SECONDS)
            after = inside.telemetry(), outside.telemetry()
    inside_lost, outside_lost = (lost(a, b) for a, b in zip(before, after, strict=True))
    assert inside_lost > 10
    # Both had the same machine; what it took from the one outside by itself is not much beside that.
    assert outside_lost < inside_lost / 4


def reaches(condition: Callable[[Telemetry], bool], engine: rtsep.Engine) -> Telemetry:
    deadline = time.monotonic() + 30.0
    while True:
        telemetry = engine.telemetry()
        if condition(telemetry):
            return telemetry
        assert time.monotonic() < deadline, telemetry
        time.sleep(0.02)


def test_parameters_reach_the_engine_and_meters_come_back(model: Path) -> None:
    """With sound from a real server: jack_iodelay's tones."""
    with JackServer("meters") as server, meter(server):
        with rtsep.Engine(
            model, input="system", output="system", block=BLOCK, allowance=32 * BLOCK
        ) as engine:
            for k in (0, 1):
                server.run("jack_disconnect", f"system:capture_{k + 1}", f"PortAudio:in_{k}")
                server.run("jack_connect", OUT, f"PortAudio:in_{k}")
            level = 0.01
            heard = reaches(lambda t: min(t.stem_levels.values()) > level, engine)
            assert set(heard.stem_levels) == set(engine.stems)
            reaches(lambda t: max(t.peaks) > level, engine)
            # One after the other, each seen in the meters alone.
            engine.mute("vocals")
            reaches(lambda t: t.stem_levels["vocals"] < 1e-4 and t.stem_levels["drums"] > level, engine)
            engine.solo("bass")
            reaches(lambda t: t.stem_levels["drums"] < 1e-4 and t.stem_levels["bass"] > level, engine)
            engine.gain("bass", -80.0)
            reaches(lambda t: max(t.peaks) < 1e-4, engine)
            engine.bypass()  # which is the input, whatever becomes of the stems
            reaches(lambda t: max(t.peaks) > level > max(t.stem_levels.values()), engine)
            engine.bypass(False)
            engine.gain("bass", 0.0)
            engine.solo("bass", False)
            engine.mute("vocals", False)
            engine.gain("other", -40.0)
            levels = reaches(lambda t: t.stem_levels["other"] < level < t.stem_levels["vocals"], engine)
            assert levels.bad_hops == 0
            for stem in engine.stems:
                engine.mute(stem)
            reaches(lambda t: max(t.peaks) < 1e-4, engine)
