"""Writes the last results into benchmarks/README.md, from their JSON, so that no one types them.

python -m benchmarks.readme_results            # write
python -m benchmarks.readme_results --check    # exit code 1 if the README says something else
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.machine import RESULTS
from rtsep.bench.machine import in_words
from rtsep.spec import UsageError

README = Path(__file__).parent / "README.md"
BEGIN = "<!-- {}: written by python -m benchmarks.readme_results -->\n"
END = "<!-- end of {} -->\n"

Json = dict[str, Any]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: its head.
        key: of the figure in a row.
        digits: after the point; None for words and counts.
        scale: what the figure is multiplied with.
    """

    title: str
    key: str
    digits: int | None = None
    scale: float = 1.0

    def cell(self, row: Json) -> str:
        """A figure as text; empty where it was not measured."""
        value = row.get(self.key)
        if value is None:
            return ""
        return str(value) if self.digits is None else f"{self.scale * value:.{self.digits}f}"


TIMES = tuple(Column(f"{name} ms", f"{name}_ms", 2) for name in ("p50", "p99", "p99.9", "max"))
WRONG = (Column("late", "late_hops"), Column("underruns", "underruns"))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def columns(rows: Iterable[Json], *wanted: Column) -> Iterator[str]:
    """A table of these columns; those that no row fills are left out."""
    rows = list(rows)
    full = [column for column in wanted if any(column.cell(row) for row in rows)]
    return table([one.title for one in full], ([one.cell(row) for one in full] for row in rows))


def pareto(data: Json) -> Iterator[str]:
    """Every model, on the root that the settings name."""
    yield from (f"Scores on: {data['settings']['root']}.", "")
    yield from columns(
        data["figures"]["rows"],
        Column("", "name"),
        Column("", "kind"),
        Column("latency ms", "latency_ms", 1),
        Column("at 128 frames", "total_ms", 1),
        Column("hop p50 ms", "p50_ms", 3),
        Column("p99 ms", "p99_ms", 3),
        Column("p99.9 ms", "p99.9_ms", 3),
        Column("RTF", "real_time_factor", 3),
        Column("MB", "peak_mb", 0),
        Column("M par.", "parameters", 2, 1e-6),
        Column("MMAC/s", "macs_per_s", 0, 1e-6),
        Column("SDR dB", "sdr_mean", 2),
        Column("SI-SDR dB", "si_sdr_mean", 2),
        Column("vocals quieter by", "vocal_attenuation", 1),
        Column("damage", "damage", 1),
    )


def floor(data: Json) -> Iterator[str]:
    """A step of each model against its floor."""
    return columns(
        [
            row | {f"{name} ms": value for name, value in row["parts_ms"].items()}
            for row in data["figures"]["rows"]
        ],
        Column("", "model"),
        Column("", "backend"),
        Column("weights MB", "weight_bytes", 2, 1e-6),
        Column("GB/s", "gb_per_s", 0),
        Column("MMAC", "macs", 2, 1e-6),
        Column("GMAC/s", "gmac_per_s", 0),
        Column("floor ms", "floor_ms", 3),
        Column("p10 ms", "p10_ms", 3),
        Column("p50 ms", "p50_ms", 3),
        Column("p99 ms", "p99_ms", 3),
        Column("times the floor", "ratio", 1),
        *(Column(f"{name} ms", f"{name} ms", 3) for name in ("network", "STFT", "ISTFT")),
    )


def deadline(data: Json) -> Iterator[str]:
    """Every combination."""
    rows = (row | {"share": row["p99_ms"] / row["deadline_ms"]} for row in data["figures"]["rows"])
    return columns(
        rows,
        *(Column(name, name) for name in ("model", "backend", "threads", "block")),
        *TIMES,
        Column("deadline", "deadline_ms", 2),
        Column("p99 of it, %", "share", 0, 100.0),
        *WRONG,
    )


def soak(data: Json) -> Iterator[str]:
    """One run, and whether it held."""
    settings, figures = data["settings"], data["figures"]
    words = f"`{settings['model']}`, {settings['decks']} decks, blocks of {settings['block']}"
    yield from (f"{words}: {'held' if data['held'] else '**not held**'}.", "")
    yield from columns(
        [figures],
        Column("minutes", "minutes", 0),
        Column("hops", "hops"),
        *TIMES,
        Column("deadline", "deadline_ms", 2),
        *WRONG,
        Column("jumps", "jumps"),
        Column("late, no stop of the machine", "late_hops_unexplained"),
        Column("underruns, no stop", "underruns_unexplained"),
        Column("stops of the machine", "machine_stops"),
        Column("longest ms", "machine_longest_stop_ms", 1),
        Column("taken by the host s", "machine_stolen_s", 1),
        Column("MB", "resident_mb", 0),
        Column("growth MB", "resident_growth_mb", 1),
    )


def startup(data: Json) -> Iterator[str]:
    """First sound and imports."""
    figures = data["figures"]
    rows = [("`rtsep live`, warm: median", f"{median(figures['warm_s']):.2f} s")]
    rows.append(("slowest", f"{max(figures['warm_s']):.2f} s"))
    if figures["cold_s"] is not None:
        rows.append(("nothing compiled yet", f"{figures['cold_s']:.1f} s"))
    rows += [(f"`import {name}`", f"{ms:.0f} ms") for name, ms in figures["imports_ms"].items()]
    return table(("", "time"), rows)


def peers(data: Json) -> Iterator[str]:
    """Separators, then callbacks."""
    figures = data["figures"]
    yield from columns(
        figures["rows"],
        Column("separator", "name"),
        Column("latency ms", "latency_ms", 1),
        Column("hop ms", "hop_ms", 2),
        Column("step p50 ms", "p50_ms", 3),
        Column("RTF", "real_time_factor", 3),
        Column("cost to the first", "ratio", 1),
        Column("MB", "peak_mb", 0),
    )
    yield ""
    yield from columns(
        figures["callbacks"],
        Column("callback under a held GIL", "name"),
        Column("blocks", "blocks"),
        Column("missed", "missed"),
        Column("%", "share", 1, 100.0),
    )


def files(data: Json) -> Iterator[str]:
    """Songs from files to files."""
    settings = data["settings"]
    length = f"{settings['seconds_short']:g} and {settings['seconds']:g}"
    yield from (f"{settings['songs']} songs of {length} s; seconds of music a second.", "")
    rows = (
        row | {"short_mb": row["runs"][0]["peak_mb"], "long_mb": row["runs"][1]["peak_mb"]}
        for row in data["figures"]["rows"]
    )
    yield from columns(
        rows,
        Column("", "name"),
        Column("music/s", "speed", 1),
        Column("music/core s", "per_core", 1),
        Column("cost to the first", "ratio", 2),
        Column("MB, short songs", "short_mb", 0),
        Column("MB, long songs", "long_mb", 0),
    )


def beside_others(data: Json) -> Iterator[str]:
    """Turns with and without real-time priority."""
    yield from (f"`{data['model']}`, {data['seconds']:g} s each.", "")
    rows = (row | {"priority": "real-time" if row["realtime"] else "ordinary"} for row in data["rows"])
    yield from columns(
        rows,
        Column("priority", "priority"),
        Column("hops", "hops"),
        *TIMES,
        Column("deadline", "deadline_ms", 2),
        *WRONG,
    )


def callback_under_load(data: Json) -> Iterator[str]:
    """Callbacks on a JACK server."""
    return columns(
        data["outcomes"],
        Column("callback", "callback"),
        Column("load", "load"),
        Column("periods", "periods"),
        Column("missed", "missed"),
        Column("missed by a C client", "missed_by_control"),
        Column("longest gap ms", "longest_gap_ms", 1),
    )


def engine_under_load(data: Json) -> Iterator[str]:
    """The engine on a JACK server."""
    rows = (row | {"load": ", ".join(row["load"])} for row in data["outcomes"])
    return columns(
        rows,
        Column("load", "load"),
        Column("s", "seconds", 0),
        Column("periods", "periods"),
        Column("missed", "missed"),
        *WRONG,
        Column("jumps", "jumps"),
    )


def midi_response(data: Json) -> Iterator[str]:
    """From a controller's message on."""
    names = {"to_desk": "the fader moves", "to_sound": "the sound changes", "to_middle": "halfway there"}
    rows = [{"what": names.get(key, key)} | row for key, row in data["figures"].items()]
    return columns(
        rows,
        Column("until", "what"),
        Column("p50 ms", "p50_ms", 1),
        Column("p95 ms", "p95_ms", 1),
        Column("least ms", "least_ms", 1),
    )


def gpu_decks(data: Json) -> Iterator[str]:
    """Hops of several decks at once, and the largest number in time."""
    software = data["software"]
    yield from (f"`{data['model']}`, {software['gpu'] or 'CPU'}, hops of {data['hop_ms']:.2f} ms.", "")
    rows = [
        row | {"backend": name, "pace": "paced" if row.get("paced") else "back to back"}
        for name, backend in data["backends"].items()
        for row in backend.get("rows", [])
    ]
    yield from columns(
        rows,
        Column("backend", "backend"),
        Column("decks", "decks"),
        Column("pace", "pace"),
        *(Column(f"{name} ms", f"{name}_ms", 3) for name in ("p50", "p99", "p99.9")),
    )
    most = (
        f"{name} {backend['most_decks_under_half_the_hop']}"
        for name, backend in data["backends"].items()
        if "most_decks_under_half_the_hop" in backend
    )
    yield from ("", f"Most decks whose p99 is under half the hop: {', '.join(most)}.")


SECTIONS: dict[str, tuple[Callable[[Json], Iterator[str]], str]] = {
    "pareto": (pareto, "rtsep bench pareto"),
    "floor": (floor, "rtsep bench floor"),
    "deadline": (deadline, "rtsep bench deadline"),
    "soak": (soak, "rtsep bench soak"),
    "startup": (startup, "rtsep bench startup"),
    "peers": (peers, "rtsep bench peers"),
    "files": (files, "rtsep bench files"),
    "beside_others": (beside_others, "python -m benchmarks.beside_others"),
    "callback_under_load": (callback_under_load, "python -m benchmarks.callback_under_load"),
    "engine_under_load": (engine_under_load, "python -m benchmarks.engine_under_load"),
    "midi_response": (midi_response, "python -m benchmarks.midi_response"),
    "gpu_decks": (gpu_decks, "python -m benchmarks.gpu_decks"),
}
"""By the name of the JSON: what is written of it, and what measures it anew."""


def describe(name: str, results: Path = RESULTS) -> str:
    """What stands between the marks of one section."""
    draw, command = SECTIONS[name]
    file = results / f"{name}.json"
    if not file.exists():
        return f"Not measured yet: `{command}`.\n"
    data = json.loads(file.read_text(encoding="utf-8"))
    lines = [f"{_where(data.get('machine'))}, by `{command}`.", "", *draw(data)]
    return "\n" + "\n".join(lines) + "\n\n"


def _where(machine: Json | None) -> str:
    if machine is None:
        return "On a machine that was not noted"
    date, commit = machine["date"][:10] if "date" in machine else "", machine.get("commit")
    words = in_words({"busy": False, **machine})
    return ", ".join(filter(None, (f"On {words}", date, f"at commit `{commit}`" if commit else "")))


def fill(readme: str, results: Path = RESULTS) -> str:
    """The README with every section between its marks.

    Raises:
        UsageError: when it has lost a mark.
    """
    for name in SECTIONS:
        before, begin, rest = readme.partition(BEGIN.format(name))
        _, end, after = rest.partition(END.format(name))
        if not begin or not end:
            raise UsageError(f"{README.name} has lost the marks around {name}")
        readme = before + begin + describe(name, results) + end + after
    return readme


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit code."""
    now = README.read_text(encoding="utf-8")
    wanted = fill(now)
    if list(sys.argv[1:] if arguments is None else arguments) == ["--check"]:
        return int(now != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
