"""A process of its own that compares a callback's count with the JACK server's.

Its interpreter is not the loaded one, so that it can look at both counts at the same moment whatever the
program under test does to itself. The server counts the periods it has run in shared memory
(`jack_last_frame_time`), no matter which client kept up; the callback counts its calls in the memory of
its port. The difference between the two grows by one with each period that the callback missed.

The witness runs a native callback of its own as well, the control: with an interpreter that has nothing
to do, whatever that misses is the machine's doing.

    python -m tests.realtime.witness MEMORY PERIOD

MEMORY is the shared memory of the port. For every line with a number of seconds on standard input, one
line of JSON: the periods that the server ran in that time, and how many of them the callback and the
control missed.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from multiprocessing import resource_tracker, shared_memory

from rtsep.io.portaudio import PortAudioDriver
from rtsep.rt import layout
from rtsep.rt.fences import load
from rtsep.rt.port import RealtimePort

_NO_SERVER_START = 1
_LOOKS = 40


class JackClock:
    """The server's count of frames, as an idle client sees it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libjack.so.0")
        self._library.jack_client_open.restype = ctypes.c_void_p
        self._library.jack_last_frame_time.restype = ctypes.c_uint32
        status = ctypes.c_int()
        client = self._library.jack_client_open(b"witness", _NO_SERVER_START, ctypes.byref(status))
        if not client:
            raise RuntimeError(f"no JACK server, status {status.value}")
        self._client = ctypes.c_void_p(client)

    def frames(self) -> int:
        """At the beginning of the period that is running."""
        return int(self._library.jack_last_frame_time(self._client))

    def close(self) -> None:
        """Leave the server."""
        self._library.jack_client_close(self._client)


def _look(clock: JackClock, ports: list[RealtimePort], period: int) -> tuple[int, list[int]]:
    """(periods of the server, how far each callback is behind), when they are as near as they get.

    Within a period the callbacks come after the server's count, so a single look may be one off.
    """
    periods = 0
    nearest = [1 << 62] * len(ports)
    for _ in range(_LOOKS):
        periods = clock.frames() // period
        behind = (periods - load(port.words, layout.CALLBACKS) for port in ports)
        nearest = [min(pair) for pair in zip(nearest, behind, strict=True)]
        time.sleep(0.0005)
    return periods, nearest


def main() -> None:
    """Answer lines until standard input ends."""
    memory = shared_memory.SharedMemory(sys.argv[1])
    # The memory is the other process's, to remove as well.
    resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
    period = int(sys.argv[2])
    port = RealtimePort.attach(memory.buf)
    control = RealtimePort(2, 2, 4096, 1024)
    control.force_dry = True
    driver = PortAudioDriver("system", "system", period)
    driver.open()
    driver.start(control)
    clock = JackClock()
    control.wait(10 * period, timeout=10)
    print("ready", flush=True)
    for line in sys.stdin:
        first, before = _look(clock, [port, control], period)
        time.sleep(float(line))
        last, after = _look(clock, [port, control], period)
        missed, by_control = (b - a for a, b in zip(before, after, strict=True))
        print(json.dumps({"periods": last - first, "missed": missed, "control": by_control}), flush=True)
    driver.close()
    clock.close()
    port.release()
    memory.close()


if __name__ == "__main__":
    main()
