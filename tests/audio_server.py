"""Programs that a test starts beside itself, such as an audio server, and ends for certain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_LOCK = Path(tempfile.gettempdir(), f"rtsep-tests-audio-servers-{os.getuid()}")

_HELD = "RTSEP_TESTS_AUDIO_SERVERS"
"""Tells the children of a process that has the place, and itself, that it is theirs."""


@contextlib.contextmanager
def place() -> Iterator[None]:
    """Where a server may run: waits until no other tests, of whichever checkout, have one.

    Audio servers share a registry and a database in the system's memory, which one that begins may clear
    while another does. A test may have several, as it begins one after the other.
    """
    if _HELD in os.environ:
        yield
        return
    with _LOCK.open("w") as handle, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(handle, fcntl.LOCK_EX)
        patch.setenv(_HELD, str(os.getpid()))
        yield


def begin(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a server, which says nothing and ends with this process, even if that is killed."""
    if shutil.which("setpriv") is not None:
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and make it after five seconds. May be called more than once."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tell(command: Sequence[str], timeout: float) -> str:
    """Run a tool; returns what it printed. Raises RuntimeError with that where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout
