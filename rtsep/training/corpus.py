"""Folders of stems, decoded once and then read at random.

A track is a folder that holds some of `vocals`, `drums`, `bass`, `other` or `accompaniment` (the last
three together, not told apart) as sound files. Decoding happens once: 16-bit samples go to a cache
that is memory-mapped, so that any excerpt of any stem is at hand in every worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from rtsep.spec import STEMS, UsageError

ACCOMPANIMENT = "accompaniment"
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Track:
    """Stems of one piece of music.

    Attributes:
        name: folder below its root.
        root: name of the root's folder.
        stems: memory-mapped int16 (samples, 2) by stem, all of one length.
    """

    name: str
    root: str
    stems: dict[str, NDArray[np.int16]]

    @property
    def samples(self) -> int:
        """Length of every stem."""
        return next(iter(self.stems.values())).shape[0]


def find_tracks(root: Path) -> list[Path]:
    """Every folder below `root`, itself included, that holds a stem."""
    if not root.is_dir():
        raise UsageError(f"no such training folder: {root}")
    names = {*STEMS, ACCOMPANIMENT}
    folders = {f.parent for f in root.rglob("*") if f.stem in names and f.suffix.lower() in SUFFIXES}
    if not folders:
        raise UsageError(f"no stems (vocals, drums, bass, other or accompaniment) below {root}")
    return sorted(folders)


def load_corpus(roots: Iterable[Path], cache: Path, sample_rate: int) -> list[Track]:
    """Decode what the cache lacks and map everything.

    Raises:
        UsageError: a root that is missing or holds no stems, or a stem that cannot be read.
    """
    tracks = []
    for root in roots:
        for folder in find_tracks(root):
            tracks.append(_load_track(folder, root, cache, sample_rate))
    return tracks


def _load_track(folder: Path, root: Path, cache: Path, sample_rate: int) -> Track:
    files = {f.stem: f for f in sorted(folder.iterdir()) if f.suffix.lower() in SUFFIXES}
    files = {name: f for name, f in files.items() if name in (*STEMS, ACCOMPANIMENT)}
    mapped = {name: np.load(_cached(f, cache, sample_rate), mmap_mode="r") for name, f in files.items()}
    shortest = min(stem.shape[0] for stem in mapped.values())
    return Track(
        str(folder.relative_to(root)), root.name, {name: stem[:shortest] for name, stem in mapped.items()}
    )


def _cached(file: Path, cache: Path, sample_rate: int) -> Path:
    facts = f"{file.resolve()}:{file.stat().st_size}:{sample_rate}"
    target = cache / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.npy"
    if target.exists():
        return target
    try:
        audio, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    if audio.shape[1] == 1:
        audio = np.repeat(audio, 2, axis=1)
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate)
    cache.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: a run killed while decoding leaves no half-written track behind.
    partial = target.with_suffix(".partial.npy")
    np.save(partial, np.round(np.clip(audio[:, :2], -1.0, 1.0) * 32767.0).astype(np.int16))
    partial.replace(target)
    return target
