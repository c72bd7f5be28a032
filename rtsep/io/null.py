"""A driver without a device: plays an array in at a sound card's pace, and keeps what comes out."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from rtsep.io.driver import StreamFormat
from rtsep.io.pumped import PumpedDriver
from rtsep.rt import layout, priority
from rtsep.rt.fences import store
from rtsep.rt.port import RealtimePort
from rtsep.rt.pump import Pump
from rtsep.spec import DeviceError

_ENDLESS = 1 << 62


class NullDriver(PumpedDriver):
    """Runs the native callback from a thread of its own that needs no GIL.

    Args:
        sample_rate: Hz.
        block: frames per callback.
        source: what the input hears, float32 (in_channels, samples); None for silence without end.
        in_channels: defaults to the source's, or 2.
        out_channels: of the output.
        capture_seconds: length of output kept from the start; None for all of it if the source ends,
            and nothing if it does not.
        loop: repeat the source without end.
        realtime: pace the blocks by the clock; False runs each as soon as the worker is ready for it.

    The stream ends by itself when the last of the source has come out: after the source's length plus
    the port's latency, rounded up to whole blocks. Raises DeviceError on an impossible format.
    """

    name = "null"

    def __init__(
        self,
        sample_rate: int = 44100,
        block: int = 128,
        source: NDArray[np.float32] | None = None,
        in_channels: int | None = None,
        out_channels: int = 2,
        capture_seconds: float | None = None,
        loop: bool = False,
        realtime: bool = True,
    ) -> None:
        super().__init__()
        if source is not None and (source.ndim != 2 or source.dtype != np.float32):
            raise DeviceError(f"the source must be float32 (channels, samples), not {source.shape}")
        channels = in_channels or (len(source) if source is not None else 2)
        if source is not None and len(source) != channels:
            raise DeviceError(f"the source has {len(source)} channels, the stream {channels}")
        if min(sample_rate, block, channels, out_channels) < 1:
            raise DeviceError(f"impossible format: {sample_rate} Hz, {channels} to {out_channels} x {block}")
        self._format = StreamFormat(sample_rate, block, channels, out_channels)
        frames = np.zeros((0, channels), np.float32) if source is None else source.T
        self._source: NDArray[np.float32] = np.ascontiguousarray(frames)
        self._endless = loop or source is None
        self._loop = loop
        self.paced = realtime
        self._capture_seconds = capture_seconds
        self._captured: NDArray[np.float32] = np.zeros((0, out_channels), np.float32)
        self._kept = 0
        self._port: RealtimePort | None = None

    def open(self) -> StreamFormat:
        """The format that the constructor was given."""
        return self._format

    def start(self, port: RealtimePort) -> None:
        """Begin; the first callback comes after one block's duration."""
        if self.active:
            raise DeviceError("the null driver is already running")
        if (port.in_channels, port.out_channels) != (self._format.in_channels, self._format.out_channels):
            raise DeviceError("the port's channels are not the stream's")
        port.sample_rate = self._format.sample_rate
        self._port = port
        self._pump = Pump(port, self._format.block, self.paced)
        self._pump.warm_up()
        length = len(self._source) + port.latency
        if self._capture_seconds is not None:
            capture = round(self._capture_seconds * self._format.sample_rate)
        else:
            capture = 0 if self._endless else length
        self._captured = np.zeros((capture, self._format.out_channels), np.float32)
        # Touch the pages now: the first write to each would otherwise fault while the stream runs.
        self._captured.fill(0.0)
        total = _ENDLESS if self._endless else length
        self._thread = threading.Thread(target=self._run, args=(total,), name="null driver", daemon=True)
        self._thread.start()

    def _run(self, total: int) -> None:
        assert self._pump is not None and self._port is not None
        if self.paced:
            priority.rise(priority.DEVICE)
        ran = self._pump.run(self._source, self._captured, total, self._loop)
        self._kept = min(ran, len(self._captured))
        store(self._port.words, layout.FINISHED, 1)

    @property
    def error(self) -> str | None:
        """None: there is no device that could fail."""
        return None

    @property
    def captured(self) -> NDArray[np.float32]:
        """The output kept, float32 (out_channels, samples). Complete once the stream has ended."""
        kept = len(self._captured) if self.active else self._kept
        return np.ascontiguousarray(self._captured[:kept].T)
