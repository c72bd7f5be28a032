"""Draw examples: mixtures whose parts are known, wholly or in groups.

Labels may be partial. A track with only an accompaniment says nothing about its drums, and one whose
bass line lies inside `other` nothing about either alone. So an example carries as many known parts as
there are stems, at most, and for each of them which stems it is the sum of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import STEMS, UsageError
from rtsep.training import augmentation as augment
from rtsep.training.augmentation import Audio
from rtsep.training.corpus import Track
from rtsep.training.data_config import AugmentConfig, DataConfig, MixConfig
from rtsep.training.excerpts import SPEEDS, Excerpt, Parts, Player, Speeds, silence
from rtsep.training.guitars import guitar
from rtsep.training.labels import (
    BASS,
    DRUMS,
    OTHER,
    VOCALS,
    Group,
    knows_backing,
    labels_of,
    place_of,
)
from rtsep.training.pools import Pool
from rtsep.training.procedures import combine
from rtsep.training.silence import Stretch, silent_stretches
from rtsep.training.synths import synth
from rtsep.training.treatment import Treatment

VOICES = Speeds((-0.6, 0.6))
"""Voices differ more among themselves than instruments do."""
VOICES_WIDEST = 0.5
"""How far voices are widened, against instruments: most records keep them near the middle."""
SOURCE_DB = (-10.0, 3.0)
"""Range of a source's level that is laid over what is known to be without it, against that."""


@dataclass(frozen=True)
class Example:
    """A mixture by its known parts.

    Attributes:
        parts: float32 (stems, 2, samples); unused rows are zero. The mixture is their sum.
        groups: float32 (stems, stems); groups[p, s] is 1 where part p contains stem s, zero where unused.
    """

    parts: NDArray[np.float32]
    groups: NDArray[np.float32]


class Mixer:
    """Draws examples of a fixed length from a corpus, deterministically for a generator.

    Args:
        tracks: the corpus.
        data, config, extra: the tables `[data]`, `[mix]` and `[augment]`.
        samples: of an example.
        sample_rate: Hz.
        stems: what is told apart, and the order of an example's groups. Vocals, drums and bass are treated as
            what they are, others as instruments like `other`.

    Raises:
        UsageError: when the corpus has nothing for any kind of example that is asked for, or an augmentation
            takes a package that is missing.
    """

    def __init__(
        self,
        tracks: list[Track],
        data: DataConfig,
        config: MixConfig,
        samples: int,
        extra: AugmentConfig | None = None,
        sample_rate: int = 44100,
        stems: tuple[str, ...] = STEMS,
    ) -> None:
        self.stems = stems
        self.vocals, self.drums_at, bass = (place_of(stems, name) for name in ("vocals", "drums", "bass"))
        self.backing: Group = tuple(s for s in range(len(stems)) if s != self.vocals)
        self.instruments = {s for s in self.backing if s not in (self.drums_at, bass)}
        self.other_at = place_of(stems, "other")
        guitar_of = "guitar" if "guitar" in stems else "other"
        self.guitars_at = place_of(stems, guitar_of)
        self.config = config
        self.samples = samples
        self.sample_rate = sample_rate
        self.bass_in_other = data.bass_in_other
        self.extra = extra = extra or AugmentConfig()
        self.player = Player(samples, sample_rate, extra, self.drums_at)
        self.treat = Treatment(extra, samples, sample_rate, stems, data.cache)
        pool = partial(Pool, weights=data.weights)
        self.voices = pool(t for t in tracks if "vocals" in t.stems)
        self.backings = pool(t for t in tracks if knows_backing(t, self._mixes_bass(t)))
        songs = [t for t in tracks if not t.unknown and self._is_song(t)]
        apart = [t for t in tracks if t.unknown and t.whole and len(labels_of(t, self._mixes_bass(t))) > 1]
        self.songs = pool([*songs, *apart])
        both = {"bass", "other"}
        lone = [t for t in tracks if t.unknown and not self._mixes_bass(t)]
        separate = [t for t in songs if not self._mixes_bass(t) and both <= t.stems.keys()]
        self.drums = pool([*songs, *(t for t in tracks if t.unknown and "drums" in t.stems)])
        self.basses = pool([*separate, *(t for t in lone if "bass" in t.stems)])
        # Without a bass file beside it, an `other` may well have the bass line in it.
        self.others = pool([*separate, *(t for t in lone if both <= t.stems.keys())])
        # Of another set of stems whatever is known apart, by stem.
        self.apart = {
            s: pool(t for t in tracks if ((s,), (name,)) in labels_of(t, False))
            for s, name in enumerate(stems if stems != STEMS else ())
        }
        self.stretches = self._stretches(tracks) if config.silent_source > 0.0 else {}
        self.stretched_tracks = {
            source: pool({id(s.track): s.track for s in stretches}.values())
            for source, stretches in self.stretches.items()
        }
        kinds = {
            "aligned": (config.aligned, self.songs),
            "over_backing": (config.over_backing, self.voices and self.backings),
            "remixed": (
                config.remixed,
                sum(map(bool, self.apart.values())) > 1
                if self.apart
                else self.voices and self.drums and self.basses and self.others,
            ),
            "instrumental": (config.instrumental, self.backings),
            "vocal": (config.vocal, self.voices),
            "silent_source": (config.silent_source, self.stretches),
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
        if self.config.synths > 0.0 and rng.random() < self.config.synths:
            parts = self._with_synth(parts, rng)
        return self._finish(self.treat(parts, rng), rng)

    # -- kinds of example ------------------------------------------------------------------------

    def _aligned(self, rng: np.random.Generator) -> Parts:
        # Half of a song is without voice, and instrumentals come on their own: look for singing.
        for _ in range(4):
            track = self.songs.pick(rng)
            excerpt = self.player.draw(track, rng)
            parts = self.player.play(track, labels_of(track, self._mixes_bass(track)), excerpt)
            if augment.rms(parts[0][1]) > 3e-3:
                break
        return self._vary(parts, rng)

    def _over_backing(self, rng: np.random.Generator) -> Parts:
        return [((self.vocals,), self._voice(rng)), *self._backing(rng)]

    def _remixed(self, rng: np.random.Generator) -> Parts:
        if self.apart:
            return self._remixed_of_any_set(rng)
        parts: Parts = [((VOCALS,), self._voice(rng))]
        for group, name, tracks in (
            (DRUMS, "drums", self.drums),
            (BASS, "bass", self.basses),
            (OTHER, "other", self.others),
        ):
            audio = self._single(tracks.pick(rng), name, rng)
            if group == OTHER:
                audio = self._diffuse(audio, rng)
            parts.append(((group,), audio * augment.db(rng.uniform(-5.0, 5.0))))
        return parts

    def _remixed_of_any_set(self, rng: np.random.Generator) -> Parts:
        """Every stem that any track has apart; one that none has is silent, and known to be."""
        parts: Parts = []
        for s, name in enumerate(self.stems):
            tracks = self.apart[s]
            if not tracks:
                audio = silence(self.samples)
            elif s == self.vocals:
                audio = self._voice(rng)
            else:
                audio = self._single(tracks.pick(rng), name, rng)
                if s in self.instruments:
                    audio = self._diffuse(audio, rng)
                audio = audio * augment.db(rng.uniform(-5.0, 5.0))
            parts.append(((s,), audio))
        return parts

    def _instrumental(self, rng: np.random.Generator) -> Parts:
        silent: Parts = [((self.vocals,), silence(self.samples))] if self.vocals >= 0 else []
        return [*silent, *self._backing(rng)]

    def _vocal(self, rng: np.random.Generator) -> Parts:
        return [((self.vocals,), self._voice(rng)), (self.backing, silence(self.samples))]

    def _silent_source(self, rng: np.random.Generator) -> Parts:
        sources = sorted(self.stretches)
        source = sources[int(rng.integers(len(sources)))]
        for _ in range(4):
            track = self.stretched_tracks[source].pick(rng)
            choice = [s for s in self.stretches[source] if s.track is track]
            room = np.array([s.end - s.start - self.samples + 1 for s in choice], dtype=np.float64)
            chosen = choice[int(rng.choice(len(choice), p=room / room.sum()))]
            start = int(rng.integers(chosen.start, chosen.end - self.samples + 1))
            around = self.player.play(track, list(chosen.labels), Excerpt(start))
            level = augment.rms(sum((audio for _, audio in around), silence(self.samples)))
            if level > 3e-3:
                break
        # No equaliser here: it might lift what the test of silence let pass.
        if rng.random() < 0.5:
            around = [(group, audio[::-1]) for group, audio in around]
        if source == VOCALS:
            laid = self._voice(rng)
        else:
            name, tracks = (("drums", self.drums), ("bass", self.basses))[source - DRUMS]
            laid = self._single(tracks.pick(rng), name, rng)
        own = augment.rms(laid)
        if level > 0.0 and own > 0.0:
            laid = laid * np.float32(level / own * augment.db(rng.uniform(*SOURCE_DB)))
        return [((source,), laid), *around]

    # -- sources -----------------------------------------------------------------------------------

    def _voice(self, rng: np.random.Generator) -> Audio:
        voice = self._one_voice(rng)
        if rng.random() < 0.2:
            second = self._one_voice(rng)
            voice = voice + second * augment.db(rng.uniform(-12.0, 0.0))
        return voice

    def _one_voice(self, rng: np.random.Generator) -> Audio:
        """A sounding excerpt; short clips and rests make some draws silent, so several are tried."""
        audio = silence(self.samples)
        speeds = VOICES
        if self.extra.deep_voices > 0.0 and rng.random() < self.extra.deep_voices:
            least, most = self.extra.deep_octaves
            speeds = Speeds((-most, -least), odds=1.0)
        for _ in range(4):
            audio = self._single(self.voices.pick(rng), "vocals", rng, speeds)
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
        track = self.backings.pick(rng)
        excerpt = self.player.draw(track, rng)
        labels = [label for label in labels_of(track, self._mixes_bass(track)) if label[0] != (self.vocals,)]
        return self._vary(self.player.play(track, labels, excerpt), rng)

    def _vary(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """Another mix of the same music: each part's level and, mostly, its tone; or the whole mirrored."""
        flip = rng.random() < 0.5
        varied = []
        for group, audio in parts:
            if rng.random() < 0.5:
                audio = augment.shape_spectrum(audio, rng)
            if self.instruments & set(group) and rng.random() < 0.5:
                audio = self._diffuse(audio, rng)
            varied.append((group, (audio[::-1] if flip else audio) * augment.db(rng.uniform(-5.0, 5.0))))
        return varied

    def _with_guitar(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """A guitar joins whatever the stem `guitar`, or else `other`, is part of, if that sounds."""

        def joined(audio: Audio, level: float) -> Audio:
            played = _near(guitar(self.samples, rng), level, rng)
            return audio * np.float32(augment.db(rng.uniform(-9.0, 0.0))) + played

        return _changed(parts, self.guitars_at, joined)

    def _with_synth(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """A synthesiser joins what `other` is part of, if that sounds, or up to three play in its place."""
        alone = int(rng.integers(1, 4)) if rng.random() < 0.5 else 0

        def joined(audio: Audio, level: float) -> Audio:
            audio = np.zeros_like(audio) if alone else audio
            for _ in range(max(alone, 1)):
                played = synth(self.samples, rng)
                if rng.random() < 0.5:
                    played = self._diffuse(played, rng)
                audio = audio + _near(played, level, rng)
            return audio

        return _changed(parts, self.other_at, joined)

    def _single(self, track: Track, name: str, rng: np.random.Generator, speeds: Speeds = SPEEDS) -> Audio:
        excerpt = self.player.draw(track, rng, speeds)
        group: Group = (self.stems.index(name),)
        ((_, audio),) = self.player.play(track, [(group, (name,))], excerpt)
        if rng.random() < 0.6:
            audio = augment.shape_spectrum(audio, rng)
        return augment.place(audio, rng)

    def _is_song(self, track: Track) -> bool:
        """Whether it is music with a voice, if voices are told apart; see also `knows_backing`."""
        if self.stems == STEMS:
            return "vocals" in track.stems and "drums" in track.stems
        return knows_backing(track, False) and (self.vocals < 0 or "vocals" in track.stems)

    def _mixes_bass(self, track: Track) -> bool:
        return track.root in self.bass_in_other

    def _stretches(self, tracks: list[Track]) -> dict[int, list[Stretch]]:
        """By source, where it can be laid over; sources for which there is nothing are left out."""
        usable = [s for s, pool in ((VOCALS, self.voices), (DRUMS, self.drums), (BASS, self.basses)) if pool]
        found = {
            source: [
                stretch
                for track in tracks
                for stretch in silent_stretches(
                    track,
                    self._mixes_bass(track),
                    source,
                    self.sample_rate,
                    self.config.silence_db,
                    self.samples,
                )
            ]
            for source in usable
        }
        return {source: stretches for source, stretches in found.items() if stretches}

    # -- the mixture -------------------------------------------------------------------------------

    def _finish(self, parts: Parts, rng: np.random.Generator) -> Example:
        count = len(self.stems)
        stacked = np.zeros((count, 2, self.samples), dtype=np.float32)
        groups = np.zeros((count, count), dtype=np.float32)
        levelled = self._level(parts, rng) if self.config.procedure == "levels" else self._combine(parts)
        for row, ((group, _), audio) in enumerate(zip(parts, levelled, strict=True)):
            stacked[row] = audio
            groups[row, list(group)] = 1.0
        return Example(stacked, groups)

    def _combine(self, parts: Parts) -> list[Audio]:
        """By one of the thesis' procedures; a part is one instrument: its files were summed before."""
        sounding = [audio for _, audio in parts if audio.any()]
        if self.config.procedure == "levels" or not sounding:
            return [audio for _, audio in parts]
        shares = iter(combine([[audio] for audio in sounding], self.config.procedure).shares)
        return [next(shares) if audio.any() else audio for _, audio in parts]

    def _level(self, parts: Parts, rng: np.random.Generator) -> list[Audio]:
        """The voice's level against the rest's, and the level of it all, drawn."""
        voice = next((a for g, a in parts if g == (self.vocals,)), silence(self.samples))
        backing = sum((a for g, a in parts if g != (self.vocals,)), silence(self.samples))
        voice_level, backing_level = augment.rms(voice), augment.rms(backing)
        voice_gain = 1.0
        # The balance as drawn is kept a quarter of the time: for aligned excerpts it is the real one.
        if voice_level > 0.0 and backing_level > 0.0 and rng.random() < 0.75:
            voice_gain = backing_level / voice_level * augment.db(rng.uniform(*self.config.vocal_db))
        mix_level = augment.rms(voice * np.float32(voice_gain) + backing)
        level = augment.db(rng.uniform(*self.config.level_db)) / mix_level if mix_level > 0.0 else 1.0
        return [
            audio * np.float32(level * (voice_gain if group == (self.vocals,) else 1.0))
            for group, audio in parts
        ]


def _changed(parts: Parts, place: int, change: Callable[[Audio, float], Audio]) -> Parts:
    """The parts, that of one stem as `change` makes it of its sound and its level; silent ones stay so."""
    changed = []
    for group, audio in parts:
        level = augment.rms(audio) if place in group and audio.any() else 0.0
        changed.append((group, change(audio, level) if level > 0.0 else audio))
    return changed


def _near(played: Audio, level: float, rng: np.random.Generator) -> Audio:
    """A sound from 9 dB under a level to 6 above it."""
    gain = level / max(augment.rms(played), 1e-3) * augment.db(rng.uniform(-9.0, 6.0))
    return played * np.float32(gain)
