"""Three ways in which a Python program keeps its interpreter to itself; and hands all over a desk."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtsep.control.desk import Desk
from rtsep.spec import UsageError

HOLD_MICROSECONDS = 25_000
"""The GIL at a time: more than eight blocks of 128 frames at 44.1 kHz."""


def _hold_the_gil(stop: threading.Event) -> None:
    # PyDLL, unlike CDLL, does not let go of the GIL for the call, as a badly behaved extension does not.
    if sys.platform == "win32":
        sleep, amount = ctypes.PyDLL("kernel32").Sleep, HOLD_MICROSECONDS // 1000
    else:
        sleep, amount = ctypes.PyDLL(None).usleep, HOLD_MICROSECONDS
    while not stop.is_set():
        sleep(amount)


def _keep_busy(stop: threading.Event) -> None:
    total = 0
    while not stop.is_set():
        for i in range(1000):
            total += i * i


def _collect_garbage(stop: threading.Event) -> None:
    # Cycles enough for a collection to take tens of milliseconds.
    litter: list[list[object]] = [[] for _ in range(300_000)]
    for i, item in enumerate(litter):
        item.append(litter[i - 1])
    while not stop.is_set():
        gc.collect()
    for item in litter:
        item.clear()


LOADS: dict[str, Callable[[threading.Event], None]] = {
    "GIL held 25 ms at a time": _hold_the_gil,
    "busy Python thread": _keep_busy,
    "gc.collect loop": _collect_garbage,
}


@contextmanager
def under(load: str) -> Iterator[None]:
    """Run the named load in a thread of this process while the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=LOADS[load], args=(stop,), name=load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def gesturing(desk: Desk, clients: int, pause: float = 0.001) -> Iterator[None]:
    """Move everything that a desk has, at random, from so many threads while the block lasts."""
    stop = threading.Event()

    def client(seed: int) -> None:
        rng = random.Random(seed)
        seen = -1
        while not stop.is_set():
            address = rng.choice(desk.addresses)
            if desk.parameter(address).kind == "name":
                with contextlib.suppress(UsageError):  # Recalled before it was captured.
                    desk.set(address, rng.choice(("verse", "chorus")))
            else:
                desk.set_normalised(address, rng.random(), fade=rng.choice((0.0, 20.0, 500.0)))
            seen, _ = desk.changes_since(seen)
            time.sleep(pause)

    threads = [threading.Thread(target=client, args=(seed,), daemon=True) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
