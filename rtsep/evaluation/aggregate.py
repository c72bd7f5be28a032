"""From tracks to one figure: medians as SiSEC takes them, and stems in the order in which oracles fare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rtsep.evaluation.campaign import Evaluation
from rtsep.evaluation.scorer import median
from rtsep.evaluation.tracks import ACCOMPANIMENT

METRICS: dict[str, str] = {
    "sdr": "SDR",
    "sdr_song": "SDR, song",
    "nsdr": "NSDR",
    "si_sdr": "SI-SDR",
    "treble": "treble",
    "bss_sdr": "BSS SDR",
    "bss_isr": "ISR",
    "bss_sir": "SIR",
    "bss_sar": "SAR",
}
"""Figures of a target by key, with their names in tables."""

MUTING: dict[str, str] = {"vocal_attenuation": "vocals quieter by", "damage": "damage"}
"""Figures of muting the vocals by key, with their names in tables."""


@dataclass(frozen=True, slots=True)
class Medians:
    """A system's figures over all tracks.

    Attributes:
        targets: by target and metric, in dB, NaN where no track defines it.
        muting: by metric, as `targets`; empty for the mixture.
        real_time_factor: seconds of computing for a second of audio; None for what is not timed.
    """

    targets: dict[str, dict[str, float]]
    muting: dict[str, float]
    real_time_factor: float | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A stem and how well an oracle separates it: medians over tracks, in dB."""

    stem: str
    sdr: float
    si_sdr: float


@dataclass(frozen=True, slots=True)
class Table:
    """A table for a terminal or a page: every cell a text, the first `texts` columns words."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: int


def medians(evaluation: Evaluation) -> dict[str, Medians]:
    """Medians over tracks by system, ignoring tracks on which a figure is not defined.

    The figures of a track are medians over its frames already; this is how SiSEC 2018 reports.
    """
    found = {}
    for system in evaluation.systems:
        scores = [track.scores[system.name] for track in evaluation.tracks]
        targets: dict[str, dict[str, float]] = {}
        for target in _in_order(name for score in scores for name in score.targets):
            values = [score.targets[target].values for score in scores if target in score.targets]
            targets[target] = _over(values)
        factors = [score.real_time_factor for score in scores if score.real_time_factor is not None]
        found[system.name] = Medians(
            targets,
            _over([score.muting for score in scores]),
            float(np.median(factors)) if factors else None,
        )
    return found


def rank_stems(evaluation: Evaluation) -> dict[str, list[Ranked]]:
    """For every oracle, the stems from the one that it separates best to the one that it separates worst.

    A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, section 4.1.2, chooses the classes
    that are worth separating by it: what ideal masks cannot part, no mask can. By SDR; the accompaniment,
    which is several stems, is no class.
    """
    middle = medians(evaluation)
    ranking = {}
    for system in evaluation.systems:
        if system.kind != "oracle":
            continue
        ranked = [
            Ranked(stem, values["sdr"], values["si_sdr"])
            for stem, values in middle[system.name].targets.items()
            if stem != ACCOMPANIMENT
        ]
        # A stem that sounds nowhere comes last.
        ranking[system.name] = sorted(ranked, key=lambda r: -r.sdr if r.sdr == r.sdr else float("inf"))
    return ranking


def tables(evaluation: Evaluation) -> list[Table]:
    """The results as tables: targets, muting and speed, the ranking by each oracle."""
    middle = medians(evaluation)
    shown = [m for m in METRICS if any(m in v for s in middle.values() for v in s.targets.values())]
    count = len(evaluation.tracks)
    over = "on one track" if count == 1 else f"medians over {count} tracks"
    targets = Table(
        f"Separation, dB, {over}",
        ("target", "system", *(METRICS[metric] for metric in shown)),
        [
            (target, name, *(decibels(system.targets[target].get(metric)) for metric in shown))
            for target in _in_order(t for system in middle.values() for t in system.targets)
            for name, system in middle.items()
            if target in system.targets
        ],
        2,
    )
    result = [targets]
    muted = [system for system in evaluation.systems if middle[system.name].muting or system.kind == "model"]
    if muted:
        rows = []
        for system in muted:
            own = middle[system.name]
            late = "" if system.milliseconds is None else f"{system.milliseconds:.1f} ms"
            speed = "" if own.real_time_factor is None else f"{own.real_time_factor:.3f}"
            rows.append((system.name, *(decibels(own.muting.get(key)) for key in MUTING), late, speed))
        columns = ("system", *MUTING.values(), "algorithmic latency", "real-time factor")
        result.append(Table(f"Muting the vocals, dB, {over}", columns, rows, 1))
    ranking = rank_stems(evaluation)
    if ranking:
        places = zip(*ranking.values(), strict=True)
        rows = [
            (str(place), *(f"{ranked.stem} {decibels(ranked.sdr)}" for ranked in row))
            for place, row in enumerate(places, 1)
        ]
        result.append(Table("Stems as the oracles rank them, SDR in dB", ("place", *ranking), rows, 1))
    return result


def decibels(value: float | None) -> str:
    """Two digits behind the point; nothing for what was not measured, a dash for what is not defined."""
    if value is None:
        return ""
    return "–" if value != value else f"{value:.2f}"


def _over(values: Sequence[dict[str, float]]) -> dict[str, float]:
    keys = _in_order(key for value in values for key in value)
    return {key: median(np.array([value[key] for value in values if key in value])) for key in keys}


def _in_order(names: Iterable[str]) -> list[str]:
    """Each once, in the order of first appearance."""
    return list(dict.fromkeys(names))
