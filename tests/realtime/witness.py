"""A process of its own that compares a callback's count with the JACK server's.

Its interpreter is not the loaded one, so that it can look at both counts at the same moment whatever the
program under test does to itself. The server counts the periods it has run in shared memory
(`jack_last_frame_time`), no matter which client kept up; the callback counts its calls in the memory of
its port. The difference between the two grows by one with each period that the callback missed.

    python -m tests.realtime.witness MEMORY PERIOD

MEMORY is the shared memory of the port. For every line with a number of seconds on standard input, one
line of JSON: the periods that the server ran in that time, and how many the callback missed.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from multiprocessing import resource_tracker, shared_memory

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


def _look(clock: JackClock, port: RealtimePort, period: int) -> tuple[int, int]:
    """(periods of the server, how far the callback is behind), when the callback is as near as it gets.

    Within a period the callback comes after the server's count, so a single look may be one off.
    """
    nearest = None
    for _ in range(_LOOKS):
        periods = clock.frames() // period
        behind = periods - load(port.words, layout.CALLBACKS)
        if nearest is None or behind < nearest[1]:
            nearest = periods, behind
        time.sleep(0.0005)
    assert nearest is not None
    return nearest


def main() -> None:
    """Answer lines until standard input ends."""
    memory = shared_memory.SharedMemory(sys.argv[1])
    # The memory is the other process's, to remove as well.
    resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
    period = int(sys.argv[2])
    port = RealtimePort.attach(memory.buf)
    clock = JackClock()
    print("ready", flush=True)
    for line in sys.stdin:
        first, behind = _look(clock, port, period)
        time.sleep(float(line))
        last, behind_after = _look(clock, port, period)
        print(json.dumps({"periods": last - first, "missed": behind_after - behind}), flush=True)
    clock.close()
    port.release()
    memory.close()


if __name__ == "__main__":
    main()
