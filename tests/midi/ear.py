"""A JACK client, in a process of its own, that plays a steady level and writes down what comes back and when.

    python -m tests.midi.ear FILE

Says "ready" when it runs; a line on its standard input ends it. FILE is then a NumPy archive: `heard`, the
samples; `blocks`, for each callback the number of its first sample; `times`, when that was, in seconds of
`time.monotonic`, which all processes share.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from rtsep.io.devices import running_portaudio

LEVEL = 0.25
RATE = 44100


def main(file: str) -> None:
    """Listen until told to stop."""
    heard: list[np.ndarray[Any, Any]] = []
    times: list[float] = []

    def callback(source: Any, target: Any, frames: int, when: Any, status: Any) -> None:
        times.append(time.monotonic())
        heard.append(source[:, 0].copy())
        target[:] = LEVEL

    with (
        running_portaudio() as sounddevice,
        sounddevice.Stream(RATE, 0, ("system", "system"), (1, 1), "float32", "low", callback=callback),
    ):
        print("ready", flush=True)
        sys.stdin.readline()
    lengths = [len(block) for block in heard[: len(times)]]
    blocks = np.cumsum([0, *lengths[:-1]])
    np.savez(file, heard=np.concatenate(heard), blocks=blocks, times=np.array(times))


if __name__ == "__main__":
    main(sys.argv[1])
