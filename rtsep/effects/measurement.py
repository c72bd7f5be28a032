"""How late an effect is, found by listening: pedalboard does not say, and plug-ins are known to be wrong.

Noise in bursts is streamed through it, hop by hop as live. Two things are found:

- **the shortfall**: plug-ins that need time to begin give fewer samples than they take; pedalboard withholds
  what a plug-in calls its own latency. So many samples must be waited for.
- **the lag**: by how much what does come out still trails what went in, sample for sample, which nobody has
  told of, as with a linear-phase filter; less than nothing where a plug-in withholds more than it is late. It
  is the peak of the cross-correlation of output and input, which for white noise is the impulse response. A
  filter whose response is that of the minimum-phase filter with the same magnitude (Oppenheim and Schafer,
  Discrete-Time Signal Processing, on the cepstrum) has phase, and no lag. Where input and output have too
  little in common, as after a shift of pitch, the envelopes of the bursts are compared; only a difference
  that these can show counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.kernel import Doubles, Floats
from rtsep.spec import UsageError

LEVEL = 0.1
"""RMS of the noise: quiet enough for a limiter to leave it alone."""

LONGEST_SECONDS = 8.0
"""After that it is given up."""

SETTLED_SECONDS = 0.3
COMPARED_SECONDS = 1.5
LONGEST_LAG_SECONDS = 0.25

COHERENT = 0.08
"""Normalised correlation above which two signals are taken to be one; of noise alone it stays below 0.03."""

MINIMUM_PHASE = 0.8
_BURST_SECONDS = 0.05
_ENVELOPE_SECONDS = 0.005
_ENVELOPE_COHERENT = 0.5
_FILTER_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Lateness:
    """What was found, in samples.

    Attributes:
        shortfall: the most by which it has given less than it took, 0 or more.
        lag: by which sample n of what it gives trails sample n of what it took; -shortfall or more.
    """

    shortfall: int
    lag: int

    @property
    def delay(self) -> int:
        """From in to out, once the shortfall is waited for."""
        return self.shortfall + self.lag


def measure(
    process: Callable[[Floats], Floats],
    channels: int,
    hop: int,
    sample_rate: int,
    *,
    listen: bool = True,
) -> Lateness:
    """Stream noise through an effect and see.

    Args:
        process: takes (channels, hop), returns (channels, any n); just reset.
        channels, hop, sample_rate: of the stream.
        listen: look for a lag; not wanted of effects that are meant to sound late.

    Raises:
        UsageError: when nothing comes out, what comes out is not finite, or its delay does not stand still;
            the message ends a sentence.
    """
    settled = int(SETTLED_SECONDS * sample_rate)
    compared = int(COMPARED_SECONDS * sample_rate) if listen else 0
    noise = bursts(channels, int(LONGEST_SECONDS * sample_rate) // hop * hop, sample_rate)
    made: list[Floats] = []
    given = taken = worst = steady_since = 0
    for taken in range(hop, noise.shape[1] + 1, hop):
        block = process(np.ascontiguousarray(noise[:, taken - hop : taken]))
        made.append(np.array(block, np.float32))
        given += block.shape[1]
        if taken - given > worst or given == 0:
            worst, steady_since = max(worst, taken - given), taken
        if given and taken - steady_since >= settled and given >= settled + compared:
            break
    else:
        why = "it gives no sound" if given == 0 else "it falls behind further and further"
        raise UsageError(f"{why} in {LONGEST_SECONDS:g} s of noise")
    if given > taken:
        raise UsageError("it gives more samples than it takes")
    out = np.concatenate(made, axis=1)
    if not np.isfinite(out).all():
        raise UsageError("it gives samples that are not numbers")
    if not listen:
        return Lateness(worst, 0)
    return Lateness(worst, _lag(noise.astype(np.float64), out, worst, sample_rate))


def bursts(channels: int, samples: int, sample_rate: int) -> Floats:
    """White noise whose loudness changes by chance twenty times a second: (channels, samples)."""
    rng = np.random.default_rng(20)
    noise = rng.standard_normal((channels, samples))
    length = int(_BURST_SECONDS * sample_rate)
    loudness = np.repeat(rng.choice([0.2, 1.6], samples // length + 1), length)[:samples]
    return (LEVEL * loudness * noise).astype(np.float32)


def _lag(source: Doubles, out: Floats, shortfall: int, sample_rate: int) -> int:
    # Later by the shortfall, as a queue makes it: then it cannot be early. The beginning is left out:
    # compressors and gates have not settled there.
    x = source[0]
    y = np.concatenate([np.zeros(shortfall), out[0].astype(np.float64)])
    longest = shortfall + int(LONGEST_LAG_SECONDS * sample_rate)
    begin = shortfall + int(SETTLED_SECONDS * sample_rate)
    middle = (begin + len(y)) // 2
    halves = [_peak(x, y, a, b, longest) for a, b in ((begin, middle), (middle, len(y)))]
    if all(strength > COHERENT for _, strength in halves):
        (first, _), (second, _) = halves
        if first == second == shortfall or _is_minimum_phase(x, y, begin, shortfall):
            return 0
        if abs(first - second) > 1:
            raise UsageError(f"its delay does not stand still: {first} samples, then {second}")
        return first - shortfall
    width = int(_ENVELOPE_SECONDS * sample_rate)
    found, strength = _peak(_envelope(x, width), _envelope(y, width), begin, len(y), longest)
    # An envelope is known to within its width only.
    return found - shortfall if strength > _ENVELOPE_COHERENT and abs(found - shortfall) > 2 * width else 0


def _peak(x: Doubles, y: Doubles, begin: int, end: int, longest: int) -> tuple[int, float]:
    """The lag, 0 to `longest`, at which y[begin:end] is most like x, and how much so, 0 to 1."""
    piece = y[begin:end]
    ahead = max(longest - begin, 0)  # what was before the first sample is silence
    past = np.concatenate([np.zeros(ahead), x[max(begin - longest, 0) : end]])
    size = 1 << (len(past) + len(piece)).bit_length()
    spectrum = np.conj(np.fft.rfft(past, size)) * np.fft.rfft(piece, size)
    likeness = np.abs(np.fft.irfft(spectrum, size))
    # Lag k: the piece begins `longest - k` samples after the past does, which is index -(longest - k).
    candidates = likeness[-np.arange(longest, -1, -1) % size]
    lag = int(np.argmax(candidates))
    norm = np.linalg.norm(past[longest - lag : longest - lag + len(piece)]) * np.linalg.norm(piece)
    return lag, float(candidates[lag] / norm) if norm > 0.0 else 0.0


def _is_minimum_phase(x: Doubles, y: Doubles, begin: int, lag: int) -> bool:
    """Whether the filter between x and y, but for `lag`, is as early as its magnitude allows."""
    size = _FILTER_LENGTH
    window = np.hanning(size)
    cross = np.zeros(size // 2 + 1, complex)
    power = np.zeros(size // 2 + 1)
    for at in range(begin, len(y) - size, size // 2):
        source = np.fft.rfft(window * x[at - lag : at - lag + size])
        cross += np.conj(source) * np.fft.rfft(window * y[at : at + size])
        power += np.abs(source) ** 2
    response = cross / power
    magnitude = np.abs(response)
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, 1e-6 * magnitude.max())), size)
    fold = np.zeros(size)
    fold[0] = fold[size // 2] = 1.0
    fold[1 : size // 2] = 2.0
    earliest: NDArray[np.float64] = np.fft.irfft(np.exp(np.fft.rfft(cepstrum * fold)), size)
    found = np.fft.irfft(response, size)
    likeness = abs(float(earliest @ found)) / (np.linalg.norm(earliest) * np.linalg.norm(found))
    return bool(likeness > MINIMUM_PHASE)


def _envelope(signal: Doubles, width: int) -> Doubles:
    """Loudness over `width` samples, its mean taken out."""
    squares = np.convolve(signal**2, np.full(width, 1.0 / width), "same")
    loudness = np.sqrt(np.maximum(squares, 0.0))
    return loudness - loudness.mean()
