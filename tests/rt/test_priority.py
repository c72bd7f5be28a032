"""A thread that rises is real-time where the system allows it, alone, and what it starts is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from rtsep.rt import priority

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="nobody to ask")
T = TypeVar("T")


def on_a_thread(work: Callable[[], T]) -> T:
    """What comes of it on a thread that ends with it."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def policy() -> tuple[int, int]:
    """Of the calling thread: the scheduler, without flags, and its level."""
    thread = threading.get_native_id()
    return (
        os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK,
        os.sched_getparam(thread).sched_priority,
    )


@pytest.mark.parametrize("level", [priority.KEEPER, priority.WORKER, priority.DEVICE])
def test_it_says_what_it_got(level: int) -> None:
    risen, (scheduler, got) = on_a_thread(lambda: (priority.rise(level), policy()))
    assert (scheduler, got) == ((os.SCHED_FIFO, level) if risen else (os.SCHED_OTHER, 0))
    assert policy() == (os.SCHED_OTHER, 0), "the thread that asked has risen, and no other"


def test_refused_is_false(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert on_a_thread(lambda: priority.rise(priority.WORKER)) is False


def test_what_it_starts_is_ordinary() -> None:
    def start() -> str:
        priority.rise(priority.WORKER)
        program = "import os; print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)"
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout

    assert int(on_a_thread(start)) == os.SCHED_OTHER


def test_levels_are_below_audio_servers_clients() -> None:
    assert 1 <= priority.KEEPER < priority.WORKER < priority.DEVICE < 5
