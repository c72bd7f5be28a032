"""What jack_iodelay finds between its output and its input."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Iterable, Iterator

from tests import audio_server
from tests.jack_server import JackServer
from tests.pipewire_server import PipeWireServer

OUT, IN = "jack_delay:out", "jack_delay:in"
_AGREEING = 3
_FOUND = re.compile(rb"([\d.]+) frames +[\d.]+ ms total roundtrip latency$")


@contextlib.contextmanager
def meter(server: JackServer | PipeWireServer) -> Iterator[subprocess.Popen[bytes]]:
    """jack_iodelay on the server, as the client "jack_delay", connected to nothing yet."""
    # It writes to a terminal line by line, and to a pipe not before it has kilobytes to say.
    command = ["stdbuf", "-oL", "jack_iodelay"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 20
        while IN not in server.run("jack_lsp").split():
            assert process.poll() is None and time.monotonic() < deadline, "jack_iodelay did not come up"
            time.sleep(0.05)
        yield process
    finally:
        # Told to end, it leaves the server; killed, it may leave JACK's database locked.
        audio_server.end(process)
        assert process.stdout is not None
        process.stdout.close()


def measure(
    server: JackServer | PipeWireServer,
    process: subprocess.Popen[bytes],
    wires: Iterable[tuple[str, str]],
    seconds: float = 60,
) -> float:
    """Round trip in frames through the connections given, once three readings in a row agree."""
    wires = list(wires)
    readings = _read(process, time.monotonic() + seconds)
    # What it has said or still says of other wires is over once it hears nothing.
    if not any(reading is None for reading in readings):
        raise AssertionError(f"jack_iodelay hears what is not connected, for {seconds:g} s")
    for source, target in wires:
        server.run("jack_connect", source, target)
    last: list[float] = []
    try:
        for reading in readings:
            last = [*last[1 - _AGREEING :], reading] if reading is not None else []
            if len(last) == _AGREEING and max(last) - min(last) < 0.1:
                return sum(last) / _AGREEING
        raise AssertionError(f"jack_iodelay found nothing steady in {seconds:g} s; last {last}")
    finally:
        for source, target in wires:
            server.run("jack_disconnect", source, target)


def _read(process: subprocess.Popen[bytes], deadline: float) -> Iterator[float | None]:
    """What it says until then, frames: None where it hears nothing or doubts what it hears."""
    assert process.stdout is not None
    handle = process.stdout.fileno()
    # What lies in the pipe is old.
    while select.select([handle], [], [], 0)[0]:
        os.read(handle, 65536)
    rest = b""
    while time.monotonic() < deadline:
        if not select.select([handle], [], [], 0.5)[0]:
            continue
        *lines, rest = (rest + os.read(handle, 65536)).split(b"\n")
        for line in lines:
            if b"total roundtrip" in line or b"Signal" in line:
                # What it doubts it marks at the end of the line, which then does not match.
                found = _FOUND.search(line)
                yield float(found[1]) if found else None
