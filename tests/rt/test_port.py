"""The worker's side of the port, and its memory between processes."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing import shared_memory
from typing import Any

import numpy as np
import pytest

from rtsep.rt import layout
from rtsep.rt.fences import store
from rtsep.rt.port import LATE, TOO_EARLY, WRITTEN, RealtimePort
from tests.rt.card import Card


def ramp_block(channels: int, start: int, length: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.tile(np.arange(start, start + length, dtype=np.float32), (channels, 1))


def test_input_is_read_at_any_position_that_has_come_in() -> None:
    port = RealtimePort(2, 2, 1024, 0)
    card = Card(port)
    for k in range(10):
        card.play(ramp_block(2, 100 * k, 100))
    hop = np.zeros((2, 64), np.float32)
    for position in (300, 512, 700, 936):
        assert port.read_hop(position, hop)
        assert np.array_equal(hop, ramp_block(2, position, 64))
    assert not port.read_hop(937, hop)
    assert (port.position, port.available(900)) == (1000, 100)
    assert port.counters()["input_overruns"] == 0


def test_before_the_stream_there_was_silence() -> None:
    port = RealtimePort(1, 1, 1024, 0)
    Card(port).play(ramp_block(1, 1, 100))
    hop = np.ones((1, 64), np.float32)
    assert port.read_hop(-40, hop)
    assert np.array_equal(hop[0], [0.0] * 40 + list(range(1, 25)))


def test_input_that_has_been_overwritten_is_refused_and_counted() -> None:
    port = RealtimePort(1, 1, 256, 0, ramp=4)
    card = Card(port)
    for k in range(10):
        card.play(ramp_block(1, 64 * k, 64))
    hop = np.zeros((1, 32), np.float32)
    oldest = 640 - port.capacity * 3 // 4
    assert port.read_hop(oldest, hop)
    assert np.array_equal(hop, ramp_block(1, oldest, 32))
    assert port.counters()["input_overruns"] == 0
    assert not port.read_hop(oldest - 1, hop)
    assert port.counters()["input_overruns"] == 1


def test_output_is_refused_when_it_would_overwrite_what_is_still_to_be_heard() -> None:
    port = RealtimePort(1, 1, 1024, 0)
    block = np.zeros((1, 64), np.float32)
    position = 0
    while port.write_block(position, block) == WRITTEN:
        position += 64
    assert port.out_end == position
    assert 512 <= position < 1024
    Card(port).play(np.zeros((1, 64), np.float32))
    assert port.write_block(position, block) == WRITTEN
    assert port.write_block(position + 64, block) == TOO_EARLY


def test_a_partly_late_block_is_heard_from_where_it_is_not_late() -> None:
    port = RealtimePort(1, 1, 1024, 0, ramp=8, fallback="silence")
    card = Card(port)
    silence = np.zeros((1, 100), np.float32)
    card.play(silence)
    assert port.write_block(0, ramp_block(1, 0, 300)) == WRITTEN
    assert np.array_equal(card.play(silence)[0, 8:], np.arange(108, 200))
    assert port.write_block(100, np.zeros((1, 100), np.float32)) == LATE


def test_prefill_is_bounded_by_the_ring() -> None:
    port = RealtimePort(1, 1, 1024, 0)
    port.prefill(500)
    assert port.out_end == 500
    for frames in (-1, 1024):
        with pytest.raises(ValueError, match="prefill"):
            port.prefill(frames)


def test_a_slice_of_a_larger_array_will_do() -> None:
    port = RealtimePort(2, 2, 1024, 0)
    wide = np.arange(2 * 4 * 50, dtype=np.float32).reshape(4, 100)
    assert port.write_block(0, wide[::2, 10:60]) == WRITTEN
    assert np.array_equal(Card(port).play(wide[1::2, 20:70]), wide[::2, 10:60])
    target = np.zeros((4, 200), np.float32)
    assert port.read_hop(0, target[1::2, 5:55])
    assert np.array_equal(target[1::2, 5:55], wide[1::2, 20:70])


def test_waiting_ends_when_the_input_comes_when_the_stream_ends_or_with_time() -> None:
    port = RealtimePort(1, 1, 1024, 0)
    card = Card(port)
    silence = np.zeros((1, 64), np.float32)
    assert not port.wait(64, timeout=0.001)
    feeder = threading.Thread(target=lambda: [card.play(silence) for _ in range(4)])
    feeder.start()
    assert port.wait(256, timeout=30)
    feeder.join()
    ender = threading.Timer(0.01, lambda: store(port.words, layout.FINISHED, 1))
    ender.start()
    assert not port.wait(257, timeout=600)
    ender.join()
    # What is there is there, ended or not.
    assert port.wait(256, timeout=0)


def _work(name: str, hops: int, hop: int) -> None:
    memory = shared_memory.SharedMemory(name)
    port = RealtimePort.attach(memory.buf)
    block = np.zeros((2, hop), np.float32)
    for k in range(hops):
        if not port.wait((k + 1) * hop, timeout=60) or not port.read_hop(k * hop, block):
            raise SystemExit(3)
        np.multiply(block, 2, out=block)
        if port.write_block(k * hop + port.latency, block) != WRITTEN:
            raise SystemExit(4)
    port.release()
    memory.close()


def test_the_worker_can_be_another_process() -> None:
    hop, hops, latency = 128, 20, 4096
    shape = (2, 2, 16384, latency)
    memory = shared_memory.SharedMemory(create=True, size=RealtimePort.size_bytes(*shape))
    port = RealtimePort(*shape, buffer=memory.buf)
    port.prefill(latency)
    try:
        worker = multiprocessing.get_context("spawn").Process(target=_work, args=(memory.name, hops, hop))
        worker.start()
        card = Card(port)
        audio = ramp_block(2, 0, hop * hops)
        heard = [card.play(audio[:, k * hop : (k + 1) * hop]) for k in range(hops)]
        worker.join(120)
        assert worker.exitcode == 0
        silence = np.zeros((2, hop), np.float32)
        heard += [card.play(silence) for _ in range(latency // hop)]
        out = np.concatenate(heard, axis=1)
        assert np.array_equal(out[:, latency:], 2 * audio)
        assert port.counters()["underruns"] == 0
    finally:
        port.release()
        memory.close()
        memory.unlink()


def test_a_port_is_found_again_in_its_memory() -> None:
    shape = (3, 5, 1000, 700, 32)
    memory = bytearray(RealtimePort.size_bytes(*shape))
    port = RealtimePort(*shape, sample_rate=48000, buffer=memory)
    other = RealtimePort.attach(memory)
    for name in ("in_channels", "out_channels", "capacity", "latency", "ramp", "sample_rate"):
        assert getattr(other, name) == getattr(port, name)
    port.force_dry = port.closing = True
    assert other.force_dry and other.closing
    assert other.counters() == port.counters()


def test_the_ring_holds_the_latency_twice_and_is_a_power_of_two() -> None:
    for capacity, latency in ((1, 0), (100, 3000), (5000, 10), (4096, 2048)):
        port = RealtimePort(1, 1, capacity, latency)
        assert port.capacity >= max(capacity, 2 * latency)
        assert port.capacity & (port.capacity - 1) == 0


def test_memory_of_another_layout_or_version_is_refused() -> None:
    size = RealtimePort.size_bytes(1, 1, 256, 0)
    with pytest.raises(ValueError, match="no port"):
        RealtimePort.attach(bytearray(16))
    with pytest.raises(ValueError, match="no port"):
        RealtimePort.attach(bytearray(size))
    memory = bytearray(size)
    port = RealtimePort(1, 1, 256, 0, buffer=memory)
    port.words[layout.MAGIC] += 1
    with pytest.raises(ValueError, match="version"):
        RealtimePort.attach(memory)
    with pytest.raises(ValueError, match="needs"):
        RealtimePort(1, 1, 256, 0, buffer=bytearray(size - 8))
    with pytest.raises(ValueError, match="writable"):
        RealtimePort(1, 1, 256, 0, buffer=bytes(size))


@pytest.mark.parametrize(
    "change",
    [
        {"in_channels": 0},
        {"out_channels": 0},
        {"capacity": 0},
        {"latency": -1},
        {"ramp": 0},
        {"sample_rate": 0},
        {"fallback": "loud"},
    ],
)
def test_impossible_ports_are_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {"in_channels": 2, "out_channels": 2, "capacity": 1024, "latency": 100}
    RealtimePort(**good)
    with pytest.raises(ValueError, match=r"impossible|fallback"):
        RealtimePort(**{**good, **change})


def test_blocks_of_another_shape_are_refused() -> None:
    port = RealtimePort(2, 3, 1024, 0)
    for block in (np.zeros((3, 8)), np.zeros((2, 8), np.float32), np.zeros(8, np.float32)):
        with pytest.raises(ValueError, match="expected float32"):
            port.write_block(0, block)
    with pytest.raises(ValueError, match="expected float32"):
        port.read_hop(0, np.zeros((3, 8), np.float32))
