"""Unlabelled songs through a teacher: tracks that a student can be trained on.

A teacher is any model that rtsep runs, or a folder of estimates that something else has made. Its stems
are written as the tracks of a corpus, one folder a song; the last of them is what the others leave of the
song, so that their sum, which the student hears, is the song itself (G. Hinton, O. Vinyals, J. Dean,
"Distilling the knowledge in a neural network", 2015, arXiv:1503.02531, for separators by waveforms instead of
logits).

How far a teacher can be trusted is asked of itself: it hears every song a second time, with its sides
swapped, 6 dB softer and a part of a hop later. What it says of both should be the same; where it guesses, it
is not. The agreement, in dB of SDR, is the song's confidence (consistency under transformations, as in
S. Laine, T. Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017, arXiv:1610.02242).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtsep.engine.offline import AnyModel, open_feed
from rtsep.io.soundfiles import Format, SoundReader, SoundWriter
from rtsep.io.staging import StagedFolder
from rtsep.spec import STEMS, AudioFileError, ModelError, UsageError
from rtsep.training.corpus import ACCOMPANIMENT, SUFFIXES

FACTS = "teacher.json"
"""Beside a song's stems: who made them, and what is known of them."""
FORMAT: Format = "flac"
SHIFT = 307
"""Samples that the second hearing comes later: a prime, and so a part of every hop and window."""
SOFTER = 0.5
HIGHEST_DB = 60.0
"""Agreement beyond which there is no more to tell."""
SILENT_DB = -60.0
"""Level against the song's at or below which a stem is silent, and agreement about it means nothing."""
_BLOCK = 1 << 16

Audio = NDArray[np.float32]
Hearing = tuple[Audio, Audio, Audio | None]
"""The next samples of a song (channels, n), its stems (stems, channels, n), and these as heard again."""
Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio that are done and, where known, the seconds in all."""


class Teacher(Protocol):
    """Makes stems of songs.

    Attributes:
        name: as the facts tell it.
    """

    name: str

    def stems(self, song: Path) -> tuple[str, ...]:
        """What it knows of a song, as training calls it, without the rest."""

    def rate(self, song: Path) -> int:
        """Hz of what `listen` gives."""

    def listen(self, song: Path) -> Iterator[Hearing]:
        """A song from its beginning to its end, in blocks of any length.

        Raises:
            AudioFileError: when it cannot be read.
            ModelError: when a model's output is not finite.
        """


class ModelTeacher:
    """A model of rtsep's, causal or offline.

    Args:
        name: of the model.
        model: for the first hearing.
        again: the same model once more, for the second; none where confidence is not asked for.

    Raises:
        UsageError: when it does not know vocals, or knows stems that training does not.
    """

    def __init__(self, name: str, model: AnyModel, again: AnyModel | None) -> None:
        self.name = name
        self._model, self._again = model, again
        self._known = known_stems(name, model.spec.stems)
        self._rows = [model.spec.stems.index(stem) for stem in self._known]

    def stems(self, song: Path) -> tuple[str, ...]:
        """Those of the model but the rest."""
        return self._known

    def rate(self, song: Path) -> int:
        """The model's."""
        return self._model.spec.sample_rate

    def listen(self, song: Path) -> Iterator[Hearing]:
        """Both hearings side by side: what has come out of either is held until the other is there too."""
        spec = self._model.spec
        with SoundReader(song, spec.sample_rate, spec.channels) as reader:
            feed = open_feed(self._model)
            again = None if self._again is None else open_feed(self._again)
            queues = [_Queue(), _Queue(), _Queue()]
            if again is not None:
                queues[2].put(again.push(np.zeros((spec.channels, SHIFT), np.float32)))
            to_drop = SHIFT
            for block in reader.blocks(_BLOCK):
                queues[0].put(block)
                queues[1].put(feed.push(block)[self._rows])
                if again is not None:
                    queues[2].put(again.push(block[::-1] * np.float32(SOFTER)))
                if again is not None and to_drop:
                    to_drop -= queues[2].take(min(to_drop, queues[2].samples)).shape[-1]
                if not to_drop or again is None:
                    yield from self._ready(queues, again is not None)
            queues[1].put(feed.finish()[self._rows])
            if again is not None:
                queues[2].put(again.finish())
                queues[2].take(to_drop)
            yield from self._ready(queues, again is not None)

    def _ready(self, queues: list[_Queue], twice: bool) -> Iterator[Hearing]:
        count = min(queue.samples for queue in queues[: 3 if twice else 2])
        if count:
            mix, stems = queues[0].take(count), queues[1].take(count)
            second = queues[2].take(count)[self._rows][:, ::-1] / np.float32(SOFTER) if twice else None
            yield mix, stems, second


class FolderTeacher:
    """Estimates that lie in a folder already: `<folder>/<song>/<stem>.wav`, or another suffix.

    Args:
        folder: of the estimates.
        places: where each song's lie below it.
    """

    def __init__(self, folder: Path, places: dict[Path, Path]) -> None:
        self.name = folder.name
        self._folder = folder
        self._places = places

    def stems(self, song: Path) -> tuple[str, ...]:
        """Those that have a file, but the rest."""
        files = self._files(song)
        return known_stems(str(self._folder / self._places[song]), tuple(files))

    def rate(self, song: Path) -> int:
        """That of the vocals' file."""
        with SoundReader(self._files(song)["vocals"]) as reader:
            return reader.sample_rate

    def listen(self, song: Path) -> Iterator[Hearing]:
        """The song beside its estimates, all at the rate of these. The shortest of them ends it."""
        files, rate = self._files(song), self.rate(song)
        with ExitStack() as open_files:
            mix = open_files.enter_context(SoundReader(song, rate, 2))
            readers = [
                open_files.enter_context(SoundReader(files[stem], rate, 2)) for stem in self.stems(song)
            ]
            for block in mix.blocks(_BLOCK):
                stems = [reader.read(block.shape[1]) for reader in readers]
                count = min(stem.shape[1] for stem in stems)
                if count:
                    yield block[:, :count], np.stack([stem[:, :count] for stem in stems]), None

    def _files(self, song: Path) -> dict[str, Path]:
        folder = self._folder / self._places[song]
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        files = {f.stem: f for f in found if f.suffix.lower() in SUFFIXES}
        files = {name: file for name, file in files.items() if name in (*STEMS, ACCOMPANIMENT)}
        if "vocals" not in files:
            raise AudioFileError(f"{folder}: there is no estimate of the vocals of {song.name} in it")
        return files


@dataclass(frozen=True)
class Distilled:
    """What has been made of a song.

    Attributes:
        folder: its track's.
        confidence: dB; None where the teacher was not asked twice.
        kept: whether its stems were written, or lie there from an earlier time.
        fresh: whether it was done now.
        seconds: its length.
    """

    folder: Path
    confidence: float | None
    kept: bool
    fresh: bool
    seconds: float


def known_stems(whose: str, names: Sequence[str]) -> tuple[str, ...]:
    """The stems that are taken from a teacher: those that training knows, but the rest.

    Raises:
        UsageError: when it has no vocals.
    """
    if "vocals" not in names:
        raise UsageError(f"{whose} has no vocals among its stems ({', '.join(names)}); it cannot teach")
    return tuple(name for name in ("vocals", "drums", "bass") if name in names)


def rest_of(stems: Sequence[str]) -> str:
    """What is left when these are taken from a song, as training calls it."""
    return ACCOMPANIMENT if tuple(stems) == ("vocals",) else "other"


def distill(
    teacher: Teacher, song: Path, folder: Path, least: float | None, progress: Progress | None = None
) -> Distilled:
    """Make a track of a song, unless it is there already.

    The folder appears when all in it is whole. A song below `least` gets a folder with nothing but the facts,
    so that it is not heard again the next time; one that was kept by a milder measure loses its stems.

    Args:
        teacher: who listens.
        song: a sound file.
        folder: of the track.
        least: dB of confidence that a song must have to be kept; None keeps all.
        progress: told after every block.

    Raises:
        AudioFileError: when the song or an estimate cannot be read, or the track not be written.
        UsageError: when the folder holds what another teacher made.
        ModelError: when a model's output is not finite.
    """
    done = _done(teacher, folder, least)
    if done is not None:
        return done
    stems, rate = teacher.stems(song), teacher.rate(song)
    names = (*stems, rest_of(stems))
    files = [f"{name}.{FORMAT}" for name in names]
    agreement = _Agreement(len(names))
    frames = 0
    with StagedFolder(folder, (*files, FACTS)) as staged:
        with ExitStack() as open_files:
            writers: list[SoundWriter] = []
            for mix, known, second in teacher.listen(song):
                if not writers:
                    writers = [
                        open_files.enter_context(SoundWriter(staged.path / file, rate, mix.shape[0], FORMAT))
                        for file in files
                    ]
                whole = np.concatenate([known, (mix - known.sum(axis=0))[None]])
                for writer, stem in zip(writers, whole, strict=True):
                    writer.write(stem)
                if second is not None:
                    other = np.concatenate([second, (mix - second.sum(axis=0))[None]])
                    agreement.add(mix, whole, other)
                frames += mix.shape[1]
                if progress is not None:
                    progress(frames / rate, None)
        decibels = agreement.decibels()
        heard = [value for value in decibels if value is not None]
        confidence = float(np.mean(heard)) if heard else None
        kept = least is None or confidence is None or confidence >= least
        if not kept:
            for file in files:
                (staged.path / file).unlink()
        facts = {
            "teacher": teacher.name,
            "song": song.name,
            "seconds": round(frames / rate, 3),
            "kept": kept,
            "hearings": 2 if agreement.heard else 1,
            "confidence_db": None if confidence is None else round(confidence, 2),
            "agreement_db": {
                name: None if value is None else round(value, 2)
                for name, value in zip(names, decibels, strict=True)
            },
        }
        (staged.path / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Distilled(folder, confidence, kept, True, frames / rate)


def read_facts(folder: Path, needed: Sequence[str]) -> dict[str, Any] | None:
    """What a teacher has left beside a track's stems; None where there is no folder.

    Raises:
        AudioFileError: when the folder is nobody's, or its facts are damaged or lack one of these.
    """
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if missing := [name for name in needed if name not in facts]:
            raise KeyError(*missing)
        return facts
    except FileNotFoundError:
        if folder.exists():
            raise AudioFileError(f"{folder}: is there already, and not from a teacher") from None
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudioFileError(f"{path}: is not as a teacher leaves it: {type(error).__name__}") from None


def _done(teacher: Teacher, folder: Path, least: float | None) -> Distilled | None:
    """What an earlier run has made of a song; None where there is something to do."""
    needed = ("teacher", "kept", "confidence_db", "seconds", "agreement_db")
    facts = read_facts(folder, needed)
    if facts is None:
        return None
    whose, kept, confidence, seconds, _ = (facts[name] for name in needed)
    if whose != teacher.name:
        raise UsageError(f"{folder} was made by the teacher {whose}; choose another folder for this one")
    judged = confidence is not None or facts.get("hearings") == 2
    sure = least is None or (judged and (confidence is None or confidence >= least))
    if kept and sure:
        return Distilled(folder, confidence, True, False, seconds)
    _leave_out(folder, facts)
    if judged and not sure:
        return Distilled(folder, confidence, False, kept, seconds)
    # A stricter measure had left it out, or it was heard only once: it is heard now.
    if [path.name for path in folder.iterdir()] != [FACTS]:
        raise AudioFileError(f"{folder}: holds more than a teacher leaves; it is not made anew")
    (folder / FACTS).unlink()
    folder.rmdir()
    return None


def _leave_out(folder: Path, facts: dict[str, Any]) -> None:
    """Remove a song's stems. The facts come first: whoever is stopped here leaves none that seem kept."""
    if facts["kept"]:
        partial = folder / f"{FACTS}.partial"
        partial.write_text(json.dumps(facts | {"kept": False}, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / FACTS)
    for name in facts["agreement_db"]:
        (folder / f"{name}.{FORMAT}").unlink(missing_ok=True)


class _Queue:
    """Samples along the last axis, put in at one end and taken out at the other."""

    def __init__(self) -> None:
        self._blocks: list[Audio] = []
        self.samples = 0

    def put(self, block: Audio) -> None:
        self._blocks.append(np.array(block, np.float32))
        self.samples += block.shape[-1]

    def take(self, count: int) -> Audio:
        joined: Audio = np.concatenate(self._blocks, axis=-1)
        if count > joined.shape[-1]:
            raise ModelError("a teacher gave fewer samples than it heard")
        self._blocks = [joined[..., count:]]
        self.samples -= count
        return joined[..., :count]


class _Agreement:
    """SDR of one hearing's stems against the other's, summed up over a song.

    Attributes:
        heard: whether there was a second hearing.
    """

    def __init__(self, stems: int) -> None:
        self.heard = False
        self._energy = np.zeros(stems)
        self._difference = np.zeros(stems)
        self._mix = 0.0

    def add(self, mix: Audio, first: Audio, second: Audio) -> None:
        self.heard = True
        self._mix += float(np.square(mix, dtype=np.float64).sum())
        self._energy += np.square(first, dtype=np.float64).sum(axis=(1, 2))
        self._difference += np.square(first - second, dtype=np.float64).sum(axis=(1, 2))

    def decibels(self) -> list[float | None]:
        """By stem; None for silent ones, and where nothing was heard twice."""
        least = self._mix * 10.0 ** (SILENT_DB / 10.0)
        floor = 10.0 ** (-HIGHEST_DB / 10.0)
        return [
            float(-10.0 * np.log10(difference / energy + floor)) if energy > least else None
            for energy, difference in zip(self._energy, self._difference, strict=True)
        ]
