"""How the engine is, as the page shows it: meters, and hop times of the last moment."""

from __future__ import annotations

import math
from typing import Any

from rtsep.control.session import Session
from rtsep.engine.telemetry import percentile

SHOWN_PLACES = 4


class Health:
    """Reads a session's telemetry for the page. One reader for all clients.

    Hop times of the last moment are differences of the engine's histogram, so that one long hop is seen when
    it happens and not lost in the percentiles of a whole night.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._times: object = None
        self._counts = session.engine.board.hop_times.counts()

    def meters(self) -> dict[str, Any]:
        """Levels and counters; linear levels."""
        t = self._session.desk.telemetry()
        return {
            "is": "meters",
            "stems": {stem: round(level, SHOWN_PLACES) for stem, level in t.stem_levels.items()},
            "peaks": [round(peak, SHOWN_PLACES) for peak in t.peaks],
            "reduction": round(t.reduction_db, 1),
            "underruns": t.underruns,
            "late": t.late_hops,
            "xruns": t.xruns,
            "bad": t.bad_hops + t.jumps,
            "state": "changing" if self._session.changing else t.state,
        }

    def health(self) -> dict[str, Any]:
        """Hop times in ms: of the time since the last look, and of all; null where there was no hop."""
        t = self._session.desk.telemetry()
        times = self._session.engine.board.hop_times
        counts = times.counts()
        # Another engine's histogram begins anew.
        recent = counts - self._counts if times is self._times else counts
        self._times, self._counts = times, counts
        return {
            "is": "health",
            "median": _ms(percentile(recent, 50.0)),
            "worst": _ms(percentile(recent, 100.0)),
            "p99": _ms(t.hop_p99),
            "max": _ms(t.hop_max) if t.hops else None,
            "deadline": _ms(t.deadline) or None,
            "load": round(t.load, 3),
            "cpu": _share(t.cpu_load),
            "gpu": _share(t.gpu_load),
            "seconds": round(self._session.played + t.seconds, 1),
        }


def _share(load: float) -> float | None:
    return None if math.isnan(load) else round(load, 3)


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(1000.0 * seconds, 3)
