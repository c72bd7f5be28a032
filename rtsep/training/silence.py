"""Where a source is known to be silent in music that is not labelled apart.

A. Défossez, N. Usunier, L. Bottou and F. Bach, "Demucs: deep extractor for music sources with extra unlabeled
data remixed", arXiv:1909.01174, 2019, section 4: if a source is silent in an excerpt of unlabelled music, it
can be taken from a labelled track and laid over: the source is then known, and the rest is known as the sum
of the others. They find such excerpts with a network trained on labelled tracks. No network is asked here,
only what can be told from the signal counts:

- of a mixture that was mastered, so that nothing can be taken away from it, but with a file of the source:
  where that file is silent;
- of a sound in which the source is not apart from others: where the whole sound has next to nothing in the
  bands that hold most of the source's energy, for then the source cannot have more. Twice the band's energy
  is taken as the bound: half of every source's energy at least is taken to lie within its bands. That is true
  of nearly all voices, drum kits and bass lines, but not of all sounds that may be called so.

The second test is strict: it finds rests and solos of other instruments, no more. What is wrong in a label it
passes is bounded by the threshold. There is no band of which `other` must make use, so it is never found
silent that way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import STEMS
from rtsep.training.corpus import MIXTURE, Track
from rtsep.training.labels import EVERYTHING, VOCALS, Label, labels_of
from rtsep.training.spectra import rfft

BLOCK = 4096
"""Samples that are told silent or not at once."""
BANDS: dict[str, tuple[tuple[float, float], ...]] = {
    "vocals": ((150.0, 5000.0),),
    "drums": ((30.0, 150.0), (2000.0, 16000.0)),
    "bass": ((30.0, 300.0),),
}
"""Hz: where most of a source's energy lies."""
_FAINTEST = 1e-6
"""Power of a block, against full scale, that sounds."""
_AT_ONCE = 512


@dataclass(frozen=True)
class Stretch:
    """Part of a track in which a source is silent.

    Attributes:
        track: where.
        start, end: samples.
        labels: what sounds there: groups without the source.
    """

    track: Track
    start: int
    end: int
    labels: tuple[Label, ...]


def silent_stretches(
    track: Track, bass_in_other: bool, source: int, rate: int, threshold_db: float, samples: int
) -> list[Stretch]:
    """Stretches of `samples` or more in which a source is silent though it has no label of its own.

    Args:
        track: of any kind; one in which the source is known apart has none, as it can be exchanged anywhere.
        bass_in_other: as in `labels_of`.
        source: its place in STEMS.
        rate: Hz.
        threshold_db: below the track's mean power while it sounds.
        samples: the shortest that is of use.
    """
    labels = labels_of(track, bass_in_other)
    name = STEMS[source]
    if MIXTURE in track.stems:
        if name not in track.stems:
            return []
        powers = block_power(track.stems[name])
        whole = block_power(track.stems[MIXTURE])
        rest = tuple(s for s in EVERYTHING if s != source)
        kept: tuple[Label, ...] = ((rest, (MIXTURE,)),)
    else:
        held = next((label for label in labels if source in label[0]), None)
        if held is None or len(held[0]) == 1 or not held[1] or name not in BANDS or not track.whole:
            return []
        sound = sum((track.stems[n].astype(np.int32) for n in held[1]), np.zeros((1, 2), np.int32))
        powers = 2.0 * band_power(sound, rate, BANDS[name])
        names = [n for _, part in labels for n in part]
        whole = block_power(sum((track.stems[n].astype(np.int32) for n in names), np.zeros((1, 2), np.int32)))
        remaining = tuple(s for s in held[0] if s != source)
        kept = tuple((remaining, held[1]) if label == held else label for label in labels)
        if not track.unknown and "vocals" not in track.stems:
            # An instrumental: its voice is known to be silent, though it carries no label.
            kept = (((VOCALS,), ()), *kept)
    sounding = whole[whole > _FAINTEST]
    if not sounding.size:
        return []
    silent = powers < sounding.mean() * 10.0 ** (threshold_db / 10.0)
    return [
        Stretch(track, first * BLOCK, last * BLOCK, kept)
        for first, last in _runs(silent)
        if (last - first) * BLOCK >= samples
    ]


def block_power(audio: NDArray[np.signedinteger]) -> NDArray[np.float64]:
    """Mean square of every whole block of (samples, channels) 16-bit values, full scale being 1."""
    blocks = audio.shape[0] // BLOCK
    power = np.zeros(blocks)
    for first in range(0, blocks, _AT_ONCE):
        last = min(first + _AT_ONCE, blocks)
        part = audio[first * BLOCK : last * BLOCK].astype(np.float32) / np.float32(32768.0)
        power[first:last] = np.square(part).reshape(last - first, -1).mean(axis=1)
    return power


def band_power(
    audio: NDArray[np.signedinteger], rate: int, bands: tuple[tuple[float, float], ...]
) -> NDArray[np.float64]:
    """As `block_power`, of what lies within some bands (Hz): the most in any frame that a block shares in.

    Frames are a block long and overlap by half, with a Hann window, so that what is loud elsewhere does not
    leak in.
    """
    blocks = audio.shape[0] // BLOCK
    if blocks == 0:
        return np.zeros(0)
    frequencies = np.fft.rfftfreq(BLOCK, 1.0 / rate)
    within = np.zeros(len(frequencies), bool)
    for low, high in bands:
        within |= (frequencies >= low) & (frequencies <= high)
    window = np.hanning(BLOCK + 1)[:BLOCK].astype(np.float32)
    scale = 2.0 / (BLOCK * float(np.sum(np.square(window))) * audio.shape[1])
    frames = np.zeros(2 * blocks - 1)
    for first in range(0, len(frames), _AT_ONCE):
        last = min(first + _AT_ONCE, len(frames))
        begin, end = first * BLOCK // 2, (last - 1) * BLOCK // 2 + BLOCK
        part = audio[begin:end].T.astype(np.float32) / np.float32(32768.0)
        framed = np.lib.stride_tricks.sliding_window_view(part, BLOCK, axis=1)[:, :: BLOCK // 2]
        spectrum = rfft(framed * window)[..., within]
        frames[first:last] = scale * np.square(np.abs(spectrum)).sum(axis=(0, 2), dtype=np.float64)
    around = np.pad(frames, 1)  # the frame before a block, the block itself, the frame after it
    return np.maximum(np.maximum(around[0:-2:2], around[1:-1:2]), around[2::2])


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
