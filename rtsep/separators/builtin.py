"""Methods that are built in: signal processing that was never trained, so without weights and files.

Each is a manifest like a model's, found by `registry` under its name after the folders; what runs it is made
by `open_spectral` (a stream's step) or `open_pieces` (whole pieces of music). Manifests cost nothing: the
methods' own modules, and the libraries that they take, are loaded when one is opened.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rtsep.separators.manifest import Manifest, OfflineManifest, StateEntry, Window
from rtsep.spec import BackendError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 44100
CHANNELS = 2
PIECE_SECONDS, FADE_SECONDS = 30.0, 3.0
"""What an offline method hears at once, and over how much of it two pieces are cross-faded."""


class SpectralMethod(Protocol):
    """One step of a causal method, on the spectrum of one frame. Allocates nothing."""

    def step(self, mix: NDArray[np.complex64], stems: NDArray[np.complex64]) -> None:
        """From `mix` (channels, bins) to `stems` (stems, channels, bins), overwritten; they sum to `mix`."""


class PieceMethod(Protocol):
    """A method that needs a whole piece."""

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, samples) to (stems, channels, samples); they sum to `mix`."""


class _Causal(NamedTuple):
    """`window`: analysis, synthesis and hop. `state`: shapes of what is remembered, by the number of bins."""

    title: str
    description: str
    module: str
    method: str
    stems: tuple[str, ...]
    window: tuple[int, int, int]
    state: Mapping[str, Callable[[int], tuple[int, ...]]]
    config: dict[str, float]


class _Offline(NamedTuple):
    title: str
    description: str
    module: str
    method: str
    stems: tuple[str, ...]
    config: dict[str, Any]


_CAUSAL = {
    "hpss": _Causal(
        "harmonic and percussive parts, by medians",
        "Median filtering of the newest frames (FitzGerald 2010), causal.",
        "hpss",
        "CausalHPSS",
        ("harmonic", "percussive"),
        (2048, 1024, 256),
        {"history": lambda bins: (17, bins), "sorted": lambda bins: (bins, 17), "position": lambda _: (1,)},
        {"bins": 17},
    ),
    "centre": _Causal(
        "the middle of the stereo image, by similarity of the channels",
        "What both channels share (Avendano 2003), above the bass: mostly the lead vocals.",
        "panning",
        "Centre",
        ("centre", "sides"),
        (4096, 1024, 256),
        {"powers": lambda bins: (2, bins)},
        {"memory": 0.8, "width": 0.2, "low_hz": 120.0},
    ),
    "adress": _Causal(
        "left, middle and right of the stereo image, by ADRess",
        "Azimuth discrimination and resynthesis (Barry, Lawlor and Coyle 2004).",
        "panning",
        "Adress",
        ("left", "centre", "right", "diffuse"),
        (4096, 1024, 256),
        {},
        {"width": 0.5},
    ),
}
_NMF = {"analysis": 2048, "hop": 1024, "iterations": 100}
_OFFLINE = {
    "hpss-centred": _Offline(
        "harmonic and percussive parts, by medians that see the future",
        "Median filtering as published (FitzGerald 2010), by librosa.",
        "hpss",
        "CentredHPSS",
        ("harmonic", "percussive"),
        {"frames": 31, "bins": 31, "analysis": 2048, "hop": 512},
    ),
    "repet": _Offline(
        "REPET: what repeats after a period, and what does not",
        "Repeating background and foreground (Rafii and Pardo 2013).",
        "repet",
        "Repet",
        ("foreground", "repeating"),
        {"analysis": 2048, "hop": 1024},
    ),
    "repet-sim": _Offline(
        "REPET-SIM: what is like other moments, and what is not",
        "Repeating background and foreground by similarity (Rafii and Pardo 2012), by librosa.",
        "repet",
        "RepetSim",
        ("foreground", "repeating"),
        {"analysis": 2048, "hop": 1024},
    ),
    "kam": _Offline(
        "kernel additive modelling",
        "Kernel backfitting with lines, repetitions and a cross (Liutkus et al. 2014).",
        "kernel_additive",
        "KernelAdditive",
        ("vocals", "percussive", "harmonic", "repeating"),
        {"analysis": 4096, "hop": 1024, "iterations": 3, "steady": 19, "wide": 31, "cross": 2},
    ),
    "nmf-kl": _Offline(
        "non-negative matrix factorisation, Kullback-Leibler",
        "Components grouped into harmonic and percussive ones, by scikit-learn.",
        "factorisation",
        "Factorisation",
        ("harmonic", "percussive"),
        _NMF | {"divergence": "kullback-leibler", "components": 40},
    ),
    "nmf-is": _Offline(
        "non-negative matrix factorisation, Itakura-Saito",
        "Components grouped into harmonic and percussive ones, by scikit-learn.",
        "factorisation",
        "Factorisation",
        ("harmonic", "percussive"),
        _NMF | {"divergence": "itakura-saito", "components": 40},
    ),
    "nmf-hp": _Offline(
        "non-negative matrix factorisation with harmonic and percussive components",
        "Smooth and sparse components by constraints (Cañadas-Quesada et al. 2014).",
        "factorisation",
        "HarmonicPercussive",
        ("harmonic", "percussive"),
        _NMF | {"divergence": "kullback-leibler", "components": 40, "smoothness": 0.2, "sparseness": 0.2},
    ),
}


@functools.cache
def methods() -> Mapping[str, Manifest | OfflineManifest]:
    """What is built in, by name."""
    return {name: _manifest(name) for name in (*_CAUSAL, *_OFFLINE)}


def open_spectral(manifest: Manifest) -> tuple[SpectralMethod, Mapping[str, NDArray[np.float32]]]:
    """A causal method, and the state that it works on, all zero: what a reset must make of it again.

    Raises:
        ModelError: when the manifest is none of `methods`.
    """
    entry = _CAUSAL.get(manifest.architecture)
    if entry is None:
        raise ModelError(f"{manifest.name}: no causal method is called '{manifest.architecture}'")
    import numpy as np

    state = {known.name: np.zeros(known.shape, np.float32) for known in manifest.state}
    made: SpectralMethod = getattr(_module(entry.module), entry.method)(manifest.config, state)
    return made, state


def open_pieces(manifest: OfflineManifest) -> PieceMethod:
    """An offline method.

    Raises:
        ModelError: when the manifest is none of `methods`.
        BackendError: when a library that it takes is missing.
    """
    entry = _OFFLINE.get(manifest.architecture)
    if entry is None:
        raise ModelError(f"{manifest.name}: no offline method is called '{manifest.architecture}'")
    try:
        for library in ("librosa", "scipy", "sklearn"):
            import_module(library)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{manifest.name} needs {error.name}, which is not installed: pip install 'rtsep[classical]'"
        ) from None
    made: PieceMethod = getattr(_module(entry.module), entry.method)(manifest.config, manifest.sample_rate)
    return made


def _module(name: str) -> Any:
    return import_module(f"{__package__}.{name}")


def _manifest(name: str) -> Manifest | OfflineManifest:
    about: dict[str, Any] = {
        "name": name,
        "architecture": name,
        "version": "1",
        "licence": "MIT",
        "sample_rate": RATE,
        "channels": CHANNELS,
        "files": None,
    }
    if (causal := _CAUSAL.get(name)) is not None:
        analysis, synthesis, hop = causal.window
        bins = analysis // 2 + 1
        return Manifest(
            title=causal.title,
            description=causal.description,
            stems=causal.stems,
            hop=hop,
            delay=synthesis - hop,
            domain="spectrum",
            window=Window(analysis=analysis, synthesis=synthesis),
            state=tuple(StateEntry(name=key, shape=shape(bins)) for key, shape in causal.state.items()),
            config=causal.config | {"bin_hz": RATE / analysis},
            **about,
        )
    offline = _OFFLINE[name]
    return OfflineManifest(
        kind="offline",
        title=offline.title,
        description=offline.description,
        stems=offline.stems,
        chunk=round(PIECE_SECONDS * RATE),
        overlap=round(FADE_SECONDS * RATE),
        config=offline.config,
        **about,
    )
