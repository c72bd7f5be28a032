"""Tracks whose stems are known: folders of sound files, and MUSDB18's stem files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsep.io.soundfiles import SoundReader
from rtsep.spec import STEMS, AudioFileError, UsageError

Audio = NDArray[np.float32]

VOCALS = "vocals"
ACCOMPANIMENT = "accompaniment"
"""Everything but the vocals: what is left when they are muted."""
BASS, OTHER = "bass", "other"
BASS_AND_OTHER = "bass+other"
"""Both as one: what is known of a track whose bass line sounds within its other."""
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
STEM_FILE = ".stem.mp4"
STEM_FILE_ORDER = ("mixture", "drums", "bass", "other", "vocals")
"""Streams of a MUSDB18 stem file."""
EXCERPT = "stempeg"
"""The word that stands for the six seconds of a rock song that the stempeg package carries."""


@dataclass(frozen=True)
class Track:
    """A song and what is known of its parts.

    Attributes:
        name: what it is called in tables.
        sample_rate: Hz.
        parts: (channels, samples) by stem, all of one shape; together they are the mixture. Either all of a
            set of stems, the four of `STEMS` unless another was asked for, with `BASS_AND_OTHER` in the place
            of the two where they cannot be told apart; or vocals and accompaniment.
    """

    name: str
    sample_rate: int
    parts: dict[str, Audio]

    @property
    def mixture(self) -> Audio:
        """(channels, samples): the sum of the parts."""
        return np.sum(np.stack(list(self.parts.values())), axis=0, dtype=np.float32)

    @property
    def targets(self) -> dict[str, Audio]:
        """All that can be scored: the parts and, where vocals are one of them, the accompaniment."""
        return with_accompaniment(self.parts)

    @property
    def samples(self) -> int:
        """Length of every part."""
        return next(iter(self.parts.values())).shape[1]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


def with_accompaniment(stems: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Stems, (channels, samples) by name, and if vocals are among them the sum of the others as well."""
    rest = [audio for stem, audio in stems.items() if stem != VOCALS]
    if VOCALS not in stems or ACCOMPANIMENT in stems or not rest:
        return dict(stems)
    return {**stems, ACCOMPANIMENT: np.sum(np.stack(rest), axis=0)}


@dataclass(frozen=True)
class TrackSource:
    """Where a track lies, before it is read.

    Attributes:
        name: the folder below the root that was searched, or the file's name.
        files: sound files by stem; or the one stem file under the name "".
        stems: what the parts of the track are, if they are not vocals and accompaniment.
        bass_in_other: without a file of its own the bass is no silence: it sounds within `other`.
    """

    name: str
    files: dict[str, Path]
    stems: tuple[str, ...] = STEMS
    bass_in_other: bool = False

    def check(self) -> None:
        """Open every file, so that one which cannot be read is known before hours of work and not after.

        Raises:
            AudioFileError: when a file is missing, empty, damaged at its head, or not audio.
        """
        for stem, file in self.files.items():
            if stem:
                SoundReader(file).close()
            elif not file.is_file():
                raise AudioFileError(f"{file}: there is no such file")

    def read(self, seconds: float | None = None) -> Track:
        """Read the track.

        Stems that are missing beside others are silent, and those that are shorter than the longest are so
        from their end on. Everything is brought to the highest sample rate, and to stereo unless all is mono.

        Args:
            seconds: read no more than the first of these; None for all.

        Raises:
            AudioFileError: when a file cannot be read.
            UsageError: when stempeg is needed and missing.
        """
        if "" in self.files:
            rate, stems = read_stem_file(self.files[""])
        else:
            rate, stems = _read_files(self.files)
        if seconds is not None:
            stems = {stem: audio[:, : max(1, round(seconds * rate))] for stem, audio in stems.items()}
        length = max(audio.shape[1] for audio in stems.values())
        channels = max(audio.shape[0] for audio in stems.values())
        whole = (VOCALS, ACCOMPANIMENT) if ACCOMPANIMENT in stems else self.stems
        if self.bass_in_other and OTHER in stems and BASS not in stems:
            stems[BASS_AND_OTHER] = stems.pop(OTHER)
            whole = tuple(BASS_AND_OTHER if stem == OTHER else stem for stem in whole if stem != BASS)
        parts = {}
        for stem in whole:
            audio = stems.get(stem, np.zeros((channels, length), np.float32))
            if audio.shape[0] < channels:
                audio = np.repeat(audio, channels, axis=0)
            parts[stem] = np.pad(audio, ((0, 0), (0, length - audio.shape[1])))
        return Track(self.name, rate, parts)


def find_tracks(
    root: str | Path, stems: tuple[str, ...] = STEMS, bass_in_other: bool = False
) -> list[TrackSource]:
    """Every track in a folder and those below it.

    A track is a folder with files (wav, flac, ogg, mp3) called like a stem (vocals, drums, bass, other) or
    accompaniment, or a MUSDB18 file `*.stem.mp4`. Other files, a mixture among them, are left alone: the
    mixture is the sum.

    Args:
        root: a folder, a stem file, or the word "stempeg" for the excerpt in that package.
        stems: what is to be told apart. A stem for which a track has no file is silent in it.
        bass_in_other: but not the bass: of tracks that have an `other` and no bass, it is within that.

    Returns:
        At least one, sorted by name.

    Raises:
        AudioFileError: when the root does not exist or holds no track.
        UsageError: when a stem has two files, an accompaniment stands beside a part of itself, a stem file
            is met that does not hold `stems`, or bass and other are none of these and yet one in the other.
    """
    if bass_in_other and not {BASS, OTHER} <= set(stems):
        raise UsageError(f"a bass line inside other takes both among the stems: {', '.join(stems)}")
    found = [replace(source, bass_in_other=bass_in_other) for source in _find(root, stems)]
    for source in found:
        if "" in source.files and set(stems) != set(STEMS):
            raise UsageError(f"{source.files['']}: holds {', '.join(STEMS)}, not {', '.join(stems)}")
    return found


def _find(root: str | Path, stems: tuple[str, ...]) -> list[TrackSource]:
    if str(root) == EXCERPT:
        return [TrackSource("stempeg excerpt", {"": _excerpt()})]
    root = Path(root)
    if root.is_file():
        if not root.name.lower().endswith(STEM_FILE):
            raise AudioFileError(f"{root}: is neither a folder of stems nor a {STEM_FILE} file")
        return [TrackSource(root.name[: -len(STEM_FILE)], {"": root})]
    if not root.is_dir():
        raise AudioFileError(f"{root}: there is no such folder")
    folders: dict[Path, dict[str, Path]] = {}
    sources = []
    for file in sorted(root.rglob("*")):
        place = file.relative_to(root)
        if any(part.startswith(".") for part in place.parts) or not file.is_file():
            continue
        stem = file.stem.lower()
        if file.name.lower().endswith(STEM_FILE):
            sources.append(TrackSource(str(place)[: -len(STEM_FILE)], {"": file}))
        elif stem in (*stems, ACCOMPANIMENT) and file.suffix.lower() in SUFFIXES:
            known = folders.setdefault(file.parent, {})
            if stem in known:
                raise UsageError(
                    f"{file.parent}: has two files of {stem}, {known[stem].name} and {file.name}"
                )
            known[stem] = file
    for folder, files in folders.items():
        name = str(folder.relative_to(root)) if folder != root else root.resolve().name
        sources.append(TrackSource(name, _untangled(folder, files, stems), stems))
    if not sources:
        raise AudioFileError(
            f"{root}: there are no tracks in this folder: files called {', '.join(stems)} or"
            f" accompaniment, or *{STEM_FILE}"
        )
    return sorted(sources, key=lambda source: source.name)


def _untangled(folder: Path, files: dict[str, Path], stems: tuple[str, ...]) -> dict[str, Path]:
    """Without an accompaniment that is no more than the sum of its parts."""
    inner = [stem for stem in stems if stem != VOCALS and stem in files]
    if ACCOMPANIMENT not in files or not inner:
        return files
    if len(inner) < len(stems) - 1:
        raise UsageError(
            f"{folder}: holds an accompaniment beside {inner[0]}, a part of it; leave one of them out"
        )
    return {stem: file for stem, file in files.items() if stem != ACCOMPANIMENT}


def _read_files(files: dict[str, Path]) -> tuple[int, dict[str, Audio]]:
    rates = []
    for file in files.values():
        with SoundReader(file) as reader:
            rates.append(reader.source_rate)
    rate = max(rates)
    stems = {}
    for stem, file in files.items():
        with SoundReader(file, rate) as reader:
            stems[stem] = np.concatenate(list(reader.blocks()), axis=1)
    return rate, stems


def read_stem_file(file: Path) -> tuple[int, dict[str, Audio]]:
    """Decode a MUSDB18 stem file.

    Returns:
        Its rate in Hz, and (channels, samples) by stem, without the mixture.

    Raises:
        AudioFileError: when it cannot be read or does not hold five streams.
        UsageError: when stempeg is missing.
    """
    stempeg = _stempeg()
    try:
        # stempeg tells of a file without audio by raising a Warning.
        streams, rate = stempeg.read_stems(str(file))
    except (RuntimeError, OSError, ValueError, Warning) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise AudioFileError(f"{file}: cannot be read (it takes ffmpeg and ffprobe): {reason}") from None
    if streams.ndim != 3 or len(streams) != len(STEM_FILE_ORDER):
        raise AudioFileError(f"{file}: does not hold the five streams of a MUSDB18 stem file")
    planar = np.ascontiguousarray(streams.transpose(0, 2, 1), np.float32)
    stems = dict(zip(STEM_FILE_ORDER, planar, strict=True))
    return int(rate), {stem: stems[stem] for stem in STEMS}


def _excerpt() -> Path:
    return Path(str(_stempeg().example_stem_path()))


def _stempeg():  # type: ignore[no-untyped-def]  # it carries no types
    try:
        import stempeg
    except ModuleNotFoundError:
        raise UsageError("MUSDB18's stem files take stempeg: pip install 'rtsep[musdb]'") from None
    return stempeg
