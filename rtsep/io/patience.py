"""Calls into an audio system that may never come back.

Libraries of audio wait for servers and devices without an end: for a card that has been pulled out, or for
a JACK whose shared memory was left locked by a program that was killed. Such a call is given a thread of its
own and, in the end, left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TooLateError(Exception):
    """A call has not come back in time; its thread is still in it."""


def within(seconds: float, action: Callable[[], T], name: str) -> T:
    """Run `action` in a thread and wait for it.

    Args:
        seconds: how long, at most.
        action: must release the GIL while it waits, as calls through cffi and ctypes do.
        name: of the thread.

    Returns:
        What `action` returns; what it raises is raised.

    Raises:
        TooLateError: when it has not come back in time. It may still do so later, to nobody.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not results:
        raise TooLateError(f"{name} has not come back after {seconds:g} s")
    return results[0]
