"""What the tests of effects have in common: chains from a line or two, and streams put through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtsep.effects.chain import EffectChain
from rtsep.effects.chainfile import ChainFile, PluginEntry
from rtsep.effects.chainfile import Value as Value

RATE = 44100
HOP = 128

Audio = NDArray[np.float32]


def entry(kind: str, **parameters: Value) -> PluginEntry:
    return PluginEntry(type=kind, parameters=parameters)


def chain(*entries: PluginEntry, hop: int = HOP, limit: float = 200.0, bypass: bool = False) -> EffectChain:
    said = ChainFile(plugin=entries, latency_limit_ms=limit, bypass=bypass)
    return EffectChain(said, "test.toml", 2, hop, RATE)


def through(made: EffectChain, audio: Audio, hop: int = HOP) -> Audio:
    """(2, samples) hop by hop; what does not fill a hop is left out."""
    out = []
    for at in range(0, audio.shape[1] - hop + 1, hop):
        block = audio[:, at : at + hop].copy()
        made.process(block)
        out.append(block)
    return np.concatenate(out, axis=1)


def noise(samples: int, seed: int = 0) -> Audio:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def impulse_response(path: Path, taps: list[float] | Audio) -> Path:
    soundfile.write(path, np.asarray(taps, np.float32), RATE, subtype="FLOAT")
    return path


def late(audio: Audio, by: int) -> Audio:
    """The same, later; of the same length."""
    return np.pad(audio, ((0, 0), (by, 0)))[:, : audio.shape[1]]
