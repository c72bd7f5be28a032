"""What the process has in memory stays there, where the system allows it.

A page that the system has put aside comes back from disk in milliseconds, and it puts aside what has not been
touched for a while: the weights of a deck that pauses, while another program wants memory.
"""

from __future__ import annotations

import ctypes
import sys

_CURRENT, _ON_FAULT = 1, 4
"""`MCL_CURRENT` and `MCL_ONFAULT` of <sys/mman.h>: what is there now, and pages of it as they are touched.

Not what is mapped later: beyond the limit `memlock` that would fail for want of memory.
"""


def lock_memory() -> bool:
    """Lock this process's memory (mlockall(2)); False where that is not allowed, or not known."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        lock = ctypes.CDLL(None).mlockall
    except (OSError, AttributeError):
        return False
    return int(lock(_CURRENT | _ON_FAULT)) == 0
