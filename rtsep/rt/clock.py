"""The monotonic clock and sleeping, callable from compiled code without the interpreter.

The operating system's functions are referred to by symbol name, not by address, so that compiled code
that uses them can be cached on disk; their structures live on the stack, so that the audio thread
allocates nothing. Linux: `clock_gettime`, `clock_nanosleep`; macOS: `clock_gettime`, `nanosleep`;
Windows: `QueryPerformanceCounter`, `Sleep`.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import binding, ir
from numba import extending, njit, types
from numba.core import cgutils

# numba types it as if it were called with what it is defined with, which is not so.
intrinsic: Any = extending.intrinsic

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_WINDOWS = sys.platform == "win32"
_MACOS = sys.platform == "darwin"
_CLOCK_MONOTONIC = 6 if _MACOS else 1
_TIMER_ABSTIME = 1

if _WINDOWS:
    binding.load_library_permanently("kernel32.dll")


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    signature = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), args)


def _read_posix(builder: Any, _: Any) -> Any:
    spec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
    seconds, nanoseconds = (cgutils.gep_inbounds(builder, spec, 0, i) for i in range(2))
    _call(builder, "clock_gettime", _I32, _I32(_CLOCK_MONOTONIC), seconds)
    whole = builder.mul(builder.load(seconds), _I64(1_000_000_000))
    return builder.add(whole, builder.load(nanoseconds))


def _read_windows(builder: Any, _: Any) -> Any:
    ticks_at, rate_at = (cgutils.alloca_once(builder, _I64) for _ in range(2))
    _call(builder, "QueryPerformanceCounter", _I32, ticks_at)
    _call(builder, "QueryPerformanceFrequency", _I32, rate_at)
    ticks, rate, giga = builder.load(ticks_at), builder.load(rate_at), _I64(1_000_000_000)
    # Whole seconds first: ticks times a thousand million would overflow within days.
    whole = builder.mul(builder.sdiv(ticks, rate), giga)
    part = builder.sdiv(builder.mul(builder.srem(ticks, rate), giga), rate)
    return builder.add(whole, part)


def _sleep_linux(builder: Any, deadline: Any) -> None:
    spec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
    seconds, nanoseconds = (cgutils.gep_inbounds(builder, spec, 0, i) for i in range(2))
    builder.store(builder.sdiv(deadline, _I64(1_000_000_000)), seconds)
    builder.store(builder.srem(deadline, _I64(1_000_000_000)), nanoseconds)
    nowhere = cgutils.get_null_value(seconds.type)
    _call(builder, "clock_nanosleep", _I32, _I32(_CLOCK_MONOTONIC), _I32(_TIMER_ABSTIME), seconds, nowhere)


def _sleep_macos(builder: Any, deadline: Any) -> None:
    spec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
    seconds, nanoseconds = (cgutils.gep_inbounds(builder, spec, 0, i) for i in range(2))
    remaining = builder.sub(deadline, _read_posix(builder, None))
    with builder.if_then(builder.icmp_signed(">", remaining, _I64(0))):
        builder.store(builder.sdiv(remaining, _I64(1_000_000_000)), seconds)
        builder.store(builder.srem(remaining, _I64(1_000_000_000)), nanoseconds)
        _call(builder, "nanosleep", _I32, seconds, cgutils.get_null_value(seconds.type))


def _sleep_windows(builder: Any, deadline: Any) -> None:
    remaining = builder.sub(deadline, _read_windows(builder, None))
    with builder.if_then(builder.icmp_signed(">", remaining, _I64(0))):
        milliseconds = builder.trunc(builder.sdiv(remaining, _I64(1_000_000)), _I32)
        _call(builder, "Sleep", ir.VoidType(), milliseconds)


@intrinsic
def clock_ns(typingctx: Any) -> Any:
    """Nanoseconds of a clock that never goes back; on Linux that of `time.monotonic_ns`.

    For compiled code; `now_ns` is the same for Python.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _read_windows(builder, None) if _WINDOWS else _read_posix(builder, None)

    return types.int64(), codegen


@intrinsic
def sleep_once(typingctx: Any, deadline_ns: Any) -> Any:
    """Ask the system to sleep until `clock_ns()` is `deadline_ns`; a signal may end it early."""
    if not isinstance(deadline_ns, types.Integer):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        deadline = context.cast(builder, args[0], signature.args[0], types.int64)
        if _WINDOWS:
            _sleep_windows(builder, deadline)
        elif _MACOS:
            _sleep_macos(builder, deadline)
        else:
            _sleep_linux(builder, deadline)
        return context.get_dummy_value()

    return types.none(deadline_ns), codegen


@njit(types.none(types.int64), nogil=True, cache=True)
def sleep_until(deadline_ns: int) -> None:
    """Sleep until `clock_ns()` is `deadline_ns`, without the GIL.

    The deadline is absolute, so that a caller that adds up periods never drifts.
    """
    while clock_ns() < deadline_ns:
        sleep_once(deadline_ns)


@njit(types.int64(), nogil=True, cache=True)
def now_ns() -> int:
    """`clock_ns` for Python."""
    return clock_ns()
