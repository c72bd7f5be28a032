"""A sound card without a sound card: calls the audio callback from a compiled loop.

It calls the callback through its C function pointer, exactly as PortAudio does, either *paced*, at
the times at which a card would (absolute deadlines, so that errors never add up), or *unpaced*, as
soon as the worker has finished the output that is due, so that nothing can underrun.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numpy.typing import NDArray

from rtsep.rt import layout as at
from rtsep.rt.callback import PA_CONTINUE, SIGNATURE, callback_address
from rtsep.rt.clock import clock_ns, now_ns, sleep_once, sleep_until
from rtsep.rt.fences import load, load_acquire, store
from rtsep.rt.port import RealtimePort

# numba types it as if it were called with what it is defined with, which is not so.
intrinsic: Any = extending.intrinsic

_POLL_NS = 20_000
_STOP = 0


@intrinsic
def _call(typingctx: Any, callback: Any, source: Any, target: Any, frames: Any, userdata: Any) -> Any:
    """`((PaStreamCallback *)callback)(source, target, frames, NULL, 0, userdata)`; all 64-bit integers."""
    if any(arg not in (types.int64, types.uint64) for arg in (callback, source, target, frames, userdata)):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        native = [context.get_value_type(arg) for arg in SIGNATURE.args]
        kind = ir.FunctionType(context.get_value_type(SIGNATURE.return_type), native)
        pointer = builder.inttoptr(args[0], kind.as_pointer())
        count = builder.trunc(args[3], native[2]) if native[2].width < 64 else args[3]
        return builder.call(
            pointer,
            [
                builder.inttoptr(args[1], native[0]),
                builder.inttoptr(args[2], native[1]),
                count,
                native[3](None),
                native[4](0),
                builder.inttoptr(args[4], native[5]),
            ],
        )

    return types.int32(callback, source, target, frames, userdata), codegen


def _build(stamp: int) -> Any:
    # `stamp` is in the cache's key: this code, too, has the layout frozen into it.
    @njit(nogil=True, cache=True)
    def run(
        callback: int,
        words: Any,
        control: Any,
        source: Any,
        loop: bool,
        target: Any,
        frames: int,
        incoming: Any,
        outgoing: Any,
        start_ns: int,
    ) -> int:
        # source, target, incoming, outgoing: float32 (frames, channels)
        block = incoming.shape[0]
        rate = words[at.SAMPLE_RATE]
        userdata = words.ctypes.data
        done = 0
        while done < frames and load_acquire(control, _STOP) == 0:
            begin = words[at.CLOCK]
            if start_ns > 0:
                # A card hands over a block when its last frame has come in.
                sleep_until(start_ns + (begin + block) * 1_000_000_000 // rate)
            else:
                end = load_acquire(words, at.OUT_END)
                if end < begin + block or load_acquire(words, at.OUT_START) > begin:
                    sleep_once(clock_ns() + _POLL_NS)
                    continue
            for i in range(block):
                at_source = done + i
                if loop and source.shape[0] > 0:
                    at_source = at_source % source.shape[0]
                for c in range(incoming.shape[1]):
                    inside = at_source < source.shape[0]
                    incoming[i, c] = source[at_source, c] if inside else np.float32(0.0)
            if (
                stamp != words[at.MAGIC]
                or _call(callback, incoming.ctypes.data, outgoing.ctypes.data, np.int64(block), userdata)
                != PA_CONTINUE
            ):
                break
            for i in range(min(block, target.shape[0] - done)):
                for c in range(target.shape[1]):
                    target[done + i, c] = outgoing[i, c]
            done += block
        return done

    return run


_run = _build(at.SOURCE_STAMP)


class Pump:
    """Drives one port, block by block, from arrays to arrays.

    Args:
        port: the memory that the callback works on; its sample rate sets the pace.
        block: frames per callback.
        paced: as a card would, or as fast as the worker finishes.
    """

    def __init__(self, port: RealtimePort, block: int, paced: bool) -> None:
        self._port = port
        self._paced = paced
        self._start_ns = 0
        self._control = np.zeros(8, np.int64)
        self._incoming = np.zeros((block, port.in_channels), np.float32)
        self._outgoing = np.zeros((block, port.out_channels), np.float32)

    def run(
        self,
        source: NDArray[np.float32],
        target: NDArray[np.float32],
        frames: int,
        loop: bool = False,
    ) -> int:
        """Run `frames`, rounded up to whole blocks; blocks the calling thread, without the GIL.

        source: float32 (n, in_channels), silence after its end, or over and over if `loop`.
        target: float32 (n, out_channels), keeps the first n frames of output. Returns the frames run,
        which are fewer if `stop` was called. The first call starts the clock.
        """
        if self._paced and self._start_ns == 0:
            self._start_ns = now_ns()
        return self._run(source, target, frames, loop)

    def warm_up(self) -> None:
        """Compile, or load from the cache, before time counts. Runs no block."""
        self._run(self._incoming[:0], self._outgoing[:0], 0, False)

    def _run(self, source: NDArray[np.float32], target: NDArray[np.float32], frames: int, loop: bool) -> int:
        address, words, control = callback_address(), self._port.words, self._control
        buffers = self._incoming, self._outgoing
        return int(_run(address, words, control, source, loop, target, frames, *buffers, self._start_ns))

    def stop(self) -> None:
        """Make `run` return after the block it is at. May be called from any thread."""
        store(self._control, _STOP, 1)

    @property
    def stopped(self) -> bool:
        """`stop` has been called."""
        return load(self._control, _STOP) != 0
