"""What examples are made of: the tables `[data]`, `[mix]` and `[augment]` of a training file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Odds = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Level = Annotated[float, Field(ge=-80.0, le=0.0)]
Balance = Annotated[float, Field(ge=-60.0, le=60.0)]
Loudness = Annotated[float, Field(ge=-80.0, le=20.0)]
MUSDB = "musdb"
"""The word that stands for the musdb package's own choice of tracks to validate on."""


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range {list(value)} ends below its beginning")
    return value


class Strict(BaseModel):
    """A table of the file: unknown keys are mistakes, not wishes, and so are numbers without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Strict):
    """Where the sound comes from.

    Roots are called by their folder's name below, and by their path as it stands in `roots` where two share a
    name.

    Attributes:
        roots: folders whose sub-folders are tracks, one file a stem, or that hold MUSDB18 stem files.
        validation: a folder like them, never trained on.
        validation_tracks: tracks of the roots that are held out to validate on: names, or "musdb" for those
            that the musdb package sets apart.
        cache: where decoded tracks are kept, so that a resumed run starts at once.
        weights: how often each root is drawn from against the others; 1 by default.
        bass_in_other: roots whose tracks carry the bass line inside `other`: there the two are trained as
            one. For the four stems; other sets say the same in `includes`.
        includes: by root and stem, what else the stem's files there hold, such as
            `includes.musdb18.other = ["guitar", "piano"]`. There all of these are known as one.
        names: what files hold that are called otherwise: a stem, `accompaniment` or `mixture` by file name.
            Files that hold the same stem are summed.
        missing: by root, what stems are for which a track has no file: "silent", the default, or "unknown".
        mastered: roots whose `mixture` files are no plain sums: nothing is taken away from these.
        workers: processes that mix examples; 0 for none beside the training's own, "auto" for as many as
            there are cores.
        prefetch: batches that each worker keeps ready.
    """

    roots: tuple[Path, ...] = Field(min_length=1)
    validation: Path | None = None
    validation_tracks: Literal["musdb"] | tuple[str, ...] = ()
    cache: Path = Path("runs/cache")
    weights: dict[str, Weight] = Field(default_factory=dict)
    bass_in_other: tuple[str, ...] = ()
    includes: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    missing: dict[str, Literal["silent", "unknown"]] = Field(default_factory=dict)
    mastered: tuple[str, ...] = ()
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = 1
    prefetch: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _names_are_roots(self) -> Self:
        names = set(self.labels)
        told = (*self.weights, *self.bass_in_other, *self.includes, *self.missing, *self.mastered)
        for name in told:
            if name not in names:
                raise ValueError(f"'{name}' is the name of none of the roots: {', '.join(sorted(names))}")
        for name in self.mastered:
            if self.missing.get(name) != "unknown":
                raise ValueError(
                    f"the mixtures of '{name}' are not looked at unless missing.{name} is \"unknown\""
                )
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """What each root is called: its folder's name, or its path where several have that name."""
        names = [root.name for root in self.roots]
        return tuple(
            str(root) if names.count(name) > 1 else name for root, name in zip(self.roots, names, strict=True)
        )

    @property
    def processes(self) -> int:
        """Processes that mix examples beside the training's own."""
        if self.workers != "auto":
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MixConfig(Strict):
    """How examples are drawn: relative odds of each kind of example, and levels.

    Attributes:
        aligned: an excerpt as it was produced.
        over_backing: any voice over any backing, known as vocals against accompaniment.
        remixed: every stem from another track.
        instrumental, vocal: one of the two alone.
        guitars: share of the examples in which a synthesised guitar joins the backing.
        synths: share of those in which a synthesiser does, or plays in the place of `other`.
        silent_source: a stem over an excerpt in which that stem is known to be silent, whatever else sounds
            there (see `silence.py`).
        silence_db: the level, against its track's, below which a source counts as silent there.
        procedure: how parts become a mixture: "levels", drawn from the two ranges below, or one of the four
            of `procedures.py`, which keep the parts' own.
        vocal_db: range of the vocal's level against the backing's.
        level_db: range of the whole mixture's level against full scale.
    """

    aligned: Weight = 0.25
    over_backing: Weight = 0.35
    remixed: Weight = 0.2
    instrumental: Weight = 0.14
    vocal: Weight = 0.06
    guitars: Odds = 0.0
    synths: Odds = 0.0
    silent_source: Weight = 0.0
    silence_db: float = Field(default=-40.0, le=-20.0)
    procedure: Literal["levels", "sum", "average", "scale", "adaptive"] = "levels"
    vocal_db: tuple[Balance, Balance] = (-10.0, 6.0)
    level_db: tuple[Loudness, Loudness] = (-32.0, -12.0)

    _ranges = field_validator("vocal_db", "level_db")(_ascending)


class AugmentConfig(Strict):
    """What is done to excerpts beside what every kind of example brings: odds of each, and its range.

    Odds are 0 unless said otherwise, and what is off draws nothing: examples stay what they were.

    Attributes:
        pitch: odds that an excerpt is transposed; its tempo stays. All parts of a track move together, drums
            that are known apart do not.
        pitch_semitones: range.
        deep_voices: odds that a voice that is mixed over other music is played slower and as much lower, its
            formants too: few training sets have deep voices, and electronic music makes its own.
        deep_octaves: range of how much lower.
        tempo: odds that an excerpt is played faster or slower; its pitch stays.
        tempo_factor: range; above 1 is faster.
        codec: odds, for every part, of going through MP3.
        codec_quality: range of LAME's variable bit rate, 0 the best (about 245 kbit/s) to 9.9 the worst (65).
        reverb: odds, for every part, of an artificial room.
        distortion: odds, for every part but drums, of a hard drive.
        mono: odds that all of an example is one channel of itself, on both sides.
        drop: odds, for every part, of falling silent; one at least sounds on.
        lead_in: odds that an example begins with silence, as every set does: a network that has only ever
            been switched on in the middle of music takes what ends a silence for a voice.
        lead_in_seconds: range of its length.
        bleed: odds that an example sounds as if every part had been heard by the others' microphones too; see
            `rtsep.evaluation.live_conditions`. What is heard of a part remains part of it.
        bleed_db: range of the level of what each of them hears.
        crowd: odds of a crowd, which belongs to the stem `crowd` or, where there is none, `other`.
        crowd_db: range of its level against the mixture's.
        crowd_noise: folder of recordings of crowds; made by rtsep where none is named.
    """

    pitch: Odds = 0.0
    pitch_semitones: tuple[Annotated[float, Field(ge=-12.0)], Annotated[float, Field(le=12.0)]] = (-2.0, 2.0)
    deep_voices: Odds = 0.0
    deep_octaves: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(le=2.0)]] = (0.3, 1.0)
    tempo: Odds = 0.0
    tempo_factor: tuple[Annotated[float, Field(ge=0.5)], Annotated[float, Field(le=2.0)]] = (0.88, 1.12)
    codec: Odds = 0.0
    codec_quality: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(le=9.9)]] = (2.0, 9.0)
    reverb: Odds = 0.0
    distortion: Odds = 0.0
    mono: Odds = 0.0
    drop: Odds = 0.0
    lead_in: Odds = 0.0
    lead_in_seconds: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(le=60.0)]] = (0.3, 2.5)
    bleed: Odds = 0.0
    bleed_db: tuple[Level, Level] = (-30.0, -12.0)
    crowd: Odds = 0.0
    crowd_db: tuple[Level, Level] = (-35.0, -12.0)
    crowd_noise: Path | None = None

    _ranges = field_validator(
        "pitch_semitones",
        "deep_octaves",
        "tempo_factor",
        "codec_quality",
        "lead_in_seconds",
        "bleed_db",
        "crowd_db",
    )(_ascending)

    @property
    def needs_pedalboard(self) -> bool:
        """Whether any of these odds takes the pedalboard package."""
        return max(self.pitch, self.tempo, self.codec, self.reverb, self.distortion) > 0.0
