"""Fails a test that starts what runs in real time, unless it is marked as one that may.

Processes are seen by Python's own audit of them, whoever starts them; the paced driver by its start.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_PROGRAMS = ("jackd",)
_MODULES = ("rtsep.engine.child",)
_COMMANDS = ("live", "demo", "doctor")
_OPTIONS = ("--measure",)
_BROWSERS = ("playwright", "chrom")

_crowded = False
_installed = False


class NeedsMarkError(AssertionError):
    """A test without the mark has started something that runs in real time."""


def in_real_time(command: Sequence[str]) -> bool:
    """Whether a command starts a JACK server, an engine, a browser, or rtsep at a sound card's pace."""
    if not command:
        return False
    program = os.path.basename(command[0])
    if any(name in program for name in _BROWSERS) or "playwright" in command[0]:
        return True
    if any(os.path.basename(word) in _PROGRAMS for word in command):
        return True
    if any(word in _MODULES for word in command):
        return True
    for k, word in enumerate(command):
        if "rtsep.cli.main" in word or os.path.basename(word) == "rtsep":
            given = command[k + 1 :]
            runs = (given[:1] and given[0] in _COMMANDS) or any(option in given for option in _OPTIONS)
            return bool(runs) and "--help" not in given
    return False


def _refuse(what: str) -> None:
    raise NeedsMarkError(
        f"starts {what}: mark the test with pytest.mark.realtime, so that it runs after the crowd"
    )


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _crowded:
        return
    if event == "subprocess.Popen":
        command = [os.fsdecode(word) for word in arguments[1]]
        if in_real_time(command):
            _refuse(" ".join(command)[:200])
    elif event == "os.forkpty":
        _refuse("a program in a terminal")


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    sys.addaudithook(_audit)
    from rtsep.io.null import NullDriver

    start = NullDriver.start

    def watched(self: NullDriver, port: Any) -> None:
        if _crowded and self.paced:
            _refuse("a driver at a sound card's pace")
        start(self, port)

    NullDriver.start = watched  # type: ignore[method-assign]


@contextlib.contextmanager
def watching(marked: bool) -> Iterator[None]:
    """Refuse, while the block lasts, whatever only a test that is `marked` may start."""
    global _crowded
    _install()
    before, _crowded = _crowded, not marked
    try:
        yield
    finally:
        _crowded = before
