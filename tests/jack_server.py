"""A JACK server without a sound card, of its own, for one test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

import psutil
import pytest

from tests import audio_server

_ENVIRONMENT = {
    "JACK_NO_START_SERVER": "1",
    # Without a session bus the reservation of a (non-existent) card can only fail.
    "JACK_NO_AUDIO_RESERVATION": "1",
}


class JackServer:
    """`jackd` with its dummy driver, timed by the system clock; skips the test where there is no jackd.

    While the block lasts, this process and its children find the server under its own name, so that
    servers of other tests, or a real one, are never touched.
    """

    def __init__(
        self, name: str = "test", rate: int = 44100, period: int = 128, outputs: int = 2, inputs: int = 2
    ) -> None:
        self.name = f"rtsep-{name}-{os.getpid()}"
        self.rate = rate
        self.period = period
        self.outputs = outputs
        self.inputs = inputs
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving = contextlib.ExitStack()

    def __enter__(self) -> JackServer:
        if shutil.which("jackd") is None or shutil.which("jack_wait") is None:
            pytest.skip("jackd is not installed")
        driver = ["-d", "dummy", "-r", str(self.rate), "-p", str(self.period)]
        driver += ["-P", str(self.outputs), "-C", str(self.inputs)]
        command = ["jackd", "-n", self.name, "-r", *driver]
        with contextlib.ExitStack() as leaving:
            leaving.enter_context(audio_server.place())
            patch = leaving.enter_context(pytest.MonkeyPatch.context())
            for key, value in {**_ENVIRONMENT, "JACK_DEFAULT_SERVER": self.name}.items():
                patch.setenv(key, value)
            leaving.callback(self.stop)
            _forget_dead_servers()
            self._process = audio_server.begin(command)
            self._await()
            self._leaving = leaving.pop_all()
        return self

    def _await(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"jackd ended with {self._process.returncode}")
            waiting = ["jack_wait", "-s", self.name, "-w", "-t", "2"]
            try:
                # It has been told when to give up, and does not where the server accepts it and is stuck.
                answer = subprocess.run(waiting, capture_output=True, text=True, check=False, timeout=10)
            except subprocess.TimeoutExpired:
                continue
            if "server is available" in answer.stdout + answer.stderr:
                return
            time.sleep(0.05)
        raise RuntimeError("jackd did not come up within 20 s")

    @property
    def pid(self) -> int:
        """Of jackd."""
        assert self._process is not None
        return self._process.pid

    def run(self, *command: str, timeout: float = 10) -> str:
        """Run a JACK tool against this server; returns what it printed."""
        return audio_server.tell(command, timeout)

    def stop(self) -> None:
        """End the server, as if the device were pulled out. May be called more than once."""
        if self._process is not None:
            audio_server.end(self._process)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()


def _forget_dead_servers() -> None:
    """Remove what killed servers and clients left in shared memory.

    JACK counts eight servers of ours and then refuses; and a client that is killed while it looks into the
    database of ports' properties leaves it locked, for every server to come. Only where no server runs at
    all, so that a real one is never touched.
    """
    names = {process.info["name"] for process in psutil.process_iter(["name"])}
    if names & {"jackd", "jackdbus", "pipewire-jack"}:
        return
    memory = Path("/dev/shm")
    if any(memory.glob("jack_rtsep-*")):
        for left in [*memory.glob("jack_rtsep-*"), *memory.glob("jack-*")]:
            left.unlink(missing_ok=True)
    shutil.rmtree(memory / f"jack_db-{os.getuid()}", ignore_errors=True)
