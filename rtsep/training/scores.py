"""How well something separates tracks whose stems are known, in a few figures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.scorer import median, score_track, sdr_over_time
from rtsep.evaluation.tracks import ACCOMPANIMENT, VOCALS
from rtsep.evaluation.tracks import Track as Truth
from rtsep.spec import STEMS
from rtsep.training.corpus import Track, backing

Audio = NDArray[np.float32]


def score_tracks(
    separate: Callable[[Audio], Audio], tracks: list[Track], rate: int, stems: tuple[str, ...] = STEMS
) -> dict[str, float]:
    """Score whole tracks by the scorer of `rtsep eval`; medians over tracks, as it takes them.

    Args:
        separate: (2, samples) to (stems, 2, samples), in the order of `stems`.
        tracks: their mixture is the sum of their stems; a missing stem is silence, but within an
            accompaniment it is not known.
        rate: Hz.
        stems: what is told apart.

    Returns:
        dB: SDR of each stem and, if vocals are one, their gain in SDR over the mixture's own, how far
        muting attenuates them, and what muting does to seconds without them. What no track has is left out.
    """
    found: dict[str, list[float]] = {}
    for track in tracks:
        truth = _truth(track, rate, stems)
        mix = truth.mixture
        scores = score_track(truth, "estimates", dict(zip(stems, separate(mix), strict=True)))
        figures = {f"{stem}_sdr": target.values["sdr"] for stem, target in scores.targets.items()}
        if VOCALS in truth.parts:
            own = median(sdr_over_time(truth.parts[VOCALS], mix, rate))
            figures["vocals_sdr_gain"] = figures[f"{VOCALS}_sdr"] - own
        for name, value in (figures | scores.muting).items():
            found.setdefault(name, []).append(value)
    medians = {name: median(np.array(values)) for name, values in found.items()}
    return {name: value for name, value in medians.items() if not math.isnan(value)}


def overall(scores: dict[str, float]) -> float:
    """What the best checkpoint is chosen by: the stems' mean SDR in dB, in which the vocals count twice.

    A gain of the vocals alone would choose a network that has hardly begun: one that can tell nothing apart
    gives every stem its average share, and a song of much voice rewards that.
    """
    heard = [name.removesuffix("_sdr") for name in scores if name.endswith("_sdr")]
    weights = [2.0 if stem == VOCALS else 1.0 for stem in heard]
    # Of silence there is no better and no worse.
    mean = float(np.average([scores[f"{s}_sdr"] for s in heard], weights=weights)) if heard else -math.inf
    # What is no number is worse than any: it could not be compared.
    return -math.inf if math.isnan(mean) else mean


def _truth(track: Track, rate: int, stems: tuple[str, ...]) -> Truth:
    """A track as the scorer takes it, (2, samples) by part."""
    silence = np.zeros((2, track.samples), np.float32)
    known = track.stems.keys()
    coarse = VOCALS in stems and ACCOMPANIMENT in known and not known >= set(backing(stems))
    parts = (VOCALS, ACCOMPANIMENT) if coarse else stems
    scale = np.float32(1.0 / 32768.0)
    planar = {part: scale * track.stems[part].T.astype(np.float32) for part in parts if part in track.stems}
    return Truth(track.name, rate, {part: planar.get(part, silence) for part in parts})
