"""Bass lines told from `other`, for tracks whose makers left them inside it.

Trained on the sum alone, a network is free to put such a line into either stem, and for lines that it knows
from nowhere else it learns to put it into the wrong one. Told apart are they here by a teacher that hears the
stem by itself, which is far easier than in a mixture: no voice and no drums are in it, so what it takes for
drums is bass, whose strokes are alike, and what it takes for a voice is other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsep.engine.offline import AnyModel, open_feed
from rtsep.io.soundfiles import SoundReader, SoundWriter
from rtsep.io.staging import StagedFolder
from rtsep.spec import UsageError
from rtsep.training.corpus import SUFFIXES
from rtsep.training.distillation import FACTS, FORMAT, Distilled, Progress, read_facts

BASS, OTHER = "bass", "other"
TAKEN_FOR_BASS = (BASS, "drums")
_BLOCK = 1 << 16


def split_bass(
    teacher: str, model: AnyModel, track: Path, folder: Path, progress: Progress | None = None
) -> Distilled:
    """Make a track whose `other` holds no bass: the two sum to the `other` there was, to a FLAC's precision.

    The track's further stems are copied. The folder appears when all in it is whole.

    Args:
        teacher: the model's name, for the facts.
        model: hears the stem.
        track: a folder of stems, with `other` and without `bass`.
        folder: of the new track; one that is there already from this teacher is left alone.
        progress: told after every block.

    Raises:
        UsageError: when the teacher does not know bass, the track is not such a one, or `folder` holds
            something else.
        AudioFileError: when a stem cannot be read or written.
        ModelError: when the model's output is not finite.
    """
    rows = [model.spec.stems.index(stem) for stem in TAKEN_FOR_BASS if stem in model.spec.stems]
    if BASS not in model.spec.stems:
        raise UsageError(f"{teacher} has no bass among its stems ({', '.join(model.spec.stems)})")
    stems = {file.stem: file for file in sorted(track.iterdir()) if file.suffix.lower() in SUFFIXES}
    if OTHER not in stems:
        raise UsageError(f"{track} has no stem called other to take the bass from")
    if BASS in stems:
        raise UsageError(f"{track} has a bass already")
    done = _done(teacher, folder)
    if done is not None:
        return done
    copied = [file for name, file in stems.items() if name != OTHER]
    made = [f"{BASS}.{FORMAT}", f"{OTHER}.{FORMAT}"]
    rate, channels = model.spec.sample_rate, model.spec.channels
    frames = 0
    with StagedFolder(folder, (*(file.name for file in copied), *made, FACTS)) as staged:
        with ExitStack() as files:
            # What the model has made is of the past: the stem is read a second time, as late.
            heard, again = (files.enter_context(SoundReader(stems[OTHER], rate, channels)) for _ in range(2))
            bass, rest = (
                files.enter_context(SoundWriter(staged.path / name, rate, channels, FORMAT)) for name in made
            )
            for estimates in _estimates(model, heard):
                line = estimates[rows].sum(axis=0)
                if not line.shape[1]:
                    continue
                bass.write(line)
                rest.write(again.read(line.shape[1]) - line)
                frames += line.shape[1]
                if progress is not None:
                    progress(frames / rate, None)
        for file in copied:
            shutil.copyfile(file, staged.path / file.name)
        facts = {
            "teacher": teacher,
            "song": track.name,
            "seconds": round(frames / rate, 3),
            "bass_from": OTHER,
        }
        (staged.path / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Distilled(folder, None, True, True, frames / rate)


def _estimates(model: AnyModel, reader: SoundReader) -> Iterator[NDArray[np.float32]]:
    feed = open_feed(model)
    for block in reader.blocks(_BLOCK):
        yield feed.push(block)
    yield feed.finish()


def _done(teacher: str, folder: Path) -> Distilled | None:
    facts = read_facts(folder, ("teacher", "seconds"))
    if facts is None:
        return None
    if (facts["teacher"], facts.get("bass_from")) != (teacher, OTHER):
        raise UsageError(
            f"{folder} was made otherwise, by {facts['teacher']}; choose another folder for this"
        )
    return Distilled(folder, None, True, False, facts["seconds"])
