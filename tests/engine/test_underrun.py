"""An underrun never clicks and never drifts: paced by the clock, with a separator that stalls when told.

Vocals are muted, so that the dry signal, which is what an underrun sounds like, is louder than the mix: every
sample that is heard shows which of the two it is, or that it lies between them.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import Telemetry
from rtsep.io.null import NullDriver
from tests.engine.standin import HOP, RATE, SHARES, StandIn, delayed, sine

pytestmark = [pytest.mark.realtime, pytest.mark.alone]

BLOCK = 128
ALLOWANCE = 16 * BLOCK
"""46 ms: a hiccup of a busy machine goes unnoticed, a stall does not."""
HERTZ = 55.0
AMPLITUDE = 0.5


def run(
    stalls: dict[int, float], seconds: float, fallback: str = "dry"
) -> tuple[NDArray[np.float32], NDArray[np.float32], Telemetry]:
    """Stall at the hops given, for so many seconds each. Returns what was heard, what dry is, telemetry."""
    stream = StandIn()
    stream.before = lambda hop: time.sleep(stalls.get(hop, 0.0))
    audio = sine(int(seconds * RATE), HERTZ, AMPLITUDE)
    driver = NullDriver(RATE, BLOCK, audio)
    engine = InProcessEngine(driver, stream.as_stream(), allowance=ALLOWANCE, fallback=fallback)  # type: ignore[arg-type]
    engine.board.set_mute("vocals")
    with engine:
        assert engine.wait(seconds + 30.0)
        telemetry = engine.telemetry()
        latency = engine.latency.stream
    out = driver.captured
    return out, delayed(audio, latency, out.shape[1]), telemetry


def runs(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def check_no_click(out: NDArray[np.float32]) -> None:
    # A fade of 64 samples between signals 0.2 apart bends by 0.0003 a sample, the sine itself by 0.00003, and
    # the opening of the gate by 0.0006; a step by what one sample missing or a gap would be: 0.004 to 0.5.
    assert np.abs(np.diff(out, 2)).max() < 0.0015


def test_stalls_are_bridged_by_dry_and_change_no_delay() -> None:
    stalls = {100: 0.09, 250: 0.1, 400: 0.09}
    out, dry, telemetry = run(stalls, 1.8)
    assert telemetry.underruns >= len(stalls)
    assert telemetry.late_hops >= len(stalls)
    if telemetry.jumps == 0:  # but for a machine that stalled for as long again
        # No hop was left out or made twice: all were computed, and the late ones dropped where they stood.
        assert dry.shape[1] // HOP - 4 <= telemetry.hops <= dry.shape[1] // HOP + 1
    check_no_click(out)

    # Where the sine crosses zero, wet and dry are the same: it takes whole swings to tell them apart.
    begin = int(np.flatnonzero(np.abs(dry[0]) > 0.0)[0]) + 512
    heard, due = out[0, begin:], dry[0, begin:]
    wet = np.float32(1.0 - SHARES[0]) * due
    is_wet, is_dry = np.abs(heard - wet) < 2e-6, np.abs(heard - due) < 2e-6
    # Sample by sample one or the other, at the very same delay; the rest are crossfades.
    between = ~is_wet & ~is_dry
    assert all(b - a <= 2 * 64 + BLOCK for a, b in runs(between))
    assert between.sum() <= telemetry.underruns * 2 * (64 + BLOCK)
    # Each stall was heard as dry for about as long as it exceeded the allowance, and wet came back after it.
    assert is_dry.sum() > sum(stalls.values()) * RATE - len(stalls) * (ALLOWANCE + 4 * BLOCK)
    last_stall = int(np.flatnonzero(is_dry & ~is_wet)[-1])
    wet_after = int((is_wet & ~is_dry)[last_stall:].sum())
    assert wet_after > 1000


def test_silence_may_be_the_fallback() -> None:
    out, dry, telemetry = run({100: 0.12}, 0.9, fallback="silence")
    assert telemetry.underruns >= 1
    check_no_click(out)
    begin = int(np.flatnonzero(np.abs(dry[0]) > 0.0)[0]) + 512
    silent = [(a, b) for a, b in runs(out[0, begin:-1024] == 0.0) if b - a > 16]
    assert sum(b - a for a, b in silent) > 0.12 * RATE - ALLOWANCE - 8 * BLOCK


def test_a_stall_longer_than_the_rings_loses_input_and_no_time() -> None:
    out, dry, telemetry = run({60: 1.2}, 2.6)
    assert telemetry.jumps >= 1
    check_no_click(out)
    begin = int(np.flatnonzero(np.abs(dry[0]) > 0.0)[0]) + 512
    end = out.shape[1] - 64
    tail = slice(end - RATE // 2, end)
    wet = np.float32(1.0 - SHARES[0]) * dry[0, tail]
    # Half a second at the end: wet again, where it was before.
    assert np.mean(np.abs(out[0, tail] - wet) < 2e-6) > 0.5
    assert np.mean(np.abs(out[0, begin : begin + 2048] - 0.6 * dry[0, begin : begin + 2048]) < 2e-6) > 0.5
    assert telemetry.counters["input_overruns"] == telemetry.jumps


@pytest.mark.parametrize("extra", [0.0, 0.01])
def test_a_hop_within_its_allowance_is_no_underrun(extra: float) -> None:
    """The allowance is kept: a stall shorter than it is not heard."""
    out, dry, telemetry = run({80: 0.001 + extra}, 0.6)
    if telemetry.underruns == 0:  # a machine that stalled by itself has shown what it could above
        begin = int(np.flatnonzero(np.abs(dry[0]) > 0.0)[0]) + 512
        assert np.abs(out[0, begin:] - np.float32(0.6) * dry[0, begin:]).max() < 2e-6
        assert telemetry.late_hops == 0
    check_no_click(out)
