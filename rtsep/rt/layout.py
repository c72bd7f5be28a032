"""Where everything lies in the memory that the audio callback touches.

One block of memory, so that another process can map it: a header of int64 words, the output peaks,
the table of the crossfade, the input ring, the output ring. Words are grouped by who writes them, each
group on cache lines of its own, so that reading a counter never slows the audio thread.

    line 0-1    constants, written once by the constructor
    line 2      position of the stream's clock           audio thread
    line 3      extent of the finished output            worker
    line 4      requests                                 whoever controls the stream
    line 5-8    counters and state                       audio thread
    line 9      counters                                 worker
    line 10     the decks' input channels, a constant
    line 11     levels of the decks in the dry signal    worker
    line 12     the same, as they are on the way there   audio thread
"""

from __future__ import annotations

import zlib
from pathlib import Path

# Constants.
MAGIC = 0
IN_CHANNELS = 1
OUT_CHANNELS = 2
CAPACITY = 3
LATENCY = 4
RAMP = 5
SILENT_FALLBACK = 6
SAMPLE_RATE = 7
PEAKS_AT = 8
"""Offsets, like the next three, are in float32 units from the start of the memory."""
TABLE_AT = 9
IN_AT = 10
OUT_AT = 11
TOTAL_BYTES = 12
DECKS = 13

# Audio thread: frames that have come in since the stream opened. Released after the samples.
CLOCK = 16

# Worker: output is valid in [OUT_START, OUT_END). OUT_END is released last.
OUT_END = 24
OUT_START = 25

# Requests: 1 while wanted.
FORCE_DRY = 32
CLOSING = 33

# Audio thread: counters.
CALLBACKS = 40
UNDERRUNS = 41
UNDERRUN_FRAMES = 42
PA_INPUT_OVERFLOW = 43
PA_OUTPUT_UNDERFLOW = 44
BAD_INPUT = 45
BAD_OUTPUT = 46
GAPS = 47
MISSED = 48
MAX_GAP_NS = 49
LAST_CALLBACK_NS = 50
MAX_CALLBACK_NS = 51
TOTAL_CALLBACK_NS = 52
FIRST_STREAM_NS = 53
LAST_STREAM_NS = 54
FINISHED = 55
LAST_FRAMES = 56

# Audio thread: state of the crossfade.
FADE = 64
"""0 all dry ... RAMP all wet."""
HEADING_WET = 65
EDGE = 66
"""Where the unbroken wet signal that is being heard ends."""
STARVED = 67
GATE = 68
"""0 silent ... RAMP open; falls while CLOSING."""
READY_RUN = 69
"""Frames for which the wet signal has been there without a break."""

# Worker: counters.
LATE_HOPS = 72
INPUT_OVERRUNS = 73

# Constants: of each deck, the input channels that are its left and right.
DECK_CHANNELS = 80

# Worker: of each deck, the amplitude at which the dry signal has it, in units of 1 / ONE.
DRY_LEVEL = 88

# Audio thread: the amplitude it is at now.
DRY_NOW = 96
ONE = 1 << 24
"""Fixed point: whole numbers are written and read whole, and one is exactly one."""

HEADER_WORDS = 104


def _source_stamp() -> int:
    # The callback's compiled code is cached on disk by the age of its own file only, while it has the
    # numbers above and the ring's code frozen into it. This stamp is part of the cache's key, and of
    # the memory's header: neither stale code nor another version's process can misread the memory.
    here = Path(__file__).parent
    stamp = 0
    for name in ("layout.py", "fences.py", "clock.py", "callback.py", "port.py"):
        stamp = zlib.crc32((here / name).read_bytes(), stamp)
    return 0x72740000_00000000 | stamp


SOURCE_STAMP = _source_stamp()
