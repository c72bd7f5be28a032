"""Hop times as a histogram, and the snapshot that a poller reads.

A histogram rather than a list: its size does not depend on how long the set lasts, one process adds to it
while others read, and p99.9 of three hours costs what p99.9 of a minute costs. Sixty-four buckets an
octave: a percentile is read as its bucket's upper edge, so it is never told better than it was, and at
most 1.1 % worse. The maximum is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE = 64
SHORTEST_NS = 1000.0
BUCKETS = 24 * PER_OCTAVE
"""From a microsecond to sixteen seconds."""

FIRST_HOPS = 8
"""Hops after a start that are counted apart: caches are cold, and the device is only beginning."""


class HopTimes:
    """Compute times of hops, over memory that others may read.

    Args:
        counts: int64 (BUCKETS,), hops by time.
        facts: int64 (3,): number of hops, longest in ns, longest of the first `FIRST_HOPS` in ns.
    """

    def __init__(self, counts: NDArray[np.int64], facts: NDArray[np.int64]) -> None:
        self._counts = counts
        self._facts = facts

    def add(self, nanoseconds: int) -> None:
        """Count one hop. Only the worker calls this."""
        facts = self._facts
        facts[0] += 1
        if facts[0] <= FIRST_HOPS:
            facts[2] = max(int(facts[2]), nanoseconds)
            return
        facts[1] = max(int(facts[1]), nanoseconds)
        octaves = math.log2(max(nanoseconds, SHORTEST_NS) / SHORTEST_NS)
        self._counts[min(int(octaves * PER_OCTAVE), BUCKETS - 1)] += 1

    @property
    def hops(self) -> int:
        """Hops so far, the first ones included."""
        return int(self._facts[0])

    @property
    def longest(self) -> float:
        """Seconds; the first hops apart."""
        return float(self._facts[1]) * 1e-9

    @property
    def longest_first(self) -> float:
        """Seconds; longest of the first `FIRST_HOPS`."""
        return float(self._facts[2]) * 1e-9

    def percentile(self, percent: float) -> float:
        """Seconds within which `percent` of the hops were done; NaN before any was."""
        return min(percentile(self._counts, percent), self.longest)

    def counts(self) -> NDArray[np.int64]:
        """A copy of the histogram, int64 (BUCKETS,): two of them differ by the hops in between."""
        return self._counts.copy()


def percentile(counts: NDArray[np.int64], percent: float) -> float:
    """Seconds within which `percent` of the hops of a histogram were done; NaN where it holds none."""
    total = int(counts.sum())
    if total == 0:
        return math.nan
    bucket = int(np.searchsorted(np.cumsum(counts), math.ceil(total * percent / 100.0)))
    return float(SHORTEST_NS * 2.0 ** ((bucket + 1) / PER_OCTAVE) * 1e-9)


@dataclass(frozen=True)
class Telemetry:
    """What the engine has been through, at one moment.

    Attributes:
        state: "starting", "running", "stopped" or "failed".
        error: why it failed, or "".
        seconds: of audio since the stream opened.
        deadline: seconds in which a hop must be computed for the stream to keep up.
        hops: computed so far.
        hop_p50, hop_p99, hop_p999, hop_max: seconds of computing, the first hops apart.
        first_hops_max: seconds, longest of the first hops.
        load: share of the deadline that computing takes, on average over the last second.
        underruns: times the output was not there when due, each crossfaded to dry.
        late_hops: hops that came too late to be heard at all.
        bad_hops: hops that the model spoiled with NaN or runaway values, replaced by dry, of all decks.
        deck_bad_hops: the same of each deck.
        jumps: times the worker fell so far behind that input was lost.
        resets: hot resets.
        xruns: overflows and underflows that the device itself reported.
        counters: everything the audio callback counted, by name.
        peaks: output peak of each device channel, linear.
        stem_levels: RMS of each stem after its gain, linear, by name; "2/vocals" where there are decks, and
            then before the crossfader.
        record_lost: frames that the recorder could not take.
        reduction_db: what the limiter takes away, 0 or less: a meter that falls at once and rises slowly.
        effects_replaced: hops in which an effect chain failed, replaced by its dry input.
        realtime: the worker has real-time priority.
        block: frames that the device handed over last.
        planned_block: the same when the stream was opened; its latency holds for no more than these.
        cpu_load: of the engine's process, in cores, over the last second; NaN before there was one.
        gpu_load: share of the last second in which the GPU computed, for whomever; NaN where it is not known.
    """

    state: str
    error: str
    seconds: float
    deadline: float
    hops: int
    hop_p50: float
    hop_p99: float
    hop_p999: float
    hop_max: float
    first_hops_max: float
    load: float
    underruns: int
    late_hops: int
    bad_hops: int
    jumps: int
    resets: int
    xruns: int
    counters: dict[str, int] = field(default_factory=dict)
    peaks: tuple[float, ...] = ()
    stem_levels: dict[str, float] = field(default_factory=dict)
    record_lost: int = 0
    reduction_db: float = 0.0
    effects_replaced: int = 0
    deck_bad_hops: tuple[int, ...] = ()
    realtime: bool = False
    block: int = 0
    planned_block: int = 0
    cpu_load: float = math.nan
    gpu_load: float = math.nan

    @property
    def outgrown(self) -> bool:
        """An audio server hands over more at once than there was when the stream was opened: what is
        computed comes too late for good, until that is set back or the stream is opened anew."""
        return self.block > self.planned_block > 0

    @property
    def shrunk(self) -> bool:
        """An audio server hands over less at once than there was when the stream was opened, which stays as
        late as it was laid out to be; what the device itself adds may have become less than was reported."""
        return 0 < self.block < self.planned_block
