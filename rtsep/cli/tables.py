"""Tables that more than one command prints."""

from __future__ import annotations

from rich.table import Table

from rtsep.engine.latency import LatencyReport
from rtsep.engine.telemetry import Telemetry


def latency_table(report: LatencyReport) -> Table:
    """A latency report, part by part, in samples and milliseconds."""
    table = Table(title=f"Latency at {report.sample_rate} Hz", title_justify="left", show_footer=True)
    table.add_column("part", "total")
    table.add_column("samples", _samples(float(report.total)), justify="right")
    table.add_column("ms", f"{report.milliseconds(report.total):.2f}", justify="right")
    table.add_column("what it is")
    for part in report.parts:
        table.add_row(
            part.name, _samples(float(part.samples)), f"{report.milliseconds(part.samples):.2f}", part.meaning
        )
    return table


def hop_table(telemetry: Telemetry) -> Table:
    """Hop times against their deadline, the first hops apart."""
    table = Table(title="Computing a hop, against its deadline", title_justify="left")
    for name in ("p50", "p99", "p99.9", "max", "deadline"):
        table.add_column(f"{name} ms", justify="right")
    times = (telemetry.hop_p50, telemetry.hop_p99, telemetry.hop_p999, telemetry.hop_max, telemetry.deadline)
    table.add_row(*(f"{1000.0 * t:.2f}" for t in times))
    return table


def troubles(telemetry: Telemetry) -> str:
    """What went wrong, in one line: all zeros is what a stage wants."""
    counts = {
        "hops": telemetry.hops,
        "underruns": telemetry.underruns,
        "late hops": telemetry.late_hops,
        "device xruns": telemetry.xruns,
        "hops spoiled by the model": telemetry.bad_hops,
    }
    return "  ".join(f"{name} {count}" for name, count in counts.items())


def _samples(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"
