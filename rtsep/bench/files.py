"""Songs from files to files: `rtsep separate` beside other separators, on the same songs of the same length.

The songs are made here, of tones and noise from a seed, so that nothing need be had. What is timed is the
whole command, from its start to the last stem on the disk. Everything is done twice, with short songs and
with long ones: their difference is what music takes, without the loading, and memory must be the same for
both.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.backends.threads import physical_cores
from rtsep.bench import command, pictures
from rtsep.bench.machine import describe
from rtsep.bench.probe import FILES, ONE_THREAD, environment
from rtsep.bench.record import Result, Tracked
from rtsep.separators.registry import DEFAULT_MODEL, find_any
from rtsep.spec import RtsepError

RATE = 44100
LENGTHS, SHORT_LENGTHS = (30.0, 90.0), (0.5, 1.0)
"""Seconds of the short and of the long songs."""
MODELS, BACKENDS, JOBS = (DEFAULT_MODEL,), (DEFAULT_BACKEND,), ("1", "auto")
SHORT_JOBS = ("1",)
MOST_SONGS = 8
"""One for each core, which is to be busy, up to so many."""
FLAT_MB = 10.0
"""What one job may need more for long songs. Their sound alone, kept, would take twice that and more."""
PEERS: dict[str, tuple[str, str]] = {
    "openunmix (umxhq's sizes), random weights": ("openunmix", "openunmix"),
    "demucs (HTDemucs), random weights": ("demucs", "demucs"),
}
"""By name: the module that a peer takes, and its task in `rtsep.bench.peer_tasks`."""
Say = Callable[[str], None]
Command = Callable[[Path, Path], list[str]]
"""The command line for a folder of songs and one for their stems."""
COLUMNS = (
    "separator",
    "music/s",
    "music/core s",
    "wall s",
    "core s",
    "MB short",
    "MB long",
    "cost to the first",
)


def run(
    models: Sequence[str] = MODELS,
    *,
    backends: Sequence[str] = BACKENDS,
    jobs: Sequence[str] = JOBS,
    peers: Sequence[str] | None = None,
    lengths: tuple[float, float] = LENGTHS,
    short: bool = False,
    say: Say = lambda line: None,
) -> Result:
    """Measure ours and theirs, one after the other.

    Args:
        models: ours, by name or folder.
        backends, jobs: as `rtsep separate` takes them; each with each. The first row is what the others are
            compared with.
        peers: names in `PEERS`; all if None. Each with one thread and, in the long form, one a core.
        lengths: seconds of the short and of the long songs.
        short: whether this is the short form.
        say: told what is being measured.

    Returns:
        With `held` True if ours, one song at a time, took no more memory for long songs than for short ones.

    Raises:
        UsageError: when psutil is missing.
        RtsepError: when ours fails.
    """
    packages, machine = [find_any(model) for model in models], describe()
    songs = max(2, min(physical_cores(), MOST_SONGS))
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rtsep-files-") as scratch:
        folders = [
            write_songs(Path(scratch) / f"songs-{n}", songs, length) for n, length in enumerate(lengths)
        ]
        for package, backend, count in itertools.product(packages, backends, jobs):
            name = f"rtsep {package.name}, {backend}, jobs {count}"
            say(name)
            place = package.name if package.built_in else str(package.root)
            facts = {"name": name, "model": package.name, "backend": backend, "jobs": count}
            rows.append(facts | measure(ours(place, backend, count), folders, lengths, 1))
        for name in PEERS if peers is None else peers:
            module, task = PEERS[name]
            if importlib.util.find_spec(module) is None:
                notes.append(f"{name}: absent: {module} is not installed")
                continue
            for threads in (1,) if short else dict.fromkeys((1, physical_cores())):
                told = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
                say(told)
                try:
                    found = measure(theirs(task, threads), folders, lengths, threads)
                except RtsepError as error:
                    notes.append(f"{told}: absent: {error}")
                    continue
                rows.append({"name": told, "peer": name, "threads": threads} | found)
    for row in rows:
        row["ratio"] = rows[0]["per_core"] / row["per_core"]
    single = [row for row in rows if row.get("jobs") == "1"]
    held = all(row["growth_mb"] < FLAT_MB for row in single) if single else None
    settings = {
        "models": [package.name for package in packages],
        "backends": list(backends),
        "jobs": list(jobs),
        "peers": list(PEERS if peers is None else peers),
        "songs": songs,
        "seconds": lengths[1],
        "seconds_short": lengths[0],
    }
    result = Result("files", short, settings, {"rows": rows}, machine, notes=notes, held=held)
    title = f"{songs} songs of {lengths[0]:g} and {lengths[1]:g} s, from files to files"
    result.tables.append((title, COLUMNS, [_cells(row) for row in rows]))
    for row in single:
        words = "the same" if row["growth_mb"] < FLAT_MB else "NOT the same"
        notes.append(
            f"{row['name']}: {words} memory for songs of {lengths[0]:g} and {lengths[1]:g} s:"
            f" {row['growth_mb']:+.1f} MB"
        )
    for row in rows:
        result.tracked += _tracked(row, rows[0])
    bars = [(row["name"], row["speed"]) for row in rows]
    result.figure = pictures.bars(bars, "Songs from files to files", "seconds of music a second")
    return result


def write_songs(folder: Path, count: int, seconds: float) -> Path:
    """Songs of tones that come and go over noise, the same for the same arguments; returns the folder."""
    folder.mkdir(parents=True)
    frames = round(seconds * RATE)
    time = np.arange(frames) / RATE
    for number in range(count):
        noise = np.random.default_rng(number)
        sound = 0.05 * noise.standard_normal((frames, 2))
        for pitch in noise.uniform(50.0, 2000.0, 4):
            swell = np.sin(np.pi * noise.uniform(0.2, 2.0) * time) ** 2
            sound += 0.1 * (swell * np.sin(2.0 * np.pi * pitch * time))[:, None]
        soundfile.write(folder / f"song-{number}.wav", sound, RATE, "PCM_16")
    return folder


def ours(model: str, backend: str, jobs: str) -> Command:
    """`rtsep separate`."""
    chosen = ["--model", model, "--backend", backend, "--jobs", jobs, "--quiet"]
    return lambda songs, out: [sys.executable, "-m", "rtsep", "separate", str(songs), "-o", str(out), *chosen]


def theirs(task: str, threads: int) -> Command:
    """A peer: reads each song, separates it with random weights, writes its stems as ours are written."""

    def line(songs: Path, out: Path) -> list[str]:
        request = {"songs": str(songs), "output": str(out), "threads": threads}
        return [sys.executable, "-m", "rtsep.bench.probe", FILES + task, json.dumps(request)]

    return line


def measure(
    line: Command, folders: Sequence[Path], lengths: tuple[float, float], threads: int
) -> dict[str, Any]:
    """Run it on the short songs and on the long ones.

    Raises:
        RtsepError: when it fails, or leaves a stem out.
    """
    taken = []
    around = environment() | (dict.fromkeys(ONE_THREAD, str(threads)))
    for songs in folders:
        with tempfile.TemporaryDirectory(prefix="stems-", dir=songs.parent) as out:
            taken.append(command.run(line(songs, Path(out) / "out"), around))
            stems, asked = len(list(Path(out).rglob("*.wav"))), len(list(songs.iterdir()))
            if stems < 2 * asked:
                raise RtsepError(f"{stems} stems were written of {asked} songs")
    short, long = taken
    count = len(list(folders[0].iterdir()))
    # What loading takes is in both. Where the songs are too short to tell, the long ones as they are.
    music = count * (lengths[1] - lengths[0])
    whole = count * lengths[1]

    def speed(key: str) -> float:
        brief, lengthy = getattr(short, key), getattr(long, key)
        return music / (lengthy - brief) if lengthy > 1.2 * brief else whole / lengthy

    return {
        "runs": [{"music_s": count * n, **asdict(t)} for n, t in zip(lengths, taken, strict=True)],
        "speed": speed("seconds"),
        "per_core": speed("cpu_seconds"),
        "growth_mb": long.peak_mb - short.peak_mb,
    }


def _tracked(row: dict[str, Any], first: dict[str, Any]) -> list[Tracked]:
    """What history watches of a row: of others, only what they cost beside ours."""
    own, found = "model" in row, []
    if own:
        found.append(Tracked(f"{row['name']}: a minute of music", 60.0 / row["speed"], "s"))
        found.append(Tracked(f"{row['name']}: memory", row["runs"][1]["peak_mb"], "MB"))
    if row is not first:
        name = f"{row['name']}: cost to that of {first['name']}"
        found.append(Tracked(name, row["ratio"], "ratio", "lower" if own else "higher"))
    return found


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    short, long = row["runs"]
    return (
        row["name"],
        f"{row['speed']:.1f}",
        f"{row['per_core']:.1f}",
        f"{long['seconds']:.1f}",
        f"{long['cpu_seconds']:.1f}",
        f"{short['peak_mb']:.0f}",
        f"{long['peak_mb']:.0f}",
        f"{row['ratio']:.2f}",
    )
