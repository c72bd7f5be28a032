"""One trial: a callback, native or Python, on a JACK server, while a load sits on the interpreter."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

from rtsep.io.devices import running_portaudio
from rtsep.io.portaudio import PortAudioDriver
from rtsep.rt import layout
from rtsep.rt.clock import now_ns
from rtsep.rt.port import RealtimePort
from tests.jack_server import JackServer
from tests.realtime.loads import under

_CAPACITY, _LATENCY = 8192, 1024
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What became of one trial.

    Attributes:
        callback: "native" or "python".
        load: by name; "none".
        periods: that the server ran.
        missed: of these, without a call of the callback.
        missed_by_control: of these, without a call of a native callback in another, idle process.
        xruns: calls to which PortAudio reported that input or output had been lost, by whomever: JACK
            tells every client of every client's, and of its own.
        longest_gap_ms: between two calls, on the system's clock.
    """

    callback: str
    load: str
    periods: int
    missed: int
    missed_by_control: int
    xruns: int
    longest_gap_ms: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@contextlib.contextmanager
def _native(server: JackServer, port: RealtimePort) -> Iterator[None]:
    driver = PortAudioDriver("system", "system", server.period, server.rate)
    driver.open()
    # No worker: the callback has the delayed input to play, which it finds without any Python.
    port.force_dry = True
    driver.start(port)
    try:
        yield
    finally:
        driver.close()


@contextlib.contextmanager
def _python(server: JackServer, port: RealtimePort) -> Iterator[None]:
    """What one would write with sounddevice: copy input to output, in Python."""

    def callback(source: Any, target: Any, frames: int, when: Any, status: Any) -> None:
        now, words = now_ns(), port.words
        target[:] = source
        if words[layout.CALLBACKS]:
            gap = now - words[layout.LAST_CALLBACK_NS]
            words[layout.MAX_GAP_NS] = max(words[layout.MAX_GAP_NS], gap)
        words[layout.LAST_CALLBACK_NS] = now
        words[layout.PA_INPUT_OVERFLOW] += bool(status.input_overflow)
        words[layout.PA_OUTPUT_UNDERFLOW] += bool(status.output_underflow)
        words[layout.CALLBACKS] += 1

    devices, channels = ("system", "system"), (2, 2)
    with (
        running_portaudio() as sounddevice,
        sounddevice.Stream(
            server.rate, server.period, devices, channels, "float32", "low", callback=callback
        ),
    ):
        yield


KINDS = {"native": _native, "python": _python}


def run(server: JackServer, kind: str, load: str | None, seconds: float) -> Outcome:
    """Have the callback called for `seconds` of audio under the load, and count."""
    shape = (2, 2, _CAPACITY, _LATENCY)
    memory = shared_memory.SharedMemory(create=True, size=RealtimePort.size_bytes(*shape))
    port = RealtimePort(*shape, buffer=memory.buf)
    try:
        with KINDS[kind](server, port), _witness(server, memory.name) as witness:
            assert witness.stdin is not None
            loaded = under(load) if load is not None else contextlib.nullcontext()
            before = port.counters()
            with loaded:
                witness.stdin.write(f"{seconds}\n")
                witness.stdin.flush()
                seen = json.loads(_answer(witness, seconds + 30))
            after = port.counters()
    finally:
        port.release()
        memory.close()
        memory.unlink()
    return Outcome(
        kind,
        load or "none",
        seen["periods"],
        seen["missed"],
        seen["control"],
        max(after[key] - before[key] for key in ("pa_input_overflow", "pa_output_underflow")),
        after["max_callback_gap_ns"] / 1e6,
    )


def _answer(process: subprocess.Popen[str], timeout: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    if not ready:
        raise TimeoutError(f"the witness has said nothing for {timeout:g} s")
    return process.stdout.readline()


@contextlib.contextmanager
def _witness(server: JackServer, memory: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.realtime.witness", memory, str(server.period)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )
    try:
        if _answer(process, 60) != "ready\n":
            raise RuntimeError("the witness did not come up")
        yield process
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)
        process.kill()
        process.wait()
