"""Atomic loads and stores with acquire and release ordering, for numba code.

numba emits plain loads and stores, which both LLVM and the processor may reorder. A position in a
lock-free ring is a promise ("the samples below this are written"), so it has to be published with
release ordering and read with acquire ordering. On x86 these cost nothing over a plain `mov`; on
ARM they are `stlr` and `ldar`.

The intrinsics work on slots of one-dimensional int64 arrays, 8-byte aligned. They can be called from
`@njit` and `@cfunc` code only; `load` and `store` are their counterparts for Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils
from numpy.typing import NDArray

# numba types it as if it were called with what it is defined with, which is not so.
intrinsic: Any = extending.intrinsic


def _slot(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [index], wraparound=False)


def _is_int64_vector(array: Any) -> bool:
    return isinstance(array, types.Array) and array.dtype == types.int64 and array.ndim == 1


@intrinsic
def load_acquire(typingctx: Any, array: Any, index: Any) -> Any:
    """`array[index]`, such that no later load or store is moved before it."""
    if not _is_int64_vector(array) or not isinstance(index, types.Integer):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        position = context.cast(builder, args[1], signature.args[1], types.intp)
        pointer = _slot(context, builder, signature.args[0], args[0], position)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, index), codegen


@intrinsic
def store_release(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index] = value`, such that no earlier load or store is moved after it."""
    if not _is_int64_vector(array) or not isinstance(index, types.Integer):
        return None
    if not isinstance(value, types.Integer):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        position = context.cast(builder, args[1], signature.args[1], types.intp)
        word = context.cast(builder, args[2], signature.args[2], types.int64)
        pointer = _slot(context, builder, signature.args[0], args[0], position)
        builder.store_atomic(word, pointer, "release", 8)
        return context.get_dummy_value()

    return types.none(array, index, value), codegen


@intrinsic
def full_fence(typingctx: Any) -> Any:
    """Sequentially consistent fence: also orders an earlier store before a later load."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def pointer_address(typingctx: Any, pointer: Any) -> Any:
    """The address in a `void *`, as an integer: 0 for NULL."""
    if pointer != types.voidptr:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(pointer), codegen


@njit(types.int64(types.int64[::1], types.int64), nogil=True, cache=True)
def _load(words: Any, index: int) -> int:
    return load_acquire(words, index)


@njit(types.none(types.int64[::1], types.int64, types.int64), nogil=True, cache=True)
def _store(words: Any, index: int, value: int) -> None:
    store_release(words, index, value)


def load(words: NDArray[np.int64], index: int) -> int:
    """Acquire-load `words[index]` from Python. `words`: int64, one-dimensional."""
    if not 0 <= index < len(words):
        raise IndexError(index)
    return int(_load(words, index))


def store(words: NDArray[np.int64], index: int, value: int) -> None:
    """Release-store `value` into `words[index]` from Python. `words`: int64, one-dimensional."""
    if not 0 <= index < len(words):
        raise IndexError(index)
    _store(words, index, value)
