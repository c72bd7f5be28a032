"""Silence for what C libraries print by themselves."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_users = 0
_saved = -1


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what libraries print while the block runs to nowhere.

    They write to the file descriptor; Python's `sys.stderr` is not involved. It is the whole process's:
    what other threads print meanwhile is lost as well. Blocks nest and overlap; the last one to end restores.
    """
    redirected = _redirect()
    try:
        yield
    finally:
        if redirected:
            _restore()


def _redirect() -> bool:
    global _users, _saved
    with _lock:
        if _users == 0:
            try:
                _saved = os.dup(2)
            except OSError:  # there is no stderr to protect
                return False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _users += 1
    return True


def _restore() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            os.dup2(_saved, 2)
            os.close(_saved)
