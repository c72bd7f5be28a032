"""Where a benchmark's results go: figures as JSON, a picture beside them, and a line of history."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rtsep.spec import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


@dataclass(frozen=True)
class Tracked:
    """A figure that history watches.

    Attributes:
        name: such as "fast: hop p99"; the same from run to run.
        value: the figure.
        unit: "ratio" and "dB" are compared between machines; "ms", "s", "MB", "count" and "share" (of a
            deadline) on one only.
        better: which way is progress.
    """

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"] = "lower"


@dataclass
class Result:
    """One run of a benchmark.

    Attributes:
        bench: its name.
        short: whether it was the short form, whose figures are not compared with the long form's.
        settings: what was asked for. What was measured side by side is a list, and its entries are in the
            names of what is tracked; runs in which another setting differs are not compared.
        figures: everything measured, plain data.
        machine: `machine.describe`, from before anything was measured.
        tracked: what history watches of it.
        tables: for people: title, columns, rows of texts.
        notes: lines for people.
        figure: the picture, if there is one.
        held: whether the benchmark's bar was met; None where it has none.
    """

    bench: str
    short: bool
    settings: dict[str, Any]
    figures: dict[str, Any]
    machine: dict[str, Any]
    tracked: list[Tracked] = field(default_factory=list)
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figure: Figure | None = None
    held: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """All that is kept of it; a figure that is not a number becomes None."""
        data = {
            "bench": self.bench,
            "short": self.short,
            "machine": self.machine,
            "settings": self.settings,
            "held": self.held,
            "notes": self.notes,
            "tracked": [asdict(one) for one in self.tracked],
            "figures": self.figures,
        }
        plain: dict[str, Any] = _plain(data)
        return plain


def default_folder() -> Path:
    """The checkout's `benchmarks`, or a folder of that name where one stands."""
    checkout = Path(__file__).parents[2] / "benchmarks"
    return checkout if checkout.is_dir() else Path("benchmarks")


def results_of(folder: Path) -> Path:
    """Where the last results lie."""
    return folder / "results"


def history_of(folder: Path, bench: str) -> Path:
    """The file with a line for each run."""
    return folder / "history" / f"{bench}.jsonl"


def keep(result: Result, folder: Path) -> list[Path]:
    """Write a result's JSON and picture, and add it to the history.

    Returns:
        The files written.

    Raises:
        UsageError: when they cannot be.
    """
    data = result.as_json()
    name = result.bench + ("-short" if result.short else "")
    file, history = results_of(folder) / f"{name}.json", history_of(folder, result.bench)
    written = [file]
    line = {key: value for key, value in data.items() if key not in {"figures", "notes"}}
    try:
        for path in (file, history):
            path.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        if result.figure is not None:
            written.append(file.with_suffix(".png"))
            result.figure.savefig(written[-1], dpi=DPI, metadata={"Software": None})
        with history.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
    except OSError as error:
        raise UsageError(f"{folder}: results cannot be written: {error.strerror}") from None
    return [*written, history]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
