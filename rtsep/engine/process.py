"""An engine in a process of its own, steered through shared memory.

Whatever the controlling process does, load a plug-in, collect garbage, draw a page, hold the
interpreter for a second: the engine's worker never waits for it.
"""

from __future__ import annotations

import json
import subprocess
import time
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from rtsep import spec as errors
from rtsep.effects.parameters import EffectParameter
from rtsep.engine.board import STATES, Board
from rtsep.engine.effect_controls import EffectControls
from rtsep.engine.latency import LatencyReport, Part
from rtsep.engine.memory import SharedFile
from rtsep.engine.options import EngineOptions
from rtsep.engine.spawn import Child, spawn
from rtsep.engine.telemetry import Telemetry
from rtsep.rt.ring import RingBuffer
from rtsep.separators.registry import find
from rtsep.spec import DeviceError, RtsepError

STOP_SECONDS = 5.0
RECORD_SECONDS = 8.0
"""How long the recorder's disk may stand still before anything is lost."""


class ProcessEngine:
    """The same as `InProcessEngine`, but elsewhere.

    Args:
        options: what to run.
        record: make a ring of stems and mix, `recorder`, that somebody in this process empties.
        child: the engine's process, if it has been started already; it is this object's from then on.

    Attributes:
        effects: what can be moved of the chains; known once it is open.

    Raises (from `open` and `start`):
        RtsepError: whatever the engine's process could not do, in one line.
    """

    def __init__(self, options: EngineOptions, record: bool = False, child: Child | None = None) -> None:
        self.options = options
        package = find(options.model)
        self.spec = package.spec
        self._shared = SharedFile(Board.size_bytes())
        self.board = Board(self.spec.stems, self._shared.buffer, options.decks)
        self.effects = EffectControls(self.board, ())
        self.precision = self.options.precision
        self.recorder: RingBuffer | None = None
        self._tape: SharedFile | None = None
        if record:
            channels = (len(self.board.strips) + 1) * self.spec.channels
            capacity = int(RECORD_SECONDS * self.spec.sample_rate)
            self._tape = SharedFile(RingBuffer.size_bytes(channels, capacity))
            self.recorder = RingBuffer(channels, capacity, self._tape.buffer)
        self._process: subprocess.Popen[str] | None = None if child is None else child.process
        self._complaints = None if child is None else child.complaints
        self._told = self._prepared = False
        self._latency: LatencyReport | None = None

    def prepare(self) -> None:
        """Start the process and load the model there. The device is left to whoever has it."""
        if self._process is None:
            child = spawn()
            self._process, self._complaints = child.process, child.complaints
        task = {
            "options": self.options.to_json(),
            "board": str(self._shared.path),
            "recorder": str(self._tape.path) if self._tape else None,
            "recorder_size": len(self._tape.buffer) if self._tape else 0,
        }
        try:
            self._say(json.dumps(task))
            self._told = True
            self._answer("prepared")
            self._prepared = True
        except BaseException:
            self.close()
            raise
        self._shared.forget()
        if self._tape:
            self._tape.forget()

    def open(self) -> LatencyReport:
        """Open the device, with all that comes before it. No sound yet."""
        if not self._prepared:
            self.prepare()
        try:
            self._say("open")
            answer = self._answer("opened")
            self._latency = _latency(answer["latency"])
            parameters = tuple(EffectParameter.from_plain(fields) for fields in answer["effects"])
            self.effects = EffectControls(self.board, parameters, self.options.effects)
            self.precision = str(answer["precision"])
        except BaseException:
            self.close()
            raise
        return self._latency

    def start(self) -> None:
        """Let it sound."""
        try:
            self._say("start")
            self._answer("running")
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Fade out and end the process. Safe to call twice."""
        process = self._process
        if process is None:
            return
        self.board.request_stop()
        if not self._told:
            # Nothing to end in order: it loads libraries, and would notice only when it has them all.
            process.kill()
        if process.stdin is not None and not process.stdin.closed:
            try:
                process.stdin.close()
            except BrokenPipeError:
                process.stdin = None  # it has died already, which is what we want
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def close(self) -> None:
        """Stop, and give the memory back; telemetry stays readable."""
        self.stop()
        self._shared.forget()
        if self._tape:
            self._tape.forget()
        if self._complaints is not None:
            self._complaints.close()

    def __enter__(self) -> Self:
        self.open()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def latency(self) -> LatencyReport:
        """The stream's latency; known once it is open."""
        if self._latency is None:
            raise DeviceError("the engine has not been opened")
        return self._latency

    @property
    def pid(self) -> int | None:
        """Number of the engine's process while it runs."""
        return None if self._process is None else self._process.pid

    def wait(self, seconds: float | None = None) -> bool:
        """Watch until the engine ends by itself (True), or for so long (False).

        Raises:
            DeviceError: when the device disappears or the engine's process dies.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            self._check_alive()
            left = 0.05 if deadline is None else min(0.05, deadline - time.monotonic())
            if left <= 0.0:
                return False
            if self._process is None or STATES[int(self.board.words["state"])] == "stopped":
                return True
            time.sleep(left)

    def telemetry(self) -> Telemetry:
        """What the engine has been through so far."""
        return self.board.telemetry()

    # -- talking to the process ----------------------------------------------------------------------------

    def _check_alive(self) -> None:
        if STATES[int(self.board.words["state"])] == "failed":
            raise DeviceError(self.board.telemetry().error)
        if self._process is not None and self._process.poll() is not None:
            raise DeviceError(f"the engine's process ended by itself: {self._last_words()}")

    def _say(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise DeviceError(f"the engine's process has ended: {self._last_words()}") from None

    def _answer(self, event: str) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise DeviceError(f"the engine's process has ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if answer["event"] == "error":
            kind = getattr(errors, answer["kind"], RtsepError)
            raise kind(answer["message"])
        if answer["event"] != event:
            raise DeviceError(f"the engine's process said {answer['event']!r} in place of {event!r}")
        return answer

    def _last_words(self) -> str:
        assert self._complaints is not None
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints.read().splitlines() if line.strip()]
        code = None if self._process is None else self._process.poll()
        return lines[-1] if lines else f"exit code {code}"


def _latency(plain: dict[str, Any]) -> LatencyReport:
    """The inverse of `child.describe`."""
    parts = tuple(Part(name, Fraction(top, bottom), meaning) for name, top, bottom, meaning in plain["parts"])
    return LatencyReport(plain["sample_rate"], parts, plain["stream"], plain["prefill"], plain["allowance"])
