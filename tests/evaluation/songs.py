"""Folders of short stems whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtsep.evaluation.tracks import Track

RATE = 8000
STEMS = ("vocals", "drums", "bass", "other")
Audio = NDArray[np.float32]


def stem(seed: int, seconds: float = 3.0, channels: int = 2, rate: int = RATE) -> Audio:
    """(channels, samples) of noise."""
    random = np.random.default_rng(seed)
    return (0.05 * random.standard_normal((channels, round(seconds * rate)))).astype(np.float32)


def write(path: Path, audio: Audio, rate: int = RATE) -> Path:
    """Write a sound file, its folder too; WAV as float, so that nothing is rounded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def write_track(folder: Path, stems: tuple[str, ...] = STEMS, seconds: float = 3.0, rate: int = RATE) -> Path:
    """Write a folder of stems; the vocals are silent in their second second."""
    for index, name in enumerate(stems):
        audio = stem(index, seconds, rate=rate)
        if name == "vocals":
            audio[:, rate : 2 * rate] = 0.0
        write(folder / f"{name}.wav", audio, rate)
    return folder


def track(names: tuple[str, ...] = STEMS, seconds: float = 3.0, name: str = "song") -> Track:
    """The same as an object, without vocals in its second second."""
    parts = {part: stem(index, seconds) for index, part in enumerate(names)}
    parts["vocals"][:, RATE : 2 * RATE] = 0.0
    return Track(name, RATE, parts)
