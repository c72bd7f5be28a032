"""The atomics: that they are emitted, and that they order a message behind its flag."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numba import njit

from rtsep.rt.fences import full_fence, load, load_acquire, store, store_release


@njit(nogil=True)
def _publish(words: Any, payload: Any, rounds: int) -> None:
    for i in range(1, rounds + 1):
        while load_acquire(words, 8) != i - 1:
            pass
        for k in range(payload.shape[0]):
            payload[k] = i * (k + 1)
        store_release(words, 0, i)


@njit(nogil=True)
def _receive(words: Any, payload: Any, rounds: int) -> int:
    wrong = 0
    for i in range(1, rounds + 1):
        while load_acquire(words, 0) != i:
            pass
        for k in range(payload.shape[0]):
            if payload[k] != i * (k + 1):
                wrong += 1
        store_release(words, 8, i)
    return wrong


@njit
def _all(words: Any) -> int:
    store_release(words, 1, 5)
    full_fence()
    return load_acquire(words, 1)  # type: ignore[no-any-return]


def test_the_compiled_code_carries_the_orderings() -> None:
    assert _all(np.zeros(4, np.int64)) == 5
    (code,) = _all.inspect_llvm().values()
    # Optimisation may fold the load, never the store or the fence.
    assert "store atomic i64" in code and "release" in code
    assert "fence seq_cst" in code


def test_a_load_in_compiled_code_is_atomic() -> None:
    _receive(np.ones(16, np.int64), np.zeros(0, np.int64), 1)
    (code,) = _receive.inspect_llvm().values()
    assert "load atomic i64" in code and "acquire" in code


def test_a_message_is_whole_when_its_flag_is_seen() -> None:
    words, payload, rounds = np.zeros(16, np.int64), np.zeros(32, np.int64), 20
    _publish(np.zeros(16, np.int64), payload, 0)  # compile before the two depend on each other
    _receive(np.zeros(16, np.int64), payload, 0)
    sender = threading.Thread(target=_publish, args=(words, payload, rounds))
    sender.start()
    wrong = _receive(words, payload, rounds)
    sender.join()
    assert wrong == 0
    assert words[0] == words[8] == rounds


def test_python_can_load_and_store() -> None:
    words = np.zeros(4, np.int64)
    store(words, 2, -(1 << 40))
    assert load(words, 2) == -(1 << 40)
    assert list(words) == [0, 0, -(1 << 40), 0]


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_outside_is_refused(index: int) -> None:
    words = np.zeros(4, np.int64)
    with pytest.raises(IndexError):
        load(words, index)
    with pytest.raises(IndexError):
        store(words, index, 1)
    assert not words.any()
