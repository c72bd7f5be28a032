"""How well something separates tracks whose stems are known, in a few figures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.metrics import chunk_sdr, damage, median_attenuation, sounding_chunks
from rtsep.evaluation.tracks import VOCALS
from rtsep.spec import STEMS
from rtsep.training.corpus import Track

Audio = NDArray[np.float32]


def score_tracks(
    separate: Callable[[Audio], Audio], tracks: list[Track], rate: int, stems: tuple[str, ...] = STEMS
) -> dict[str, float]:
    """Score whole tracks, one-second chunks, medians over the chunks of all tracks.

    Args:
        separate: (2, samples) to (stems, 2, samples), in the order of `stems`.
        tracks: their mixture is the sum of their stems; a missing stem is silence.
        rate: Hz.
        stems: what is told apart.

    Returns:
        dB: SDR of each stem and, if vocals are one, their gain in SDR over the mixture's own, how far
        muting attenuates them, and what muting does to seconds without them. What no track has is left out.
    """
    sdr: dict[str, list[float]] = {stem: [] for stem in stems}
    own: list[float] = []
    attenuation, harm = [], []
    for track in tracks:
        silence = np.zeros((2, track.samples), dtype=np.float32)
        truth = {s: track.stems[s].T / np.float32(32768.0) if s in track.stems else silence for s in stems}
        mix = np.sum(list(truth.values()), axis=0)
        estimates = separate(mix)
        for index, stem in enumerate(stems):
            sdr[stem].extend(chunk_sdr(truth[stem], estimates[index], rate))
        if VOCALS not in stems:
            continue
        voice = estimates[stems.index(VOCALS)]
        own.extend(chunk_sdr(truth[VOCALS], mix, rate))
        attenuation.append(median_attenuation(truth[VOCALS], voice, rate))
        quiet = np.repeat(~sounding_chunks(truth[VOCALS], rate), rate)
        if quiet.any():
            free = np.flatnonzero(quiet)
            harm.append(damage(mix[:, free], voice[:, free]))
    scores = {f"{stem}_sdr": float(np.median(v)) for stem, v in sdr.items() if v}
    if own:
        scores["vocals_sdr_gain"] = scores["vocals_sdr"] - float(np.median(own))
        measured = [value for value in attenuation if not math.isnan(value)]
        scores |= {"vocal_attenuation": float(np.mean(measured))} if measured else {}
    if harm:
        scores["damage"] = float(np.mean(harm))
    return scores


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
