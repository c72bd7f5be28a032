"""How many threads can help: one for each core that this process may use, and no more.

Two threads on one core take turns: a step then waits for whichever has not had its turn yet.
"""

from __future__ import annotations

import os
from pathlib import Path

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def physical_cores() -> int:
    """Cores that this process may run on; the two halves of a core that runs two threads count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        siblings = Path(_SIBLINGS.format(cpu))
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def useful(threads: int) -> int:
    """So many threads, or as many as there are cores where that is less."""
    return min(threads, physical_cores())
