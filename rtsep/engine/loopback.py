"""What a device really adds: noise through a cable from its output to its input.

The audio callback takes output and leaves input at positions of one clock. What is played at a position and
heard at a later one has been through all that lies outside the engine: by so much the device delays, and
what drivers claim of it can be held against that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.engine.measurement import noise, trailing
from rtsep.io.driver import AudioDriver
from rtsep.rt.port import RealtimePort
from rtsep.spec import DeviceError

SETTLE_SECONDS = 1.0
"""Before the noise: devices that have just been opened may lose or repeat blocks."""
NOISE_SECONDS = 0.5
PIECES = 8
"""Of the noise, each looked for by itself: where the device loses sound, some still agree."""
LONGEST_SECONDS = 1.0
"""Of delay that is looked for."""
LEAD = 1024
PATIENCE_SECONDS = 10.0
CERTAIN = 12.0
"""By how much the correlation's peak must exceed its root mean square. By chance alone the largest of some
50000 values is under five times that; with the noise itself, through a cable, it is over a hundred."""


@dataclass(frozen=True)
class Loop:
    """What came back.

    Attributes:
        delay: samples from the callback that plays to the callback that hears, the block among them.
        reported: what the driver says of that: its latencies and the block.
        channel: of the input, counted from 1, in which it was heard.
        gain_db: of the loop.
    """

    delay: int
    reported: int
    channel: int
    gain_db: float


def measure_loop(driver: AudioDriver, settle: float = SETTLE_SECONDS) -> Loop:
    """Play noise on the device's first two outputs and find it in its inputs.

    Args:
        driver: not opened yet; it is closed in the end.
        settle: seconds of silence before the noise.

    Raises:
        DeviceError: when the device fails, nothing comes back, or it comes now sooner and now later.
    """
    fmt = driver.open()
    try:
        rate = fmt.sample_rate
        played = noise(1, round(NOISE_SECONDS * rate))
        longest, silent = round(LONGEST_SECONDS * rate), round(settle * rate)
        # Three quarters of it are what can be written ahead and read back.
        capacity = 2 * (silent + LEAD + played.shape[1] + longest + 4 * fmt.block)
        port = RealtimePort(
            fmt.in_channels, fmt.out_channels, capacity, 0, fallback="silence", sample_rate=rate
        )
        driver.start(port)
        heard = _through(driver, port, played, longest, silent)
    finally:
        driver.close()
    delay, channel, gain_db = _found(played[0], heard)
    return Loop(delay, fmt.block + fmt.in_latency + fmt.out_latency, channel + 1, gain_db)


def _through(
    driver: AudioDriver, port: RealtimePort, played: NDArray[np.float32], longest: int, settle: int
) -> NDArray[np.float32]:
    """What is heard from where the noise begins, (in_channels, samples)."""
    begin = port.position + settle + LEAD
    # Silence first, in which the callback fades over from its fallback.
    sound = np.zeros((port.out_channels, LEAD + played.shape[1]), np.float32)
    sound[:2, LEAD:] = played
    port.write_block(begin - LEAD, sound)
    end = begin + played.shape[1] + longest
    timeout = (end - port.position) / port.sample_rate + PATIENCE_SECONDS
    heard = np.zeros((port.in_channels, end - begin), np.float32)
    if not port.wait(end, timeout, poll=0.01) or not port.read_hop(begin, heard):
        raise DeviceError(driver.error or "the device has stopped asking for audio")
    return heard


def _found(played: NDArray[np.float32], heard: NDArray[np.float32]) -> tuple[int, int, float]:
    """Delay in samples, input channel counted from 0, and the loop's gain in dB."""
    delays = [_of_pieces(played.astype(np.float64), sound.astype(np.float64)) for sound in heard]
    channel = max(range(len(delays)), key=lambda c: len(delays[c]))
    found = delays[channel]
    if len(found) <= PIECES // 2:
        raise DeviceError(
            "nothing came back: connect an output of the device to an input with a cable, and turn both up"
        )
    delay, times = Counter(place for place, _ in found).most_common(1)[0]
    if times <= PIECES // 2:
        raise DeviceError("the noise came back now sooner and now later: a larger block may help")
    gain = float(np.median([abs(gain) for place, gain in found if place == delay]))
    return delay, channel, 20.0 * float(np.log10(gain))


def _of_pieces(played: NDArray[np.float64], heard: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Delay and gain of those pieces of the noise that are certain to be there."""
    length = len(played) // PIECES
    found = []
    for begin in range(0, PIECES * length, length):
        window = heard[begin : begin + length + len(heard) - len(played)]
        place, strength, gain = trailing(played[begin : begin + length], window)
        if strength > CERTAIN:
            found.append((place, gain))
    return found
