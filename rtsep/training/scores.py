"""How well something separates tracks whose stems are known, in a few figures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.metrics import chunk_sdr, damage, median_attenuation, sounding_chunks
from rtsep.spec import STEMS
from rtsep.training.corpus import Track

Audio = NDArray[np.float32]


def score_tracks(separate: Callable[[Audio], Audio], tracks: list[Track], rate: int) -> dict[str, float]:
    """Score whole tracks, one-second chunks, medians over the chunks of all tracks.

    Args:
        separate: (2, samples) to (stems, 2, samples), in the order of STEMS.
        tracks: their mixture is the sum of their stems; a missing stem is silence.
        rate: Hz.

    Returns:
        dB: SDR of each stem, the vocals' gain in SDR over the mixture's own, how far muting
        attenuates them, and what muting does to seconds without vocals. What no track has is left out.
    """
    sdr: dict[str, list[float]] = {stem: [] for stem in STEMS}
    own: list[float] = []
    attenuation, harm = [], []
    for track in tracks:
        silence = np.zeros((2, track.samples), dtype=np.float32)
        truth = {s: track.stems[s].T / np.float32(32768.0) if s in track.stems else silence for s in STEMS}
        mix = np.sum(list(truth.values()), axis=0)
        estimates = separate(mix)
        for index, stem in enumerate(STEMS):
            sdr[stem].extend(chunk_sdr(truth[stem], estimates[index], rate))
        own.extend(chunk_sdr(truth["vocals"], mix, rate))
        attenuation.append(median_attenuation(truth["vocals"], estimates[0], rate))
        quiet = np.repeat(~sounding_chunks(truth["vocals"], rate), rate)
        if quiet.any():
            free = np.flatnonzero(quiet)
            harm.append(damage(mix[:, free], estimates[0][:, free]))
    scores = {f"{stem}_sdr": float(np.median(v)) for stem, v in sdr.items() if v}
    if own:
        scores["vocals_sdr_gain"] = scores["vocals_sdr"] - float(np.median(own))
        scores["vocal_attenuation"] = float(np.nanmean(attenuation))
    if harm:
        scores["damage"] = float(np.mean(harm))
    return scores


def overall(scores: dict[str, float]) -> float:
    """What the best checkpoint is chosen by: the stems' mean SDR in dB, in which the vocals count twice.

    A gain of the vocals alone would choose a network that has hardly begun: one that can tell nothing apart
    gives every stem its average share, and a song of much voice rewards that.
    """
    heard = [stem for stem in STEMS if f"{stem}_sdr" in scores]
    weights = [2.0 if stem == "vocals" else 1.0 for stem in heard]
    # Of silence there is no better and no worse.
    return float(np.average([scores[f"{s}_sdr"] for s in heard], weights=weights)) if heard else float("-inf")
