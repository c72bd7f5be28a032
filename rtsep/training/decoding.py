"""Sound files to 16-bit samples that are memory-mapped: decoded once, by as many threads as one likes.

What is decoded goes to a file in the cache, named after where it came from. It is written aside and renamed:
neither a run that is killed nor a second one that decodes the same at the same time leaves anything
half-written.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from rtsep.evaluation.tracks import read_stem_file
from rtsep.spec import AudioFileError, UsageError

Audio = NDArray[np.float32]
Samples = NDArray[np.int16]

SUM_TOLERANCE_DB = 3.0
"""How far from its own level a stem may lie in a mixture that is said to be a sum with it."""


class Cache:
    """Decoded samples in a folder.

    Args:
        folder: made when something is first written to it.
        sample_rate: Hz, of everything that is kept.

    Raises (from every method):
        UsageError: a file that cannot be read, or a folder that cannot be written.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder = folder
        self.sample_rate = sample_rate

    def files(self, files: tuple[Path, ...]) -> Samples:
        """The sum of sound files, memory-mapped int16 (samples, 2); shorter ones end in silence."""
        return self._kept(self._facts(files), lambda: _sum([self._decode(f) for f in files]))

    def stem_file(self, file: Path) -> dict[str, Samples]:
        """The four stems of a MUSDB18 file, memory-mapped int16 (samples, 2) by name."""
        decoded: dict[str, Audio] = {}

        def stem(name: str) -> Audio:
            if not decoded:
                try:
                    rate, stems = read_stem_file(file)
                except AudioFileError as error:
                    raise UsageError(str(error)) from None
                decoded.update({n: self._brought(audio.T, rate) for n, audio in stems.items()})
            return decoded[name]

        names = ("vocals", "drums", "bass", "other")
        return {n: self._kept(f"{self._facts((file,))}:{n}", partial(stem, n)) for n in names}

    def rest(self, whole: tuple[Path, ...], known: tuple[Path, ...]) -> Samples:
        """What is left of `whole` when the known parts are taken away, memory-mapped int16 (samples, 2).

        Raises:
            UsageError: when the whole is not the sum of the known parts and others: by least squares they lie
                in it more than `SUM_TOLERANCE_DB` louder or softer than they are, as in a mixture that was
                mastered or is not of the same length.
        """
        facts = f"{self._facts(whole)}-{self._facts(known)}"
        return self._kept(facts, lambda: self._difference(whole, known))

    def _difference(self, whole: tuple[Path, ...], known: tuple[Path, ...]) -> Audio:
        total = _sum([self._decode(f) for f in whole])
        part = _sum([self._decode(f) for f in known])
        length = min(len(total), len(part))
        total, part = total[:length], part[:length]
        energy = float(np.vdot(part, part))
        share = float(np.vdot(total, part)) / energy if energy > 0.0 else 1.0
        if not 10.0 ** (-SUM_TOLERANCE_DB / 20.0) < share < 10.0 ** (SUM_TOLERANCE_DB / 20.0):
            names = ", ".join(f.name for f in known)
            raise UsageError(
                f"{whole[0]}: is not the sum of {names} and others (by least squares they lie in it at"
                f" {share:.2f} times their level); if it was mastered, name its root in `mastered`"
            )
        return total - part

    def _facts(self, files: tuple[Path, ...]) -> str:
        # One file's facts are as they have always been: caches stay valid.
        return "+".join(f"{f.resolve()}:{f.stat().st_size}:{self.sample_rate}" for f in files)

    def _kept(self, facts: str, decode: Callable[[], Audio]) -> Samples:
        target = self.folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.npy"
        if not target.exists():
            samples = np.round(np.clip(decode(), -1.0, 1.0) * 32767.0).astype(np.int16)
            # A name of its own for every writer: two that decode the same write the same, and the last one
            # stays.
            partial = target.with_name(f"{target.stem}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial.npy")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                np.save(partial, samples)
                partial.replace(target)
            except OSError as error:
                # Where an open file cannot be replaced, another process's is as good.
                if not target.exists():
                    raise UsageError(f"cannot write the cache {self.folder}: {error.strerror}") from None
            finally:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
        mapped: Samples = np.load(target, mmap_mode="r")
        return mapped

    def _decode(self, file: Path) -> Audio:
        try:
            audio, rate = soundfile.read(file, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise UsageError(f"cannot read {file}: {error}") from None
        return self._brought(audio, rate)

    def _brought(self, audio: Audio, rate: int) -> Audio:
        """(samples, channels) at any rate to (samples, 2) at the cache's."""
        if audio.shape[1] == 1:
            audio = np.repeat(audio, 2, axis=1)
        if rate != self.sample_rate:
            audio = soxr.resample(audio, rate, self.sample_rate)
        return audio[:, :2]


def _sum(parts: list[Audio]) -> Audio:
    if len(parts) == 1:
        return parts[0]
    total = np.zeros((max(len(part) for part in parts), 2), np.float32)
    for part in parts:
        total[: len(part)] += part
    return total
