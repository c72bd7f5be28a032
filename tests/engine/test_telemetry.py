"""Telemetry is honest: percentiles are numpy's within a bucket, counters agree, reading changes nothing."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.backends.stream import open_stream
from rtsep.engine.board import PORT_COUNTERS, Board
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import BUCKETS, FIRST_HOPS, PER_OCTAVE, SHORTEST_NS, HopTimes
from rtsep.io.file import FileDriver, array_reader
from tests.engine.standin import HOP, StandIn, sine, through_file
from tests.models import build_tiny_model

WIDTH = 2.0 ** (1.0 / PER_OCTAVE)
LONGEST_NS = SHORTEST_NS * 2.0 ** (BUCKETS / PER_OCTAVE)


def counted(nanoseconds: list[int]) -> HopTimes:
    """Hop times as if the first hops had passed before."""
    times = HopTimes(np.zeros(BUCKETS, np.int64), np.zeros(3, np.int64))
    for value in [0] * FIRST_HOPS + nanoseconds:
        times.add(value)
    return times


@given(
    values=st.lists(st.integers(int(SHORTEST_NS), int(LONGEST_NS) - 1), min_size=1, max_size=300),
    percent=st.one_of(st.sampled_from([50.0, 99.0, 99.9, 100.0]), st.floats(0.1, 100.0)),
)
def test_percentiles_are_numpys_never_better_and_at_most_a_bucket_worse(
    values: list[int], percent: float
) -> None:
    told = counted(values).percentile(percent) * 1e9
    # The smallest time within which so many hops were done.
    true = float(np.percentile(values, percent, method="inverted_cdf"))
    assert true * (1.0 - 1e-9) <= told <= true * WIDTH * (1.0 + 1e-9)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=100))
def test_the_longest_is_exact_and_nothing_is_beyond_it(values: list[int]) -> None:
    times = counted(values)
    assert times.hops == FIRST_HOPS + len(values)
    assert times.longest == pytest.approx(max(values) * 1e-9)
    assert times.percentile(100.0) <= times.longest
    assert times.percentile(50.0) <= times.percentile(99.0) <= times.percentile(99.9) <= times.longest


def test_the_first_hops_are_told_apart() -> None:
    times = HopTimes(np.zeros(BUCKETS, np.int64), np.zeros(3, np.int64))
    assert math.isnan(times.percentile(50.0))
    for k in range(FIRST_HOPS):
        times.add(1_000_000 * (k + 1))
    assert times.hops == FIRST_HOPS and times.longest == 0.0
    assert times.longest_first == pytest.approx(FIRST_HOPS * 1e-3)
    times.add(2_000_000)
    assert times.percentile(50.0) == pytest.approx(0.002) and times.longest == pytest.approx(0.002)


def test_the_counters_of_a_run_agree_with_each_other(tmp_path: Path) -> None:
    stream = open_stream(build_tiny_model(tmp_path))
    hop, block, samples = stream.spec.hop, 100, 300 * stream.spec.hop
    heard: list[int] = []
    audio = sine(samples)
    driver = FileDriver(
        array_reader(audio), lambda piece: heard.append(piece.shape[1]), 44100, block=block, align=False
    )
    engine = InProcessEngine(driver, stream)
    engine.open()
    engine.start()
    try:
        assert engine.wait(60.0)
        engine.stop()
        telemetry, latency = engine.telemetry(), engine.latency
    finally:
        engine.close()
    counters = telemetry.counters
    assert set(counters) == set(PORT_COUNTERS)
    assert sum(heard) == samples + latency.stream
    assert counters["frames"] == counters["callbacks"] * block >= samples + latency.stream
    assert telemetry.seconds == counters["frames"] / 44100
    # Every hop that could be made of the input, but for those the end came before.
    assert (
        counters["frames"] // hop - latency.prefill // hop - 2 <= telemetry.hops <= counters["frames"] // hop
    )
    assert telemetry.deadline == pytest.approx(stream.spec.hop_seconds)
    assert telemetry.underruns == telemetry.late_hops == telemetry.jumps == telemetry.bad_hops == 0
    assert telemetry.resets == telemetry.record_lost == telemetry.xruns == 0
    assert 0.0 < telemetry.hop_p50 <= telemetry.hop_p99 <= telemetry.hop_p999 <= telemetry.hop_max
    assert telemetry.load > 0.0
    assert telemetry.state == "stopped" and telemetry.error == ""


def test_levels_and_peaks_are_those_of_the_sound() -> None:
    amplitude = 0.5
    stream = StandIn()
    audio = np.full((2, 300 * HOP), amplitude, np.float32)
    _, telemetry, _ = through_file(
        stream.as_stream(), audio, prepare=lambda engine: engine.board.set_gain("drums", -np.inf)
    )
    # The stream goes on after the sound for its latency; the needle has fallen by a hop or two.
    for stem, share in zip(("vocals", "bass", "other"), (0.4, 0.2, 0.1), strict=True):
        assert 0.5 * share * amplitude < telemetry.stem_levels[stem] <= share * amplitude * 1.001
    assert telemetry.stem_levels["drums"] < 1e-6
    assert 0.8 * 0.7 * amplitude < max(telemetry.peaks) <= amplitude


def test_a_poller_writes_nothing() -> None:
    board = Board(("vocals", "drums"))
    board.hop_times.add(5000)
    board.set_state("failed", "the cable is out")
    before = board.words.tobytes()
    telemetry = board.telemetry()
    assert telemetry.state == "failed" and telemetry.error == "the cable is out"
    assert board.words.tobytes() == before


def test_polling_all_the_time_changes_neither_sound_nor_counters() -> None:
    audio = sine(400 * HOP)
    quiet, _, _ = through_file(StandIn().as_stream(), audio)
    polls: list[int] = []
    done = threading.Event()
    poller: list[threading.Thread] = []

    def prepare(engine: InProcessEngine) -> None:
        def poll() -> None:
            # Another view of the same memory, as another process has it.
            view = Board(engine.board.stems, engine.board.words.base)
            while not done.is_set():
                polls.append(view.telemetry().hops)

        poller.append(threading.Thread(target=poll))
        poller[0].start()

    try:
        polled, telemetry, _ = through_file(StandIn().as_stream(), audio, prepare=prepare)
    finally:
        done.set()
        poller[0].join()
    assert np.array_equal(quiet, polled)
    assert telemetry.underruns == telemetry.late_hops == 0
    assert polls == sorted(polls) and polls[-1] > 0
