"""What an evaluation leaves behind: `scores.json` for programs, `report.html` for people."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np

from rtsep.evaluation.aggregate import Table, medians, rank_stems, tables
from rtsep.evaluation.campaign import Evaluation, TrackResult
from rtsep.evaluation.metrics import SOUNDING_DB
from rtsep.evaluation.page import image, page
from rtsep.evaluation.plots import draw_track
from rtsep.evaluation.scorer import TrackScores

FORMAT = 1
"""Counts up when a key of `scores.json` changes its meaning or goes away."""
SCORES_NAME = "scores.json"
REPORT_NAME = "report.html"


def as_json(evaluation: Evaluation) -> str:
    """The results as JSON, see `docs/evaluation.md`: dB to four digits, null where not defined."""
    settings, middle = evaluation.settings, medians(evaluation)
    window = settings.transform
    content = {
        "format": FORMAT,
        "settings": {
            "chunk_seconds": settings.chunk_seconds,
            "sounding_db": SOUNDING_DB,
            "seconds": settings.seconds,
            "bsseval": settings.bss,
            "live_conditions": None if settings.live is None else asdict(settings.live),
            "oracle_window": [window.analysis, window.synthesis, window.hop],
        },
        "systems": [
            {
                "name": system.name,
                "kind": system.kind,
                "sample_rate": system.sample_rate,
                "latency_samples": system.latency,
                "latency_ms": system.milliseconds,
                "real_time_factor": middle[system.name].real_time_factor,
            }
            for system in evaluation.systems
        ],
        "medians": {
            name: {"targets": system.targets, "muting": system.muting} for name, system in middle.items()
        },
        "ranking": {
            oracle: [{"stem": r.stem, "sdr": r.sdr, "si_sdr": r.si_sdr} for r in ranked]
            for oracle, ranked in rank_stems(evaluation).items()
        },
        "tracks": [
            {
                "name": track.name,
                "seconds": track.seconds,
                "sample_rate": track.sample_rate,
                "parts": list(track.parts),
                "scores": {name: _scores(score) for name, score in track.scores.items()},
            }
            for track in evaluation.tracks
        ],
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def as_html(evaluation: Evaluation, title: str) -> str:
    """The results as one page that holds all it shows and asks nothing of any network.

    Args:
        evaluation: the results.
        title: heading, plain text.
    """
    sections = "".join(_section(track, evaluation.settings.chunk_seconds) for track in evaluation.tracks)
    overview = "".join(_table(table) for table in tables(evaluation))
    return page(title, f"{overview}{_LEGEND}<h2>Tracks</h2>{sections}")


def _scores(score: TrackScores) -> dict[str, Any]:
    return {
        "targets": {
            name: {**target.values, "chunks": target.chunks} for name, target in score.targets.items()
        },
        "muting": score.muting,
        "real_time_factor": score.real_time_factor,
    }


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = []
    for row in table.rows:
        cells = (
            f"<td{'' if index < table.texts else ' class=number'}>{escape(cell)}</td>"
            for index, cell in enumerate(row)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<h2>{escape(table.title)}</h2><div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _section(track: TrackResult, chunk_seconds: float) -> str:
    picture = image(draw_track(track, chunk_seconds), "SDR over time")
    sounds = "".join(
        f"<figure><figcaption>{escape(excerpt.label)}</figcaption>"
        f'<audio controls src="{excerpt.uri}"></audio></figure>'
        for excerpt in track.excerpts
    )
    about = f"{track.seconds:.1f} s at {track.sample_rate} Hz; known: {', '.join(track.parts)}"
    return (
        f"<section><h3>{escape(track.name)}</h3><p>{escape(about)}</p>"
        f"{picture}"
        f"<div class=sounds>{sounds}</div></section>"
    )


_LEGEND = (
    "<p>SDR is the median over the chunks in which the target sounds; NSDR is that above the "
    "mixture&#x27;s own; treble is the estimate&#x27;s level above 12 kHz against the truth&#x27;s.</p>"
    "<p>Damage is what muting the vocals takes from the seconds in which nobody sings: lower is better. The "
    "real-time factor is seconds of computing for a second of audio. A dash: not defined, because the "
    "target is silent.</p>"
)
