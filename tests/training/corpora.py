"""Small corpora of noise and tones, and the smallest runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from rtsep.spec import STEMS
from rtsep.training.config import TrainConfig

RATE = 8000

NETWORK: dict[str, Any] = {
    "sample_rate": RATE,
    "analysis": 256,
    "synthesis": 128,
    "hop": 64,
    "bandwidth": 3500.0,
    "linear_below": 1000.0,
    "wide_bands": 6,
    "width": 12,
    "depth": 2,
}


def write_track(folder: Path, stems: tuple[str, ...], seconds: float = 2.0, seed: int = 0) -> Path:
    """A track whose every stem is noise around a tone of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    for k, stem in enumerate(stems):
        tone = 0.2 * np.sin(2.0 * np.pi * 200.0 * (k + 1 + seed) * time)
        audio = tone[:, None] + 0.05 * rng.standard_normal((len(time), 2))
        soundfile.write(folder / f"{stem}.wav", audio.astype(np.float32), RATE, subtype="PCM_16")
    return folder


def write_corpus(root: Path) -> tuple[Path, ...]:
    """Roots with every kind of label: whole songs, bass inside other, voices, accompaniments, beats."""
    for k in range(2):
        write_track(root / "songs" / f"song{k}", STEMS, seed=k)
    write_track(root / "inside" / "song", ("vocals", "drums", "other"), seed=3)
    write_track(root / "voices" / "voice", ("vocals",), seed=4)
    write_track(root / "backings" / "duo", ("vocals", "accompaniment"), seed=5)
    write_track(root / "backings" / "band", ("accompaniment",), seed=6)
    write_track(root / "beats" / "beat", ("drums", "bass"), seed=7)
    return tuple(root / name for name in ("songs", "inside", "voices", "backings", "beats"))


def run_config(root: Path, output: Path, **changes: dict[str, Any]) -> TrainConfig:
    """A run of six steps on `write_corpus(root)`; `changes` go into its tables."""
    tables: dict[str, Any] = {
        "name": "tiny",
        "output": output,
        "network": NETWORK,
        "data": {
            "roots": [root / name for name in ("songs", "inside", "voices", "backings", "beats")],
            "cache": root / "cache",
            "bass_in_other": ["inside"],
            "workers": 0,
        },
        "monitor": {"tensorboard": "off", "report": False},
        "optimiser": {
            "steps": 6,
            "batch": 2,
            "seconds": 0.5,
            "warm_up": 2,
            "checkpoint_every": 1,
            "validate_every": 100,
        },
    }
    for table, values in changes.items():
        tables[table] = tables.get(table, {}) | values
    return TrainConfig.model_validate(tables)
