"""A driver that streams from a reader to a writer, as fast as the worker separates.

To the engine it is a device like any other, block by block through the native callback. Since it waits
for the output instead of playing a gap, nothing is lost on a busy machine; since it reads and writes in
chunks, memory does not grow with the length of the file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtsep.io.driver import StreamFormat
from rtsep.io.pumped import PumpedDriver
from rtsep.rt import layout
from rtsep.rt.fences import store
from rtsep.rt.port import RealtimePort
from rtsep.rt.pump import Pump
from rtsep.spec import DeviceError, RtsepError

Reader = Callable[[int], NDArray[np.float32]]
"""Called with a number of samples: returns float32 (in_channels, up to that many), none at the end."""

Writer = Callable[[NDArray[np.float32]], None]
"""Called with float32 (out_channels, n), in order; the array is reused after it returns."""

_CHUNK_FRAMES = 32768


def array_reader(audio: NDArray[np.float32]) -> Reader:
    """A reader of `audio`, float32 (channels, samples)."""
    position = 0

    def read(count: int) -> NDArray[np.float32]:
        nonlocal position
        piece = audio[:, position : position + count]
        position += piece.shape[1]
        return piece

    return read


class FileDriver(PumpedDriver):
    """Unpaced stream from `reader` through the port to `writer`.

    Args:
        reader: where the input comes from.
        writer: where the output goes; None to discard it.
        sample_rate: Hz.
        in_channels, out_channels: of the stream.
        block: frames per callback.
        align: leave out the first `port.latency` samples of output, so that the writer receives exactly
            as many samples as were read, each where its input was.

    Whatever the reader or writer raises ends the stream; `error` says what it was.
    """

    name = "file"
    paced = False

    def __init__(
        self,
        reader: Reader,
        writer: Writer | None,
        sample_rate: int,
        in_channels: int = 2,
        out_channels: int = 2,
        block: int = 1024,
        align: bool = True,
    ) -> None:
        super().__init__()
        if min(sample_rate, block, in_channels, out_channels) < 1:
            raise DeviceError(
                f"impossible format: {sample_rate} Hz, {in_channels} to {out_channels} x {block}"
            )
        self._format = StreamFormat(sample_rate, block, in_channels, out_channels)
        self._reader = reader
        self._writer = writer
        self._align = align
        self._error: str | None = None
        self._frames_written = 0

    def open(self) -> StreamFormat:
        """The format that the constructor was given."""
        return self._format

    def start(self, port: RealtimePort) -> None:
        """Begin; blocks are run as the port's output becomes ready."""
        if self._thread is not None:
            raise DeviceError("a file can be streamed once only")
        if (port.in_channels, port.out_channels) != (self._format.in_channels, self._format.out_channels):
            raise DeviceError("the port's channels are not the stream's")
        port.sample_rate = self._format.sample_rate
        self._pump = Pump(port, self._format.block, paced=False)
        self._pump.warm_up()
        self._thread = threading.Thread(
            target=self._run, args=(port, self._pump), name="file driver", daemon=True
        )
        self._thread.start()

    def _run(self, port: RealtimePort, pump: Pump) -> None:
        try:
            self._stream(port, pump)
        except (RtsepError, OSError, ValueError, RuntimeError) as failure:
            self._error = str(failure) or type(failure).__name__
        finally:
            store(port.words, layout.FINISHED, 1)

    def _stream(self, port: RealtimePort, pump: Pump) -> None:
        block = self._format.block
        chunk = max(1, _CHUNK_FRAMES // block) * block
        source = np.zeros((chunk, port.in_channels), np.float32)
        target = np.zeros((chunk, port.out_channels), np.float32)
        planar = np.zeros((port.out_channels, chunk), np.float32)
        skip = port.latency if self._align else 0
        begin = received = 0
        ended = False
        while not ended or begin < received + port.latency:
            filled = 0
            while not ended and filled < chunk:
                piece = self._reader(chunk - filled)
                filled, ended = self._accept(piece, source, filled)
            received += filled
            frames = chunk if not ended else min(chunk, received + port.latency - begin)
            ran = min(pump.run(source[:filled], target, frames), frames)
            if pump.stopped:
                return
            first = min(max(skip - begin, 0), ran)
            if self._writer is not None and ran > first:
                planar[:, : ran - first] = target[first:ran].T
                self._writer(planar[:, : ran - first])
            self._frames_written += ran - first
            begin += ran

    def _accept(
        self, piece: NDArray[np.float32], source: NDArray[np.float32], filled: int
    ) -> tuple[int, bool]:
        if piece.ndim != 2 or len(piece) != source.shape[1] or piece.shape[1] > len(source) - filled:
            raise DeviceError(f"the source gave {piece.shape}, not {source.shape[1]} channels as asked")
        source[filled : filled + piece.shape[1]] = piece.T
        return filled + piece.shape[1], piece.shape[1] == 0

    @property
    def error(self) -> str | None:
        """What the reader or writer failed with."""
        return self._error

    @property
    def frames_written(self) -> int:
        """Samples given to the writer so far."""
        return self._frames_written
