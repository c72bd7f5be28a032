"""After the engine is prepared, a hop allocates nothing; and an hour needs no more memory than a minute."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from rtsep.backends.stream import open_stream
from rtsep.control.desk import Desk
from rtsep.effects.stage import EffectStage
from rtsep.engine.board import Board
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.rates import plan
from rtsep.engine.worker import Worker
from rtsep.io.driver import StreamFormat
from rtsep.io.file import FileDriver
from rtsep.rt.port import RealtimePort
from rtsep.rt.pump import Pump
from rtsep.rt.ring import RingBuffer
from tests.backends.steadiness import assert_keeps_nothing, assert_makes_no_array
from tests.models import ARCHITECTURES, LONG_HOPS, build_tiny_model

BLOCK = 256
MINUTES = 3


class Bench:
    """A worker with its port and a callback, and no thread: a call is one hop, start to end.

    The device's side is the compiled pump, which calls the callback for a hop's worth of blocks.
    """

    def __init__(
        self,
        model: Path,
        rate: int = 44100,
        record: bool = False,
        effects: Mapping[str, Path] | None = None,
        decks: int = 1,
    ) -> None:
        self.stream = open_stream(model, decks=decks)
        spec = self.stream.spec
        stage = EffectStage(effects, spec, decks) if effects else None
        latency = plan(spec, StreamFormat(rate, BLOCK, 2 * decks, 4), effects=stage.delay if stage else 0)
        pairs = tuple((2 * k, 2 * k + 1) for k in range(decks))
        self.port = RealtimePort(2 * decks, 4, 1 << 16, latency.stream, sample_rate=rate, decks=pairs)
        self.board = Board(spec.stems, decks=decks)
        self._desk = Desk(self.board)
        channels = (decks * len(spec.stems) + 1) * 2
        self.tape = RingBuffer(channels, 1 << 15) if record else None
        self._emptied = np.zeros((1 << 15, channels), np.float32)
        self.worker = Worker(
            self.port,
            self.stream,
            self.board,
            latency,
            routes=((0, (2, 3)),),
            recorder=self.tape,
            effects=stage,
        )
        self._pump = Pump(self.port, BLOCK, paced=False)
        self._pump.warm_up()
        self._source = (0.1 * np.random.default_rng(1).standard_normal((BLOCK, 2 * decks))).astype(np.float32)
        self._target = np.zeros((0, 4), np.float32)
        self._turn = 0

    def hop(self) -> None:
        while self.port.position < self.worker._intake.needed:
            self._pump.run(self._source, self._target, BLOCK, True)
        # Parameters move all the time, which is the dearer case.
        self._turn += 1
        self.board.set_gain("vocals", -6.0 if self._turn % 2 else 0.0)
        if self._turn % 3 == 0:
            self._desk.set_pan("drums", -0.5 if self._turn % 2 else 0.5, fade=5.0)
            self._desk.set_send("bass", -6.0 if self._turn % 2 else -math.inf)
            self._desk.set_limiter(ceiling_db=-3.0 * (self._turn % 2))
            self._desk.set_dry_wet(0.5 if self._turn % 2 else 1.0)
            self._desk.panic(self._turn % 5 == 0)
        if self.board.decks > 1:
            self._desk.set_crossfader(0.5 + 0.01 * (self._turn % 50), fade=20.0)
            self._desk.swap("drums")
        if self._turn % 97 == 0:
            self.board.request_reset(None if self.board.decks == 1 else 2)
        self.worker._hop()
        if self.tape is not None:
            self.tape.pop(self._emptied)


@pytest.mark.parametrize(
    ("architecture", "rate"),
    [(ARCHITECTURES[0], 44100), (ARCHITECTURES[0], 48000), (ARCHITECTURES[1], 44100)],
)
def test_a_hop_makes_no_array_and_keeps_nothing(tmp_path: Path, architecture: str, rate: int) -> None:
    bench = Bench(build_tiny_model(tmp_path, architecture, **LONG_HOPS[architecture]), rate, record=True)
    # The smallest array of a hop: one channel of it.
    assert_makes_no_array(bench.hop, smallest=1024 * 4)
    assert bench.board.telemetry().hops >= 1000
    assert bench.board.telemetry().jumps == bench.board.telemetry().bad_hops == 0


def test_a_hop_of_two_decks_makes_no_array(tmp_path: Path) -> None:
    # Twice the strips are twice the small objects: longer hops tell arrays from them.
    model = build_tiny_model(tmp_path, ARCHITECTURES[0], analysis=8192, synthesis=4096, hop=2048)
    bench = Bench(model, record=True, decks=2)
    assert_makes_no_array(bench.hop, smallest=2048 * 4)
    assert bench.board.telemetry().hops >= 1000
    assert bench.board.telemetry().jumps == bench.board.telemetry().bad_hops == 0


def test_nothing_is_kept_over_many_short_hops(tmp_path: Path) -> None:
    bench = Bench(build_tiny_model(tmp_path))
    assert_keeps_nothing(bench.hop, times=2000)


def test_memory_is_flat_over_minutes_of_audio(tmp_path: Path) -> None:
    # Long hops, one channel, two stems: the parts of the engine as always, and minutes in seconds.
    config = {"channels": 1, "stems": ("vocals", "other"), "linear_below": 300.0, "wide_bands": 4}
    model = build_tiny_model(tmp_path, analysis=2048, synthesis=2048, hop=1024, **config)
    stream = open_stream(model)
    process = psutil.Process(os.getpid())
    chunk: NDArray[np.float32] = (0.1 * np.random.default_rng(2).standard_normal((2, 32768))).astype(
        np.float32
    )
    total = MINUTES * 60 * 44100
    given = 0
    resident: list[int] = []

    def read(count: int) -> NDArray[np.float32]:
        nonlocal given
        count = min(count, chunk.shape[1], total - given)
        if given // (44100 * 60) < (given + count) // (44100 * 60):
            resident.append(process.memory_info().rss)
        given += count
        return chunk[:, :count]

    driver = FileDriver(read, None, 44100, block=1024)
    with InProcessEngine(driver, stream) as engine:
        assert engine.wait(240.0)
        assert engine.telemetry().underruns == engine.telemetry().jumps == 0
    assert len(resident) == MINUTES
    # Three minutes are 64 MB of audio; what is allowed is noise of the system's allocator.
    assert resident[-1] - resident[0] < 2_000_000, resident
