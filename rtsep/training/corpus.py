"""Tracks with known stems, decoded once and then read at random.

A track is a folder with some of the stems (`vocals`, `drums`, `bass`, `other`, unless the run's network tells
others apart) or `accompaniment` (all but the vocals, not told apart) as sound files, or a MUSDB18 stem file.
Decoding (`decoding.py`) happens once: 16-bit samples go to a cache that is memory-mapped, so that any excerpt
of any stem is at hand in every worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.tracks import ACCOMPANIMENT, STEM_FILE, SUFFIXES, VOCALS
from rtsep.spec import STEMS, UsageError
from rtsep.training.data_config import MUSDB, DataConfig
from rtsep.training.decoding import Cache

MIXTURE = "mixture"
REST = "rest"
"""The name of what is left of a mixture, or of an accompaniment, beside its known parts."""


@dataclass(frozen=True)
class Track:
    """Stems of one piece of music.

    Attributes:
        name: folder below its root, or the stem file's name.
        root: the root's label: its folder's name, or its path where two roots share a name.
        stems: memory-mapped int16 (samples, 2) by stem, all of one length. Beside stems and `accompaniment`
            there may be `rest`, and the `mixture` where nothing can be taken away from it.
        rest: stems that `rest` is the sum of.
        unknown: whether nothing is known of stems that are missing; otherwise they are silent.
        classes: the set of stems that are told apart, whether the track has them or not.
        includes: by stem, what else its files hold that is not told apart from it.
    """

    name: str
    root: str
    stems: dict[str, NDArray[np.int16]]
    rest: tuple[str, ...] = ()
    unknown: bool = False
    classes: tuple[str, ...] = STEMS
    includes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Length of every stem."""
        return next(iter(self.stems.values())).shape[0]

    @property
    def whole(self) -> bool:
        """Whether its parts are all there is: what is missing is known to be silent."""
        return not self.unknown or self.covered >= set(self.classes)

    @property
    def covered(self) -> set[str]:
        """Stems that sound in one of its parts, alone or with others."""
        inner = set(backing(self.classes)) if ACCOMPANIMENT in self.stems else set()
        within = {s for stem in self.includes if stem in self.stems for s in self.includes[stem]}
        return inner | within | {s for s in self.classes if s in self.stems} | set(self.rest)


@dataclass(frozen=True)
class RootFacts:
    """What is to be known of a root before its tracks are read.

    Attributes:
        label: what its tracks carry as `root`.
        names: stems, `accompaniment` or `mixture` by the names of files that are not called after what they
            hold.
        unknown: whether stems that are missing are unknown; otherwise they are silent.
        mastered: whether its mixtures are something else than the sum of their stems.
        stems: what is told apart.
        includes: as of a `Track`.
    """

    label: str
    names: Mapping[str, str] = field(default_factory=dict)
    unknown: bool = False
    mastered: bool = False
    stems: tuple[str, ...] = STEMS
    includes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def stem_of(self, file: Path) -> str | None:
        """What a sound file holds, by its name; None when it is none of this."""
        name = file.stem.lower()
        stem = self.names.get(name, name)
        heard = (*self.stems, ACCOMPANIMENT, MIXTURE) if self.unknown else (*self.stems, ACCOMPANIMENT)
        return stem if stem in heard and file.suffix.lower() in SUFFIXES else None


def backing(stems: Iterable[str]) -> tuple[str, ...]:
    """What an accompaniment is the sum of: all but the vocals."""
    return tuple(stem for stem in stems if stem != VOCALS)


def find_tracks(root: Path, facts: RootFacts | None = None) -> list[Path]:
    """Every folder below `root`, itself included, that holds a stem, and every MUSDB18 stem file."""
    facts = facts or RootFacts(root.name)
    if not root.is_dir():
        raise UsageError(f"no such training folder: {root}")
    found = set()
    for file in root.rglob("*"):
        if _is_stem_file(file):
            found.add(file)
        elif facts.stem_of(file) is not None:
            found.add(file.parent)
    if not found:
        raise UsageError(
            f"no stems ({', '.join(facts.stems)} or accompaniment) and no *{STEM_FILE} below {root}"
        )
    return sorted(found)


def load_corpus(
    roots: Iterable[Path], cache: Path, sample_rate: int, stems: tuple[str, ...] = STEMS
) -> list[Track]:
    """Decode what the cache lacks and map everything.

    Raises:
        UsageError: a root that is missing or holds no stems, or a stem that cannot be read.
    """
    return _load([(root, RootFacts(root.name, stems=stems)) for root in roots], Cache(cache, sample_rate), 1)


def load_training(
    data: DataConfig, sample_rate: int, stems: tuple[str, ...] = STEMS
) -> tuple[list[Track], list[Track]]:
    """The tracks of a `[data]` table: those to train on, and those to validate on. `stems` are told apart.

    Raises:
        UsageError: what `load_corpus` raises; a track to validate on that is not there, or whose stems are
            not all known.
    """
    cache = Cache(data.cache, sample_rate)
    validation = _validation_folder(data, cache, stems)
    names = {name.lower(): stem for name, stem in data.names.items()}
    roots = [
        (
            root,
            RootFacts(
                label,
                names,
                data.missing.get(label) == "unknown",
                label in data.mastered,
                stems,
                data.includes.get(label, {}),
            ),
        )
        for root, label in zip(data.roots, data.labels, strict=True)
    ]
    tracks = _load(roots, cache, data.processes)
    if data.validation_tracks:
        tracks, held_out = _hold_out(tracks, data.validation_tracks, data.bass_in_other)
        validation += held_out
    return tracks, validation


def load_validation(data: DataConfig, sample_rate: int, stems: tuple[str, ...] = STEMS) -> list[Track]:
    """Those of `load_training` to validate on, which need not read the others. Raises UsageError."""
    if data.validation_tracks:
        return load_training(data, sample_rate, stems)[1]
    return _validation_folder(data, Cache(data.cache, sample_rate), stems)


def load_noise(folder: Path, cache: Path, sample_rate: int) -> list[NDArray[np.int16]]:
    """Every sound file below a folder, memory-mapped int16 (samples, 2).

    Raises:
        UsageError: when the folder is missing or holds none, or one cannot be read or is empty.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder of noise: {folder}")
    files = sorted(
        f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")
    )
    if not files:
        raise UsageError(f"no sound files below {folder}")
    kept = Cache(cache, sample_rate)
    noises = [kept.files((file,)) for file in files]
    for file, noise in zip(files, noises, strict=True):
        if not len(noise):
            raise UsageError(f"{file}: is empty")
    return noises


def _validation_folder(data: DataConfig, cache: Cache, stems: tuple[str, ...]) -> list[Track]:
    if data.validation is None:
        return []
    names = {name.lower(): stem for name, stem in data.names.items()}
    facts = RootFacts(data.validation.name, names, stems=stems)
    return _load([(data.validation, facts)], cache, data.processes)


def _hold_out(
    tracks: list[Track], names: str | tuple[str, ...], bass_in_other: tuple[str, ...]
) -> tuple[list[Track], list[Track]]:
    wanted = set(_musdb_validation() if isinstance(names, str) else names)
    held_out = [track for track in tracks if Path(track.name).name in wanted]
    missing = wanted - {Path(track.name).name for track in held_out}
    # MUSDB18 comes in parts too; of a list of one's own every name counts.
    if not held_out or (missing and not isinstance(names, str)):
        raise UsageError(f"no track to validate on is called '{min(missing)}'")
    for track in held_out:
        if track.root in bass_in_other:
            raise UsageError(
                f"{track.root}/{track.name} cannot be validated on: its bass line is inside other"
                " (data.bass_in_other), so neither can be scored"
            )
        apart = set(track.classes) <= track.stems.keys()
        if (track.unknown and not apart) or (track.includes and not apart):
            raise UsageError(f"{track.root}/{track.name} cannot be validated on: not all its stems are known")
    if len(held_out) == len(tracks):
        raise UsageError("all tracks are held out to validate on; there is none to train on")
    return [track for track in tracks if Path(track.name).name not in wanted], held_out


def _musdb_validation() -> list[str]:
    """The tracks of MUSDB18's training part that the musdb package sets apart for validation."""
    try:
        import musdb
    except ModuleNotFoundError:
        raise UsageError(f"validation_tracks = \"{MUSDB}\" takes musdb: pip install 'rtsep[musdb]'") from None
    names: list[str] = musdb.DB(root=".", subsets=[]).setup["validation_tracks"]
    return names


def _load(roots: list[tuple[Path, RootFacts]], cache: Cache, threads: int) -> list[Track]:
    places = [(place, root, facts) for root, facts in roots for place in find_tracks(root, facts)]
    # Decoders and resamplers leave the interpreter's lock.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        loaded = [pool.submit(_load_track, place, root, facts, cache) for place, root, facts in places]
        try:
            return [track.result() for track in loaded]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _load_track(place: Path, root: Path, facts: RootFacts, cache: Cache) -> Track:
    if place.is_file():
        name = str(place.relative_to(root))[: -len(STEM_FILE)]
        held = {inner for stem in STEMS for inner in (stem, *facts.includes.get(stem, ()))}
        if held != set(facts.stems):
            odd = ", ".join(sorted(held ^ set(facts.stems)))
            raise UsageError(f"{place}: holds {', '.join(STEMS)}; where is {odd}? data.includes can say it")
        track = Track(name, facts.label, cache.stem_file(place))
        return _cut(replace(track, classes=facts.stems, includes=facts.includes))
    # Of one name in several formats the last one counts: vocals.wav before vocals.flac.
    by_name = {f.stem.lower(): f for f in sorted(place.iterdir()) if facts.stem_of(f) is not None}
    files: dict[str, tuple[Path, ...]] = {}
    for file in by_name.values():
        stem = facts.stem_of(file)
        assert stem is not None
        files[stem] = (*files.get(stem, ()), file)
    known, rest = _map_files(files, facts, cache)
    name = str(place.relative_to(root))
    return _cut(Track(name, facts.label, known, rest, facts.unknown, facts.stems, facts.includes))


def _map_files(
    files: dict[str, tuple[Path, ...]], facts: RootFacts, cache: Cache
) -> tuple[dict[str, NDArray[np.int16]], tuple[str, ...]]:
    """What is known of a track, and the stems that its rest is the sum of."""
    if not facts.unknown:
        return {name: cache.files(f) for name, f in files.items()}, ()
    files = dict(files)
    behind = backing(facts.stems)
    mixture = files.pop(MIXTURE, ())
    inner = [stem for stem in behind if stem in files]
    if ACCOMPANIMENT in files and len(inner) == len(behind):
        del files[ACCOMPANIMENT]  # no more than the sum of what is there
    elif ACCOMPANIMENT in files and inner and "vocals" not in files and mixture:
        # The mixture less the accompaniment is the voice, which is worth more than a lone part of the
        # backing.
        files = {ACCOMPANIMENT: files[ACCOMPANIMENT]}
        inner = []
    stems = {name: cache.files(f) for name, f in files.items()}
    whole: tuple[Path, ...] = ()
    if ACCOMPANIMENT in files and inner:
        whole, lacking = files[ACCOMPANIMENT], [s for s in behind if s not in files]
        known = tuple(f for stem in inner for f in files[stem])
        del stems[ACCOMPANIMENT]
    else:
        covered = {*files, *(behind if ACCOMPANIMENT in files else ())}
        covered |= {s for stem in files for s in facts.includes.get(stem, ())}
        lacking = [stem for stem in facts.stems if stem not in covered]
        known = tuple(f for group in files.values() for f in group)
        if mixture and lacking and not (facts.mastered and files):
            whole = mixture
        elif mixture and lacking:
            stems[MIXTURE] = cache.files(mixture)
    if not whole:
        return stems, ()
    left = cache.rest(whole, known) if known else cache.files(whole)
    if len(lacking) == 1:
        return stems | {lacking[0]: left}, ()
    if tuple(lacking) == behind:
        return stems | {ACCOMPANIMENT: left}, ()
    return stems | {REST: left}, tuple(lacking)


def _cut(track: Track) -> Track:
    shortest = min(stem.shape[0] for stem in track.stems.values())
    stems = {name: stem[:shortest] for name, stem in track.stems.items()}
    return replace(track, stems=stems)


def _is_stem_file(file: Path) -> bool:
    # macOS leaves files whose names begin with a dot beside those it copies.
    return file.name.lower().endswith(STEM_FILE) and not file.name.startswith(".")
