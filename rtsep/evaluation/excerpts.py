"""Short pieces of audio inside a page: chosen, encoded, and written as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtsep.evaluation.metrics import chunk_energy
from rtsep.evaluation.tracks import VOCALS, Track

Audio = NDArray[np.floating]

SECONDS = 6.0
PEAK = 0.9
_MP3_RATES = frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000))


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A sound to listen to.

    Attributes:
        label: what it is.
        uri: a `data:` URI that holds all of it.
    """

    label: str
    uri: str


def choose(track: Track, seconds: float = SECONDS) -> slice:
    """The samples of the piece in which the vocals are loudest; the mixture, where there are none."""
    length = min(round(seconds * track.sample_rate), track.samples)
    step = max(1, min(track.sample_rate // 2, length))
    vocals = track.parts.get(VOCALS)
    energy = chunk_energy(vocals if vocals is not None and np.any(vocals) else track.mixture, step)
    run = max(1, length // step)
    sums = np.convolve(energy, np.ones(run), "valid") if len(energy) >= run else energy[:1]
    start = min(int(np.argmax(sums)) * step, track.samples - length)
    return slice(start, start + length)


def encode(audio: Audio, sample_rate: int) -> str:
    """A data URI of (channels, samples): MP3, which every browser plays, or FLAC at rates that MP3 lacks.

    Samples beyond full scale are clipped.
    """
    kind, format, subtype = ("mpeg", "MP3", "MPEG_LAYER_III")
    if sample_rate not in _MP3_RATES:
        kind, format, subtype = ("flac", "FLAC", "PCM_16")
    buffer = io.BytesIO()
    clipped = np.clip(np.asarray(audio, np.float32), -1.0, 1.0)
    soundfile.write(buffer, clipped.T, sample_rate, subtype, format=format)
    return f"data:audio/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def cut(track: Track, sounds: dict[str, Audio]) -> list[Excerpt]:
    """The same piece of several signals of one track, at one gain, at which the mixture does not clip.

    Args:
        track: says which piece.
        sounds: (channels, samples) by label.
    """
    piece = choose(track)
    peak = float(np.max(np.abs(track.mixture[:, piece])))
    gain = PEAK / peak if peak > PEAK else 1.0
    return [
        Excerpt(label, encode(gain * audio[:, piece], track.sample_rate)) for label, audio in sounds.items()
    ]
