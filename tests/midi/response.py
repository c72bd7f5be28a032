"""Control to audio: from a MIDI message at a JACK port to a change of level at another."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rtsep
from rtsep.midi.mapping import MappingFile
from rtsep.midi.surface import Surface, Wanted
from tests.jack_server import JackServer
from tests.midi.ear import LEVEL
from tests.midi.pads import Pads

MAPPING = MappingFile("response", 'format = 1\n[[map]]\ncc = 7\naddress = "master/gain"\ntakeover = "jump"\n')
FULL, SILENT = 80, 0
"""Values of the controller at which the master is at 0 dB, and silent."""

AROUND = 20
SETTLED = 512
"""Samples after which a change has stayed."""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Response:
    """How long it took.

    Attributes:
        to_desk: seconds from sending a message to the new value in the engine's shared memory.
        to_sound: to the first sample that differs by a hundredth of the change; NaN where the engine was just
            then late and its fallback was heard.
        to_middle: to the first one past the middle of the change.
    """

    to_desk: float
    to_sound: float
    to_middle: float


def measure(
    server: JackServer, folder: Path, model: str | Path, turns: int, pause: float = 0.25, **options: Any
) -> list[Response]:
    """Turn the master down and up so many times, with an engine in its own process, and listen.

    Args:
        server: on which everything runs.
        folder: for what was heard.
        model: name or folder.
        turns: messages.
        pause: seconds between two.
        options: for the engine.
    """
    with rtsep.Engine(model, input="system", output="system", **options) as engine, Pads("response") as pads:
        engine.desk.set_limiter(False)
        with Surface(engine.desk, [Wanted("response", MAPPING)], api="jack") as surface:
            _until(lambda: surface.controllers[0].input.is_open)
            with _listening(server, folder / "heard.npz"):
                sent = []
                for turn in range(turns):
                    value = SILENT if turn % 2 == 0 else FULL
                    version = engine.desk.version
                    begin = time.monotonic()
                    pads.send(0xB0, 7, value)
                    while engine.desk.version == version and time.monotonic() < begin + 2.0:
                        time.sleep(0.0001)
                    sent.append((begin, time.monotonic() - begin, 0.0 if value == SILENT else LEVEL))
                    # Not in step with the server's periods.
                    time.sleep(pause + 0.0037 * (turn % 7))
    return _responses(folder / "heard.npz", sent)


def _until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class _listening:
    """The ear, wired to the engine, while the block lasts; it has written its file when the block is left."""

    def __init__(self, server: JackServer, file: Path) -> None:
        self._server, self._file = server, file

    def __enter__(self) -> None:
        ours = set(self._server.run("jack_lsp").split())
        command = [sys.executable, "-m", "tests.midi.ear", str(self._file)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        theirs = set(self._server.run("jack_lsp").split()) - ours
        ear_in, ear_out = (next(p for p in theirs if f":{side}_" in p) for side in ("in", "out"))
        engine = next(p for p in ours if p.endswith(":in_0")).split(":")[0]
        # What the dummy card plays is silence; it may stay connected.
        for target in (f"{engine}:in_0", f"{engine}:in_1"):
            self._server.run("jack_connect", ear_out, target)
        self._server.run("jack_connect", f"{engine}:out_0", ear_in)
        time.sleep(1.0)

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate("\n", timeout=20)
        finally:
            self._process.kill()
            self._process.wait()


def _responses(file: Path, sent: list[tuple[float, float, float]]) -> list[Response]:
    with np.load(file) as kept:
        heard, blocks, times = kept["heard"], kept["blocks"], kept["times"]
    rate = 44100.0
    # A callback that is late does not make its samples late: the earliest of those around it tells when they
    # were due. Not of all: where the server skipped a period, later samples are later.
    offsets = times - blocks / rate
    due = np.array([offsets[max(0, k - AROUND) : k + AROUND + 1].min() for k in range(len(offsets))])
    numbers = np.arange(len(heard))
    when = numbers / rate + due[np.searchsorted(blocks, numbers, "right") - 1]
    found = []
    for begin, to_desk, level in sent:
        window = np.flatnonzero((when >= begin) & (when < begin + 0.2))
        start = LEVEL - level
        if len(window) < 2 * SETTLED or abs(np.median(heard[window[:32]]) - start) > 0.05 * LEVEL:
            found.append(Response(to_desk, np.nan, np.nan))
            continue
        share = (heard[window] - start) / (level - start)
        # An underrun, in which the input is heard as it is, is no change: it does not stay.
        past = np.flatnonzero(share[:-SETTLED] > 0.5)
        middle = next((k for k in past if np.median(share[k + 64 : k + SETTLED]) > 0.99), None)
        if middle is None:
            found.append(Response(to_desk, np.nan, np.nan))
            continue
        first = int(np.flatnonzero(share[:middle] <= 0.01)[-1]) + 1
        found.append(Response(to_desk, *(float(when[window[k]] - begin) for k in (first, middle))))
    return found
