"""What a benchmark's figures were taken on, and whether that machine had anything else to do.

Asked before anything is measured: a benchmark's own work must not pass for that of other programs.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rtsep.backends.threads import physical_cores

BUSY = 0.25
"""Share of the processors' time that others take, from which on absolute times mean little."""
BUSY_LOAD = 0.5
"""The same as load average over cores, where the system does not tell the processors' time."""
LOOK_SECONDS = 0.5
"""How long others are watched. The load average alone remembers the last minute, and with it the benchmark
that ran before this one."""

_CHECKOUT = Path(__file__).parents[2]
_PROC_STAT = Path("/proc/stat")
_MACHINE_ID = Path("/etc/machine-id")
_TIMES = slice(1, 9)
"""Where a line of /proc/stat has the times that do not hold each other (proc(5))."""
_IDLE = slice(3, 5)
"""Of these, what was not used: idle, and waiting for a disk."""


def describe() -> dict[str, Any]:
    """Processor, cores, load, Python, the date, rtsep's version and, in a checkout, its commit.

    To be called before a benchmark begins; it looks at what others do for half a second.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = os.cpu_count() or 1
    share = busy_share(LOOK_SECONDS)
    by_load = load is not None and load > BUSY_LOAD * cores
    return {
        "processor": _processor(),
        "cores": cores,
        "physical_cores": physical_cores(),
        "system": platform.system(),
        "host": _host(),
        "python": platform.python_version(),
        "load_average": None if load is None else round(load, 2),
        "busy_share": None if share is None else round(share, 3),
        "busy": by_load if share is None else share > BUSY,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": _version(),
        "commit": _commit(),
    }


def busy_share(seconds: float) -> float | None:
    """Share of all processors' time that is used in the next seconds; None where the system does not say."""
    before = _processor_times()
    time.sleep(seconds if before else 0.0)
    after = _processor_times()
    spent = [then - first for first, then in zip(before, after, strict=False)]
    return 1.0 - sum(spent[_IDLE]) / sum(spent) if sum(spent) > 0 else None


def identity(machine: dict[str, Any]) -> tuple[Any, ...]:
    """What two runs must share for their absolute times to be compared.

    Runs from before there was "host" share that they have none.
    """
    return machine["processor"], machine["cores"], machine["system"], machine.get("host")


def in_words(machine: dict[str, Any]) -> str:
    """One line for people: what it is, and whether it was busy."""
    load, share = machine["load_average"], machine.get("busy_share")
    words = [machine["processor"], f"{machine['cores']} cores"]
    if share is not None:
        words.append(f"{100.0 * share:.0f} % in use before")
    elif load is not None:
        words.append(f"load average {load:g}")
    return ", ".join(words) + (" (busy)" if machine["busy"] else "")


def _processor_times() -> list[int]:
    """What all processors have spent their time with; nothing where the system does not say."""
    try:
        line = _PROC_STAT.read_text(encoding="ascii").splitlines()[0]
        return [int(field) for field in line.split()[_TIMES]]
    except (OSError, IndexError, ValueError):
        return []


def _host() -> str | None:
    """Tells two machines of one kind apart, and nobody which they are: the machine's id, hashed."""
    try:
        own = _MACHINE_ID.read_bytes().strip()
    except OSError:
        return None
    # With a key of our own, as machine-id(5) asks: others' hashes of the same id must not match.
    return hashlib.blake2b(own, key=b"rtsep bench", digest_size=6).hexdigest() if own else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version() -> str:
    try:
        return version("rtsep")
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str | None:
    """The checkout's commit; None where rtsep is installed, or git is not."""
    git = shutil.which("git")
    if git is None or not (_CHECKOUT / ".git").exists():
        return None
    found = subprocess.run(
        [git, "-C", str(_CHECKOUT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
