"""The file driver: sample for sample from reader to writer, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.io.driver import AudioDriver
from rtsep.io.file import FileDriver, array_reader
from rtsep.rt.port import RealtimePort
from rtsep.spec import AudioFileError, DeviceError
from tests.io.test_null import Echo, noise


class Sink:
    """Keeps copies of what it is given."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.float32]] = []

    def __call__(self, block: NDArray[np.float32]) -> None:
        self.blocks.append(block.copy())

    @property
    def audio(self) -> NDArray[np.float32]:
        return np.concatenate(self.blocks, axis=1)


def stream(driver: FileDriver, latency: int, hop: int = 256, channels: int = 2) -> RealtimePort:
    driver.open()
    port = RealtimePort(channels, channels, 16384, latency)
    worker = Echo(port, hop)
    driver.start(port)
    assert driver.wait(120)
    worker.thread.join()
    driver.close()
    return port


@pytest.mark.parametrize("length", [1, 255, 1024, 32768, 32769, 100_003])
@pytest.mark.parametrize("block", [1024, 250])
def test_aligned_each_sample_is_written_where_it_was_read(length: int, block: int) -> None:
    audio, sink = noise(2, length), Sink()
    driver = FileDriver(array_reader(audio), sink, 44100, block=block)
    port = stream(driver, 256 + block + 700)
    assert np.array_equal(sink.audio, 2 * audio)
    assert driver.error is None and port.finished
    assert driver.frames_written == length
    counters = port.counters()
    assert counters["underruns"] == counters["late_hops"] == counters["input_overruns"] == 0


def test_unaligned_the_latency_is_in_the_file() -> None:
    audio, sink = noise(2, 5000), Sink()
    stream(FileDriver(array_reader(audio), sink, 44100, align=False), 1500)
    assert np.array_equal(sink.audio, 2 * np.pad(audio, ((0, 0), (1500, 0))))


def test_a_reader_may_give_less_than_it_is_asked_for() -> None:
    audio, sink = noise(1, 40_000), Sink()
    whole = array_reader(audio)
    driver = FileDriver(lambda count: whole(min(count, 777)), sink, 44100, 1, 1)
    stream(driver, 2000, channels=1)
    assert np.array_equal(sink.audio, 2 * audio)


def test_an_empty_source_gives_an_empty_file() -> None:
    sink = Sink()
    driver = FileDriver(array_reader(noise(2, 0)), sink, 44100)
    stream(driver, 2000)
    assert sink.blocks == []
    assert driver.error is None and driver.frames_written == 0


def test_no_chunk_is_longer_than_bounded() -> None:
    asked: list[int] = []
    whole = array_reader(noise(2, 200_000))
    sink = Sink()

    def read(count: int) -> NDArray[np.float32]:
        asked.append(count)
        return whole(count)

    stream(FileDriver(read, sink, 44100), 2000)
    assert max(asked) <= 32768
    assert max(block.shape[1] for block in sink.blocks) <= 32768


def test_a_reader_that_fails_ends_the_stream_and_says_why() -> None:
    whole = array_reader(noise(2, 100_000))
    calls = 0

    def read(count: int) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise AudioFileError("song.flac is damaged")
        return whole(count)

    driver = FileDriver(read, Sink(), 44100)
    port = stream(driver, 2000)
    assert driver.error == "song.flac is damaged"
    assert port.finished and not driver.active


def test_a_writer_that_fails_ends_the_stream_and_says_why() -> None:
    def write(block: NDArray[np.float32]) -> None:
        raise OSError("no space left")

    driver = FileDriver(array_reader(noise(2, 100_000)), write, 44100)
    stream(driver, 2000)
    assert driver.error == "no space left"


def test_a_reader_of_other_channels_is_an_error() -> None:
    driver = FileDriver(array_reader(noise(3, 1000)), Sink(), 44100)
    stream(driver, 2000)
    assert driver.error is not None and "channels" in driver.error


def test_it_can_be_stopped_while_it_waits_for_the_worker() -> None:
    driver: AudioDriver = FileDriver(array_reader(noise(2, 100_000)), Sink(), 44100)
    driver.open()
    port = RealtimePort(2, 2, 8192, 2048)
    port.prefill(2048)
    driver.start(port)
    assert port.wait(2048, timeout=60)
    driver.stop()
    assert not driver.active and port.finished
    assert port.position == 2048
    assert driver.error is None


def test_impossible_formats_and_a_second_start_are_refused() -> None:
    with pytest.raises(DeviceError, match="impossible"):
        FileDriver(array_reader(noise(2, 1)), None, 0)
    driver = FileDriver(array_reader(noise(2, 1)), None, 44100)
    with pytest.raises(DeviceError, match="channels"):
        driver.start(RealtimePort(1, 1, 256, 0))
    stream(driver, 2000)
    with pytest.raises(DeviceError, match="once"):
        driver.start(RealtimePort(2, 2, 256, 0))
