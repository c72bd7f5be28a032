"""A lock-free ring of audio frames between one producer and one consumer.

Positions are absolute frame counts that only grow, so that full and empty need no extra slot and a
slot is `position & (capacity - 1)`. Each side writes one position only; the two sit on cache lines of
their own, so that the sides do not invalidate each other's with every block. A position is published
with release ordering after the samples, and read by the other side with acquire ordering before them.

The memory can be the caller's, for instance `multiprocessing.shared_memory`, in which case two
processes lay a `RingBuffer` each over the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from rtsep.rt.fences import load_acquire, store_release

CACHE_LINE = 64
_WORDS_PER_LINE = CACHE_LINE // 8

# int64 words at the start of the memory: a line of constants, then a line for each position.
_MAGIC, _CHANNELS, _CAPACITY = 0, 1, 2
_WRITE = _WORDS_PER_LINE
_READ = 2 * _WORDS_PER_LINE
_HEADER_WORDS = 3 * _WORDS_PER_LINE
_MAGIC_VALUE = 0x72747365702D7231

# Given, so that all is compiled on import and nothing in a loop that must not wait; the block may be a
# slice of a larger array.
_SIGNATURE = types.int64(types.int64[::1], types.float32[:, ::1], types.float32[:, :])


def next_power_of_two(value: int) -> int:
    """The least power of two that is `value` or more; 1 for anything below."""
    return 1 << max(0, value - 1).bit_length()


@njit(_SIGNATURE, nogil=True, cache=True)
def push(words: Any, samples: Any, block: Any) -> int:
    """Append as many frames of `block` as there is room for; returns how many. Never waits.

    words: the ring's int64 header; samples: its float32 (capacity, channels); block: float32
    (frames, channels). Only the producer may call it. Allocates nothing and needs no GIL.
    """
    capacity = samples.shape[0]
    position = words[_WRITE]
    room = capacity - (position - load_acquire(words, _READ))
    count = min(block.shape[0], room)
    slot = position & (capacity - 1)
    first = min(count, capacity - slot)
    for i in range(first):
        for c in range(samples.shape[1]):
            samples[slot + i, c] = block[i, c]
    for i in range(count - first):
        for c in range(samples.shape[1]):
            samples[i, c] = block[first + i, c]
    store_release(words, _WRITE, position + count)
    return count


@njit(_SIGNATURE, nogil=True, cache=True)
def pop(words: Any, samples: Any, block: Any) -> int:
    """Take as many frames as there are, up to `block`'s length, into `block`; returns how many.

    The arguments are `push`'s. Only the consumer may call it.
    """
    capacity = samples.shape[0]
    position = words[_READ]
    ready = load_acquire(words, _WRITE) - position
    count = min(block.shape[0], ready)
    slot = position & (capacity - 1)
    first = min(count, capacity - slot)
    for i in range(first):
        for c in range(samples.shape[1]):
            block[i, c] = samples[slot + i, c]
    for i in range(count - first):
        for c in range(samples.shape[1]):
            block[first + i, c] = samples[i, c]
    # Release: the producer may overwrite these slots once it sees the new position.
    store_release(words, _READ, position + count)
    return count


@njit(types.int64(types.int64[::1]), nogil=True, cache=True)
def _filled(words: Any) -> int:
    # Read first: the producer can then only have added to what is counted, so this is never negative.
    read = load_acquire(words, _READ)
    return load_acquire(words, _WRITE) - read


class RingBuffer:
    """Single producer, single consumer, float32 interleaved (frames, channels).

    `capacity` is rounded up to a power of two. `buffer` is any writable buffer of at least
    `size_bytes(channels, capacity)` bytes, 8-byte aligned; without it the ring owns its memory.
    A new ring is empty. Raises ValueError on impossible sizes or a buffer that is too small.

    `words` and `samples` are the arguments that the compiled `push` and `pop` take, for use inside
    other compiled code.
    """

    def __init__(self, channels: int, capacity: int, buffer: Any = None) -> None:
        if channels < 1 or capacity < 1:
            raise ValueError(f"a ring needs channels and capacity, got {channels} and {capacity}")
        capacity = next_power_of_two(capacity)
        if buffer is None:
            buffer = np.zeros(self.size_bytes(channels, capacity) // 8, np.int64)
        self._map(buffer, channels, capacity)
        self.words[:] = 0
        self.words[_CHANNELS] = channels
        self.words[_CAPACITY] = capacity
        self.words[_MAGIC] = _MAGIC_VALUE

    @staticmethod
    def size_bytes(channels: int, capacity: int) -> int:
        """Bytes that a ring of this shape occupies."""
        samples = next_power_of_two(capacity) * channels * 4
        return _HEADER_WORDS * 8 + -(-samples // CACHE_LINE) * CACHE_LINE

    @classmethod
    def attach(cls, buffer: Any) -> RingBuffer:
        """The ring that another object, perhaps in another process, has laid over `buffer`.

        Raises ValueError if there is none.
        """
        if len(memoryview(buffer).cast("B")) < _HEADER_WORDS * 8:
            raise ValueError("there is no ring in this buffer")
        header = np.frombuffer(buffer, np.int64, _HEADER_WORDS)
        if header[_MAGIC] != _MAGIC_VALUE:
            raise ValueError("there is no ring in this buffer")
        ring = cls.__new__(cls)
        ring._map(buffer, int(header[_CHANNELS]), int(header[_CAPACITY]))
        return ring

    def _map(self, buffer: Any, channels: int, capacity: int) -> None:
        if len(memoryview(buffer).cast("B")) < self.size_bytes(channels, capacity):
            raise ValueError(f"a ring of {channels} x {capacity} does not fit its buffer")
        self.channels = channels
        self.capacity = capacity
        self.words: NDArray[np.int64] = np.frombuffer(buffer, np.int64, _HEADER_WORDS)
        self.samples: NDArray[np.float32] = np.frombuffer(
            buffer, np.float32, capacity * channels, offset=_HEADER_WORDS * 8
        ).reshape(capacity, channels)
        if not self.words.flags.writeable:
            raise ValueError("a ring needs a writable buffer")

    def push(self, block: NDArray[np.float32]) -> int:
        """Append frames of `block` (frames, channels); returns how many fitted. Producer only."""
        return int(push(self.words, self.samples, self._checked(block)))

    def pop(self, block: NDArray[np.float32]) -> int:
        """Fill the start of `block` (frames, channels); returns how many frames. Consumer only."""
        return int(pop(self.words, self.samples, self._checked(block)))

    def _checked(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        if block.dtype != np.float32 or block.ndim != 2 or block.shape[1] != self.channels:
            raise ValueError(f"expected float32 (frames, {self.channels}), got {block.dtype} {block.shape}")
        return block

    @property
    def read_available(self) -> int:
        """Frames that the consumer can take now; more may have come by the time it does."""
        # A third thread may see a write from after its read: what it counts can exceed what fits.
        return min(int(_filled(self.words)), self.capacity)

    @property
    def write_available(self) -> int:
        """Frames that the producer can append now."""
        return self.capacity - self.read_available

    @property
    def write_position(self) -> int:
        """Frames ever appended."""
        return int(self.words[_WRITE])

    @property
    def read_position(self) -> int:
        """Frames ever taken."""
        return int(self.words[_READ])

    def release(self) -> None:
        """Let go of the memory, so that a shared memory block under it can be closed."""
        self.words = np.zeros(_HEADER_WORDS, np.int64)
        self.samples = np.zeros((0, self.channels), np.float32)
