"""The ring against a queue, across threads, and across processes."""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from multiprocessing import shared_memory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from rtsep.rt.ring import RingBuffer, next_power_of_two, pop, push

_MODULUS = 1 << 20


@njit(nogil=True)
def _produce(words: Any, samples: Any, total: int, seed: int) -> None:
    """Push 0, 1, 2 ... in blocks of varying length; the second channel holds a checksum."""
    channels = samples.shape[1]
    block = np.zeros((37, channels), np.float32)
    sent = 0
    state = seed
    while sent < total:
        state = (state * 1103515245 + 12345) % 2147483648
        length = min(1 + state % 37, total - sent)
        for i in range(length):
            value = (sent + i) % _MODULUS
            block[i, 0] = value
            block[i, 1] = (value * 7 + 3) % _MODULUS
        sent += push(words, samples, block[:length])


@njit(nogil=True)
def _consume(words: Any, samples: Any, total: int, seed: int) -> int:
    """Pop `total` frames in blocks of varying length; returns how many were not what they should be."""
    channels = samples.shape[1]
    block = np.zeros((41, channels), np.float32)
    got = 0
    wrong = 0
    state = seed
    while got < total:
        state = (state * 1103515245 + 12345) % 2147483648
        length = min(1 + state % 41, total - got)
        count = pop(words, samples, block[:length])
        for i in range(count):
            value = (got + i) % _MODULUS
            if block[i, 0] != value or block[i, 1] != (value * 7 + 3) % _MODULUS:
                wrong += 1
        got += count
    return wrong


@settings(max_examples=200, deadline=None)
@given(
    channels=st.integers(1, 3),
    capacity=st.integers(1, 33),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 70)), max_size=60),
)
def test_it_behaves_like_a_bounded_queue(channels: int, capacity: int, moves: list[tuple[bool, int]]) -> None:
    ring = RingBuffer(channels, capacity)
    assert ring.capacity == next_power_of_two(capacity)
    queue: deque[tuple[float, ...]] = deque()
    pushed = popped = 0
    for pushing, length in moves:
        if pushing:
            block = np.arange(length * channels, dtype=np.float32).reshape(length, channels) + pushed
            count = ring.push(block)
            assert count == min(length, ring.capacity - len(queue))
            queue.extend(tuple(frame) for frame in block[:count].tolist())
            pushed += count
        else:
            block = np.full((length, channels), -1, np.float32)
            count = ring.pop(block)
            assert count == min(length, len(queue))
            assert [tuple(frame) for frame in block[:count].tolist()] == [
                queue.popleft() for _ in range(count)
            ]
            assert (block[count:] == -1).all()
            popped += count
        assert ring.read_available == len(queue)
        assert ring.write_available == ring.capacity - len(queue)
        assert (ring.write_position, ring.read_position) == (pushed, popped)


def test_a_slice_of_a_larger_array_is_pushed_and_popped_without_compiling() -> None:
    ring = RingBuffer(2, 8)
    wide = np.arange(24, dtype=np.float32).reshape(6, 4)
    assert ring.push(wide[::2, 1:3]) == 3
    out = np.zeros((6, 4), np.float32)
    assert ring.pop(out[::2, 2:]) == 3
    assert np.array_equal(out[::2, 2:], wide[::2, 1:3])
    assert len(push.signatures) == len(pop.signatures) == 1


def test_two_threads_pass_every_frame_once_and_in_order() -> None:
    total = 300_000
    ring = RingBuffer(2, 1024)
    _produce(ring.words, ring.samples, 0, 1)
    _consume(ring.words, ring.samples, 0, 1)
    producer = threading.Thread(target=_produce, args=(ring.words, ring.samples, total, 1))
    producer.start()
    wrong = _consume(ring.words, ring.samples, total, 2)
    producer.join()
    assert wrong == 0
    assert ring.write_position == ring.read_position == total


def _produce_into(name: str, total: int) -> None:
    memory = shared_memory.SharedMemory(name)
    ring = RingBuffer.attach(memory.buf)
    _produce(ring.words, ring.samples, total, 5)
    ring.release()
    memory.close()


def test_two_processes_pass_every_frame_once_and_in_order() -> None:
    total = 200_000
    memory = shared_memory.SharedMemory(create=True, size=RingBuffer.size_bytes(2, 1000))
    ring = RingBuffer(2, 1000, memory.buf)
    try:
        process = multiprocessing.get_context("spawn").Process(
            target=_produce_into, args=(memory.name, total), daemon=True
        )
        process.start()
        # In a thread, so that a producer that dies does not leave this waiting for ever.
        wrong: list[int] = []
        consumer = threading.Thread(
            target=lambda: wrong.append(_consume(ring.words, ring.samples, total, 6)), daemon=True
        )
        consumer.start()
        process.join(120)
        assert process.exitcode == 0
        consumer.join(30)
        assert wrong == [0]
        assert ring.read_position == total
    finally:
        ring.release()
        memory.close()
        memory.unlink()


def test_a_ring_is_found_again_in_its_memory() -> None:
    memory = bytearray(RingBuffer.size_bytes(3, 10))
    ring = RingBuffer(3, 10, memory)
    ring.push(np.ones((5, 3), np.float32))
    other = RingBuffer.attach(memory)
    assert (other.channels, other.capacity, other.read_available) == (3, 16, 5)


def test_a_new_ring_over_used_memory_is_empty() -> None:
    memory = bytearray(b"\xff" * RingBuffer.size_bytes(1, 4))
    assert RingBuffer(1, 4, memory).read_available == 0


def test_positions_lie_on_separate_cache_lines() -> None:
    ring = RingBuffer(1, 4)
    ring.push(np.zeros((3, 1), np.float32))
    ring.pop(np.zeros((2, 1), np.float32))
    (write,) = np.flatnonzero(ring.words[3:] == 3)
    (read,) = np.flatnonzero(ring.words[3:] == 2)
    assert abs(int(write) - int(read)) * 8 >= 64


@pytest.mark.parametrize(("channels", "capacity"), [(0, 4), (2, 0), (-1, 4), (2, -4)])
def test_impossible_sizes_are_refused(channels: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="channels and capacity"):
        RingBuffer(channels, capacity)


def test_unfit_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        RingBuffer(2, 64, bytearray(RingBuffer.size_bytes(2, 64) - 64))
    with pytest.raises(ValueError, match="writable"):
        RingBuffer(2, 64, bytes(RingBuffer.size_bytes(2, 64)))
    for nothing in (bytearray(8), bytearray(4096)):
        with pytest.raises(ValueError, match="no ring"):
            RingBuffer.attach(nothing)


@pytest.mark.parametrize(
    "block", [np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float64), np.zeros(4, np.float32)]
)
def test_a_block_of_another_shape_is_refused(block: Any) -> None:
    ring = RingBuffer(2, 8)
    with pytest.raises(ValueError, match="expected float32"):
        ring.push(block)
    with pytest.raises(ValueError, match="expected float32"):
        ring.pop(block)
    assert ring.write_position == 0
