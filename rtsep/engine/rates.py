"""The model's rate against the device's: hops out of the device's input, and back into its output.

With equal rates a hop is copied straight between ring and model. With different ones a resampler stands each
way; both count absolutely, so that nothing drifts however long the stream runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.resampling import StreamingResampler
from rtsep.engine.latency import LatencyReport, Rates, report
from rtsep.io.driver import StreamFormat
from rtsep.rt.port import RealtimePort
from rtsep.spec import StreamSpec

Block = NDArray[np.float32]
SPARE = 8
"""Frames of room beyond the schedule's own, which may give one more or one less a hop."""
FAR_AHEAD = 1 << 40


def rates_between(device: int, model: int, channels: int) -> Rates:
    """What the latency arithmetic must know of a device's rate and a model's."""
    if device == model:
        return Rates(device, model)
    inward = StreamingResampler(device, model, channels)
    outward = StreamingResampler(model, device, channels)
    return Rates(device, model, inward.frames_out, outward.frames_out, inward.delay, outward.delay)


def plan(
    spec: StreamSpec, fmt: StreamFormat, allowance: int | None = None, effects: int = 0
) -> LatencyReport:
    """The latency of a model on a device.

    Args:
        spec: the model's stream.
        fmt: what the device's driver has agreed to.
        allowance: device samples that the worker has for a hop; the whole blocks in a hop if None.
        effects: model samples that effect chains add.

    Raises:
        UsageError: an allowance shorter than a block.
    """
    return report(
        spec,
        fmt.block,
        rates=rates_between(fmt.sample_rate, spec.sample_rate, fmt.out_channels),
        allowance=allowance,
        device_in=fmt.in_latency + fmt.block,
        device_out=fmt.out_latency,
        effects=effects,
    )


class Intake:
    """Gathers the model's hops from the port's input.

    Args:
        port: where input arrives. A deck's pair of channels is given to the model's two, or makes its one by
            their mean.
        device, model: Hz.
        hop: the model's.
    """

    def __init__(self, port: RealtimePort, device: int, model: int, hop: int) -> None:
        self._port = port
        self._hop = hop
        self._decks = port.decks
        self._resampler = None if device == model else StreamingResampler(device, model, port.in_channels)
        longest = hop if self._resampler is None else self._resampler.frames_in(2 * hop) + SPARE
        self._raw: Block = np.zeros((port.in_channels, longest), np.float32)
        self._gathered: Block = np.zeros((port.in_channels, hop + SPARE), np.float32)
        self._waiting = 0
        self._base = 0
        self._taken = 0
        self._hops = 0
        # Compiles for the array layouts to come, before the stream depends on it: silence before the start.
        for count in {hop, longest - SPARE}:
            port.read_hop(-count, self._raw[:, :count])

    @property
    def needed(self) -> int:
        """Port position at which the next hop is complete."""
        if self._resampler is None:
            return self._base + self._taken + self._hop
        return self._base + self._resampler.frames_in((self._hops + 1) * self._hop)

    def take(self, target: Block) -> bool:
        """Read the next hop into `target` (decks, channels, hop). False if it was overwritten meanwhile."""
        begin, end = self._base + self._taken, self.needed
        raw = self._raw[:, : end - begin]
        if not self._port.read_hop(begin, raw):
            return False
        if self._resampler is None:
            self._spread(raw, target)
        else:
            made = self._resampler.push(raw, self._gathered[:, self._waiting :])
            self._spread(self._gathered[:, : self._hop], target)
            self._waiting += made - self._hop
            self._gathered[:, : self._waiting] = self._gathered[:, self._hop : self._hop + self._waiting]
        self._taken = end - self._base
        self._hops += 1
        return True

    def jump(self, position: int) -> None:
        """Go on from a newer port position, with nothing remembered."""
        if self._resampler is not None:
            self._resampler.reset()
        self._base, self._taken, self._hops, self._waiting = position, 0, 0, 0

    def _spread(self, source: Block, target: Block) -> None:
        channels = target.shape[1]
        for deck, pair in enumerate(self._decks):
            if channels == 1 and pair[0] != pair[1]:
                np.add(source[pair[0]], source[pair[1]], out=target[deck, 0])
                target[deck, 0] *= np.float32(0.5)
            else:
                for k in range(channels):
                    target[deck, k] = source[pair[min(k, 1)]]


class Outlet:
    """Puts hops of output into the port where they are due.

    Args:
        port: where output is played from.
        model, device: Hz.
        hop: the model's.
        prefill: frames of silence that precede the first output.
    """

    def __init__(self, port: RealtimePort, model: int, device: int, hop: int, prefill: int) -> None:
        self._port = port
        self._resampler = None if device == model else StreamingResampler(model, device, port.out_channels)
        longest = hop if self._resampler is None else self._resampler.frames_out(hop) + SPARE
        self._made: Block = np.zeros((port.out_channels, longest), np.float32)
        self._prefill = prefill
        self._position = prefill
        port.prefill(prefill)
        # Compiles for the layouts to come; so far ahead a block is refused and nothing is counted.
        for count in {hop, longest - 1}:
            port.write_block(FAR_AHEAD, self._made[:, :count])

    def put(self, block: Block, audible: bool = True) -> None:
        """Write the next hop, (out channels, hop); one that comes too late is counted and never heard.

        One that is not `audible` leaves a hole, which the callback bridges.
        """
        made, count = block, block.shape[1]
        if self._resampler is not None:
            count = self._resampler.push(block, self._made)
            made = self._made[:, :count]
        if audible:
            self._port.write_block(self._position, made)
        self._position += count

    def jump(self, position: int) -> None:
        """Go on with the hop whose input begins at a port position."""
        if self._resampler is not None:
            self._resampler.reset()
        self._position = position + self._prefill
