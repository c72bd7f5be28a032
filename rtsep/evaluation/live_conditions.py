"""A studio recording as if it had been played on a stage: bleed between microphones, and a crowd.

On a stage every microphone hears every instrument (A. Mocanu, "Musical source separation", master's thesis,
EPFL, 2020, chapter 6): later by its way through the air, softer, and dulled by where the microphone does not
look. The model is that of T. Prätzlich, R. M. Bittner, A. Liutkus, M. Müller, "Kernel additive modeling for
interference reduction in multi-channel music recordings", ICASSP 2015: what a microphone records is the sum
of all sources, each through a filter of its own.

What is a stem's truth then? The mixture is the sum of the microphones, so it holds each source as the sum of
all its ways into it, its bleed into the others' microphones included. That sum is the source's image in the
mixture and is the truth here: it is what muting the source must take away. The recording of its own
microphone is not: it holds pieces of all others. The thesis trains on such recordings and finds that networks
then learn to give back the noise and interference in them (section 6.3).

The crowd is part of `other`, or of the accompaniment where nothing finer is known: whoever mutes the voice
wants to keep it. Where stems have a class called `crowd` it is that.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.tracks import ACCOMPANIMENT, BASS_AND_OTHER, Track
from rtsep.spec import UsageError

Audio = NDArray[np.float32]

CROWD = "crowd"
HOSTS = (CROWD, "other", BASS_AND_OTHER, ACCOMPANIMENT)
"""Stems that a crowd belongs to, the first that there is."""
SPEED_OF_SOUND = 343.0
"""Metres a second."""
NEAREST, FURTHEST = 1.0, 6.0
"""Metres from a source to another's microphone."""


@dataclass(frozen=True)
class LiveConditions:
    """How live a recording is to sound.

    Attributes:
        crowd_db: level of the crowd against the mixture's; None for no crowd.
        bleed_db: level at which a microphone hears each of the others' sources, against how loud its own
            hears them; None for no bleed.
        seed: of all that is drawn: the same for the same track.
    """

    crowd_db: float | None = -20.0
    bleed_db: float | None = -18.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("crowd", self.crowd_db), ("bleed", self.bleed_db)):
            if value is not None and not -80.0 <= value <= 0.0:
                raise UsageError(f"live conditions: {name} of {value:g} dB is not between -80 and 0")


def host_of_crowd(stems: Sequence[str]) -> str | None:
    """Which of some stems a crowd belongs to; None where none of them can have it."""
    return next((host for host in HOSTS if host in stems), None)


def render_live(track: Track, conditions: LiveConditions) -> Track:
    """The track as if recorded live; a function of the track's name, its sound and the conditions.

    Raises:
        UsageError: when there is to be a crowd and none of the parts can have it.
    """
    rng = np.random.default_rng((conditions.seed, zlib.crc32(track.name.encode())))
    parts = dict(track.parts)
    if conditions.bleed_db is not None:
        parts = {
            stem: bleed(audio, len(parts) - 1, conditions.bleed_db, track.sample_rate, rng)
            for stem, audio in parts.items()
        }
    if conditions.crowd_db is not None:
        host = host_of_crowd(tuple(parts))
        if host is None:
            raise UsageError(f"{track.name}: none of {', '.join(parts)} can have the crowd in it")
        noise = crowd(track.samples, track.sample_rate, rng)[: next(iter(parts.values())).shape[0]]
        mixture = np.sum(np.stack(list(parts.values())), axis=0)
        parts[host] = parts[host] + noise * np.float32(gain_to(noise, mixture, conditions.crowd_db))
    return replace(track, parts=parts)


def bleed(audio: Audio, microphones: int, level_db: float, rate: int, rng: np.random.Generator) -> Audio:
    """A source and what other microphones hear of it: its image in a mixture of all of them.

    Each microphone is drawn: a distance (1 to 6 m, so 3 to 17 ms), a level some dB around `level_db`, a place
    in the stereo image, and an off-axis response: treble falls by up to 12 dB an octave above 1 to 8 kHz,
    bass below 60 to 200 Hz where the channel's low cut is.

    Args:
        audio: (channels, samples), as its own microphone hears it.
        microphones: how many others there are.
        level_db: against `audio`.
        rate: Hz.
        rng: draws.

    Returns:
        (channels, samples) float32.
    """
    channels, samples = audio.shape
    if microphones < 1 or not audio.any():
        return audio
    longest = int(FURTHEST / SPEED_OF_SOUND * rate) + 1
    size = samples + longest
    spectrum = np.fft.rfft(audio.mean(axis=0, dtype=np.float64), size)
    frequencies = np.fft.rfftfreq(size, 1.0 / rate)
    response = np.zeros((channels, len(frequencies)), np.complex128)
    for _ in range(microphones):
        late = rng.uniform(NEAREST, FURTHEST) / SPEED_OF_SOUND
        gain = 10.0 ** ((level_db + rng.uniform(-6.0, 3.0)) / 20.0)
        treble, slope, cut = rng.uniform(1000.0, 8000.0), rng.uniform(0.5, 2.0), rng.uniform(60.0, 200.0)
        colour = (1.0 + (frequencies / treble) ** 2) ** (-slope / 2.0)
        colour *= frequencies / np.sqrt(frequencies**2 + cut**2)
        place = rng.uniform(0.0, 0.5 * np.pi)
        sides = (
            np.array([[np.cos(place)], [np.sin(place)]]) * np.sqrt(2.0) if channels == 2 else np.ones((1, 1))
        )
        response += gain * sides * (colour * np.exp(-2j * np.pi * frequencies * late))
    heard = np.fft.irfft(response * spectrum, size)[:, :samples]
    return (audio + heard).astype(np.float32)


def crowd(samples: int, rate: int, rng: np.random.Generator) -> Audio:
    """A crowd that murmurs, cheers and claps, (2, samples) float32 with a root mean square of one.

    Murmur is noise with the long-term spectrum of speech whose level moves at the pace of syllables. Clapping
    is a shower of short bursts of noise around 1 to 2.5 kHz at random times, which is what applause is made
    of (L. Peltola, C. Erkut, P. R. Cook, V. Välimäki, "Synthesis of hand clapping sounds", IEEE TASLP 15(3),
    2007); its density swells and dies down, as cheers do.
    """
    frequencies = np.fft.rfftfreq(samples, 1.0 / rate)
    speech = frequencies / np.sqrt(frequencies**2 + 150.0**2) / (1.0 + (frequencies / 600.0) ** 2) ** 0.75
    murmur = _coloured(samples, speech, rng)
    syllables = _slow(samples, rate, 5.0, rng)
    swell = np.clip(_slow(samples, rate, 0.3, rng), -1.5, 1.5)
    cheer = (frequencies / 1200.0) ** 2 / (1.0 + (frequencies / 1200.0) ** 4)
    sound = murmur * (1.0 + 0.3 * syllables)
    sound += _coloured(samples, cheer, rng) * np.exp(swell) * 0.5
    sound += _clapping(samples, rate, swell, rng)
    level = float(np.sqrt(np.mean(sound**2)))
    return (sound / max(level, 1e-9)).astype(np.float32)


def gain_to(noise: Audio, mixture: Audio, level_db: float) -> float:
    """What noise is to be multiplied with to lie at a level against a mixture; 0 beside silence."""
    own, loud = (float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) for a in (noise, mixture))
    return loud / own * 10.0 ** (level_db / 20.0) if own > 0.0 else 0.0


def _coloured(samples: int, magnitude: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise of a spectrum, half of it the same in both ears, of about unit level."""
    white = rng.standard_normal((3, samples))
    shaped = np.fft.irfft(np.fft.rfft(white) * magnitude, samples)
    both = shaped[:2] + shaped[2]
    result: NDArray[np.float64] = both / max(float(np.sqrt(np.mean(both**2))), 1e-9)
    return result


def _slow(samples: int, rate: int, hertz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Something that wanders `hertz` times a second, of about unit level: (samples,)."""
    knots = max(4, int(samples / rate * 2.0 * hertz) + 2)
    return np.interp(np.linspace(0.0, knots - 1.0, samples), np.arange(knots), rng.standard_normal(knots))


def _clapping(
    samples: int, rate: int, swell: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Claps of many hands: each one burst, placed, tuned and coloured by itself. (2, samples), unit level."""
    count = rng.poisson(60.0 * samples / rate)
    out = np.zeros((2, samples))
    length = int(0.03 * rate)
    time = np.arange(length) / rate
    for _ in range(count):
        start = int(rng.integers(max(samples - length, 1)))
        pitch, decay = rng.uniform(1000.0, 2500.0), rng.uniform(150.0, 400.0)
        burst = np.cos(2.0 * np.pi * pitch * time + rng.uniform(0.0, 2.0 * np.pi)) + rng.standard_normal(
            length
        )
        burst *= np.exp(-decay * time) * np.exp(swell[start] + 0.5 * rng.standard_normal())
        place = rng.uniform(0.0, 0.5 * np.pi)
        end = min(start + length, samples)
        out[0, start:end] += np.cos(place) * burst[: end - start]
        out[1, start:end] += np.sin(place) * burst[: end - start]
    level = float(np.sqrt(np.mean(out**2)))
    return out / level if level > 0.0 else out
