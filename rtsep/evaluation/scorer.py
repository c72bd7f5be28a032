"""One scorer for everything: models, oracles, and the mixture as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.bsseval import RATIOS, bsseval, on_16_bits
from rtsep.evaluation.metrics import (
    chunk_energy,
    chunk_sdr,
    damage,
    median_attenuation,
    sounding_chunks,
)
from rtsep.evaluation.scale_invariant import FLOOR, si_sdr
from rtsep.evaluation.tracks import ACCOMPANIMENT, VOCALS, Track
from rtsep.evaluation.treble import treble_ratio
from rtsep.spec import UsageError

Audio = NDArray[np.floating]

BSS_FRAME_SECONDS = 1.0
"""As in SiSEC."""
MUTING_SECONDS = 1.0
"""Chunks of attenuation and damage: gains are taken as constant over one."""


@dataclass(frozen=True, slots=True)
class TargetScores:
    """How well one target was estimated in one track.

    Attributes:
        values: one figure a metric, in dB, NaN where it is not defined; see `docs/evaluation.md`.
        chunks: figures over time, NaN where the target is silent: "sdr", and with BSSEval "bss_sdr" etc.
    """

    values: dict[str, float]
    chunks: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class TrackScores:
    """How well one system did on one track.

    Attributes:
        track, system: names.
        targets: by target, those that are known and that the system estimates.
        muting: "vocal_attenuation" and "damage" in dB, NaN where not defined; empty for the mixture.
        real_time_factor: seconds of computing for a second of audio; None where it means nothing.
    """

    track: str
    system: str
    targets: dict[str, TargetScores]
    muting: dict[str, float]
    real_time_factor: float | None = None


def song_sdr(target: Audio, estimate: Audio) -> float:
    """SDR over all samples at once, 10 log10(|s|^2 / |s - e|^2): loud passages count for more.

    Y. Mitsufuji et al., "Music Demixing Challenge 2021", Frontiers in Signal Processing 1, 2022 (its SDR).

    Args:
        target, estimate: (channels, samples).

    Returns:
        dB, at most 120; NaN when the target is silent.

    Raises:
        UsageError: when the shapes differ, or there are no samples.
    """
    if target.shape != estimate.shape:
        raise UsageError(f"cannot compare {target.shape} with {estimate.shape}")
    samples = target.shape[-1]
    signal = float(chunk_energy(target, samples)[0])
    if signal <= 0.0:
        return float("nan")
    error = float(chunk_energy(np.asarray(target, np.float64) - estimate, samples)[0])
    return 10.0 * float(np.log10(signal / max(error, FLOOR * signal)))


def sdr_over_time(target: Audio, estimate: Audio, chunk: int) -> NDArray[np.float64]:
    """`chunk_sdr` with its place in time: (whole chunks,) in dB, NaN where the target is silent."""
    sounding = sounding_chunks(target, chunk)
    sdr = np.full(sounding.shape, np.nan)
    sdr[sounding] = chunk_sdr(target, estimate, chunk)
    return sdr


def score_target(
    target: Audio, estimate: Audio, sample_rate: int, chunk_seconds: float = 1.0
) -> TargetScores:
    """Every figure of one target that takes nothing but itself and its estimate.

    Args:
        target, estimate: (channels, samples).
        sample_rate: Hz.
        chunk_seconds: length of a chunk of the SDR.

    Returns:
        Values "sdr" (median over the chunks in which the target sounds), "sdr_song", "si_sdr" and "treble";
        chunks "sdr".

    Raises:
        UsageError: when the shapes differ, or there are no samples.
    """
    chunks = sdr_over_time(target, estimate, max(1, round(chunk_seconds * sample_rate)))
    values = {
        "sdr": median(chunks),
        "sdr_song": song_sdr(target, estimate),
        "si_sdr": si_sdr(target, estimate),
        "treble": treble_ratio(target, estimate, sample_rate),
    }
    return TargetScores(values, {"sdr": chunks})


def score_muting(track: Track, vocals: Audio) -> dict[str, float]:
    """The two figures that matter for muting vocals.

    Args:
        track: the truth.
        vocals: their estimate, (channels, samples), which muting takes out of the mixture.

    Returns:
        "vocal_attenuation" in dB, higher is better: see `rtsep.evaluation.metrics.median_attenuation`.
        "damage" in dB, lower is better: what is taken from the seconds in which nobody sings, all together;
        see `rtsep.evaluation.metrics.damage`. NaN where there is no such second.
    """
    second = min(round(MUTING_SECONDS * track.sample_rate), track.samples)
    truth = track.parts[VOCALS]
    free = np.flatnonzero(np.repeat(~sounding_chunks(truth, second), second))
    # A short rest at the end is no chunk, and belongs to neither.
    harm = damage(track.mixture[:, free], vocals[:, free]) if free.size else float("nan")
    return {"vocal_attenuation": median_attenuation(truth, vocals, second), "damage": harm}


def score_track(
    track: Track,
    system: str,
    estimates: dict[str, Audio],
    *,
    chunk_seconds: float = 1.0,
    bss: bool = False,
    muting: bool = True,
) -> TrackScores:
    """Score all that a system makes of a track.

    Args:
        track: the truth.
        system: its name.
        estimates: (channels, samples) by target, aligned with the track; what is not known of it is
            passed over.
        chunk_seconds: length of a chunk of the SDR.
        bss: measure BSSEval v4 too, which takes seconds a minute of audio.
        muting: measure muting, where there are vocals and an estimate of them.

    Raises:
        UsageError: when shapes differ, nothing can be scored, or museval is wanted and missing.
    """
    targets = track.targets
    scores = {
        name: score_target(truth, estimates[name], track.sample_rate, chunk_seconds)
        for name, truth in targets.items()
        if name in estimates
    }
    if not scores:
        raise UsageError(f"{system} estimates nothing that is known of {track.name}: {', '.join(targets)}")
    if bss:
        for name, frames in _bsseval(track, estimates).items():
            scores[name].chunks.update({f"bss_{ratio}": frames[ratio] for ratio in RATIOS})
            scores[name].values.update({f"bss_{ratio}": median(frames[ratio]) for ratio in RATIOS})
    figures = score_muting(track, estimates[VOCALS]) if muting and VOCALS in scores else {}
    return TrackScores(track.name, system, scores, figures)


def median(values: NDArray[np.float64]) -> float:
    """Median of those that are numbers, NaN when none is: SiSEC's, over frames and then over tracks."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def _bsseval(track: Track, estimates: dict[str, Audio]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Frames by target and ratio: the parts among themselves, and the accompaniment beside the vocals.

    Interference depends on what else there is; these are the two scenes that museval measures, too.
    """
    frame = round(BSS_FRAME_SECONDS * track.sample_rate)
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    pair = {name: track.targets[name] for name in (VOCALS, ACCOMPANIMENT) if name in track.targets}
    scenes = [scene for scene in ([pair] if set(track.parts) == set(pair) else [pair, track.parts]) if scene]
    for scene in scenes:
        if all(name in estimates for name in scene):
            ratios = bsseval({name: on_16_bits(part) for name, part in scene.items()}, estimates, frame)
            # The second scene's vocals replace the first's: they are the finer ones.
            found |= {name: ratios.frames(name) for name in scene}
    return found
