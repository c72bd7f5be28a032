"""Real-time priority for the thread that asks for it, where the system lets it have that.

What separates a hop has as little time as what plays it: beside an ordinary program that computes, an
ordinary thread waits for its turn longer than a hop lasts. Levels lie below those of audio servers and their
clients (JACK gives its own 10 and its clients 5, PipeWire more): a worker never holds up a callback.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading

KEEPER = 1
"""Of a thread that shares an interpreter with a worker: were it ordinary, another program could stop it
while it holds the interpreter's lock, and the worker with it."""
WORKER = 2
DEVICE = 3
"""Of a thread that stands in for a sound card."""
WITNESS = 50
"""Of a thread that only looks at the clock, above all that it is to tell of."""
_QOS_USER_INTERACTIVE = 0x21
"""`QOS_CLASS_USER_INTERACTIVE` in macOS' <sys/qos.h>."""


def rise(level: int) -> bool:
    """Give the calling thread real-time priority; False where that is not allowed.

    Linux: SCHED_FIFO (sched(7)), which takes a limit `rtprio` or root; what the thread starts does not
    inherit it. Windows: "Pro Audio" of the multimedia class scheduler. macOS: the highest quality of service.

    Args:
        level: `KEEPER`, `WORKER`, `DEVICE` or `WITNESS`; only Linux tells them apart.
    """
    if hasattr(os, "sched_setscheduler"):
        try:
            policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(threading.get_native_id(), policy, os.sched_param(level))
        except OSError:
            return False
        return True
    if sys.platform == "win32":
        return _pro_audio()
    if sys.platform == "darwin":
        return _user_interactive()
    return False


def _pro_audio() -> bool:
    try:
        join = ctypes.WinDLL("avrt").AvSetMmThreadCharacteristicsW  # type: ignore[attr-defined, unused-ignore]
    except (OSError, AttributeError):
        return False
    join.argtypes, join.restype = [ctypes.c_wchar_p, ctypes.POINTER(ctypes.c_ulong)], ctypes.c_void_p
    return bool(join("Pro Audio", ctypes.byref(ctypes.c_ulong(0))))


def _user_interactive() -> bool:
    try:
        choose = ctypes.CDLL(None).pthread_set_qos_class_self_np
    except (OSError, AttributeError):
        return False
    choose.argtypes, choose.restype = [ctypes.c_uint, ctypes.c_int], ctypes.c_int
    return int(choose(_QOS_USER_INTERACTIVE, 0)) == 0
