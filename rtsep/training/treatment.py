"""What `[augment]` does to the parts of an example once they are played: rooms, codecs, crowds and more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.live_conditions import CROWD, bleed, crowd, gain_to, host_of_crowd
from rtsep.spec import UsageError
from rtsep.training import effects
from rtsep.training.augmentation import Audio
from rtsep.training.corpus import load_noise
from rtsep.training.data_config import AugmentConfig
from rtsep.training.excerpts import Parts, silence
from rtsep.training.labels import place_of


class Treatment:
    """All of `[augment]` beside pitch and tempo. What is off draws nothing.

    Args:
        extra: the table `[augment]`.
        samples: of an example.
        sample_rate: Hz.
        stems: what is told apart.
        cache: folder for decoded recordings of crowds.

    Raises:
        UsageError: when what it asks for takes a package that is missing, or a crowd has no stem to be in.
    """

    def __init__(
        self, extra: AugmentConfig, samples: int, sample_rate: int, stems: tuple[str, ...], cache: Path
    ) -> None:
        self.extra = extra
        self.samples = samples
        self.sample_rate = sample_rate
        self.stems = stems
        self.drums = place_of(stems, "drums")
        if extra.needs_pedalboard:
            effects.pedalboard()
        if extra.codec > 0.0:
            effects.codec_delay(sample_rate)
        self.crowd_in = self._host_of_crowd()
        folder = extra.crowd_noise
        self.crowds = [] if folder is None else load_noise(folder, cache, sample_rate)

    def __call__(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """The parts, treated as the generator decides."""
        extra, rate = self.extra, self.sample_rate
        treated: Parts = []
        for group, audio in parts:
            if extra.distortion > 0.0 and group != (self.drums,) and rng.random() < extra.distortion:
                audio = effects.distort(audio, rate, float(rng.uniform(6.0, 30.0)))
            if extra.reverb > 0.0 and rng.random() < extra.reverb:
                audio = effects.reverberate(audio, rate, rng)
            if extra.codec > 0.0 and rng.random() < extra.codec:
                audio = effects.compress(audio, rate, float(rng.uniform(*extra.codec_quality)))
            treated.append((group, audio))
        if extra.bleed > 0.0 and rng.random() < extra.bleed:
            level, others = float(rng.uniform(*extra.bleed_db)), max(len(treated) - 1, 1)
            treated = [(group, bleed(audio, others, level, rate, rng)) for group, audio in treated]
        if extra.drop > 0.0:
            treated = self._drop(treated, rng)
        if extra.crowd > 0.0 and rng.random() < extra.crowd:
            treated = self._with_crowd(treated, rng)
        if extra.mono > 0.0 and rng.random() < extra.mono:
            side = int(rng.integers(2))
            # Of a song that lies on one side alone, the other is no song.
            if not any(audio[side].any() for _, audio in treated):
                side = 1 - side
            treated = [(group, np.stack((audio[side], audio[side]))) for group, audio in treated]
        if extra.lead_in > 0.0 and rng.random() < extra.lead_in:
            heard = np.arange(self.samples) >= float(rng.uniform(*extra.lead_in_seconds)) * rate
            treated = [(group, audio * heard) for group, audio in treated]
        return treated

    def _drop(self, parts: Parts, rng: np.random.Generator) -> Parts:
        falls = rng.random(len(parts)) < self.extra.drop
        spared = rng.random(len(parts))
        sounding = [row for row, (_, audio) in enumerate(parts) if audio.any()]
        if sounding and all(falls[row] for row in sounding):
            falls[max(sounding, key=lambda row: spared[row])] = False
        return [
            (group, silence(self.samples) if fallen else audio)
            for (group, audio), fallen in zip(parts, falls, strict=True)
        ]

    def _host_of_crowd(self) -> int:
        if self.extra.crowd == 0.0:
            return -1
        host = host_of_crowd(self.stems)
        if host is None:
            raise UsageError("[augment] crowd: no stem can have it in it; that takes `crowd` or `other`")
        return self.stems.index(host)

    def _with_crowd(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """A crowd joins the part that its stem belongs to. Where that is not known, there can be none."""
        row = next((row for row, (group, _) in enumerate(parts) if self.crowd_in in group), None)
        if row is None and self.stems[self.crowd_in] != CROWD:
            return parts
        if self.crowds:
            noise = self._excerpt_of(self.crowds[int(rng.integers(len(self.crowds)))], rng)
        else:
            noise = crowd(self.samples, self.sample_rate, rng)
        mixture = sum((audio for _, audio in parts), silence(self.samples))
        noise = noise * np.float32(gain_to(noise, mixture, float(rng.uniform(*self.extra.crowd_db))))
        if row is None:
            return [*parts, ((self.crowd_in,), noise)]
        group, audio = parts[row]
        return [*parts[:row], (group, audio + noise), *parts[row + 1 :]]

    def _excerpt_of(self, recording: NDArray[np.int16], rng: np.random.Generator) -> Audio:
        """Of a recording (samples, 2), from somewhere on; one that is short goes round."""
        start = int(rng.integers(len(recording)))
        places = np.arange(start, start + self.samples) % len(recording)
        return np.ascontiguousarray(recording[places].T / np.float32(32768.0), np.float32)
