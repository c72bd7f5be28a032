"""The null driver: every frame once, at the pace of a card, through the same callback."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.io.driver import AudioDriver, StreamFormat
from rtsep.io.null import NullDriver
from rtsep.rt.port import WRITTEN, RealtimePort
from rtsep.spec import DeviceError


class Echo:
    """A worker that passes hops through, doubled, from a thread of its own."""

    def __init__(self, port: RealtimePort, hop: int) -> None:
        self.port = port
        self.hop = hop
        port.prefill(port.latency)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        block = np.zeros((self.port.in_channels, self.hop), np.float32)
        position = 0
        while self.port.wait(position + self.hop, timeout=10):
            assert self.port.read_hop(position, block)
            assert self.port.write_block(position + self.port.latency, block * np.float32(2)) == WRITTEN
            position += self.hop


def noise(channels: int, length: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(-1, 1, (channels, length)).astype(np.float32)


@pytest.mark.parametrize("block", [1, 17, 64, 509, 1024])
def test_unpaced_it_hears_all_of_the_source_and_loses_nothing(block: int) -> None:
    audio, hop = noise(2, 20001), 256
    latency = hop + block
    driver = NullDriver(44100, block, audio, realtime=False)
    assert driver.open() == StreamFormat(44100, block, 2, 2, 0, 0)
    port = RealtimePort(2, 2, 8192, latency)
    worker = Echo(port, hop)
    driver.start(port)
    assert driver.wait(60)
    worker.thread.join()
    assert not driver.active and driver.error is None and port.finished
    out = driver.captured
    assert out.shape == (2, 20001 + latency)
    assert np.array_equal(out[:, latency:], 2 * audio)
    assert not out[:, :latency].any()
    counters = port.counters()
    assert counters["underruns"] == counters["late_hops"] == 0
    assert counters["callbacks"] == -(-(20001 + latency) // block)
    driver.close()


@pytest.mark.realtime
@pytest.mark.alone
def test_paced_it_makes_exactly_the_callbacks_of_its_time_and_none_early() -> None:
    block, rate, length = 128, 44100, 22050
    driver = NullDriver(rate, block, noise(2, length))
    driver.open()
    port = RealtimePort(2, 2, 8192, 1000)
    port.force_dry = True
    began = time.monotonic_ns()
    driver.start(port)
    assert driver.wait(60)
    elapsed = time.monotonic_ns() - began
    blocks = -(-(length + 1000) // block)
    counters = port.counters()
    assert counters["callbacks"] == blocks
    assert counters["frames"] == blocks * block
    # A deadline is never early; how late it may be is the machine's affair.
    assert elapsed >= blocks * block * 1_000_000_000 // rate
    assert counters["last_callback_ns"] - began >= blocks * block * 1_000_000_000 // rate


@pytest.mark.realtime
@pytest.mark.alone
def test_paced_the_delayed_dry_signal_comes_out_without_any_worker() -> None:
    audio, latency = noise(2, 5000), 700
    driver = NullDriver(44100, 64, audio)
    driver.open()
    port = RealtimePort(2, 2, 4096, latency)
    driver.start(port)
    assert driver.wait(60)
    assert np.array_equal(driver.captured[:, latency:], audio)


@pytest.mark.realtime
@pytest.mark.alone
def test_a_loop_repeats_until_stopped() -> None:
    audio = noise(2, 1000)
    driver = NullDriver(44100, 96, audio, loop=True, capture_seconds=0.1)
    driver.open()
    port = RealtimePort(2, 2, 4096, 0)
    port.force_dry = True
    driver.start(port)
    assert port.wait(6000, timeout=60)
    assert driver.active and not driver.wait(0)
    driver.stop()
    assert not driver.active and port.finished
    stopped_at = port.position
    out = driver.captured
    assert out.shape == (2, 4410)
    assert np.array_equal(out[:, 64:], np.tile(audio, 5)[:, 64:4410])
    driver.close()
    assert port.position == stopped_at


@pytest.mark.realtime
@pytest.mark.alone
def test_without_a_source_there_is_silence_without_end() -> None:
    driver = NullDriver(48000, 32, in_channels=1, out_channels=3)
    assert driver.open() == StreamFormat(48000, 32, 1, 3, 0, 0)
    port = RealtimePort(1, 3, 1024, 0)
    driver.start(port)
    assert port.wait(3200, timeout=60)
    assert port.sample_rate == 48000
    driver.stop()
    assert driver.captured.shape == (3, 0)


def test_unpaced_it_waits_for_a_worker_and_can_be_stopped_while_it_does() -> None:
    driver = NullDriver(44100, 64, noise(2, 10000), realtime=False)
    driver.open()
    port = RealtimePort(2, 2, 1024, 200)
    port.prefill(200)
    driver.start(port)
    assert port.wait(192, timeout=60)
    assert not port.wait(193, timeout=0.02)
    driver.stop()
    assert port.position == 192
    assert driver.captured.shape == (2, 192)
    assert port.counters()["underruns"] == 0


@pytest.mark.realtime
@pytest.mark.alone
def test_stopping_before_starting_and_twice_is_harmless() -> None:
    driver: AudioDriver = NullDriver()
    driver.stop()
    driver.close()
    assert not driver.active and not driver.wait(0)
    driver.open()
    driver.start(RealtimePort(2, 2, 1024, 0))
    driver.stop()
    driver.stop()
    driver.close()


@pytest.mark.realtime
@pytest.mark.alone
def test_what_cannot_be_is_refused_in_one_line() -> None:
    for make in (
        lambda: NullDriver(block=0),
        lambda: NullDriver(sample_rate=0),
        lambda: NullDriver(out_channels=0),
        lambda: NullDriver(source=noise(2, 10), in_channels=3),
        lambda: NullDriver(source=noise(2, 10)[0]),
        lambda: NullDriver(source=noise(2, 10).astype(np.float64)),  # type: ignore[arg-type]
    ):
        with pytest.raises(DeviceError) as refusal:
            make()
        assert "\n" not in str(refusal.value)
    driver = NullDriver()
    with pytest.raises(DeviceError, match="channels"):
        driver.start(RealtimePort(1, 2, 256, 0))
    driver.start(RealtimePort(2, 2, 256, 0))
    with pytest.raises(DeviceError, match="already"):
        driver.start(RealtimePort(2, 2, 256, 0))
    driver.close()
