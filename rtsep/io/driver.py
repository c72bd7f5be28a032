"""What an audio driver is. The engine knows nothing else about where sound comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rtsep.rt.port import RealtimePort


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """What a driver and its device have agreed on.

    Attributes:
        sample_rate: Hz.
        block: frames per callback.
        in_channels, out_channels: of the device's interleaved float32 buffers.
        in_latency, out_latency: samples that the device itself adds before and after the callback, as
            far as it says; without the block, which the engine counts. What another program makes in the
            period in which it is heard has no block to wait for: the first is then less than zero.
    """

    sample_rate: int
    block: int
    in_channels: int
    out_channels: int
    in_latency: int = 0
    out_latency: int = 0


class AudioDriver(Protocol):
    """Calls the native callback on a port, once per block, until stopped or until its source ends.

    The order is `open`, `start`, `stop`, `close`. `stop` and `close` may be called in any state, more
    than once. A stream that has ended for whatever reason sets the port's `finished`.

    Attributes:
        name: what it is called.
        paced: a clock, and not how fast the worker is, decides when the next block comes.
    """

    name: str
    paced: bool

    def open(self) -> StreamFormat:
        """Agree on a format. Raises DeviceError, in one line, if there is no such device or format."""

    def start(self, port: RealtimePort) -> None:
        """Start calling back on `port`, which the driver keeps alive. Raises DeviceError."""

    def stop(self) -> None:
        """Stop calling back. No callback runs after this returns."""

    def close(self) -> None:
        """Give the device back. Never waits for a device that is gone."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the stream to end by itself; True if it has, False after `timeout` seconds."""

    @property
    def active(self) -> bool:
        """Callbacks are being made, as far as the driver knows."""

    @property
    def error(self) -> str | None:
        """Why the stream ended, if that was not asked for: one line."""
