"""An engine inside this process: for embedding, for tests, and for the process that runs it alone."""

from __future__ import annotations

import gc
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from rtsep.backends.stream import HopStream
from rtsep.engine.board import MAX_CHANNELS, Board
from rtsep.engine.effect_controls import EffectControls
from rtsep.engine.latency import LatencyReport
from rtsep.engine.loads import Loads
from rtsep.engine.options import inputs, routes
from rtsep.engine.rates import plan
from rtsep.engine.telemetry import Telemetry
from rtsep.engine.worker import Worker
from rtsep.io.driver import AudioDriver
from rtsep.rt.port import RealtimePort
from rtsep.rt.ring import RingBuffer
from rtsep.spec import DeviceError, UsageError

if TYPE_CHECKING:
    from rtsep.effects.stage import EffectStage

SWITCH_INTERVAL = 0.0005
"""Seconds that another Python thread may keep the interpreter from the worker."""
SPARE_HOPS = 8
SPARE_BLOCKS = 4
STALE_SECONDS = 2.0
"""A device that has not called back for so long is taken to be gone."""


class InProcessEngine:
    """Driver, port, worker and board, put together and taken apart in the right order.

    Args:
        driver: where sound comes from and goes to.
        stream: the separator, warmed up; the caller closes it.
        board: shared with whoever controls; a board of its own if None.
        out_map: device channels, counted from 1, that stems go to besides the mix.
        in_map: input channels of the device, counted from 1, by deck, counted from 1: see `options.inputs`.
        allowance: device samples that the worker has for a hop; the whole blocks in a hop if None.
        fallback: what an underrun sounds like.
        recorder: ring that takes stems and mix, if they are recorded.
        effects: chains on stems and mix; see `rtsep.effects.stage.EffectStage`.
        realtime: give the worker real-time priority if a clock drives it and the system allows it.
        device: what the separator computes on, to be asked how busy it is.

    Attributes:
        effects: what can be moved of the chains.

    Raises (from `open` and `start`):
        DeviceError, UsageError: one line each.
    """

    def __init__(
        self,
        driver: AudioDriver,
        stream: HopStream,
        *,
        board: Board | None = None,
        out_map: dict[str, tuple[int, ...]] | None = None,
        in_map: dict[int, tuple[int, ...]] | None = None,
        allowance: int | None = None,
        fallback: Literal["dry", "silence"] = "dry",
        recorder: RingBuffer | None = None,
        effects: EffectStage | None = None,
        realtime: bool = True,
        device: str = "cpu",
    ) -> None:
        self.driver = driver
        self.stream = stream
        self.board = board or Board(stream.spec.stems, decks=stream.decks)
        self._out_map = out_map or {}
        self._in_map = in_map or {}
        self._allowance = allowance
        self._realtime = realtime and driver.paced
        self._fallback: Literal["dry", "silence"] = fallback
        self._recorder = recorder
        self._effects = effects
        self.effects = EffectControls(self.board, ())
        if effects is not None:
            self.effects = EffectControls(self.board, effects.parameters, effects.files)
        self._loads = Loads(device)
        self.board.publish_loads(self._loads.cpu, self._loads.gpu)
        self._worker: Worker | None = None
        self._port: RealtimePort | None = None
        self._latency: LatencyReport | None = None
        self._error = ""
        self._switch_interval = sys.getswitchinterval()
        self._frozen = False
        self._started_ns = 0

    # -- life ------------------------------------------------------------------------------------------

    def open(self) -> LatencyReport:
        """Open the device, lay out the memory, make everything warm. No sound yet."""
        spec = self.stream.spec
        fmt = self.driver.open()
        try:
            late = self._effects.delay if self._effects else 0
            self._latency = plan(spec, fmt, self._allowance, late)
            if fmt.out_channels > MAX_CHANNELS:
                raise UsageError(f"{fmt.out_channels} output channels: {MAX_CHANNELS} are the most")
            ways = routes(self._out_map, self.board, fmt.out_channels)
            decks = inputs(self._in_map, self.stream.decks, fmt.in_channels)
            hop = -(-spec.hop * fmt.sample_rate // spec.sample_rate)
            self._port = RealtimePort(
                fmt.in_channels,
                fmt.out_channels,
                2 * self._latency.stream + SPARE_HOPS * hop + SPARE_BLOCKS * fmt.block,
                self._latency.stream,
                fallback=self._fallback,
                sample_rate=fmt.sample_rate,
                decks=decks,
            )
            self._worker = Worker(
                self._port,
                self.stream,
                self.board,
                self._latency,
                routes=ways,
                silent=self._fallback == "silence",
                recorder=self._recorder,
                effects=self._effects,
                realtime=self._realtime,
                on_failure=self._fail,
            )
        except BaseException:
            self.driver.close()
            raise
        words = self.board.words
        words["sample_rate"] = fmt.sample_rate
        words["block"] = fmt.block
        words["out_channels"] = fmt.out_channels
        return self._latency

    def start(self) -> None:
        """Let it sound. Everything alive by now is taken out of the garbage collector's sight."""
        if self._worker is None or self._port is None:
            raise DeviceError("the engine has not been opened")
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch_interval, SWITCH_INTERVAL))
        gc.collect()
        gc.freeze()
        self._frozen = True
        self._worker.start()
        try:
            self.driver.start(self._port)
        except BaseException:
            self.stop()
            raise
        self._started_ns = time.monotonic_ns()
        self.board.set_state("running")

    def stop(self) -> None:
        """Fade out, stop the device, stop the worker. Safe to call twice."""
        if self._port is not None and self.driver.active and not self._error:
            self._port.closing = True
            latest = self._latency
            assert latest is not None
            time.sleep(min(0.1, 4.0 * (self._port.ramp + latest.allowance) / latest.sample_rate))
        self.driver.stop()
        if self._worker is not None:
            self._worker.stop()
        if self._frozen:
            gc.unfreeze()
            sys.setswitchinterval(self._switch_interval)
            self._frozen = False
        self.poll()
        if not self._error:
            self.board.set_state("stopped")

    def close(self) -> None:
        """Stop if need be, and give the device back."""
        self.stop()
        self.driver.close()

    def __enter__(self) -> Self:
        self.open()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- watching ----------------------------------------------------------------------------------------

    @property
    def latency(self) -> LatencyReport:
        """The stream's latency; known once it is open."""
        if self._latency is None:
            raise DeviceError("the engine has not been opened")
        return self._latency

    def poll(self) -> None:
        """Publish the callback's counters, and notice a device or worker that is gone."""
        if self._port is None:
            return
        if self._loads.look():
            self.board.publish_loads(self._loads.cpu, self._loads.gpu)
        counters = self._port.counters()
        self.board.publish_counters(counters)
        peaks = self._port.peaks
        self.board.words["peaks"][: len(peaks)] = peaks
        if self._started_ns and not self._error:
            last = max(counters["last_callback_ns"], self._started_ns)
            stale = time.monotonic_ns() - last > STALE_SECONDS * 1e9
            if self.driver.error is not None:
                self._fail(self.driver.error)
            elif stale and self.driver.active and not self._port.finished:
                self._fail("the audio device stopped calling: it was unplugged, or its server has ended")

    def wait(self, seconds: float | None = None) -> bool:
        """Watch until the stream ends by itself (True), or for so long (False).

        Raises:
            DeviceError: when the device disappears or the worker fails.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            self.poll()
            if self._error:
                raise DeviceError(self._error)
            left = 0.05 if deadline is None else min(0.05, deadline - time.monotonic())
            if left <= 0.0:
                return False
            if self.driver.wait(left):
                self.poll()
                if self.driver.error is not None:
                    raise DeviceError(self.driver.error)
                return True

    def telemetry(self) -> Telemetry:
        """What the engine has been through so far."""
        self.poll()
        return self.board.telemetry()

    def _fail(self, why: str) -> None:
        self._error = why
        self.board.set_state("failed", why)
