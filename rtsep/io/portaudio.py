"""Sound cards, through PortAudio: ALSA, JACK, CoreAudio, WASAPI, ASIO.

The stream gets the address of the native callback and of the port's memory: PortAudio's thread never
enters Python. Opening, probing and closing are done from Python, and none of them is trusted to come
back: with a device that has gone away PortAudio may wait for minutes, so it is given a thread of its
own and, in the end, left behind.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rtsep.io.driver import StreamFormat
from rtsep.rt import layout
from rtsep.rt.callback import callback_address, finished_address
from rtsep.rt.clock import now_ns
from rtsep.rt.fences import store
from rtsep.rt.port import RealtimePort
from rtsep.spec import DeviceError

_STALE_SECONDS = 2.0
_PATIENCE_SECONDS = 1.0
_SEE = "see `rtsep devices`"

_lock = threading.Lock()
_running = 0
_abandoned: list[object] = []
"""Streams that PortAudio would not close, with their memory, which it may still write to."""


@dataclass(frozen=True, slots=True)
class Device:
    """An audio device as PortAudio lists it.

    Attributes:
        index: by which it can be chosen, until devices come or go.
        name: of the device.
        host: the system's audio interface by which it is reached, such as "ALSA".
        in_channels, out_channels: at most; 0 if it has no such side.
        sample_rate: Hz, its default.
        default_input, default_output: it is what the host uses when none is named.
    """

    index: int
    name: str
    host: str
    in_channels: int
    out_channels: int
    sample_rate: int
    default_input: bool
    default_output: bool


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what the audio libraries print while they probe to nowhere.

    They write to the file descriptor; Python's `sys.stderr` is not involved.
    """
    try:
        saved = os.dup(2)
    except OSError:  # there is no stderr to protect
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@functools.cache
def _portaudio() -> Any:
    """sounddevice, which loads and starts the PortAudio library. Raises DeviceError without one."""
    try:
        with _quiet():
            import sounddevice
    except (OSError, ImportError) as failure:
        raise DeviceError(
            "the PortAudio library is missing (on Debian: apt-get install libportaudio2)"
        ) from failure
    except Exception as failure:  # PortAudioError, which is not importable here
        raise DeviceError(f"the audio system does not start: {_reason(failure)}") from failure
    return sounddevice


def refresh() -> None:
    """Let PortAudio look again for devices and for a JACK server, which it only does on starting.

    Does nothing while a stream is open in this process, as that would end it.
    """
    sounddevice = _portaudio()
    with _lock, _quiet():
        if _running or _abandoned:
            return
        while sounddevice._initialized:
            sounddevice._terminate()
        sounddevice._initialize()


def list_devices() -> list[Device]:
    """All devices there are now; an empty list if there are none. Raises DeviceError."""
    sounddevice = _portaudio()
    try:
        refresh()
        hosts = sounddevice.query_hostapis()
        found = sounddevice.query_devices()
    except sounddevice.PortAudioError as failure:
        raise DeviceError(f"the audio system does not answer: {_reason(failure)}") from failure
    default_in, default_out = sounddevice.default.device
    if default_in < 0:
        default_in = sounddevice._lib.Pa_GetDefaultInputDevice()
    if default_out < 0:
        default_out = sounddevice._lib.Pa_GetDefaultOutputDevice()
    return [
        Device(
            index=entry["index"],
            name=entry["name"],
            host=hosts[entry["hostapi"]]["name"],
            in_channels=entry["max_input_channels"],
            out_channels=entry["max_output_channels"],
            sample_rate=round(entry["default_samplerate"]),
            default_input=entry["index"] == default_in,
            default_output=entry["index"] == default_out,
        )
        for entry in found
    ]


def find_device(devices: list[Device], wanted: str | int | None, side: str) -> Device:
    """The device that `wanted` names, for `side` "input" or "output".

    wanted: an index, also as text; a name or part of one, in any case, also as "name, host"; None for
    the default. Raises DeviceError if there is none, or more than one.
    """
    able = [d for d in devices if (d.in_channels if side == "input" else d.out_channels) > 0]
    if not able:
        raise DeviceError(f"there is no audio {side} device on this machine")
    if wanted is None:
        for device in able:
            if device.default_input if side == "input" else device.default_output:
                return device
        return able[0]
    if isinstance(wanted, int) or wanted.strip().isdigit():
        for device in able:
            if device.index == int(wanted):
                return device
        raise DeviceError(f"there is no {side} device {wanted}; {_SEE}")
    text = wanted.strip().casefold()
    names = [(d, d.name.casefold(), f"{d.name}, {d.host}".casefold()) for d in able]
    matches = [d for d, name, full in names if text in (name, full)]
    matches = matches or [d for d, _, full in names if text in full]
    if not matches:
        there = ", ".join(f"{d.index} {d.name!r}" for d in able[:6])
        raise DeviceError(f"no {side} device matches {wanted!r} (there is {there}); {_SEE}")
    if len(matches) > 1:
        choices = ", ".join(f"{d.index} {d.name!r}" for d in matches)
        raise DeviceError(f"{wanted!r} could be any of {choices}; give the number")
    return matches[0]


def _reason(failure: BaseException) -> str:
    text = str(failure.args[0] if failure.args else failure)
    return " ".join(text.split()) or type(failure).__name__


class PortAudioDriver:
    """A duplex stream on one or two sound devices.

    Args:
        input, output: index, name or part of a name; None for the default.
        block: frames per callback.
        sample_rate: Hz; None for the output device's own.
        in_channels, out_channels: to open; None for two, or one where the device has no more.

    The input and output must belong to the same host ("ALSA", "JACK Audio Connection Kit", ...).
    """

    name = "portaudio"

    def __init__(
        self,
        input: str | int | None = None,
        output: str | int | None = None,
        block: int = 128,
        sample_rate: int | None = None,
        in_channels: int | None = 2,
        out_channels: int | None = 2,
    ) -> None:
        if block < 1:
            raise DeviceError(f"a block of {block} frames is impossible")
        self._wanted = input, output
        self._block = block
        self._sample_rate = sample_rate
        self._channels = in_channels, out_channels
        self._devices: tuple[Device, Device] | None = None
        self._format: StreamFormat | None = None
        self._stream: Any = None
        self._port: RealtimePort | None = None
        self._started_ns = 0
        self._asked_to_stop = False

    def open(self) -> StreamFormat:
        """Find the devices and try the format on them. Raises DeviceError.

        The stream itself is opened by `start`, which has the memory that it works on.
        """
        devices = list_devices()
        source = find_device(devices, self._wanted[0], "input")
        target = find_device(devices, self._wanted[1], "output")
        if source.host != target.host and None in self._wanted:
            # Where only one is named, the other follows it: no stream spans two hosts.
            host = target.host if self._wanted[0] is None else source.host
            same = [d for d in devices if d.host == host]
            source = find_device(same, self._wanted[0], "input")
            target = find_device(same, self._wanted[1], "output")
        channels = []
        sides = (("input", source.in_channels), ("output", target.out_channels))
        for (side, most), asked in zip(sides, self._channels, strict=True):
            count = min(2, most) if asked is None else asked
            device = source if side == "input" else target
            if not 1 <= count <= most:
                raise DeviceError(
                    f"{device.name!r} has {most} {side} channel{'s' * (most != 1)}, not {count}; {_SEE}"
                )
            channels.append(count)
        rate = self._sample_rate or target.sample_rate
        self._devices = source, target
        # Opening is the only test that counts: a format that is said to be supported may still fail.
        trial = StreamFormat(rate, self._block, channels[0], channels[1])
        stream = self._open_stream(trial, None)
        latency = stream.latency
        _bounded(stream.close)
        self._format = StreamFormat(
            rate, self._block, channels[0], channels[1], round(latency[0] * rate), round(latency[1] * rate)
        )
        return self._format

    def _open_stream(self, wanted: StreamFormat, port: RealtimePort | None) -> Any:
        assert self._devices is not None
        source, target = self._devices
        sounddevice = _portaudio()
        cast = sounddevice._ffi.cast
        try:
            with _quiet():
                return sounddevice._StreamBase(
                    "duplex",
                    samplerate=wanted.sample_rate,
                    blocksize=wanted.block,
                    device=(source.index, target.index),
                    channels=(wanted.in_channels, wanted.out_channels),
                    dtype="float32",
                    latency="low",
                    callback=cast("PaStreamCallback*", callback_address()),
                    finished_callback=cast("PaStreamFinishedCallback*", finished_address()),
                    userdata=cast("void*", port.address if port is not None else 0),
                )
        except (sounddevice.PortAudioError, ValueError) as failure:
            names = source.name if source == target else f"{source.name} / {target.name}"
            raise DeviceError(
                f"{names!r} refuses {wanted.sample_rate} Hz, {wanted.in_channels} in, "
                f"{wanted.out_channels} out, blocks of {wanted.block}: {_reason(failure)}"
            ) from failure

    def start(self, port: RealtimePort) -> None:
        """Open the stream on `port` and start it. Raises DeviceError."""
        global _running
        if self._format is None:
            raise DeviceError("the device has not been opened")
        if self._stream is not None:
            raise DeviceError("the device is already running")
        if (port.in_channels, port.out_channels) != (self._format.in_channels, self._format.out_channels):
            raise DeviceError("the port's channels are not the device's")
        port.sample_rate = self._format.sample_rate
        stream = self._open_stream(self._format, port)
        self._port = port
        self._asked_to_stop = False
        self._started_ns = now_ns()
        try:
            with _quiet():
                stream.start()
        except _portaudio().PortAudioError as failure:
            _bounded(stream.close)
            raise DeviceError(f"the device does not start: {_reason(failure)}") from failure
        self._stream = stream
        with _lock:
            _running += 1

    def stop(self) -> None:
        """Fade to silence, then stop. A device that has gone away is left behind."""
        global _running
        stream, port = self._stream, self._port
        if stream is None or port is None:
            return
        healthy = self.active
        self._asked_to_stop = True
        self._stream = None
        if healthy:
            self._fade_out(port)
        # After a device is gone, PortAudio's `abort` waits for a callback that never comes.
        with _quiet():
            closed = _bounded(lambda: (stream.abort(), stream.close()) if healthy else stream.close())
        store(port.words, layout.FINISHED, 1)
        with _lock:
            _running -= 1
            if not closed:
                _abandon(stream, port)

    def _fade_out(self, port: RealtimePort) -> None:
        assert self._format is not None
        port.closing = True
        # The ramp, the block it begins in, and what the device has already taken.
        frames = port.ramp + 2 * self._format.block + self._format.out_latency
        until = port.position + frames
        port.wait(until, timeout=4 * frames / self._format.sample_rate + 0.05, poll=0.001)

    def close(self) -> None:
        """Stop, if running."""
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the stream to end by itself, as when the device goes away."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.active:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    @property
    def active(self) -> bool:
        """The stream is running and has called back within the last two seconds."""
        return self._stream is not None and self.error is None

    @property
    def error(self) -> str | None:
        """That the device has gone away or gone quiet, if so; asking also ends the port's stream."""
        if self._asked_to_stop or self._stream is None or self._port is None or self._devices is None:
            return None
        name = self._devices[1].name
        # JACK's end is seen in the stream's state only, other hosts' in the call that sets `finished`.
        if self._port.finished or not self._stream.active:
            store(self._port.words, layout.FINISHED, 1)
            return f"the audio device {name!r} has gone away"
        last = max(self._port.counters()["last_callback_ns"], self._started_ns)
        if now_ns() - last > _STALE_SECONDS * 1e9:
            store(self._port.words, layout.FINISHED, 1)
            return f"the audio device {name!r} has stopped asking for audio"
        return None

    @property
    def cpu_load(self) -> float:
        """Share of a block's duration that the callback takes, as PortAudio estimates it; 0 to 1."""
        return float(self._stream.cpu_load) if self._stream is not None else 0.0


def _bounded(action: Callable[[], object]) -> bool:
    """Run `action` in a thread; False if it has not come back in time."""
    thread = threading.Thread(target=action, name="closing the audio device", daemon=True)
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    return not thread.is_alive()


def _abandon(stream: object, port: RealtimePort) -> None:
    _abandoned.append((stream, port))
    # On leaving the interpreter sounddevice ends PortAudio, which would wait for the lost device again.
    atexit.unregister(_portaudio()._exit_handler)
