"""The audio callback: compiled, without Python, without allocation, without waiting.

PortAudio calls `callback_address()` with the address of a `RealtimePort`'s memory as user data. At a
block of `frames` at time t (frames since the stream opened) it

1. copies the input to the input ring at [t, t + frames) and publishes the new time;
2. copies what is due, [t, t + frames) of the output ring, to the device;
3. if that is not there, crossfades to the *dry* signal: the input at [t - latency, ...), read from the
   input ring's own history, so that dry and wet are aligned and the latency stays what it is. With
   several decks it is their sum, each at the level that the worker has left for it;
4. counts.

The reader moves on by `frames` whatever happens. A late hop is therefore never heard and never shifts
what comes after it.

The crossfade takes `ramp` frames along a raised cosine. If fewer valid wet frames are left than the
fade needs, it goes on with an extrapolation: the wet signal's past, reflected through its last sample
(2 x[-1] - x[-2 - i]), which continues value and slope, as the fade takes it away. A fade-out that has
begun is completed before wet comes back, since what has been extrapolated does not join up with it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from rtsep.rt import layout as at
from rtsep.rt.clock import clock_ns
from rtsep.rt.fences import load_acquire, pointer_address, store_release

_INPUT_OVERFLOW = 0x2
_OUTPUT_UNDERFLOW = 0x4
PA_CONTINUE = 0
PA_ABORT = 2
_METER_FALL_SECONDS = 0.3

# C's `unsigned long` has 32 bits on Windows, 64 elsewhere.
_UNSIGNED_LONG = types.uint32 if sys.platform == "win32" else types.uint64
SIGNATURE = types.int32(
    types.voidptr, types.voidptr, _UNSIGNED_LONG, types.voidptr, _UNSIGNED_LONG, types.voidptr
)


@njit(inline="never")
def _take_input(words: Any, samples: Any, block: Any, offset: int, count: int) -> None:
    channels = words[at.IN_CHANNELS]
    mask = words[at.CAPACITY] - 1
    ring = words[at.IN_AT]
    clock = words[at.CLOCK]
    bad = 0
    for i in range(count):
        slot = ring + ((clock + i) & mask) * channels
        source = (offset + i) * channels
        for c in range(channels):
            value = block[source + c]
            # A difference with itself is zero only for finite numbers.
            if value - value != np.float32(0.0):
                value = np.float32(0.0)
                bad += 1
            samples[slot + c] = value
    words[at.BAD_INPUT] += bad
    store_release(words, at.CLOCK, clock + count)


@njit
def _dry(words: Any, samples: Any, position: int, channel: int) -> Any:
    """The fallback at an input position: the decks' pairs to the front pair, or halved and summed to mono."""
    if position < 0 or channel > 1 or words[at.SILENT_FALLBACK] != 0:
        return np.float32(0.0)
    slot = words[at.IN_AT] + (position & (words[at.CAPACITY] - 1)) * words[at.IN_CHANNELS]
    total = np.float32(0.0)
    for deck in range(words[at.DECKS]):
        pair = at.DECK_CHANNELS + 2 * deck
        if words[at.OUT_CHANNELS] == 1:
            value = np.float32(0.5) * (samples[slot + words[pair]] + samples[slot + words[pair + 1]])
        else:
            value = samples[slot + words[pair + channel]]
        level = words[at.DRY_NOW + deck]
        if level != at.ONE:
            value *= np.float32(level / at.ONE)
        total += value
    return total


@njit
def _slide(words: Any, step: int) -> None:
    """Take the decks' dry levels a frame's step towards where they are wanted."""
    for deck in range(words[at.DECKS]):
        now, wanted = words[at.DRY_NOW + deck], words[at.DRY_LEVEL + deck]
        if now != wanted:
            words[at.DRY_NOW + deck] = min(now + step, wanted) if now < wanted else max(now - step, wanted)


@njit
def _past(words: Any, samples: Any, position: int, channel: int) -> Any:
    if position < 0:
        return np.float32(0.0)
    channels = words[at.OUT_CHANNELS]
    slot = (position & (words[at.CAPACITY] - 1)) * channels
    return samples[words[at.OUT_AT] + slot + channel]


@njit
def _wet(words: Any, samples: Any, position: int, channel: int) -> Any:
    """The worker's output, or beyond the last of it the odd reflection of its past."""
    edge = words[at.EDGE]
    if position < edge:
        return _past(words, samples, position, channel)
    pivot = _past(words, samples, edge - 1, channel)
    mirrored = _past(words, samples, 2 * edge - 2 - position, channel)
    return np.float32(2.0) * pivot - mirrored


@njit
def _ahead(words: Any, now: int) -> int:
    """Frames from `now` on that the worker has finished without a hole."""
    end = load_acquire(words, at.OUT_END)  # before OUT_START: the worker writes them in reverse
    if load_acquire(words, at.OUT_START) > now:
        return 0
    return max(end - now, 0)  # type: ignore[no-any-return]


@njit
def _steer(words: Any, now: int, ahead: int, count: int, forced: bool) -> int:
    """Decide where the crossfade heads, and count. Returns the frame at which a fade-out begins."""
    ramp = words[at.RAMP]
    ready = min(ahead, count)
    if ready == count:
        words[at.READY_RUN] += count
    else:
        words[at.READY_RUN] = 0
    if not forced:
        words[at.UNDERRUN_FRAMES] += count - ready
        if ready == count:
            words[at.STARVED] = 0
        elif words[at.STARVED] == 0:
            words[at.UNDERRUNS] += 1
            words[at.STARVED] = 1

    begin = 0
    heading_wet = words[at.HEADING_WET] == 1
    rising = heading_wet and words[at.FADE] < ramp
    if ready == count and (not forced or rising):
        # A fade-in that had to turn back halfway would bend the waveform, so it waits until enough is
        # finished to complete it. A worker that never gets so far ahead has to show instead that it
        # keeps up.
        settled = ahead >= ramp or words[at.READY_RUN] >= 4 * ramp
        if not heading_wet and words[at.FADE] == 0 and settled:
            words[at.HEADING_WET] = 1
            words[at.EDGE] = now
    else:
        # Stay wet as long as the fade still fits in front of the hole; leave at once if told to.
        if heading_wet and not forced:
            begin = max(0, ready - words[at.FADE])
        words[at.HEADING_WET] = 0
    # Only wet that follows without a hole can be faded; after one, the reflection goes on.
    if words[at.EDGE] == now:
        words[at.EDGE] = now + ready
    return begin  # type: ignore[no-any-return]


@njit(inline="never")
def _give_output(words: Any, samples: Any, block: Any, offset: int, count: int) -> None:
    channels = words[at.OUT_CHANNELS]
    now = words[at.CLOCK] - count  # the clock already stands behind this block
    mask = words[at.CAPACITY] - 1
    ring = words[at.OUT_AT]
    ramp = words[at.RAMP]
    delayed = now - words[at.LATENCY]
    table = words[at.TABLE_AT]
    peaks = words[at.PEAKS_AT]
    forced = load_acquire(words, at.FORCE_DRY) != 0
    closing = load_acquire(words, at.CLOSING) != 0
    begin = _steer(words, now, _ahead(words, now), count, forced)
    fade = words[at.FADE]
    gate = words[at.GATE]
    wet_only = words[at.HEADING_WET] == 1
    # A level takes four of the crossfade's lengths from silence to full, and so never steps.
    slide = max(at.ONE // (4 * ramp), 1)
    fall = max(0.0, 1.0 - count / (_METER_FALL_SECONDS * words[at.SAMPLE_RATE]))
    for c in range(channels):
        samples[peaks + c] = np.float32(samples[peaks + c] * fall)
    bad = 0
    for i in range(count):
        if wet_only:
            fade = min(fade + 1, ramp)
        elif i >= begin and fade > 0:
            fade -= 1
        gate = max(gate - 1, 0) if closing else min(gate + 1, ramp)
        _slide(words, slide)
        weight = samples[table + fade]
        opening = samples[table + gate]
        target = (offset + i) * channels
        for c in range(channels):
            if fade == ramp:
                value = samples[ring + ((now + i) & mask) * channels + c]
            else:
                value = _dry(words, samples, delayed + i, c)
                if fade > 0:
                    value += weight * (_wet(words, samples, now + i, c) - value)
            if value - value != np.float32(0.0):
                value = np.float32(0.0)
                bad += 1
            if gate < ramp:
                value *= opening
            block[target + c] = value
            samples[peaks + c] = max(samples[peaks + c], abs(value))
    words[at.FADE] = fade
    words[at.GATE] = gate
    words[at.BAD_OUTPUT] += bad


@njit(inline="never")
def _note_arrival(words: Any, now: int, flags: Any) -> None:
    calls = words[at.CALLBACKS]
    if calls > 0:
        gap = now - words[at.LAST_CALLBACK_NS]
        period = words[at.LAST_FRAMES] * 1_000_000_000 // words[at.SAMPLE_RATE]
        words[at.MAX_GAP_NS] = max(words[at.MAX_GAP_NS], gap)
        if period > 0 and 2 * gap > 3 * period:
            words[at.GAPS] += 1
            words[at.MISSED] += (gap + period // 2) // period - 1
    if np.int64(flags) & _INPUT_OVERFLOW:
        words[at.PA_INPUT_OVERFLOW] += 1
    if np.int64(flags) & _OUTPUT_UNDERFLOW:
        words[at.PA_OUTPUT_UNDERFLOW] += 1


def _build(stamp: int) -> Any:
    # `stamp` is a free variable so that it becomes part of the cache's key: see layout.SOURCE_STAMP.
    @cfunc(SIGNATURE, cache=True)
    def stream_callback(
        source: Any, target: Any, frames: Any, time_info: Any, flags: Any, userdata: Any
    ) -> Any:
        words = carray(userdata, (at.HEADER_WORDS,), np.int64)
        if words[at.MAGIC] != stamp:
            return np.int32(PA_ABORT)
        arrival = clock_ns()
        count = np.int64(frames)
        samples = carray(userdata, (words[at.TOTAL_BYTES] // 4,), np.float32)
        incoming = carray(source, (count * words[at.IN_CHANNELS],), np.float32)
        outgoing = carray(target, (count * words[at.OUT_CHANNELS],), np.float32)
        _note_arrival(words, arrival, flags)
        if pointer_address(time_info) != 0:
            stream_ns = np.int64(carray(time_info, (3,), np.float64)[1] * 1e9)
            if words[at.CALLBACKS] == 0:
                words[at.FIRST_STREAM_NS] = stream_ns
            words[at.LAST_STREAM_NS] = stream_ns
        # A quarter of the ring at a time, so that no block, however long, outruns the history.
        limit = words[at.CAPACITY] // 4
        done = 0
        while done < count:
            part = min(limit, count - done)
            _take_input(words, samples, incoming, done, part)
            _give_output(words, samples, outgoing, done, part)
            done += part
        words[at.LAST_FRAMES] = count
        words[at.LAST_CALLBACK_NS] = arrival
        elapsed = clock_ns() - arrival
        words[at.MAX_CALLBACK_NS] = max(words[at.MAX_CALLBACK_NS], elapsed)
        words[at.TOTAL_CALLBACK_NS] += elapsed
        store_release(words, at.CALLBACKS, words[at.CALLBACKS] + 1)
        return np.int32(PA_CONTINUE)

    return stream_callback


def _build_finished(stamp: int) -> Any:
    @cfunc(types.void(types.voidptr), cache=True)
    def stream_finished(userdata: Any) -> None:
        words = carray(userdata, (at.HEADER_WORDS,), np.int64)
        if words[at.MAGIC] == stamp:
            store_release(words, at.FINISHED, 1)

    return stream_finished


_stream_callback = _build(at.SOURCE_STAMP)
_stream_finished = _build_finished(at.SOURCE_STAMP)


def callback_address() -> int:
    """Address of `int callback(const void *in, void *out, unsigned long frames, const
    PaStreamCallbackTimeInfo *, PaStreamCallbackFlags, void *userdata)`.

    Buffers are interleaved float32; `userdata` is `RealtimePort.address`.
    """
    return int(_stream_callback.address)


def finished_address() -> int:
    """Address of `void finished(void *userdata)`, which notes that the device has ended the stream."""
    return int(_stream_finished.address)
