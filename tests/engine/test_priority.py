"""What a clock drives has real-time priority where the system gives it; what only computes never has."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.io.driver import AudioDriver
from rtsep.io.file import FileDriver, array_reader
from rtsep.io.null import NullDriver
from rtsep.rt import priority
from tests.engine.standin import RATE, StandIn
from tests.models import build_tiny_model
from tests.rt.test_priority import on_a_thread, policy

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.alone,
    pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="nobody to ask"),
]
SOUND = np.full((2, RATE // 4), 0.1, np.float32)


def play(driver: AudioDriver, realtime: bool = True) -> tuple[bool, set[int]]:
    """What telemetry says, and the schedulers that hops ran under."""
    stream, schedulers = StandIn(), set[int]()

    def look(hop: int) -> None:
        # Hop -1 is the warm-up, on the thread that opens.
        if hop >= 0:
            schedulers.add(policy()[0])

    stream.before = look
    with InProcessEngine(driver, stream.as_stream(), realtime=realtime) as engine:
        assert engine.wait(30.0)
        return engine.telemetry().realtime, schedulers


def allowed() -> bool:
    return on_a_thread(lambda: priority.rise(priority.WORKER))


def test_a_paced_stream_has_it_where_it_may() -> None:
    scheduler = os.SCHED_FIFO if allowed() else os.SCHED_OTHER
    assert play(NullDriver(RATE, 128, SOUND)) == (allowed(), {scheduler})


def test_it_can_be_declined() -> None:
    assert play(NullDriver(RATE, 128, SOUND), realtime=False) == (False, {os.SCHED_OTHER})


@pytest.mark.parametrize("driver", ["file", "null"])
def test_what_runs_as_fast_as_it_can_leaves_the_processors_to_others(driver: str) -> None:
    unpaced: AudioDriver = NullDriver(RATE, 128, SOUND, realtime=False)
    if driver == "file":
        unpaced = FileDriver(array_reader(SOUND), None, RATE)
    assert play(unpaced) == (False, {os.SCHED_OTHER})


@pytest.mark.parametrize("realtime", [True, False])
def test_an_engine_of_its_own_has_it_as_a_whole_and_keeps_its_memory(tmp_path: Path, realtime: bool) -> None:
    options = EngineOptions(model=str(build_tiny_model(tmp_path)), audio="null", realtime=realtime)
    with ProcessEngine(options) as engine:
        assert not engine.wait(0.3)
        status = Path(f"/proc/{engine.pid}/status").read_text(encoding="ascii")
        had = engine.telemetry().realtime
        scheduler = os.sched_getscheduler(engine.pid) & ~os.SCHED_RESET_ON_FORK
    (locked,) = re.findall(r"VmLck:\s+(\d+) kB", status)
    assert had is (realtime and allowed())
    # Its main thread too: what it does at times, it does with the interpreter's lock.
    assert scheduler == (os.SCHED_FIFO if had else os.SCHED_OTHER)
    # The right to one is not the right to the other.
    assert realtime or int(locked) == 0
    if os.geteuid() == 0 and realtime and allowed():
        assert int(locked) > 10_000
