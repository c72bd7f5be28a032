"""What `rtsep live` shows while it runs: meters on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtsep.cli.progress import clock
from rtsep.engine.telemetry import Telemetry

FLOOR_DB = -60.0
"""The left end of a meter."""
LOUD_DB, HOT_DB = -12.0, -3.0
"""From where a meter is yellow, and red."""
BAR_CELLS = 36
SHOWN_REDUCTION_DB = -0.1
"""Less than that of the limiter's work is not worth a line."""
LINE_SECONDS = 5.0
"""Between two lines where there is no terminal."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Display(Protocol):
    """Shows telemetry; used with `with`."""

    def show(self, telemetry: Telemetry) -> None:
        """The newest. May be called far more often than it shows."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_display(console: Console, notes: dict[str, str], title: str) -> Display:
    """Meters where `console` is a terminal, lines where it is not.

    Args:
        console: where to.
        notes: what was set for a stem, such as "muted", by stem.
        title: of the meters.
    """
    return MeterDisplay(console, notes, title) if console.is_terminal else LineDisplay(console)


class LineDisplay:
    """A line every `LINE_SECONDS`, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due = time.monotonic() + LINE_SECONDS

    def show(self, telemetry: Telemetry) -> None:
        """Print a line if one is due."""
        if time.monotonic() >= self._due:
            self._due += LINE_SECONDS
            self._console.print(status_line(telemetry), markup=False, soft_wrap=True)
            self._console.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class MeterDisplay:
    """Meters that stay in place, ten times a second; they are gone when the stream has ended."""

    def __init__(self, console: Console, notes: dict[str, str], title: str) -> None:
        self._notes = notes
        self._title = title
        self._highest = 0.0
        self._live = Live(console=console, refresh_per_second=10, transient=True)

    def show(self, telemetry: Telemetry) -> None:
        """Draw anew, with the next refresh."""
        self._highest = max(self._highest, *telemetry.peaks, 0.0)
        self._live.update(meters(telemetry, self._notes, self._title, self._highest))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def decibels(level: float) -> float:
    """Linear amplitude to dB."""
    return 20.0 * math.log10(level) if level > 0.0 else -math.inf


def bar(level_db: float, cells: int = BAR_CELLS) -> Text:
    """A meter from `FLOOR_DB` to 0 dB, drawn in eighths of a cell, red near the top."""
    share = min(max(1.0 - level_db / FLOOR_DB, 0.0), 1.0) if math.isfinite(level_db) else 0.0
    eighths = round(share * cells * 8)
    whole, rest = divmod(eighths, 8)
    drawn = "█" * whole + (_EIGHTHS[rest] if rest else "")
    text = Text(drawn.ljust(cells))
    yellow, red = (round((1.0 - edge / FLOOR_DB) * cells) for edge in (LOUD_DB, HOT_DB))
    text.stylize("green", 0, yellow)
    text.stylize("yellow", yellow, red)
    text.stylize("red", red)
    return text


def meters(telemetry: Telemetry, notes: dict[str, str], title: str, highest: float) -> Group:
    """The whole picture.

    Args:
        telemetry: of now.
        notes: by stem.
        title: above.
        highest: output peak since the start, linear.
    """
    table = Table.grid(padding=(0, 1))
    for stem, level in telemetry.stem_levels.items():
        _add_meter(table, Text(stem, style="bold"), level, Text(notes.get(stem, ""), style="cyan"))
    for number, peak in enumerate(telemetry.peaks, start=1):
        _add_meter(table, Text(f"out {number}"), peak, Text("peak", style="dim"))
    lines: list[RenderableType] = [
        Text(f"{title}   {clock(telemetry.seconds)}", style="bold"),
        table,
        _hops(telemetry),
        _health(telemetry),
    ]
    if telemetry.reduction_db < SHOWN_REDUCTION_DB:
        lines.append(Text(f"limiter {telemetry.reduction_db:.1f} dB", style="yellow"))
    if highest > 1.0:
        lines.append(
            Text(f"over full scale by {decibels(highest):.1f} dB: turn a gain down", style="bold red")
        )
    lines.append(Text("Ctrl-C stops", style="dim"))
    return Group(*lines)


def _add_meter(table: Table, name: Text, level: float, note: Text) -> None:
    db = decibels(level)
    table.add_row(name, Text("▕") + bar(db) + Text("▏"), Text(f"{_db(db):>8}"), note)


def status_line(telemetry: Telemetry) -> str:
    """The same in one line."""
    return f"{clock(telemetry.seconds)}  {_hops(telemetry).plain}  {_health(telemetry).plain}"


def summary(telemetry: Telemetry) -> list[str]:
    """What is said when the stream has ended: how it went, and whether anything was amiss."""
    t = telemetry
    lines = [f"played {clock(t.seconds)}, {t.hops} hops"]
    if not math.isnan(t.hop_p50):
        lines.append(
            f"hop times  p50 {_ms(t.hop_p50)}  p99 {_ms(t.hop_p99)}  p99.9 {_ms(t.hop_p999)}"
            f"  max {_ms(t.hop_max)} of {_ms(t.deadline)} ms"
        )
    lines.append(_health(t).plain)
    faults = (
        (t.underruns, "output that was not ready, and the fallback heard: a longer --allowance helps"),
        (t.bad_hops, "a hop of the model that was unfit to be heard, and the dry signal in its place"),
        (t.jumps, "input lost, as computing had fallen too far behind"),
        (t.xruns, "lost input or output that the device itself reported: a larger block helps"),
    )
    lines += [f"{count} × {what}" for count, what in faults if count]
    if t.outgrown:
        lines.append(
            f"the audio server hands over {t.block} frames at once, not the {t.planned_block} that"
            " the latency was laid out for"
        )
    if (t.underruns or t.jumps) and not t.realtime:
        lines.append(
            "other programs can hold up what computes: it has no real-time priority ('rtsep doctor')"
        )
    return lines


def _hops(t: Telemetry) -> Text:
    if math.isnan(t.hop_p50):
        return Text("waiting for audio", style="yellow")
    text = Text(
        f"hop p50 {_ms(t.hop_p50)}  p99 {_ms(t.hop_p99)}  max {_ms(t.hop_max)} of {_ms(t.deadline)} ms"
        f"  load {100 * t.load:.0f} %"
    )
    for name, load in (("CPU", t.cpu_load), ("GPU", t.gpu_load)):
        if not math.isnan(load):
            text.append(f"  {name} {100 * load:.0f} %")
    if t.hop_p99 > t.deadline:
        text.stylize("red")
    return text


def _health(t: Telemetry) -> Text:
    text = Text()
    counts = [("underruns", t.underruns), ("late hops", t.late_hops), ("device xruns", t.xruns)]
    counts += [(name, n) for name, n in (("bad hops", t.bad_hops), ("jumps", t.jumps)) if n]
    if t.record_lost:
        counts.append(("frames not recorded", t.record_lost))
    if t.outgrown:
        text.append(f"blocks of {t.block}, not {t.planned_block}", style="bold red")
    for name, count in counts:
        text.append(f"{'  ' if text else ''}{name} {count}", style="red" if count else "")
    return text


def _ms(seconds: float) -> str:
    return f"{1000.0 * seconds:.1f}"


def _db(value: float) -> str:
    return f"{value:.1f} dB" if value > -100.0 else "-inf dB"
