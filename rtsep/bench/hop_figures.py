"""What benchmarks of a paced engine report of its hops."""

from __future__ import annotations

from typing import Any

from rtsep.engine.telemetry import Telemetry


def hop_figures(told: Telemetry) -> dict[str, Any]:
    """Counts and times in ms, the first hops apart."""
    return {
        "hops": told.hops,
        "deadline_ms": 1e3 * told.deadline,
        "first_ms": 1e3 * told.first_hops_max,
        "p50_ms": 1e3 * told.hop_p50,
        "p99_ms": 1e3 * told.hop_p99,
        "p99.9_ms": 1e3 * told.hop_p999,
        "max_ms": 1e3 * told.hop_max,
        "late_hops": told.late_hops,
        "underruns": told.underruns,
    }
