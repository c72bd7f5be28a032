"""How often the machine itself stands still, told by a process that does nothing but look at the clock.

A late hop may be the engine's fault or the machine's: virtual machines are stopped by their hosts, laptops by
their firmware. One thread on each processor sleeps for a millisecond at a time and notes when it wakes far
too late, with the priority that audio threads have where it is allowed that. Run as a program it watches
until its input ends, and then prints what it saw. Times are those of `time.monotonic`, which processes share.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rtsep.rt import priority

NAP_SECONDS = 0.001
_PROC_STAT = Path("/proc/stat")
_STEAL = 8
"""Where a line of /proc/stat says how long a virtual processor was kept waiting by its host (proc(5))."""


class Stop(NamedTuple):
    """A processor stood still: seconds of the clock at which it ran again, and for how many it had not."""

    ended: float
    seconds: float


@dataclass(frozen=True)
class Seen:
    """What the machine did by itself.

    Attributes:
        stops: of all processors, those longer than the limit.
        longest_ms: the longest of all sleeps, beyond what had been asked for.
        realtime: other programs cannot have been the reason: it had real-time priority.
        stolen_seconds: what the host of a virtual machine took of its processors' time; None where the
            system does not say.
    """

    stops: tuple[Stop, ...]
    longest_ms: float
    realtime: bool
    stolen_seconds: float | None

    def longer(self, seconds: float) -> tuple[Stop, ...]:
        """The stops that lasted longer than this, which is at least the limit."""
        return tuple(stop for stop in self.stops if stop.seconds > seconds)


class Witness:
    """Watches from entry to exit; then `seen` says what there was.

    Args:
        limit: seconds from which on a stop is noted.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.seen: Seen | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "rtsep.bench.witness", repr(self._limit)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told, _ = self._process.communicate()
        # Without it the benchmark is as good; only the reason for a late hop is not known.
        if self._process.returncode == 0:
            read = json.loads(told)
            self.seen = Seen(**{**read, "stops": tuple(Stop(*stop) for stop in read["stops"])})


class _Watch:
    """One processor's."""

    def __init__(self, processor: int | None, limit: float) -> None:
        self.stops: list[Stop] = []
        self.longest = 0.0
        self.realtime = False
        self._processor = processor
        self._limit = limit

    def run(self, ended: threading.Event) -> None:
        if self._processor is not None:
            os.sched_setaffinity(threading.get_native_id(), {self._processor})
            self.realtime = priority.rise(priority.WITNESS)
        last = time.monotonic()
        while not ended.is_set():
            time.sleep(NAP_SECONDS)
            now = time.monotonic()
            late = now - last - NAP_SECONDS
            last = now
            self.longest = max(self.longest, late)
            if late > self._limit:
                self.stops.append(Stop(now, late))


def stolen_seconds() -> float | None:
    """What the host has taken of all processors' time since the machine started."""
    try:
        fields = _PROC_STAT.read_text(encoding="ascii").splitlines()[0].split()
        return int(fields[_STEAL]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def watch(limit: float, ended: threading.Event) -> Seen:
    """Watch every processor that this process may use until it is told to end."""
    processors: list[int | None] = [None]
    if hasattr(os, "sched_getaffinity"):
        processors = list(os.sched_getaffinity(0))
    watches = [_Watch(processor, limit) for processor in processors]
    before = stolen_seconds()
    threads = [threading.Thread(target=each.run, args=(ended,), daemon=True) for each in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = stolen_seconds()
    stolen = None if before is None or after is None else after - before
    return Seen(
        stops=tuple(sorted(stop for each in watches for stop in each.stops)),
        longest_ms=1e3 * max(each.longest for each in watches),
        realtime=all(each.realtime for each in watches),
        stolen_seconds=stolen,
    )


def main() -> None:
    """Watch until standard input ends."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    print(json.dumps(asdict(watch(float(sys.argv[1]), ended))))


if __name__ == "__main__":
    main()
