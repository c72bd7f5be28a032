"""Starts an engine's process. Imports nothing that takes time: the process loads what it needs meanwhile.

Most of the time from the command to the first sound goes into loading libraries, here and there. Started
before this process loads its own, the other one has loaded them by the time it is told what to do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Child:
    """An engine's process that waits for its task; it ends when its standard input does.

    Attributes:
        process: the process.
        complaints: what it writes to its standard error.
    """

    process: subprocess.Popen[str]
    complaints: IO[str]


def spawn() -> Child:
    """Start one."""
    complaints = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by who takes it
    process = subprocess.Popen(
        [sys.executable, "-m", "rtsep.engine.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
    )
    return Child(process, complaints)
