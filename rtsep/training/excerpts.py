"""Excerpts of tracks, played at another speed, tempo or pitch: what mixtures are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rtsep.training import augmentation as augment
from rtsep.training import effects
from rtsep.training.augmentation import Audio
from rtsep.training.corpus import Track
from rtsep.training.data_config import AugmentConfig
from rtsep.training.labels import Group, Label

Parts = list[tuple[Group, Audio]]
"""What is known apart: which stems it is the sum of, and how it sounds, (2, samples)."""
STRETCH_MARGIN = 4096
"""Samples that are read beyond an excerpt that is stretched, so that it does not end too early."""
INTERPOLATION_MARGIN = 64
"""Samples that are read beyond any, for a change of speed to interpolate with."""


@dataclass(frozen=True)
class Speeds:
    """At which speeds excerpts are drawn.

    Attributes:
        octaves: range of how much faster, and higher, than their own.
        odds: that it is not their own.
    """

    octaves: tuple[float, float]
    odds: float = 0.4


SPEEDS = Speeds((-0.3, 0.3))
"""Of whatever nothing else is said of."""


@dataclass(frozen=True)
class Excerpt:
    """Where in a track, and how it is played.

    Attributes:
        start: first sample.
        speed: above 1 is faster and higher.
        tempo: above 1 is faster.
        semitones: up.
    """

    start: int
    speed: float = 1.0
    tempo: float = 1.0
    semitones: float = 0.0

    @property
    def stretched(self) -> bool:
        """Whether pitch and tempo part."""
        return self.tempo != 1.0 or self.semitones != 0.0


class Player:
    """Draws and plays excerpts of one length.

    Args:
        samples: of an excerpt as it is played.
        sample_rate: Hz.
        extra: the table `[augment]`.
        drums: the stem that does not change its pitch with the rest; -1 if there is none.
    """

    def __init__(self, samples: int, sample_rate: int, extra: AugmentConfig, drums: int) -> None:
        self.samples = samples
        self.sample_rate = sample_rate
        self.extra = extra
        self.drums = drums

    def draw(self, track: Track, rng: np.random.Generator, speeds: Speeds = SPEEDS) -> Excerpt:
        """One that fits, if the track is long enough."""
        extra = self.extra
        speed = float(2.0 ** rng.uniform(*speeds.octaves)) if rng.random() < speeds.odds else 1.0
        tempo, semitones = 1.0, 0.0
        if extra.tempo > 0.0 and rng.random() < extra.tempo:
            tempo = float(rng.uniform(*extra.tempo_factor))
        if extra.pitch > 0.0 and rng.random() < extra.pitch:
            semitones = float(rng.uniform(*extra.pitch_semitones))
        excerpt = Excerpt(0, speed, tempo, semitones)
        room = track.samples - int(self._before_stretching(excerpt) * speed) - INTERPOLATION_MARGIN
        return Excerpt(int(rng.integers(max(room, 1))), speed, tempo, semitones)

    def play(self, track: Track, labels: list[Label], excerpt: Excerpt) -> Parts:
        """Its parts, moved in speed, tempo and pitch together."""
        parts = [(group, self._read(track, names, excerpt)) for group, names in labels]
        if not excerpt.stretched:
            return parts
        # Drums have a pitch, but not that of the song.
        moved: dict[int, Audio] = {}
        for semitones in (excerpt.semitones, 0.0):
            rows = [
                row
                for row, (group, audio) in enumerate(parts)
                if audio.any() and (group == (self.drums,)) == (semitones == 0.0 and excerpt.semitones != 0.0)
            ]
            if not rows:
                continue
            together = np.concatenate([parts[row][1] for row in rows])
            if excerpt.tempo != 1.0 or semitones != 0.0:
                together = effects.stretch(together, self.sample_rate, excerpt.tempo, semitones, self.samples)
            moved |= {row: together[2 * k : 2 * k + 2, : self.samples] for k, row in enumerate(rows)}
        return [(group, moved.get(row, silence(self.samples))) for row, (group, _) in enumerate(parts)]

    def _before_stretching(self, excerpt: Excerpt) -> int:
        """Samples that must be there so that an excerpt's are left."""
        if not excerpt.stretched:
            return self.samples
        return math.ceil(self.samples * excerpt.tempo) + STRETCH_MARGIN

    def _read(self, track: Track, names: tuple[str, ...], excerpt: Excerpt) -> Audio:
        samples = self._before_stretching(excerpt)
        needed = int(samples * excerpt.speed) + INTERPOLATION_MARGIN
        audio = silence(needed)
        for k, name in enumerate(names):
            sound = track.stems[name][excerpt.start : excerpt.start + needed].T
            place = audio[:, : sound.shape[1]]
            if k == 0:
                np.multiply(sound, np.float32(1.0 / 32768.0), out=place)
            else:
                place += sound * np.float32(1.0 / 32768.0)
        return (
            audio[:, :samples]
            if excerpt.speed == 1.0
            else augment.change_speed(audio, excerpt.speed, samples)
        )


def silence(samples: int) -> Audio:
    """Of both channels."""
    return np.zeros((2, samples), dtype=np.float32)
