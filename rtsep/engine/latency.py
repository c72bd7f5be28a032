"""Where every sample of latency comes from: pure arithmetic, printed by `rtsep latency`, checked by impulses.

Write B for the device's block, H for the hop, D for the delay from hop in to hop out (overlap-add:
synthesis window minus hop), A for the allowance: the samples between the callback that completes a
hop and the callback that must play it, which is the time the worker has. It is a whole number of
blocks, one at least: nothing is played between two callbacks, so that a part of a block would be
latency that buys no time.

After k callbacks the worker has seen k B samples and may have written floor(k B / H) H. The callback
that follows plays samples up to (k + 1) B, of which the allowance lets A - B be late. So the
output must start with Z = max over k of (k B mod H) + A = H - gcd(B, H) + A samples of silence, and
the stream is late by Z + D = (H + D) + (B - gcd(B, H)) + (A - B).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from rtsep.spec import StreamSpec, UsageError

SEARCHED_SAMPLES = 1 << 20
"""How far the schedule of a resampled stream is followed at most to find its worst moment."""

LONGEST_BLOCK = 32768
"""Frames in a callback: 0.7 s, far more than any device's. Memory and patience are laid out by it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One contribution: its name, its length in device samples, and what it is in plain words."""

    name: str
    samples: Fraction
    meaning: str


@dataclass(frozen=True)
class LatencyReport:
    """Latency from the input socket to the output socket, and its parts, in samples of the device.

    Attributes:
        sample_rate: of the device, Hz.
        parts: in the order in which a sample meets them; they add up to the total.
        stream: samples from an input block to the output block that carries it, as any host sees
            it: all parts but the device's own two. What the impulse test measures.
        prefill: samples of silence that precede the first output.
        allowance: samples, that is time, in which the worker must finish a hop.
    """

    sample_rate: int
    parts: tuple[Part, ...]
    stream: int
    prefill: int
    allowance: int

    @property
    def total(self) -> Fraction:
        """Device samples from socket to socket."""
        return sum((part.samples for part in self.parts), Fraction(0))

    def milliseconds(self, samples: Fraction | int) -> float:
        """Device samples to milliseconds."""
        return 1000.0 * float(samples) / self.sample_rate


@dataclass(frozen=True)
class Rates:
    """The device's rate against the model's, with a resampler each way when they differ.

    Attributes:
        device, model: Hz.
        to_model, to_device: frames that a resampler has given after so many in.
        delay_in: of the resampler towards the model, in device samples.
        delay_out: of the one back, in model samples.
    """

    device: int
    model: int
    to_model: Callable[[int], int] | None = None
    to_device: Callable[[int], int] | None = None
    delay_in: Fraction = Fraction(0)
    delay_out: Fraction = Fraction(0)


def default_allowance(block: int, hop: int) -> int:
    """The whole blocks in a hop: over half a hop, and all of it where the block divides it; one at least."""
    return max(block, hop // block * block)


def adapter(block: int, hop: int) -> int:
    """Samples lost to blocks that do not divide the hop: zero when they do."""
    return block - gcd(block, hop)


def prefill(block: int, hop: int, allowance: int) -> int:
    """Silence that precedes the first output, at one rate: `hop - gcd(block, hop) + allowance`."""
    return hop - gcd(block, hop) + allowance


def resampled_prefill(block: int, hop: int, allowance: int, rates: Rates) -> int:
    """The same with a resampler each way, found by following the schedule until it repeats.

    Where that takes too long, as with a prime block, it is what no schedule exceeds: after n device
    samples at most hop - 1 model samples wait for their hop, which are (hop - 1) device / model here.
    """
    if rates.to_model is None or rates.to_device is None:
        return prefill(block, hop, allowance)
    common = gcd(rates.device, rates.model)
    device, model = rates.device // common, rates.model // common
    repeats = lcm(block, hop * device // gcd(hop, model))
    if repeats > SEARCHED_SAMPLES:
        return (hop - 1) * device // model + allowance
    worst = 0
    for given in range(0, repeats, block):
        written = rates.to_device(rates.to_model(given) // hop * hop)
        worst = max(worst, given - written)
    return worst + allowance


def report(
    spec: StreamSpec,
    block: int,
    *,
    rates: Rates | None = None,
    allowance: int | None = None,
    device_in: int = 0,
    device_out: int = 0,
    effects: int = 0,
) -> LatencyReport:
    """Add up a stream's latency.

    Args:
        spec: the model's stream.
        block: frames in a device callback.
        rates: the device's rate and resamplers; the model's own rate when left out.
        allowance: device samples that the worker has for a hop, of which whole blocks count; by
            default the whole blocks in a hop, one at least.
        device_in, device_out: what the driver says of its own, in device samples.
        effects: what the effect chains add, in model samples.

    Raises:
        UsageError: a block below one frame or above `LONGEST_BLOCK`, or an allowance shorter than a block.
    """
    if not 1 <= block <= LONGEST_BLOCK:
        raise UsageError(f"a block of {block} frames is not possible: 1 to {LONGEST_BLOCK} are")
    rates = rates or Rates(spec.sample_rate, spec.sample_rate)
    scale = Fraction(rates.device, rates.model)
    hop = -(-spec.hop * rates.device // rates.model)
    allowance = default_allowance(block, hop) if allowance is None else allowance
    if allowance < block:
        raise UsageError(f"an allowance of {allowance} samples is shorter than the block of {block}")
    allowance = allowance // block * block
    silence = resampled_prefill(block, spec.hop, allowance, rates)
    resampling = rates.delay_in + rates.delay_out * scale
    exact = silence + (spec.delay + effects) * scale + resampling
    algorithmic = spec.algorithmic_latency * scale
    pipeline = allowance - block
    # What is left is the adapter: B - gcd(B, H) at one rate, and the schedule's worst moment at two.
    adapting = exact - algorithmic - pipeline - resampling - effects * scale
    parts = [
        Part("device in", Fraction(device_in), "the sound card or server collects a block"),
        Part("algorithmic", algorithmic, f"the model's own: {spec.hop} of hop, {spec.delay} of overlap"),
        Part("block adapter", adapting, "blocks that do not divide the hop wait for each other"),
        Part("pipeline", Fraction(pipeline), "time for computing a hop, beyond one block"),
    ]
    if resampling or rates.device != rates.model:
        parts.insert(2, Part("resampler", resampling, f"{rates.device} Hz to {rates.model} Hz and back"))
    if effects:
        parts.append(Part("effects", effects * scale, "the longest chain of a stem, and the master's"))
    parts.append(Part("device out", Fraction(device_out), "the sound card or server plays a block"))
    return LatencyReport(rates.device, tuple(parts), round(exact), silence, allowance)
