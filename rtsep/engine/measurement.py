"""What `rtsep latency --measure` measures: the delay of sound through the real engine, and its hop times.

Noise rather than an impulse: whatever a model makes of it, at unity the stems add up to their input, and the
correlation of output with input has one peak, sharper the longer the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import Telemetry
from rtsep.io.driver import StreamFormat
from rtsep.io.file import FileDriver, array_reader
from rtsep.io.null import NullDriver
from rtsep.spec import DeviceError

NOISE_LEVEL = 0.1
TIMEOUT_SECONDS = 120.0
RESAMPLED_TOLERANCE = 0.5
"""Samples that resampled streams may differ by: theirs are not whole numbers."""


@dataclass(frozen=True)
class MeasuredDelay:
    """Delay from input block to output block.

    Attributes:
        reported: device samples, as the latency report adds them up; whole, unless there are resamplers.
        measured: device samples; a whole number where `reported` is one.
        residual_db: what is left when the delayed input is taken from the output, against the input;
            None with resamplers, which change the band's edge.
    """

    reported: Fraction
    measured: float
    residual_db: float | None

    @property
    def agrees(self) -> bool:
        """To the sample; with resamplers, within half of one."""
        if self.residual_db is None:
            return abs(self.measured - float(self.reported)) < RESAMPLED_TOLERANCE
        return self.measured == self.reported


def measure_delay(stream: HopStream, fmt: StreamFormat, allowance: int | None = None) -> MeasuredDelay:
    """Send noise through the engine with all stems at 0 dB, unpaced, and find it in the output.

    Args:
        stream: the separator; it is reset.
        fmt: the device's rate, block and channels. No device is opened.
        allowance: as the engine's.

    Raises:
        UsageError: an allowance shorter than a block.
        DeviceError: when the engine fails.
    """
    rate = fmt.sample_rate
    audio = noise(1, max(rate // 2, 8 * stream.spec.hop, 8 * fmt.block))
    audio = np.repeat(audio, fmt.in_channels, axis=0)
    heard: list[NDArray[np.float32]] = []

    def keep(block: NDArray[np.float32]) -> None:
        heard.append(block[0].copy())

    driver = FileDriver(
        array_reader(audio), keep, rate, fmt.in_channels, fmt.out_channels, fmt.block, align=False
    )
    with InProcessEngine(driver, stream, allowance=allowance) as engine:
        if not engine.wait(TIMEOUT_SECONDS):
            raise DeviceError(f"the engine has not finished within {TIMEOUT_SECONDS:.0f} s")
        parts = engine.latency.parts
    reported = sum((part.samples for part in parts if not part.name.startswith("device")), Fraction(0))
    given, got = audio[0].astype(np.float64), np.concatenate(heard).astype(np.float64)
    whole = trailing(given, got)[0]
    came = got[whole : whole + len(given)]
    given = given[: len(came)]
    if rate == stream.spec.sample_rate:
        rest = float(np.sqrt(np.mean((came - given) ** 2) / np.mean(given**2)))
        return MeasuredDelay(reported, whole, 20.0 * float(np.log10(max(rest, 1e-12))))
    edge = 0.4 * min(rate, stream.spec.sample_rate) / rate
    return MeasuredDelay(reported, whole + _remainder(given, came, edge), None)


def measure_hops(
    stream: HopStream,
    fmt: StreamFormat,
    seconds: float,
    allowance: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Telemetry:
    """Run the engine on noise at a sound card's pace, without one, and time its hops.

    Args:
        stream: the separator; it is reset.
        fmt: the device's rate, block and channels.
        seconds: of audio.
        allowance: as the engine's.
        progress: told the seconds that are done.

    Raises:
        UsageError: an allowance shorter than a block.
        DeviceError: when the engine fails.
    """
    # Noise: what a network costs must not depend on silence being cheap.
    audio = noise(fmt.in_channels, fmt.sample_rate)
    driver = NullDriver(
        fmt.sample_rate, fmt.block, audio, fmt.in_channels, fmt.out_channels, capture_seconds=0.0, loop=True
    )
    with InProcessEngine(driver, stream, allowance=allowance) as engine:
        while (done := engine.telemetry().seconds) < seconds:
            if progress is not None:
                progress(done)
            engine.wait(min(0.2, max(seconds - done, 0.001)))
    return engine.telemetry()


def noise(channels: int, samples: int) -> NDArray[np.float32]:
    """(channels, samples), the same each time, at -20 dB of full scale."""
    made = NOISE_LEVEL * np.random.default_rng(0).standard_normal((channels, samples))
    return made.astype(np.float32)


def trailing(given: NDArray[np.float64], got: NDArray[np.float64]) -> tuple[int, float, float]:
    """By how much one signal trails another, from the peak of their correlation.

    Args:
        given: noise, (samples,).
        got: (samples,), what may hold it, later.

    Returns:
        Samples; the peak against the correlation's root mean square; the gain with which it came.
    """
    size = 1 << (len(given) + len(got) - 1).bit_length()
    spectrum = np.fft.rfft(got, size) * np.conj(np.fft.rfft(given, size))
    correlation = np.fft.irfft(spectrum, size)[: len(got)]
    place = int(np.argmax(np.abs(correlation)))
    peak, spread = float(correlation[place]), float(np.sqrt(np.mean(correlation**2)))
    return place, abs(peak) / max(spread, 1e-300), peak / float(given @ given)


def _remainder(given: NDArray[np.float64], came: NDArray[np.float64], edge: float) -> float:
    """The fraction of a sample by which `came` still trails: the slope of their spectra's phase.

    edge: the highest frequency that counts, in cycles a sample.
    """
    cross = np.fft.rfft(came) * np.conj(np.fft.rfft(given))
    turns = np.fft.rfftfreq(len(given))
    counted = turns < edge
    weight = np.abs(cross[counted])
    turns = turns[counted]
    phase = np.angle(cross[counted])
    return float(-np.sum(weight * turns * phase) / (2.0 * np.pi * np.sum(weight * turns**2)))
