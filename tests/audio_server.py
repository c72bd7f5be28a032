"""Programs that a test starts beside itself, such as an audio server, and ends for certain."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence


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
