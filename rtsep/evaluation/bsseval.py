"""BSSEval v4, by museval itself: the figures that published systems are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import UsageError

Audio = NDArray[np.floating]

RATIOS = ("sdr", "isr", "sir", "sar")
"""Signal to distortion, image to spatial distortion, source to interference, sources to artefacts; in dB."""


@dataclass(frozen=True, slots=True)
class BSSEval:
    """Ratios of several stems over time.

    Attributes:
        stems: names, in the order of the first axis.
        sdr, isr, sir, sar: (stems, frames) in dB, NaN in frames in which a stem or its estimate is silent.
    """

    stems: tuple[str, ...]
    sdr: NDArray[np.float64]
    isr: NDArray[np.float64]
    sir: NDArray[np.float64]
    sar: NDArray[np.float64]

    def frames(self, stem: str) -> dict[str, NDArray[np.float64]]:
        """The four ratios of one stem, (frames,) each."""
        row = self.stems.index(stem)
        return {ratio: getattr(self, ratio)[row] for ratio in RATIOS}


def on_16_bits(audio: Audio) -> NDArray[np.float64]:
    """Samples rounded to those that a 16-bit file can hold; those of such a file stay exactly what they are.

    BSSEval projects on delayed copies of the true stems. Where these have no energy, above the band of a
    lossy codec say, the projection is ill-conditioned: museval's filters grow without bound, and SIR and
    SAR of good estimates fall below zero. The rounding noise of 16 bits, 98 dB below full scale, prevents it.
    """
    rounded: NDArray[np.float64] = np.round(np.asarray(audio, np.float64) * 32768.0) / 32768.0
    return rounded


def require_museval() -> None:
    """Raise a UsageError that says what to install where museval is missing."""
    try:
        import museval.metrics  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(
            f"BSSEval needs museval ({error.name} is missing): pip install 'rtsep[evaluate]'"
        ) from None


def bsseval(targets: Mapping[str, Audio], estimates: Mapping[str, Audio], frame: int) -> BSSEval:
    """BSSEval v4 as SiSEC 2018 uses it: distortion filters for the whole song, ratios frame by frame.

    F.-R. Stöter, A. Liutkus, N. Ito, "The 2018 signal separation evaluation campaign", LVA/ICA 2018 (its part
    on BSS Eval version 4). Filters have 512 taps; frames do not overlap. A stem that is silent throughout, or
    whose estimate is, has no ratios and is left out of the others': the measure is not defined with it.

    Args:
        targets: (channels, samples) by stem; together they are the mixture. Best passed through `on_16_bits`.
        estimates: of the same stems and shapes.
        frame: samples of a frame; a second's worth, as in SiSEC.

    Returns:
        The ratios, in the order of `targets`; no frames when the signal is shorter than one.

    Raises:
        UsageError: when museval is missing, a stem has no estimate, or shapes differ.
    """
    require_museval()
    import museval.metrics

    for stem, target in targets.items():
        if stem not in estimates:
            raise UsageError(f"there is no estimate of {stem}")
        if estimates[stem].shape != target.shape:
            raise UsageError(f"cannot compare {target.shape} with {estimates[stem].shape}")
    names = tuple(targets)
    samples = next(iter(targets.values())).shape[-1]
    count = samples // frame
    rows = [i for i, stem in enumerate(names) if np.any(targets[stem]) and np.any(estimates[stem])]
    ratios = np.full((len(RATIOS), len(names), count), np.nan)
    if rows and count:
        # museval wants (stems, samples, channels).
        truth = np.stack([np.asarray(targets[names[i]], np.float64).T for i in rows])
        guess = np.stack([np.asarray(estimates[names[i]], np.float64).T for i in rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            *measured, _ = museval.metrics.bss_eval(truth, guess, window=frame, hop=frame)
        for ratio, values in enumerate(measured):
            # An infinite ratio is a division by nothing; SiSEC leaves those frames out, too.
            ratios[ratio][rows] = np.where(np.isfinite(values), values, np.nan)[:, :count]
    return BSSEval(names, *ratios)
