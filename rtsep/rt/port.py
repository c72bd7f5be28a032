"""The meeting place of the audio thread and the worker: rings, requests, counters, in one memory.

Time is counted in frames since the stream opened and is the same number on both sides. The callback
puts input at [t, t + frames) and takes output from [t, t + frames). The worker reads input at the
positions it wants and writes output at the positions where it is due.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from rtsep.rt import layout as at
from rtsep.rt.clock import clock_ns, sleep_once
from rtsep.rt.fences import full_fence, load, load_acquire, store, store_release
from rtsep.rt.ring import CACHE_LINE, next_power_of_two
from rtsep.spec import MAX_DECKS

Fallback = Literal["dry", "silence"]

WRITTEN = 0
LATE = 1
TOO_EARLY = 2


# Signatures are given, so that everything is compiled on import and nothing in the worker's loop; blocks
# may be slices of larger arrays (layout "A").
_WORDS = types.int64[::1]
_RING = types.float32[:, ::1]
_BLOCK = types.float32[:, :]
_POSITION = types.int64


@njit(types.boolean(_WORDS, _POSITION), nogil=True, cache=True)
def _overrun(words: Any, position: int) -> bool:
    # The callback may be writing a quarter of the ring beyond the time it has published.
    capacity = words[at.CAPACITY]
    return position < load_acquire(words, at.CLOCK) + capacity // 4 - capacity


@njit(types.boolean(_WORDS, _RING, _POSITION, _BLOCK), nogil=True, cache=True)
def _read(words: Any, ring: Any, position: int, target: Any) -> bool:
    count = target.shape[1]
    if load_acquire(words, at.CLOCK) < position + count:
        return False
    mask = ring.shape[0] - 1
    for i in range(count):
        for c in range(target.shape[0]):
            if position + i < 0:
                target[c, i] = np.float32(0.0)
            else:
                target[c, i] = ring[(position + i) & mask, c]
    # The check comes after the copy, as the callback may have lapped it meanwhile; the fence keeps
    # the copy's loads before it.
    full_fence()
    if _overrun(words, position):
        words[at.INPUT_OVERRUNS] += 1
        return False
    return True


@njit(types.int64(_WORDS, _RING, _POSITION, _BLOCK), nogil=True, cache=True)
def _write(words: Any, ring: Any, position: int, source: Any) -> int:
    count = source.shape[1]
    clock = load_acquire(words, at.CLOCK)
    if position + count <= clock:
        words[at.LATE_HOPS] += 1
        return LATE
    # The callback may still reflect the last `ramp` frames it has played, up to `ramp` frames later.
    capacity = ring.shape[0]
    if position + count > clock + capacity - capacity // 4 - 2 * words[at.RAMP] - 2:
        return TOO_EARLY
    end = words[at.OUT_END]
    if position > end:
        # A hole in front: what was valid before it no longer joins up. The order (start, then
        # samples, then end) lets the callback see an empty extent, never a wrong one.
        store_release(words, at.OUT_START, position)
    mask = capacity - 1
    for i in range(count):
        for c in range(source.shape[0]):
            ring[(position + i) & mask, c] = source[c, i]
    store_release(words, at.OUT_END, max(end, position + count))
    return WRITTEN


@njit(types.boolean(_WORDS, _POSITION, types.int64, types.int64), nogil=True, cache=True)
def _wait(words: Any, position: int, timeout_ns: int, poll_ns: int) -> bool:
    now = clock_ns()
    deadline = now + timeout_ns
    while load_acquire(words, at.CLOCK) < position:
        now = clock_ns()
        if now >= deadline or load_acquire(words, at.FINISHED) != 0:
            return False
        sleep_once(min(now + poll_ns, deadline))
    return True


class RealtimePort:
    """All memory that the audio callback touches, and the worker's access to it.

    Args:
        in_channels, out_channels: of the device; 1 or more.
        capacity: frames of each ring; raised to a power of two that also holds the latency, twice.
            Give several hops more than the latency.
        latency: frames from input to output; the delay of the dry signal.
        ramp: frames of the crossfade between wet and dry.
        fallback: what is heard on an underrun: the "dry" input, delayed by `latency`, or "silence".
            Dry goes to the first two output channels (mono input to both; stereo input halved and
            summed to a mono output); further channels fall silent.
        decks: of each deck, the input channels, counted from 0, that are its left and right; one deck that
            has the first two, or the only one, if None. The dry signal is the sum of the decks.
        sample_rate: Hz, for the counters that compare with the clock; the driver sets it too.
        buffer: memory of at least `size_bytes(...)` bytes, 8-byte aligned, zeroed or not; without it
            the port owns its memory.

    Raises ValueError on impossible sizes or an unfit buffer.

    The audio thread and the worker share no lock. Any number of threads and processes may read the
    counters; only the worker calls `read_hop`, `write_block` and `prefill`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        capacity: int,
        latency: int,
        ramp: int = 64,
        fallback: Fallback = "dry",
        sample_rate: int = 44100,
        buffer: Any = None,
        decks: tuple[tuple[int, int], ...] | None = None,
    ) -> None:
        if min(in_channels, out_channels, capacity, ramp, sample_rate) < 1 or latency < 0:
            raise ValueError(
                f"impossible port: {in_channels} in, {out_channels} out, capacity {capacity}, "
                f"latency {latency}, ramp {ramp}, {sample_rate} Hz"
            )
        if fallback not in ("dry", "silence"):
            raise ValueError(f"fallback must be 'dry' or 'silence', not {fallback!r}")
        pairs = decks or ((0, min(1, in_channels - 1)),)
        if len(pairs) > MAX_DECKS or not all(0 <= c < in_channels for pair in pairs for c in pair):
            raise ValueError(f"impossible decks: {pairs} of {in_channels} input channels")
        size = self.size_bytes(in_channels, out_channels, capacity, latency, ramp)
        if buffer is None:
            buffer = np.zeros(size // 8, np.int64)
        if len(memoryview(buffer).cast("B")) < size:
            raise ValueError(f"the port needs {size} bytes")
        if memoryview(buffer).readonly:
            raise ValueError("a port needs a writable buffer")
        words = np.frombuffer(buffer, np.int64, size // 8)
        words[:] = 0
        peaks, table, in_ring, out_ring, total = _offsets(
            in_channels, out_channels, _capacity(capacity, latency, ramp), ramp
        )
        words[at.IN_CHANNELS] = in_channels
        words[at.OUT_CHANNELS] = out_channels
        words[at.CAPACITY] = _capacity(capacity, latency, ramp)
        words[at.LATENCY] = latency
        words[at.RAMP] = ramp
        words[at.SILENT_FALLBACK] = fallback == "silence"
        words[at.SAMPLE_RATE] = sample_rate
        words[at.PEAKS_AT] = peaks
        words[at.TABLE_AT] = table
        words[at.IN_AT] = in_ring
        words[at.OUT_AT] = out_ring
        words[at.TOTAL_BYTES] = total * 4
        words[at.DECKS] = len(pairs)
        words[at.DECK_CHANNELS : at.DECK_CHANNELS + 2 * len(pairs)] = np.ravel(pairs)
        words[at.DRY_LEVEL : at.DRY_LEVEL + MAX_DECKS] = at.ONE
        words[at.DRY_NOW : at.DRY_NOW + MAX_DECKS] = at.ONE
        words[at.FADE] = ramp
        words[at.GATE] = ramp
        words[at.HEADING_WET] = 1
        samples = np.frombuffer(buffer, np.float32, total)
        samples[table : table + ramp + 1] = 0.5 - 0.5 * np.cos(np.pi * np.arange(ramp + 1) / ramp)
        words[at.MAGIC] = at.SOURCE_STAMP
        self._map(buffer)

    @staticmethod
    def size_bytes(in_channels: int, out_channels: int, capacity: int, latency: int, ramp: int = 64) -> int:
        """Bytes that a port of this shape occupies."""
        return 4 * _offsets(in_channels, out_channels, _capacity(capacity, latency, ramp), ramp)[4]

    @classmethod
    def attach(cls, buffer: Any) -> RealtimePort:
        """The port that another object, perhaps in another process, has laid over `buffer`.

        Raises ValueError if there is none, or one of another version of this package.
        """
        size = len(memoryview(buffer).cast("B"))
        if size < at.HEADER_WORDS * 8:
            raise ValueError("there is no port in this buffer")
        header = np.frombuffer(buffer, np.int64, at.HEADER_WORDS)
        if header[at.MAGIC] != at.SOURCE_STAMP or header[at.TOTAL_BYTES] > size:
            raise ValueError("there is no port of this version in this buffer")
        port = cls.__new__(cls)
        port._map(buffer)
        return port

    def _map(self, buffer: Any) -> None:
        self.words: NDArray[np.int64] = np.frombuffer(buffer, np.int64, at.HEADER_WORDS)
        if not self.words.flags.writeable:
            raise ValueError("a port needs a writable buffer")
        self.in_channels = int(self.words[at.IN_CHANNELS])
        self.out_channels = int(self.words[at.OUT_CHANNELS])
        self.capacity = int(self.words[at.CAPACITY])
        self.latency = int(self.words[at.LATENCY])
        self.ramp = int(self.words[at.RAMP])
        pairs = self.words[at.DECK_CHANNELS : at.DECK_CHANNELS + 2 * int(self.words[at.DECKS])]
        self.decks = tuple((int(left), int(right)) for left, right in pairs.reshape(-1, 2))
        samples = np.frombuffer(buffer, np.float32, int(self.words[at.TOTAL_BYTES]) // 4)
        self._peaks = samples[self.words[at.PEAKS_AT] :][: self.out_channels]
        self._input = self._ring(samples, at.IN_AT, self.in_channels)
        self._output = self._ring(samples, at.OUT_AT, self.out_channels)

    def _ring(self, samples: NDArray[np.float32], offset: int, channels: int) -> NDArray[np.float32]:
        ring = samples[self.words[offset] :][: self.capacity * channels]
        return ring.reshape(self.capacity, channels)

    # The worker's side.

    @property
    def position(self) -> int:
        """Frames of input that have come in since the stream opened; also where the reader stands."""
        return load(self.words, at.CLOCK)

    def available(self, position: int) -> int:
        """Frames of input at and after `position` that can be read."""
        return self.position - position

    def wait(self, position: int, timeout: float, poll: float = 0.0002) -> bool:
        """Sleep, without the GIL, until the input below `position` is there.

        False after `timeout` seconds, or as soon as the device has ended the stream.
        """
        return bool(_wait(self.words, position, int(timeout * 1e9), max(1, int(poll * 1e9))))

    def read_hop(self, position: int, target: NDArray[np.float32]) -> bool:
        """Copy input at [position, position + n) into `target`, float32 (in_channels, n).

        Negative positions read as silence. False if it has not all come in, or if the callback has
        overwritten some of it (counted in `input_overruns`): then jump to a newer position.
        """
        self._check(target, self.in_channels)
        return bool(_read(self.words, self._input, position, target))

    def write_block(self, position: int, block: NDArray[np.float32]) -> int:
        """Write `block`, float32 (out_channels, n), where it is due: [position, position + n).

        Returns WRITTEN; LATE if all of it was due before now, so that it is dropped and counted in
        `late_hops`; TOO_EARLY if it is so far ahead that it would overwrite what is still to be
        played. A block that leaves a hole behind `out_end` starts a new valid extent.
        """
        self._check(block, self.out_channels)
        return int(_write(self.words, self._output, position, block))

    def prefill(self, frames: int) -> None:
        """Declare the output below `frames` valid: silence, before the stream's first real output.

        Raises ValueError if the ring cannot hold it.
        """
        if not 0 <= frames <= self.capacity - self.capacity // 4 - 2 * self.ramp - 2:
            raise ValueError(f"cannot prefill {frames} of {self.capacity} frames")
        store(self.words, at.OUT_END, frames)

    @property
    def out_end(self) -> int:
        """Position below which the worker has finished the output."""
        return load(self.words, at.OUT_END)

    # Requests.

    @property
    def force_dry(self) -> bool:
        """While True the callback plays the fallback; it crossfades there and back."""
        return load(self.words, at.FORCE_DRY) != 0

    @force_dry.setter
    def force_dry(self, wanted: bool) -> None:
        store(self.words, at.FORCE_DRY, int(wanted))

    @property
    def closing(self) -> bool:
        """While True the callback fades to silence, so that the stream can be stopped without a click."""
        return load(self.words, at.CLOSING) != 0

    @closing.setter
    def closing(self, wanted: bool) -> None:
        store(self.words, at.CLOSING, int(wanted))

    def set_dry_level(self, deck: int, amplitude: float) -> None:
        """The amplitude at which the dry signal has a deck, counted from 0; it slides there in 4 `ramp`."""
        store(self.words, at.DRY_LEVEL + deck, round(amplitude * at.ONE))

    # Readings.

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return int(self.words[at.SAMPLE_RATE])

    @sample_rate.setter
    def sample_rate(self, rate: int) -> None:
        self.words[at.SAMPLE_RATE] = rate

    @property
    def finished(self) -> bool:
        """The device has ended the stream, asked to or not."""
        return load(self.words, at.FINISHED) != 0

    @property
    def peaks(self) -> NDArray[np.float32]:
        """Output peak of each channel, falling by itself; a copy, float32 (out_channels,)."""
        return self._peaks.copy()

    def counters(self) -> dict[str, int]:
        """All counters, by name. Times are nanoseconds.

        `missed_callbacks` counts periods by which a callback came late (rounded to whole ones, from
        half a period on). A device that catches up afterwards has lost nothing; what it did lose it
        reports itself, in `pa_input_overflow` and `pa_output_underflow`.
        """
        return {name: int(self.words[index]) for name, index in _COUNTERS.items()}

    @property
    def address(self) -> int:
        """Address of the memory, the callback's user data. Keep the port alive while it is in use."""
        return int(self.words.ctypes.data)

    def release(self) -> None:
        """Let go of the memory, so that a shared memory block under it can be closed."""
        self.words = np.zeros(at.HEADER_WORDS, np.int64)
        self._peaks = np.zeros(0, np.float32)
        self._input = self._output = np.zeros((1, 1), np.float32)

    @staticmethod
    def _check(block: NDArray[np.float32], channels: int) -> None:
        if block.dtype != np.float32 or block.ndim != 2 or block.shape[0] != channels:
            raise ValueError(f"expected float32 ({channels}, n), got {block.dtype} {block.shape}")


_COUNTERS = {
    "callbacks": at.CALLBACKS,
    "frames": at.CLOCK,
    "last_frames": at.LAST_FRAMES,
    "underruns": at.UNDERRUNS,
    "underrun_frames": at.UNDERRUN_FRAMES,
    "late_hops": at.LATE_HOPS,
    "input_overruns": at.INPUT_OVERRUNS,
    "pa_input_overflow": at.PA_INPUT_OVERFLOW,
    "pa_output_underflow": at.PA_OUTPUT_UNDERFLOW,
    "bad_input": at.BAD_INPUT,
    "bad_output": at.BAD_OUTPUT,
    "late_callbacks": at.GAPS,
    "missed_callbacks": at.MISSED,
    "max_callback_gap_ns": at.MAX_GAP_NS,
    "last_callback_ns": at.LAST_CALLBACK_NS,
    "max_callback_ns": at.MAX_CALLBACK_NS,
    "total_callback_ns": at.TOTAL_CALLBACK_NS,
    "first_stream_ns": at.FIRST_STREAM_NS,
    "last_stream_ns": at.LAST_STREAM_NS,
}


def _capacity(wanted: int, latency: int, ramp: int) -> int:
    # Half for the dry signal's history, a quarter for the block being written, the rest for slack.
    return next_power_of_two(max(wanted, 2 * latency, 16 * ramp, 256))


def _offsets(in_channels: int, out_channels: int, capacity: int, ramp: int) -> tuple[int, ...]:
    # In float32 units: peaks, table, input ring, output ring, total; each on a new cache line.
    lengths = (at.HEADER_WORDS * 2, out_channels, ramp + 1, capacity * in_channels, capacity * out_channels)
    line = CACHE_LINE // 4
    ends: list[int] = []
    for length in lengths:
        ends.append((ends[-1] if ends else 0) + -(-length // line) * line)
    return tuple(ends)
