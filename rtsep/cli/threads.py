"""How many threads a command uses, and what it says where that is fewer than were asked for."""

from __future__ import annotations

from rtsep.backends.threads import useful
from rtsep.cli.errors import warn


def capped(threads: int) -> int:
    """What `--threads` comes to: no more than there are cores, with one line where that is less."""
    count = useful(threads)
    if count < threads:
        cores = "1 core" if count == 1 else f"{count} cores"
        warn(f"--threads {threads}: there are {cores}, more would only wait for each other: {count} used")
    return count
