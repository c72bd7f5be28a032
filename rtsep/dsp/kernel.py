"""How every compiled kernel of the streaming path is compiled, and the array types they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Complexes = NDArray[np.complex64]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(signature: str, *, reorder: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function for exactly the types in `signature`, to run without the interpreter lock.

    A function that is compiled at its first call, or again for a new type or memory layout, would
    stop a stream for seconds. With its types stated it is compiled, or read from the cache, when its
    module is imported, and any other type is a TypeError.

    Args:
        signature: numba's, with the return type.
        reorder: let sums be reordered so that they vectorise. The order is then the compiler's, the
            same at every call; it may differ between processors.
    """
    # NaN and infinities keep their meaning in either case: a guard further on looks for them.
    fastmath = {"contract", "reassoc"} if reorder else {"contract"}
    decorate = njit(signature, nogil=True, cache=True, fastmath=fastmath, error_model="numpy")
    return cast("Callable[[_Function], _Function]", decorate)
