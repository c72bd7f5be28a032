"""An evaluation from end to end: every system on every track, by one scorer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.bsseval import require_museval
from rtsep.evaluation.excerpts import Excerpt, cut
from rtsep.evaluation.live_conditions import LiveConditions, render_live
from rtsep.evaluation.scorer import TargetScores, TrackScores, score_track
from rtsep.evaluation.spectra import Transform
from rtsep.evaluation.systems import Kind, Mixture, System
from rtsep.evaluation.tracks import ACCOMPANIMENT, VOCALS, Track, TrackSource
from rtsep.spec import StreamSpec, UsageError

Audio = NDArray[np.floating]
Progress = Callable[[str, str], None]
"""Called with the names of the track and the system that are next."""


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        chunk_seconds: length of a chunk of the SDR; SiSEC's frames have one second, the thesis' chunks six.
        seconds: of every track, from its start; None for all.
        bss: measure BSSEval v4 too.
        transform: windows of the oracles.
        excerpts: tracks of which sounds are kept, the first ones.
        live: conditions of a stage that are laid over every track; None: as it was recorded.
    """

    chunk_seconds: float = 1.0
    seconds: float | None = None
    bss: bool = False
    transform: Transform = field(default_factory=Transform)
    excerpts: int = 3
    live: LiveConditions | None = None


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What there is to say of a system whatever the track.

    Attributes:
        name, kind: see `rtsep.evaluation.systems.System`.
        sample_rate: Hz of a model's stream; None for others.
        latency: a model's algorithmic latency in samples at that rate; None for others.
    """

    name: str
    kind: Kind
    sample_rate: int | None
    latency: int | None

    @property
    def milliseconds(self) -> float | None:
        """The latency in ms."""
        if self.latency is None or self.sample_rate is None:
            return None
        return 1000.0 * self.latency / self.sample_rate


@dataclass(frozen=True)
class TrackResult:
    """All that was found on one track.

    Attributes:
        name: the track's.
        seconds: its length.
        sample_rate: Hz.
        parts: the stems that are known and make up the mixture.
        scores: by system.
        excerpts: sounds to listen to; none unless asked for.
    """

    name: str
    seconds: float
    sample_rate: int
    parts: tuple[str, ...]
    scores: dict[str, TrackScores]
    excerpts: list[Excerpt]


@dataclass(frozen=True)
class Evaluation:
    """The results.

    Attributes:
        settings: how they came about.
        systems: in the order given, the mixture first.
        tracks: in the order given.
    """

    settings: Settings
    systems: list[SystemFacts]
    tracks: list[TrackResult]


def evaluate(
    sources: Sequence[TrackSource],
    systems: Sequence[System],
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score systems on tracks. The mixture as it is comes first in any case: NSDR is counted from it.

    Holds one track and one system's estimates of it at a time.

    Args:
        sources: at least one track.
        systems: models and oracles; the caller's to close.
        settings: how.
        progress: told what is next.

    Raises:
        UsageError: when there is nothing to evaluate, two systems share a name, or museval is wanted and
        missing.
        AudioFileError: when a track cannot be read.
        ModelError: when a model's output is not finite.
    """
    settings = settings or Settings()
    everyone: list[System] = [Mixture(), *systems]
    names = [system.name for system in everyone]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two systems are called '{name}'")
    if not sources:
        raise UsageError("there are no tracks to evaluate")
    if settings.bss:
        require_museval()
    for source in sources:
        source.check()
    results = []
    for index, source in enumerate(sources):
        track = source.read(settings.seconds)
        if settings.live is not None:
            track = render_live(track, settings.live)
        results.append(_on_track(track, everyone, settings, index < settings.excerpts, progress))
    facts = [
        SystemFacts(
            system.name,
            system.kind,
            system.spec.sample_rate if system.spec else None,
            system.spec.algorithmic_latency if isinstance(system.spec, StreamSpec) else None,
        )
        for system in everyone
    ]
    return Evaluation(settings, facts, results)


def _on_track(
    track: Track, systems: Sequence[System], settings: Settings, keep: bool, progress: Progress | None
) -> TrackResult:
    scores: dict[str, TrackScores] = {}
    heard: list[Excerpt] = []
    if keep:
        targets = track.targets
        known = [name for name in (VOCALS, ACCOMPANIMENT) if name in targets] or list(targets)
        heard += cut(track, {"mixture": track.mixture, **{f"true {name}": targets[name] for name in known}})
    for system in systems:
        if progress is not None:
            progress(track.name, system.name)
        began = time.perf_counter()
        estimates = system.separate(track)
        elapsed = time.perf_counter() - began
        score = score_track(
            track,
            system.name,
            estimates,
            chunk_seconds=settings.chunk_seconds,
            bss=settings.bss,
            muting=system.kind != "mixture",
        )
        if system.kind == "model":
            score = replace(score, real_time_factor=elapsed / track.seconds)
        if system.kind != "mixture":
            score = _above_mixture(score, scores[systems[0].name])
            if keep and VOCALS in estimates:
                sounds = {f"{system.name}: vocals": estimates[VOCALS]}
                sounds[f"{system.name}: vocals muted"] = track.mixture - estimates[VOCALS]
                heard += cut(track, sounds)
        scores[system.name] = score
    return TrackResult(track.name, track.seconds, track.sample_rate, tuple(track.parts), scores, heard)


def _above_mixture(score: TrackScores, mixture: TrackScores) -> TrackScores:
    """With NSDR, the SDR above that of the mixture taken for an estimate.

    A. Ozerov et al., "Adaptation of Bayesian models for single-channel source separation and its application
    to voice/music separation in popular songs", IEEE TASLP 15(5), 2007 (normalised SDR).
    """
    targets = {}
    for name, target in score.targets.items():
        gain = target.values["sdr"] - mixture.targets[name].values["sdr"]
        targets[name] = TargetScores(target.values | {"nsdr": gain}, target.chunks)
    return replace(score, targets=targets)
