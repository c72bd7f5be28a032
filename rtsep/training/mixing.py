"""Draw examples: mixtures whose parts are known, wholly or in groups.

Labels may be partial. A track with only an accompaniment says nothing about its drums, and one whose
bass line lies inside `other` nothing about either alone. So an example carries as many known parts as
there are stems, at most, and for each of them which stems it is the sum of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.live_conditions import CROWD, bleed, crowd, gain_to, host_of_crowd
from rtsep.spec import STEMS, UsageError
from rtsep.training import augmentation as augment
from rtsep.training import effects
from rtsep.training.augmentation import Audio
from rtsep.training.config import AugmentConfig, DataConfig, MixConfig
from rtsep.training.corpus import Track, load_noise
from rtsep.training.guitars import guitar
from rtsep.training.labels import (
    BASS,
    DRUMS,
    OTHER,
    VOCALS,
    Group,
    Label,
    knows_backing,
    labels_of,
)
from rtsep.training.pools import Pool
from rtsep.training.procedures import combine
from rtsep.training.silence import Stretch, silent_stretches

Parts = list[tuple[Group, Audio]]
VOICES_WIDEST = 0.5
"""How far voices are widened, against instruments: most records keep them near the middle."""
SOURCE_DB = (-10.0, 3.0)
"""Range of a source's level that is laid over what is known to be without it, against that."""
STRETCH_MARGIN = 4096
"""Samples that are read beyond an excerpt that is stretched, so that it does not end too early."""


@dataclass(frozen=True)
class Example:
    """A mixture by its known parts.

    Attributes:
        parts: float32 (stems, 2, samples); unused rows are zero. The mixture is their sum.
        groups: float32 (stems, stems); groups[p, s] is 1 where part p contains stem s, zero where unused.
    """

    parts: NDArray[np.float32]
    groups: NDArray[np.float32]


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
        self.vocals, self.drums_at, bass = (_place(stems, name) for name in ("vocals", "drums", "bass"))
        self.backing: Group = tuple(s for s in range(len(stems)) if s != self.vocals)
        self.instruments = {s for s in self.backing if s not in (self.drums_at, bass)}
        guitar_of = "guitar" if "guitar" in stems else "other"
        self.guitars_at = _place(stems, guitar_of)
        self.config = config
        self.extra = extra or AugmentConfig()
        self.samples = samples
        self.sample_rate = sample_rate
        self.bass_in_other = data.bass_in_other
        if self.extra.needs_pedalboard:
            effects.pedalboard()
        if self.extra.codec > 0.0:
            effects.codec_delay(sample_rate)
        self.crowd_in = self._host_of_crowd()
        folder = self.extra.crowd_noise
        self.crowds = [] if folder is None else load_noise(folder, data.cache, sample_rate)
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
        return self._finish(self._treat(parts, rng), rng)

    # -- kinds of example ------------------------------------------------------------------------

    def _aligned(self, rng: np.random.Generator) -> Parts:
        # Half of a song is without voice, and instrumentals come on their own: look for singing.
        for _ in range(4):
            track = self.songs.pick(rng)
            excerpt = self._excerpt(track, rng)
            parts = self._play(track, labels_of(track, self._mixes_bass(track)), excerpt)
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
                audio = self._silence()
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
        silent: Parts = [((self.vocals,), self._silence())] if self.vocals >= 0 else []
        return [*silent, *self._backing(rng)]

    def _vocal(self, rng: np.random.Generator) -> Parts:
        return [((self.vocals,), self._voice(rng)), (self.backing, self._silence())]

    def _silent_source(self, rng: np.random.Generator) -> Parts:
        sources = sorted(self.stretches)
        source = sources[int(rng.integers(len(sources)))]
        for _ in range(4):
            track = self.stretched_tracks[source].pick(rng)
            choice = [s for s in self.stretches[source] if s.track is track]
            room = np.array([s.end - s.start - self.samples + 1 for s in choice], dtype=np.float64)
            chosen = choice[int(rng.choice(len(choice), p=room / room.sum()))]
            start = int(rng.integers(chosen.start, chosen.end - self.samples + 1))
            around = self._play(track, list(chosen.labels), Excerpt(start))
            level = augment.rms(sum((audio for _, audio in around), self._silence()))
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
        audio = self._silence()
        for _ in range(4):
            audio = self._single(self.voices.pick(rng), "vocals", rng, spread=0.3)
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
        excerpt = self._excerpt(track, rng)
        labels = [label for label in labels_of(track, self._mixes_bass(track)) if label[0] != (self.vocals,)]
        return self._vary(self._play(track, labels, excerpt), rng)

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
        joined = []
        for group, audio in parts:
            level = augment.rms(audio) if self.guitars_at in group else 0.0
            if level > 0.0:
                played = guitar(self.samples, rng)
                gain = level / max(augment.rms(played), 1e-3) * augment.db(rng.uniform(-9.0, 6.0))
                played *= np.float32(gain)
                audio = audio * np.float32(augment.db(rng.uniform(-9.0, 0.0))) + played
            joined.append((group, audio))
        return joined

    def _single(self, track: Track, name: str, rng: np.random.Generator, spread: float = 0.15) -> Audio:
        excerpt = self._excerpt(track, rng, spread)
        group: Group = (self.stems.index(name),)
        ((_, audio),) = self._play(track, [(group, (name,))], excerpt)
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

    def _excerpt(self, track: Track, rng: np.random.Generator, spread: float = 0.15) -> Excerpt:
        """One that fits, if the track is long enough."""
        extra = self.extra
        speed = float(2.0 ** rng.uniform(-2.0 * spread, 2.0 * spread)) if rng.random() < 0.4 else 1.0
        tempo, semitones = 1.0, 0.0
        if extra.tempo > 0.0 and rng.random() < extra.tempo:
            tempo = float(rng.uniform(*extra.tempo_factor))
        if extra.pitch > 0.0 and rng.random() < extra.pitch:
            semitones = float(rng.uniform(*extra.pitch_semitones))
        excerpt = Excerpt(0, speed, tempo, semitones)
        room = track.samples - int(self._before_stretching(excerpt) * speed) - 64
        return Excerpt(int(rng.integers(max(room, 1))), speed, tempo, semitones)

    def _before_stretching(self, excerpt: Excerpt) -> int:
        """Samples that must be there so that an example's are left."""
        if not excerpt.stretched:
            return self.samples
        return math.ceil(self.samples * excerpt.tempo) + STRETCH_MARGIN

    def _play(self, track: Track, labels: list[Label], excerpt: Excerpt) -> Parts:
        """The parts of an excerpt, moved in speed, tempo and pitch together."""
        parts = [(group, self._read(track, names, excerpt)) for group, names in labels]
        if not excerpt.stretched:
            return parts
        # Drums have a pitch, but not that of the song.
        moved: dict[int, Audio] = {}
        for semitones in (excerpt.semitones, 0.0):
            rows = [
                row
                for row, (group, audio) in enumerate(parts)
                if audio.any()
                and (group == (self.drums_at,)) == (semitones == 0.0 and excerpt.semitones != 0.0)
            ]
            if not rows:
                continue
            together = np.concatenate([parts[row][1] for row in rows])
            if excerpt.tempo != 1.0 or semitones != 0.0:
                together = effects.stretch(together, self.sample_rate, excerpt.tempo, semitones, self.samples)
            moved |= {row: together[2 * k : 2 * k + 2, : self.samples] for k, row in enumerate(rows)}
        return [(group, moved.get(row, self._silence())) for row, (group, _) in enumerate(parts)]

    def _read(self, track: Track, names: tuple[str, ...], excerpt: Excerpt) -> Audio:
        samples = self._before_stretching(excerpt)
        needed = int(samples * excerpt.speed) + 64
        audio = self._silence(needed)
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

    def _silence(self, samples: int | None = None) -> Audio:
        return np.zeros((2, self.samples if samples is None else samples), dtype=np.float32)

    # -- the mixture -------------------------------------------------------------------------------

    def _treat(self, parts: Parts, rng: np.random.Generator) -> Parts:
        """What `[augment]` asks for beside pitch and tempo. What is off draws nothing."""
        extra, rate = self.extra, self.sample_rate
        treated: Parts = []
        for group, audio in parts:
            if extra.distortion > 0.0 and group != (self.drums_at,) and rng.random() < extra.distortion:
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
        return treated

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
        mixture = sum((audio for _, audio in parts), self._silence())
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

    def _drop(self, parts: Parts, rng: np.random.Generator) -> Parts:
        falls = rng.random(len(parts)) < self.extra.drop
        spared = rng.random(len(parts))
        sounding = [row for row, (_, audio) in enumerate(parts) if audio.any()]
        if sounding and all(falls[row] for row in sounding):
            falls[max(sounding, key=lambda row: spared[row])] = False
        return [
            (group, self._silence() if fallen else audio)
            for (group, audio), fallen in zip(parts, falls, strict=True)
        ]

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
        voice = next((a for g, a in parts if g == (self.vocals,)), self._silence())
        backing = sum((a for g, a in parts if g != (self.vocals,)), self._silence())
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


def _place(stems: tuple[str, ...], name: str) -> int:
    """Where a stem stands; -1, which no group has, where there is none."""
    return stems.index(name) if name in stems else -1
