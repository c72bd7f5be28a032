"""Pictures of results. matplotlib is imported when there is something to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtsep.bench.labels import Mark, write
from rtsep.bench.published import PUBLISHED
from rtsep.engine.telemetry import PER_OCTAVE, SHORTEST_NS
from rtsep.spec import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#777777"
LATE = "#d1495b"
COLOURS = ("#2e4057", "#66a182", "#edae49", "#8d6a9f", "#3d85c6", "#a0522d")
BUCKETS_JOINED = 8
"""Buckets of the engine's histogram that make one bar: an eighth of an octave. A divisor of their number."""
MOST_COLUMNS, ROWS_OF_ONE_COLUMN = 3, 8
"""Of panels in one picture: beyond so many rows there are more columns."""
MARKERS = {"causal": "o", "offline": "s", "oracle": "^"}
SONG, SONG_PUBLISHED = 2000.0, 12000.0
"""Where what hears the whole song stands on the axis of latency, measured here and published."""


def new(width: float, height: float) -> Figure:
    """An empty figure.

    Raises:
        UsageError: when matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UsageError("pictures need matplotlib: pip install 'rtsep[bench]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def histograms(rows: Sequence[dict[str, Any]], title: str) -> Figure:
    """Hop times of one configuration a panel, on a log axis, with the deadline drawn.

    Args:
        rows: "label", "counts" (the engine's buckets), "deadline_ms", "first_ms", "p50_ms", "p99_ms". Where
            there are many, several stand beside each other.
    """
    columns = min(MOST_COLUMNS, -(-len(rows) // ROWS_OF_ONE_COLUMN))
    lines = -(-len(rows) // columns)
    figure = new(8.0 if columns == 1 else 5.0 * columns, 1.1 + 1.25 * lines)
    grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
    panels, empty = np.split(grid.ravel(), [len(rows)])
    for axis in empty:
        axis.set_axis_off()
    for axis, row in zip(panels, rows, strict=True):
        counts = np.asarray(row["counts"])
        bars = counts.reshape(-1, BUCKETS_JOINED).sum(axis=1)
        edges = SHORTEST_NS * 1e-6 * 2.0 ** (np.arange(len(bars) + 1) * BUCKETS_JOINED / PER_OCTAVE)
        late = edges[:-1] >= row["deadline_ms"]
        for part, colour in ((~late, COLOURS[0]), (late, LATE)):
            axis.bar(edges[:-1][part], bars[part], np.diff(edges)[part], align="edge", color=colour)
        axis.axvline(row["deadline_ms"], color=LATE, linewidth=1.2)
        axis.axvline(row["first_ms"], color=GREY, linewidth=1.0, linestyle=":")
        axis.set_yscale("symlog", linthresh=1.0)
        times = f"p50 {row['p50_ms']:.2f}, p99 {row['p99_ms']:.2f} of {row['deadline_ms']:.2f} ms"
        axis.set_title(f"{row['label']}: {times}", loc="left", fontsize=8)
        _plain(axis)
    for axis in grid[:, 0]:
        axis.set_ylabel("hops", fontsize=8)
    for axis in panels[-columns:]:
        axis.tick_params(labelbottom=True)
    panels[0].set_xscale("log")
    panels[0].set_xlim(0.05, 4.0 * max(row["deadline_ms"] for row in rows))
    figure.supxlabel("time of a hop, ms (red line: deadline; dotted: longest of the first hops)", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def bars(rows: Sequence[tuple[str, float]], title: str, label: str, mark: float | None = None) -> Figure:
    """One horizontal bar a row, the first at the top; `mark` is a line to stay under."""
    figure = new(7.5, 1.0 + 0.38 * len(rows))
    axis = figure.subplots()
    places = np.arange(len(rows))[::-1]
    axis.barh(places, [value for _, value in rows], color=COLOURS[0])
    for place, (_, value) in zip(places, rows, strict=True):
        axis.annotate(f" {value:.3g}", (value, place), va="center", fontsize=8)
    axis.set_yticks(places, [name for name, _ in rows], fontsize=8)
    if mark is not None:
        axis.axvline(mark, color=LATE, linewidth=1.2)
    axis.margins(x=0.12)
    axis.set_xlabel(label)
    axis.set_title(title, loc="left", fontsize=10)
    _plain(axis)
    return figure


def pareto(rows: Sequence[dict[str, Any]], root: str) -> Figure:
    """SDR against algorithmic latency; what others have published is drawn apart from it.

    Args:
        rows: "name", "kind" (causal, offline or oracle), "latency_ms" (None: the whole song) and "sdr_mean".
        root: what was scored, for the title.
    """
    figure = new(10.0, 6.4)
    axis = figure.subplots()
    marks = []
    for number, (kind, marker) in enumerate(MARKERS.items()):
        label: str | None = f"{kind}, measured here"
        for row in rows:
            if row["kind"] != kind or row["sdr_mean"] is None:
                continue
            late = SONG if row["latency_ms"] is None else row["latency_ms"]
            axis.plot(late, row["sdr_mean"], marker, color=COLOURS[number], markersize=8, label=label)
            marks.append(Mark(late, row["sdr_mean"], row["name"], 8.5, COLOURS[number]))
            label = None
    marks += _published(axis)
    axis.set_xscale("log")
    axis.set_xlim(0.5, 100000.0)
    places = {"1": 1, "3": 3, "10": 10, "30": 30, "100": 100, "300": 300}
    words = {"whole song,\nmeasured here": SONG, "whole song,\npublished": SONG_PUBLISHED}
    axis.set_xticks([*places.values(), *words.values()], [*places, *words], fontsize=8)
    axis.minorticks_off()
    # Room for the legend over the marks, and for labels under them.
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    axis.set_xlabel("algorithmic latency, ms")
    axis.set_ylabel("SDR, mean over stems, dB")
    axis.set_title(f"Latency against SDR, measured on: {root}", loc="left", fontsize=10)
    axis.legend(fontsize=8, loc="upper left")
    _plain(axis)
    write(axis, marks)
    return figure


def _published(axis: Axes) -> list[Mark]:
    """Reference marks: grey crosses, labelled, from other data than what stands beside them."""
    label: str | None = "published: MUSDB18, other scorers, not comparable"
    marks = []
    for system in PUBLISHED:
        late = SONG_PUBLISHED if system.latency is None else system.latency
        axis.plot(late, system.sdr, "x", color=GREY, markersize=5, label=label)
        marks.append(Mark(late, system.sdr, system.name, 7.0, GREY))
        label = None
    return marks


def _plain(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
