"""Sound cards, through PortAudio: ALSA, JACK, CoreAudio, WASAPI, ASIO.

The stream gets the address of the native callback and of the port's memory: PortAudio's thread never
enters Python. Opening and closing are done from Python, and closing is not trusted to come back: with a
device that has gone away PortAudio may wait for minutes, so it is given a thread of its own and, in the
end, left behind.
"""

from __future__ import annotations

import atexit
import contextlib
import time
from collections.abc import Callable
from typing import Any

from rtsep.io.devices import (
    Device,
    find_device,
    list_devices,
    load_portaudio,
    quiet,
    reason,
    running_portaudio,
    start_portaudio,
    stop_portaudio,
)
from rtsep.io.driver import StreamFormat
from rtsep.io.patience import TooLateError, within
from rtsep.rt import layout
from rtsep.rt.callback import callback_address, finished_address
from rtsep.rt.clock import now_ns
from rtsep.rt.fences import load, store
from rtsep.rt.port import RealtimePort
from rtsep.spec import DeviceError

__all__ = ["Device", "PortAudioDriver", "find_device", "list_devices"]

JACK = "JACK Audio Connection Kit"
"""PortAudio's name of the host whose server, not its clients, sets the block."""

_STALE_SECONDS = 2.0
_PATIENCE_SECONDS = 1.0
_PROBE_FRAMES = 1024

_abandoned: list[object] = []
"""Streams that PortAudio would not close, with their memory, which it may still write to."""


class PortAudioDriver:
    """A duplex stream on one or two sound devices.

    Args:
        input, output: index, name or part of a name; None for the default.
        block: frames per callback. On JACK it is the server's period, whatever is asked for: to any number
            PortAudio would adapt by a whole block of latency, even to the period itself.
        sample_rate: Hz; None for `preferred_rate` or, where that is refused, the output device's own.
        in_channels, out_channels: to open; None for two, or one where the device has no more.
        preferred_rate: Hz; None for the output device's own. Hosts such as JACK run at one rate and refuse
            all others.

    The input and output must belong to the same host ("ALSA", "JACK Audio Connection Kit", ...).
    """

    name = "portaudio"
    paced = True

    def __init__(
        self,
        input: str | int | None = None,
        output: str | int | None = None,
        block: int = 128,
        sample_rate: int | None = None,
        in_channels: int | None = 2,
        out_channels: int | None = 2,
        preferred_rate: int | None = None,
    ) -> None:
        if block < 1:
            raise DeviceError(f"a block of {block} frames is impossible")
        self._wanted = input, output
        self._block = block
        self._sample_rate = sample_rate
        self._preferred_rate = preferred_rate
        self._channels = in_channels, out_channels
        self._devices: tuple[Device, Device] | None = None
        self._format: StreamFormat | None = None
        self._stream: Any = None
        self._port: RealtimePort | None = None
        self._started_ns = 0
        self._asked_to_stop = False

    def open(self) -> StreamFormat:
        """Find the devices and try the format on them. Raises DeviceError.

        The stream itself is opened by `start`, which has the memory that it works on. In between
        PortAudio is stopped, as it numbers a process's JACK ports on and on until it is.
        """
        self.close()
        with running_portaudio():
            source, target = self._find()
            inputs = _channels(source, "input", source.in_channels, self._channels[0])
            outputs = _channels(target, "output", target.out_channels, self._channels[1])
            own = target.sample_rate
            probe = RealtimePort(inputs, outputs, _PROBE_FRAMES, 0, fallback="silence")
            rates = [self._sample_rate] if self._sample_rate else [self._preferred_rate or own, own]
            for rate in rates:
                # Opening is the only test that counts: a format said to be supported may still fail.
                try:
                    stream = self._open_stream(StreamFormat(rate, self._block, inputs, outputs), probe)
                    break
                except DeviceError:
                    if rate == rates[-1]:
                        raise
            try:
                if self._on_jack:
                    block = self._period(stream, probe)
                    # PortAudio's figure for a stream has a period taken off up to 19.7 and not later; its
                    # list of devices has what JACK says of the ports. The engine counts the block itself.
                    # JACK's output latency is from this callback to when its first frame sounds.
                    listed = load_portaudio().query_devices
                    in_seconds = listed(source.index)["default_low_input_latency"]
                    out_seconds = listed(target.index)["default_low_output_latency"]
                    in_latency, out_latency = round(in_seconds * rate) - block, round(out_seconds * rate)
                else:
                    block = self._block
                    in_latency, out_latency = (max(0, round(seconds * rate)) for seconds in stream.latency)
            finally:
                if not _bounded(stream.close):
                    _abandoned.append((stream, probe))
        self._format = StreamFormat(rate, block, inputs, outputs, in_latency, out_latency)
        return self._format

    def _period(self, stream: Any, probe: RealtimePort) -> int:
        """Frames that the server hands over at once: of all that PortAudio says of it, only this is sure.

        The probe's memory is the stream's; nothing is heard of it.
        """
        assert self._devices is not None
        library, name = load_portaudio(), self._devices[0].name
        try:
            with quiet():
                within(_STALE_SECONDS, stream.start, "starting the audio device")
        except library.PortAudioError as failure:
            raise DeviceError(f"{name!r} does not start: {reason(failure)}") from failure
        except TooLateError:
            raise DeviceError(f"{name!r} does not start: the server asks for no audio") from None
        deadline = time.monotonic() + _STALE_SECONDS
        # The last that a callback notes, after it has moved the clock.
        while not (frames := load(probe.words, layout.LAST_FRAMES)):
            if time.monotonic() > deadline:
                raise DeviceError(f"{name!r} does not start: the server asks for no audio")
            time.sleep(0.001)
        return int(frames)

    @property
    def _on_jack(self) -> bool:
        return self._devices is not None and self._devices[1].host == JACK

    def _find(self) -> tuple[Device, Device]:
        devices = list_devices()
        source = find_device(devices, self._wanted[0], "input")
        target = find_device(devices, self._wanted[1], "output")
        if source.host != target.host and None in self._wanted:
            # Where only one is named, the other follows it: no stream spans two hosts.
            host = target.host if self._wanted[0] is None else source.host
            same = [d for d in devices if d.host == host]
            source = find_device(same, self._wanted[0], "input")
            target = find_device(same, self._wanted[1], "output")
        self._devices = source, target
        return source, target

    def _open_stream(self, wanted: StreamFormat, port: RealtimePort) -> Any:
        assert self._devices is not None
        source, target = self._devices
        sounddevice = load_portaudio()
        cast = sounddevice._ffi.cast
        try:
            with quiet():
                return sounddevice._StreamBase(
                    "duplex",
                    samplerate=wanted.sample_rate,
                    blocksize=0 if self._on_jack else wanted.block,
                    device=(source.index, target.index),
                    channels=(wanted.in_channels, wanted.out_channels),
                    dtype="float32",
                    latency="low",
                    callback=cast("PaStreamCallback*", callback_address()),
                    finished_callback=cast("PaStreamFinishedCallback*", finished_address()),
                    userdata=cast("void*", port.address),
                )
        except (sounddevice.PortAudioError, ValueError) as failure:
            names = source.name if source == target else f"{source.name} / {target.name}"
            raise DeviceError(
                f"{names!r} refuses {wanted.sample_rate} Hz, {wanted.in_channels} in, "
                f"{wanted.out_channels} out, blocks of {wanted.block}: {reason(failure)}"
            ) from failure

    def start(self, port: RealtimePort) -> None:
        """Open the stream on `port` and start it. Raises DeviceError."""
        if self._format is None:
            raise DeviceError("the device has not been opened")
        if self._stream is not None:
            raise DeviceError("the device is already running")
        if (port.in_channels, port.out_channels) != (self._format.in_channels, self._format.out_channels):
            raise DeviceError("the port's channels are not the device's")
        port.sample_rate = self._format.sample_rate
        start_portaudio()
        try:
            self._find()
            stream = self._open_stream(self._format, port)
            self._started_ns = now_ns()
            try:
                with quiet():
                    stream.start()
            except load_portaudio().PortAudioError as failure:
                _bounded(stream.close)
                raise DeviceError(f"the device does not start: {reason(failure)}") from failure
        except BaseException:
            stop_portaudio()
            raise
        self._port = port
        self._stream = stream
        self._asked_to_stop = False

    def stop(self) -> None:
        """Fade to silence, then stop. A device that has gone away is left behind."""
        stream, port = self._stream, self._port
        if stream is None or port is None:
            return
        healthy = self.active
        self._asked_to_stop = True
        self._stream = None
        if healthy:
            self._fade_out(port)
        # After a device is gone, PortAudio's `abort` waits for a callback that never comes.
        with quiet():
            closed = _bounded(lambda: (stream.abort(), stream.close()) if healthy else stream.close())
        store(port.words, layout.FINISHED, 1)
        if closed:
            stop_portaudio()
        else:
            # PortAudio is not stopped either: it would wait for the lost device again, as it would when
            # sounddevice stops it on leaving the interpreter.
            _abandoned.append((stream, port))
            atexit.unregister(load_portaudio()._exit_handler)

    def _fade_out(self, port: RealtimePort) -> None:
        assert self._format is not None
        port.closing = True
        # The ramp, the block it begins in, and what the device has already taken.
        frames = port.ramp + 2 * self._format.block + self._format.out_latency
        until = port.position + frames
        port.wait(until, timeout=4 * frames / self._format.sample_rate + 0.05, poll=0.001)

    def close(self) -> None:
        """Stop, if running, and forget the format."""
        self.stop()
        self._format = None

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


def _channels(device: Device, side: str, most: int, asked: int | None) -> int:
    count = min(2, most) if asked is None else asked
    if not 1 <= count <= most:
        plural = "s" if most != 1 else ""
        raise DeviceError(f"{device.name!r} has {most} {side} channel{plural}, not {count}")
    return count


def _bounded(action: Callable[[], object]) -> bool:
    """Close something of a device; False if that has not come back in time.

    What PortAudio refuses to close has come back: nothing is waited for, and the rest is still to be ended.
    """
    try:
        with contextlib.suppress(load_portaudio().PortAudioError):
            within(_PATIENCE_SECONDS, action, "closing the audio device")
    except TooLateError:
        return False
    return True
