"""A command run to its end, and what it took: time, processors, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtsep.spec import RtsepError, UsageError

LOOK_SECONDS = 0.02
"""How often memory is looked at."""


@dataclass(frozen=True)
class Took:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of processors, its children's among them.
        peak_mb: the most memory that it had, with its children; what they share counts for each.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(command: Sequence[str], environment: dict[str, str]) -> Took:
    """Run it; nothing else must have been started that could end meanwhile.

    Raises:
        UsageError: when psutil is missing.
        RtsepError: with the command's last line, when it fails.
    """
    try:
        import psutil
    except ModuleNotFoundError:
        raise UsageError("memory is watched with psutil: pip install 'rtsep[bench]'") from None
    before, began, peak = os.times(), time.monotonic(), 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                peak = max(peak, _resident(watched))
                time.sleep(LOOK_SECONDS)
        taken, after = time.monotonic() - began, os.times()
        if process.returncode:
            said.seek(0)
            raise RtsepError(last_line(said.read()))
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(taken, spent, peak / 1e6)


def last_line(said: str) -> str:
    """Why a program failed, as results may keep it: where this environment lies is no part of them."""
    line = (said.strip().splitlines() or ["nothing was said"])[-1]
    return line.removeprefix("rtsep: ").replace(f"{sys.prefix}{os.sep}", "")


def _resident(process: Any) -> int:
    """Bytes of a process and its children, as far as they are still there."""
    import psutil

    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:
        pass
    return total
