"""What a benchmark's figures were taken on, and whether that machine had anything else to do."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rtsep.backends.threads import physical_cores

BUSY = 0.5
"""Load average, as a share of the cores, from which on absolute times mean little."""

_CHECKOUT = Path(__file__).parents[2]


def describe() -> dict[str, Any]:
    """Processor, cores, load, Python, the date, rtsep's version and, in a checkout, its commit."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = os.cpu_count() or 1
    return {
        "processor": _processor(),
        "cores": cores,
        "physical_cores": physical_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": None if load is None else round(load, 2),
        "busy": load is not None and load > BUSY * cores,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": _version(),
        "commit": _commit(),
    }


def identity(machine: dict[str, Any]) -> tuple[Any, ...]:
    """What two runs must share for their absolute times to be compared."""
    return machine["processor"], machine["cores"], machine["system"]


def in_words(machine: dict[str, Any]) -> str:
    """One line for people: what it is, and whether it was busy."""
    load = machine["load_average"]
    busy = "" if load is None else f", load average {load:g}" + (" (busy)" if machine["busy"] else "")
    return f"{machine['processor']}, {machine['cores']} cores{busy}"


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
