"""How work on a device is put on record once and then done again as a whole, whoever the device is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

WARM_UPS = 3
"""Runs before the recording: libraries set themselves up on first use, which must not be recorded."""

Replay = Callable[[], None]
"""Does all that was recorded again, on the same memory. It may return before that is done."""


class Recorder(Protocol):
    """Makes a replay of work that reads and writes tensors of fixed address and decides nothing.

    Attributes:
        device: where the work's tensors must be.
        pinned: whether the host's buffers must be page-locked for copies to be part of the record.
    """

    device: str
    pinned: bool

    def record(self, work: Callable[[], None]) -> Replay:
        """Do the work a few times, and return what does it again."""

    def wait(self) -> None:
        """Return when all that was begun is done."""


class CudaGraphs:
    """Records CUDA graphs: a replay launches one thing, where eager work launches some hundred kernels.

    All graphs of one recorder share a pool of memory, as they never run at the same time.
    """

    device = "cuda"
    pinned = True

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], None]) -> Replay:
        """See `Recorder.record`."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                work()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def wait(self) -> None:
        """See `Recorder.wait`: the one synchronisation of a step."""
        self._stream.synchronize()


class Eager:
    """Records nothing: a replay does the work itself. For CPUs, and to test what surrounds a recording."""

    device = "cpu"
    pinned = False

    def record(self, work: Callable[[], None]) -> Replay:
        """See `Recorder.record`."""
        for _ in range(WARM_UPS):
            work()
        return work

    def wait(self) -> None:
        """See `Recorder.wait`."""
