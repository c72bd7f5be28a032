"""What is evaluated: models as they run live, oracles, and the mixture itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rtsep.engine.separator import Separator, load
from rtsep.evaluation.encodings import TrainedEncoding
from rtsep.evaluation.filterbanks import Filterbank, filterbank_irm
from rtsep.evaluation.oracles import ibm, irm, multichannel_wiener
from rtsep.evaluation.spectra import Transform
from rtsep.evaluation.tracks import BASS, BASS_AND_OTHER, OTHER, Track, with_accompaniment
from rtsep.separators.registry import AnyPackage, OfflinePackage, find_any, streaming
from rtsep.spec import AudioSpec, UsageError

Audio = NDArray[np.floating]
Kind = Literal["mixture", "model", "oracle"]

ORACLES: dict[str, Callable[[Audio, Transform], NDArray[np.float64]]] = {
    "ibm": ibm,
    "irm1": lambda stems, transform: irm(stems, 1.0, transform),
    "irm2": lambda stems, transform: irm(stems, 2.0, transform),
    "mwf": multichannel_wiener,
}
"""Oracles on the short-time spectrum, by name."""

FILTERBANK_ORACLES: dict[str, tuple[float, bool]] = {
    "fb-irm1": (1.0, False),
    "fb-irm2": (2.0, False),
    "fb-irm1-pinv": (1.0, True),
    "fb-irm2-pinv": (2.0, True),
}
"""Oracles on a model's learned encoding: alpha, and whether its pseudo-inverse decodes."""


STANDS_FOR: dict[str, str] = {
    "percussive": "drums",
    "centre": "vocals",
    "foreground": "vocals",
}
"""What stems of built-in methods are scored as: they know no instruments, but this is what they come near."""


class System(Protocol):
    """Anything that makes estimates of a track's parts.

    Attributes:
        name: in tables.
        kind: models are timed, the mixture is not asked how well it mutes.
        spec: of a model: a `StreamSpec` where it streams; None for what is no model.
    """

    name: str
    kind: Kind
    spec: AudioSpec | None

    def separate(self, track: Track) -> dict[str, Audio]:
        """Estimates, (channels, samples) at the track's rate and aligned with it, by target."""

    def close(self) -> None:
        """Release what it holds."""


@dataclass
class Mixture:
    """The mixture as the estimate of everything: what a separator must better, and where NSDR begins."""

    name: str = "mixture"
    kind: Kind = "mixture"
    spec: AudioSpec | None = None

    def separate(self, track: Track) -> dict[str, Audio]:
        """The mixture for every target."""
        mixture = track.mixture
        return dict.fromkeys(track.targets, mixture)

    def close(self) -> None:
        """Nothing is held."""


class Model:
    """A model, hop by hop through the stream that runs live.

    Args:
        model: a name, or the folder of one.
        threads: CPU threads of one step.

    Raises:
        ModelError, BackendError: as `rtsep.load`.
    """

    kind: Kind = "model"

    def __init__(self, model: str | Path | AnyPackage, threads: int = 1) -> None:
        package = find_any(model) if isinstance(model, (str, Path)) else model
        self._separator: Separator = load(package, threads=threads)
        self._stands_for = STANDS_FOR if package.built_in else {}
        self.name = package.name
        self.spec: AudioSpec | None = self._separator.spec

    def separate(self, track: Track) -> dict[str, Audio]:
        """Its stems and, where vocals are one of them, the sum of the others: what muting leaves.

        Of a track that knows bass and other as one, their sum too.

        Stems of built-in methods go by what they stand for, see `STANDS_FOR`.
        """
        stems = self._separator.separate(track.mixture, track.sample_rate)
        if self._stands_for:
            stems = {self._stands_for.get(stem, stem): audio for stem, audio in stems.items()}
        estimates = with_accompaniment(dict(stems))
        if BASS_AND_OTHER in track.parts and OTHER in stems:
            estimates[BASS_AND_OTHER] = stems[OTHER] + stems[BASS] if BASS in stems else stems[OTHER]
        return estimates

    def close(self) -> None:
        """Release the device that the network runs on."""
        self._separator.close()


class Oracle:
    """Ideal masks on the short-time spectrum.

    Args:
        name: one of `ORACLES`.
        transform: its windows and hop.

    Raises:
        UsageError: when there is no such oracle.
    """

    kind: Kind = "oracle"

    def __init__(self, name: str, transform: Transform | None = None) -> None:
        if name not in ORACLES:
            raise UsageError(f"no oracle is called '{name}'; there are: {', '.join(oracle_names())}")
        self.name = name
        self.spec: AudioSpec | None = None
        self._transform = transform or Transform()

    def separate(self, track: Track) -> dict[str, Audio]:
        """Estimates of the track's parts, and of the accompaniment."""
        estimates = ORACLES[self.name](np.stack(list(track.parts.values())), self._transform)
        return with_accompaniment(dict(zip(track.parts, estimates, strict=True)))

    def close(self) -> None:
        """Nothing is held."""


class FilterbankOracle:
    """Ideal ratio masks on the encoding that a Conv-TasNet has learned.

    Args:
        name: one of `FILTERBANK_ORACLES`.
        model: a name, or the folder of one.

    Raises:
        UsageError: when there is no such oracle, or it is of the causal Conv-TasNet only.
        ModelError: when there is no such model, or it has no filterbank.
    """

    kind: Kind = "oracle"

    def __init__(self, name: str, model: str | Path) -> None:
        if name not in FILTERBANK_ORACLES:
            raise UsageError(f"no oracle is called '{name}'; there are: {', '.join(oracle_names())}")
        package = find_any(model)
        alpha, inverted = FILTERBANK_ORACLES[name]
        self._separate: Callable[[Audio], NDArray[np.float64]]
        if isinstance(package, OfflinePackage):
            encoding = TrainedEncoding.read(package)
            if inverted:
                raise UsageError(
                    f"{name} is of a causal conv-tasnet; an offline one is trained with its pseudo-inverse"
                )
            self._separate = partial(encoding.ideal_ratio_stems, alpha=alpha)
            self._rate = encoding.sample_rate
        else:
            filterbank = Filterbank.read(streaming(package))
            filterbank = filterbank.inverted() if inverted else filterbank
            self._separate = partial(filterbank_irm, filterbank=filterbank, alpha=alpha)
            self._rate = filterbank.sample_rate
        self.name = f"{name}:{package.name}"
        self.spec: AudioSpec | None = None

    def separate(self, track: Track) -> dict[str, Audio]:
        """Estimates of the track's parts, and of the accompaniment.

        Raises:
            UsageError: when the track's rate or channels are not those that the filterbank was learned at.
        """
        if track.sample_rate != self._rate:
            raise UsageError(f"{self.name} is for {self._rate} Hz, {track.name} has {track.sample_rate} Hz")
        stems = np.stack(list(track.parts.values()))
        estimates = self._separate(stems)
        return with_accompaniment(dict(zip(track.parts, estimates, strict=True)))

    def close(self) -> None:
        """Nothing is held."""


def open_oracle(text: str, transform: Transform | None = None) -> System:
    """The oracle that a text names: "irm2", or "fb-irm1:MODEL".

    Raises:
        UsageError: when there is no such oracle, or the model is missing or one too many.
        ModelError: as `FilterbankOracle`.
    """
    name, colon, model = text.partition(":")
    if name in FILTERBANK_ORACLES:
        if not model:
            raise UsageError(f"oracle {name} needs a model's encoding: {name}:MODEL")
        return FilterbankOracle(name, model)
    if colon and name in ORACLES:
        raise UsageError(f"oracle {text}: {name} takes no model")
    return Oracle(name, transform)


def oracle_names() -> list[str]:
    """All of them, as `open_oracle` takes them."""
    return [*ORACLES, *(f"{name}:MODEL" for name in FILTERBANK_ORACLES)]
