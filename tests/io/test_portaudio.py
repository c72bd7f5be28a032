"""PortAudio on a JACK server of the test's own; refusals; a device that goes away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtsep.io.devices import Device, find_device, list_devices
from rtsep.io.driver import AudioDriver
from rtsep.io.portaudio import PortAudioDriver
from rtsep.rt.port import WRITTEN, RealtimePort
from rtsep.spec import DeviceError
from tests.jack_server import JackServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.realtime

_ROOT = Path(__file__).parents[2]


def device(index: int, name: str, inputs: int = 2, outputs: int = 2, host: str = "ALSA") -> Device:
    return Device(index, name, host, inputs, outputs, 48000, False, index == 2)


DEVICES = [
    device(0, "Scarlett 2i2 USB"),
    device(1, "HDA Intel: Analog", outputs=0),
    device(2, "HDA Intel: HDMI", inputs=0),
    device(3, "Scarlett 18i20 USB"),
    device(4, "system", host="JACK Audio Connection Kit"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[JackServer]:
    with JackServer("portaudio", rate=44100, period=128) as running:
        yield running


@pytest.mark.parametrize(
    ("wanted", "side", "index"),
    [
        (3, "input", 3),
        ("3", "output", 3),
        ("2i2", "input", 0),
        ("SCARLETT 2I2 USB", "output", 0),
        ("intel", "input", 1),
        ("intel", "output", 2),
        ("system, JACK Audio Connection Kit", "input", 4),
        ("jack", "output", 4),
        (" System,jack", "output", 4),
        (None, "output", 2),
        (None, "input", 0),
    ],
)
def test_a_device_is_found_by_number_or_name(wanted: str | int | None, side: str, index: int) -> None:
    assert find_device(DEVICES, wanted, side).index == index


@pytest.mark.parametrize(
    ("wanted", "side", "message"),
    [
        ("nope", "input", r"no input device matches 'nope'.*'Scarlett 2i2 USB'.*rtsep devices"),
        ("scarlett", "output", r"could be any of 0 'Scarlett 2i2 USB', 3 'Scarlett 18i20 USB'"),
        (9, "output", "no output device 9"),
        (1, "output", "no output device 1"),
    ],
)
def test_one_that_cannot_be_found_is_said_in_one_line(wanted: str | int, side: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as refusal:
        find_device(DEVICES, wanted, side)
    assert "\n" not in str(refusal.value)
    with pytest.raises(DeviceError, match=f"no audio {side} device"):
        find_device([], wanted, side)


def test_a_server_started_later_is_seen_and_one_that_ended_does_no_harm() -> None:
    for name in ("one", "two"):
        with JackServer(name):
            (system,) = [d for d in list_devices() if d.host.startswith("JACK")]
            assert (system.name, system.in_channels, system.out_channels) == ("system", 2, 2)
            assert system.sample_rate == 44100
        assert not [d for d in list_devices() if d.host.startswith("JACK")]


def test_probing_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    list_devices()
    with pytest.raises(DeviceError):
        PortAudioDriver("no such device").open()
    assert capfd.readouterr() == ("", "")


def test_the_format_is_negotiated(server: JackServer) -> None:
    driver: AudioDriver = PortAudioDriver("system", "system", block=128)
    stream = driver.open()
    assert (stream.sample_rate, stream.block) == (44100, 128)
    assert (stream.in_channels, stream.out_channels) == (2, 2)
    # What the engine adds up to is what JACK says of its ports: the block is counted once.
    told = server.run("jack_lsp", "-l", "system:capture_1"), server.run("jack_lsp", "-l", "system:playback_1")
    capture = re.search(r"capture latency = \[ (\d+)", told[0])
    playback = re.search(r"playback latency = \[ (\d+)", told[1])
    assert capture is not None and playback is not None
    assert (stream.block + stream.in_latency, stream.out_latency) == (int(capture[1]), int(playback[1]))
    driver.close()
    one = PortAudioDriver("system", "system", in_channels=1, out_channels=None).open()
    assert (one.in_channels, one.out_channels) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 5}, "has 2 input channels, not 5"),
        ({"out_channels": 0}, "has 2 output channels, not 0"),
        ({"sample_rate": 48000}, "refuses 48000 Hz.*[Ii]nvalid sample rate"),
        ({"input": "nope"}, "no input device matches 'nope'"),
        ({"output": 7}, "no output device 7"),
    ],
)
def test_what_the_device_cannot_do_is_refused(
    server: JackServer, arguments: dict[str, int | str], message: str
) -> None:
    driver = PortAudioDriver(**arguments)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=message) as refusal:
        driver.open()
    assert "\n" not in str(refusal.value)
    with pytest.raises(DeviceError, match="not been opened"):
        driver.start(RealtimePort(2, 2, 256, 0))
    with pytest.raises(DeviceError, match="impossible"):
        PortAudioDriver(block=0)


def test_a_worker_is_heard_through_the_server(server: JackServer) -> None:
    """The output is wired to the input: what the worker writes comes back, whole, one constant delay later.

    Numbered frames: a client that loops back to itself reads what it wrote, in order, however late the
    machine lets it run.
    """
    hop, latency = 256, 65536
    driver = PortAudioDriver("system", "system", 128, in_channels=1, out_channels=1)
    driver.open()
    port = RealtimePort(1, 1, 1 << 20, latency)
    port.prefill(latency)
    heard: list[np.ndarray] = []
    wired = threading.Event()
    first: list[int] = []
    """Where the numbers begin: silence is written until the loop is closed."""

    def work() -> None:
        block = np.zeros((1, hop), np.float32)
        position = 0
        while not first or position < first[0] + 150 * hop:
            if not port.wait(position + hop, timeout=PATIENCE) or not port.read_hop(position, block):
                return
            heard.append(block.copy())
            due = position + latency
            if wired.is_set() and not first:
                first.append(due)
            numbers = np.arange(due, due + hop, dtype=np.float32)[None] * bool(first)
            assert port.write_block(due, numbers) == WRITTEN
            position += hop

    worker = threading.Thread(target=work)
    driver.start(port)
    worker.start()
    try:
        server.run("jack_connect", "PortAudio:out_0", "PortAudio:in_0")
        server.run("jack_disconnect", "system:capture_1", "PortAudio:in_0")
        wired.set()
        worker.join()
        assert driver.active and driver.error is None
        assert 0 <= driver.cpu_load <= 1
    finally:
        driver.close()
    assert len(heard) * hop == first[0] + 150 * hop
    came = np.concatenate(heard, axis=1)[0]
    begun = int(np.flatnonzero(came)[0])
    assert np.array_equal(came[begun:], np.arange(first[0], first[0] + len(came) - begun))
    # JACK closes a loop with a delay of its own, of whole periods.
    assert (begun - first[0]) % 128 == 0 and 128 <= begun - first[0] <= 512
    assert not driver.active and driver.error is None and port.finished


def test_stopping_ends_the_callbacks_and_a_stream_can_be_started_again(server: JackServer) -> None:
    driver = PortAudioDriver("system", "system", 128)
    driver.open()
    for _ in range(2):
        port = RealtimePort(2, 2, 8192, 0)
        driver.start(port)
        with pytest.raises(DeviceError, match="already"):
            driver.start(port)
        assert port.wait(1024, timeout=10)
        driver.stop()
        stopped_at = port.position
        driver.stop()
        time.sleep(0.02)
        assert port.position == stopped_at
        assert port.closing
    driver.close()
    driver.close()
    with pytest.raises(DeviceError, match="not been opened"):
        driver.start(port)


def test_the_servers_period_is_the_block_whatever_is_asked_for(server: JackServer) -> None:
    driver = PortAudioDriver("system", "system", 100)
    assert driver.open().block == server.period
    port = RealtimePort(2, 2, 8192, 0)
    driver.start(port)
    assert port.wait(5000, timeout=20)
    driver.close()
    counters = port.counters()
    assert counters["frames"] == server.period * counters["callbacks"]


def test_the_ports_channels_must_be_the_devices(server: JackServer) -> None:
    driver = PortAudioDriver("system", "system", 128)
    driver.open()
    with pytest.raises(DeviceError, match="channels"):
        driver.start(RealtimePort(1, 2, 256, 0))


_LOSE_THE_DEVICE = """
import time
from rtsep.io.portaudio import PortAudioDriver
from rtsep.rt.port import RealtimePort
from tests.jack_server import JackServer

with JackServer("lost") as server:
    driver = PortAudioDriver("system", "system", 128)
    driver.open()
    port = RealtimePort(2, 2, 8192, 0)
    driver.start(port)
    assert port.wait(2048, timeout=10)
    assert driver.active and not driver.wait(0.01)
    server.stop()
    assert driver.wait(30)
    print(driver.active, port.finished, driver.error)
    driver.close()
    print(driver.active, driver.error)
"""


def test_a_device_that_goes_away_is_noticed_and_left_behind(server: JackServer) -> None:
    # In a process of its own: PortAudio does not recover from it, and whether it ends is the question.
    del server  # only to skip where there is no JACK
    done = subprocess.run(
        [sys.executable, "-c", _LOSE_THE_DEVICE],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("False True the audio device 'system' has ")
    assert second == "False None"


def test_without_the_library_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sounddevice'] = None\n"
        "from rtsep.io.devices import list_devices\nfrom rtsep.spec import DeviceError\n"
        "try: list_devices()\nexcept DeviceError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_ROOT, timeout=60
    )
    assert "libportaudio2" in done.stdout
