"""Draw examples: mixtures whose parts are known, wholly or in groups.

Labels may be partial. A track with only an accompaniment says nothing about its drums, and one whose
bass line lies inside `other` nothing about either alone. So an example carries up to four known parts
and, for each, which stems it is the sum of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import STEMS, UsageError
from rtsep.training import augmentation as augment
from rtsep.training.augmentation import Audio
from rtsep.training.config import DataConfig, MixConfig
from rtsep.training.corpus import ACCOMPANIMENT, Track
from rtsep.training.guitars import guitar

VOCALS, DRUMS, BASS, OTHER = range(4)
Group = tuple[int, ...]
Parts = list[tuple[Group, Audio]]
BACKING: Group = (DRUMS, BASS, OTHER)
VOICES_WIDEST = 0.5
"""How far voices are widened, against instruments: most records keep them near the middle."""


@dataclass(frozen=True)
class Example:
    """A mixture by its known parts.

    Attributes:
        parts: float32 (4, 2, samples); unused rows are zero. The mixture is their sum.
        groups: float32 (4, 4); groups[p, s] is 1 where part p contains stem s, all zero where unused.
    """

    parts: NDArray[np.float32]
    groups: NDArray[np.float32]


class Mixer:
    """Draws examples of a fixed length from a corpus, deterministically for a generator."""

    def __init__(self, tracks: list[Track], data: DataConfig, config: MixConfig, samples: int) -> None:
        self.config = config
        self.samples = samples
        self.bass_in_other = data.bass_in_other
        self.weights = data.weights
        self.voices = [t for t in tracks if "vocals" in t.stems]
        self.backings = [t for t in tracks if ACCOMPANIMENT in t.stems or "drums" in t.stems]
        self.songs = [t for t in tracks if "vocals" in t.stems and "drums" in t.stems]
        whole = {"bass", "other"}
        self.separate = [
            t for t in self.songs if t.root not in data.bass_in_other and whole <= t.stems.keys()
        ]
        kinds = {
            "aligned": (config.aligned, self.songs),
            "over_backing": (config.over_backing, self.voices and self.backings),
            "remixed": (config.remixed, self.separate),
            "instrumental": (config.instrumental, self.backings),
            "vocal": (config.vocal, self.voices),
        }
        odds = {kind: weight for kind, (weight, needed) in kinds.items() if weight > 0.0 and needed}
        if not odds:
            raise UsageError("the training folders hold nothing that the [mix] table asks for")
        self.kinds = list(odds)
        self.odds = np.array(list(odds.values())) / sum(odds.values())

    def draw(self, rng: np.random.Generator) -> Example:
        """One example: its kind, its sources, their levels."""
        kind = self.kinds[int(rng.choice(len(self.kinds), p=self.odds))]
        parts: Parts = getattr(self, f"_{kind}")(rng)
        if self.config.guitars > 0.0 and rng.random() < self.config.guitars:
            parts = self._with_guitar(parts, rng)
        return self._finish(parts, rng)

    # -- kinds of example ------------------------------------------------------------------------

    def _aligned(self, rng: np.random.Generator) -> Parts:
        # Half of a song is without voice, and instrumentals come on their own: look for singing.
        for _ in range(4):
            track = self._pick(self.songs, rng)
            speed, start = self._excerpt(track, rng)
            parts = [(g, self._read(track, n, start, speed)) for g, n in self._labels(track)]
            if augment.rms(parts[0][1]) > 3e-3:
                break
        return self._vary(parts, rng)

    def _over_backing(self, rng: np.random.Generator) -> Parts:
        return [((VOCALS,), self._voice(rng)), *self._backing(rng)]

    def _remixed(self, rng: np.random.Generator) -> Parts:
        parts: Parts = [((VOCALS,), self._voice(rng))]
        for group, name, tracks in (
            (DRUMS, ("drums",), self.songs),
            (BASS, ("bass",), self.separate),
            (OTHER, ("other",), self.separate),
        ):
            audio = self._single(self._pick(tracks, rng), name, rng)
            if group == OTHER:
                audio = self._diffuse(audio, rng)
            parts.append(((group,), audio * augment.db(rng.uniform(-5.0, 5.0))))
        return parts

    def _instrumental(self, rng: np.random.Generator) -> Parts:
        return [((VOCALS,), self._silence()), *self._backing(rng)]

    def _vocal(self, rng: np.random.Generator) -> Parts:
        return [((VOCALS,), self._voice(rng)), (BACKING, self._silence())]

    # -- sources -----------------------------------------------------------------------------------

    def _voice(self, rng: np.random.Generator) -> Audio:
        voice = self._one_voice(rng)
        if rng.random() < 0.2:
            second = self._one_voice(rng)
            voice = voice + second * augment.db(rng.uniform(-12.0, 0.0))
        return voice

    def _one_voice(self, rng: np.random.Generator) -> Audio:
        """A sounding excerpt; short clips and rests make some draws silent, so several are tried."""
        audio = self._silence()
        for _ in range(4):
            track = self._pick(self.voices, rng)
            audio = self._single(track, ("vocals",), rng, spread=0.3)
            if augment.rms(audio) > 3e-3:
                break
        if rng.random() < 0.3:
            audio = augment.widen(audio, rng, VOICES_WIDEST)
        if rng.random() < 0.2:
            audio = augment.harmonise(audio, rng)
        if rng.random() < 0.25:
            audio = augment.saturate(audio, rng, 0.5)
        if rng.random() < 0.15:
            audio = augment.dissolve(audio, rng, VOICES_WIDEST)
        elif rng.random() < 0.4:
            audio = augment.add_room(audio, rng)
        return audio

    def _diffuse(self, audio: Audio, rng: np.random.Generator) -> Audio:
        """What voices go through, instruments go through too and further.

        If only voices were widened and reverberated, whatever is wide and reverberant would be a voice.
        """
        if rng.random() < 0.25:
            audio = augment.saturate(audio, rng)
        if rng.random() < 0.3:
            audio = augment.widen(audio, rng)
        if rng.random() < 0.15:
            audio = augment.dissolve(audio, rng)
        elif rng.random() < 0.2:
            audio = augment.add_room(audio, rng)
        return audio

    def _backing(self, rng: np.random.Generator) -> Parts:
        track = self._pick(self.backings, rng)
        speed, start = self._excerpt(track, rng)
        labels = [(g, n) for g, n in self._labels(track) if g != (VOCALS,)]
        return self._vary([(g, self._read(track, n, start, speed)) for g, n in labels], rng)

    def _vary(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """Another mix of the same music: each part's level and, mostly, its tone; or the whole mirrored."""
        flip = rng.random() < 0.5
        varied = []
        for group, audio in parts:
            if rng.random() < 0.5:
                audio = augment.shape_spectrum(audio, rng)
            if OTHER in group and rng.random() < 0.5:
                audio = self._diffuse(audio, rng)
            varied.append((group, (audio[::-1] if flip else audio) * augment.db(rng.uniform(-5.0, 5.0))))
        return varied

    def _with_guitar(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """A guitar joins whatever the stem `other` is part of, if that sounds."""
        joined = []
        for group, audio in parts:
            level = augment.rms(audio) if OTHER in group else 0.0
            if level > 0.0:
                played = guitar(self.samples, rng)
                gain = level / max(augment.rms(played), 1e-3) * augment.db(rng.uniform(-9.0, 6.0))
                played *= np.float32(gain)
                audio = audio * np.float32(augment.db(rng.uniform(-9.0, 0.0))) + played
            joined.append((group, audio))
        return joined

    def _single(
        self, track: Track, names: tuple[str, ...], rng: np.random.Generator, spread: float = 0.15
    ) -> Audio:
        speed, start = self._excerpt(track, rng, spread)
        audio = self._read(track, names, start, speed)
        if rng.random() < 0.6:
            audio = augment.shape_spectrum(audio, rng)
        return augment.place(audio, rng)

    def _labels(self, track: Track) -> list[tuple[Group, tuple[str, ...]]]:
        """Which parts of a track are known, and the files that sum to each."""
        labels: list[tuple[Group, tuple[str, ...]]] = []
        if "vocals" in track.stems:
            labels.append(((VOCALS,), ("vocals",)))
        if ACCOMPANIMENT in track.stems:
            return [*labels, (BACKING, (ACCOMPANIMENT,))]
        if "drums" in track.stems:
            labels.append(((DRUMS,), ("drums",)))
        if track.root in self.bass_in_other:
            return [*labels, ((BASS, OTHER), tuple(n for n in ("bass", "other") if n in track.stems))]
        # A stem that is missing beside others is silent, and that too is known.
        return labels + [((s,), (STEMS[s],) if STEMS[s] in track.stems else ()) for s in (BASS, OTHER)]

    def _pick(self, tracks: list[Track], rng: np.random.Generator) -> Track:
        """A root by its weight, then a track by its length: a long root must not drown the others."""
        roots = sorted({t.root for t in tracks})
        weights = np.array([self.weights.get(root, 1.0) for root in roots])
        root = roots[int(rng.choice(len(roots), p=weights / weights.sum()))]
        choice = [t for t in tracks if t.root == root]
        lengths = np.array([t.samples for t in choice], dtype=np.float64)
        return choice[int(rng.choice(len(choice), p=lengths / lengths.sum()))]

    def _excerpt(self, track: Track, rng: np.random.Generator, spread: float = 0.15) -> tuple[float, int]:
        """Speed, and first sample, of an excerpt that fits."""
        speed = float(2.0 ** rng.uniform(-2.0 * spread, 2.0 * spread)) if rng.random() < 0.4 else 1.0
        room = track.samples - int(self.samples * speed) - 64
        return speed, int(rng.integers(max(room, 1)))

    def _read(self, track: Track, names: tuple[str, ...], start: int, speed: float) -> Audio:
        needed = int(self.samples * speed) + 64
        audio = self._silence(needed)
        for name in names:
            excerpt = track.stems[name][start : start + needed]
            audio[:, : excerpt.shape[0]] += excerpt.T * np.float32(1.0 / 32768.0)
        return audio[:, : self.samples] if speed == 1.0 else augment.change_speed(audio, speed, self.samples)

    def _silence(self, samples: int | None = None) -> Audio:
        return np.zeros((2, self.samples if samples is None else samples), dtype=np.float32)

    # -- levels ------------------------------------------------------------------------------------

    def _finish(self, parts: Parts, rng: np.random.Generator) -> Example:
        voice = next((a for g, a in parts if g == (VOCALS,)), self._silence())
        backing = sum((a for g, a in parts if g != (VOCALS,)), self._silence())
        voice_level, backing_level = augment.rms(voice), augment.rms(backing)
        voice_gain = 1.0
        # The balance as drawn is kept a quarter of the time: for aligned excerpts it is the real one.
        if voice_level > 0.0 and backing_level > 0.0 and rng.random() < 0.75:
            voice_gain = backing_level / voice_level * augment.db(rng.uniform(*self.config.vocal_db))
        mix_level = augment.rms(voice * np.float32(voice_gain) + backing)
        level = augment.db(rng.uniform(*self.config.level_db)) / mix_level if mix_level > 0.0 else 1.0
        stacked = np.zeros((4, 2, self.samples), dtype=np.float32)
        groups = np.zeros((4, 4), dtype=np.float32)
        for row, (group, audio) in enumerate(parts):
            gain = level * (voice_gain if group == (VOCALS,) else 1.0)
            stacked[row] = audio * np.float32(gain)
            groups[row, list(group)] = 1.0
        return Example(stacked, groups)
