"""Non-negative matrix factorisation: a spectrogram as a few spectra, each with its loudness over time.

D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000, for the
Kullback-Leibler divergence; C. Févotte, N. Bertin, J.-L. Durrieu, "Nonnegative matrix factorization with the
Itakura-Saito divergence: with application to music analysis", Neural Computation 21(3), 2009. Without
training nobody says whose a spectrum is. Two ways to tell harmonic from percussive ones:

- `Factorisation`: factorise first, by scikit-learn, then look which of the components are sparse in frequency
  (tones) rather than in time (strokes), by the sparseness of P. O. Hoyer, "Non-negative matrix factorization
  with sparseness constraints", JMLR 5, 2004 (his section 3.1);
- `HarmonicPercussive`: have some components that are made to be the one and some the other while they are
  learnt, by F. J. Cañadas-Quesada et al., "Percussive/harmonic sound separation by non-negative matrix
  factorization with smoothness/sparseness constraints", EURASIP J. Audio, Speech, Music Processing 2014:26.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.spectra import Transform

FLOOR = 1e-8
"""Added to a spectrogram that is scaled to a mean of one: the Itakura-Saito divergence takes no zeros."""

Matrix = NDArray[np.float64]


def hoyer_sparseness(values: Matrix) -> Matrix:
    """0 where all are equal, 1 where one is alone, along the last axis."""
    count = values.shape[-1]
    ratio = values.sum(axis=-1) / np.maximum(np.sqrt((values**2).sum(axis=-1)), FLOOR)
    sparseness: Matrix = (np.sqrt(count) - ratio) / (np.sqrt(count) - 1.0)
    return sparseness


class _Factorised(ABC):
    """From a factorisation's shares to stems."""

    def __init__(self, config: Mapping[str, Any], sample_rate: int) -> None:
        self._transform = Transform(config["analysis"], config["analysis"], config["hop"])
        self._config = config

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, samples) to harmonic and percussive, which add up to `mix`."""
        spectra = self._transform.whole(mix)
        power = np.mean(np.abs(spectra) ** 2, axis=0).T
        data = power if self._config["divergence"] == "itakura-saito" else np.sqrt(power)
        mean = float(data.mean())
        harmonic = mix.astype(np.float64)
        if mean > 0.0:
            models = self.models(data / mean + FLOOR)
            mask = models[0] / np.maximum(models[0] + models[1], FLOOR * FLOOR)
            harmonic = self._transform.signal(mask.T * spectra, mix.shape[-1])
        return np.stack([harmonic, mix - harmonic]).astype(np.float32)

    @abstractmethod
    def models(self, data: Matrix) -> tuple[Matrix, Matrix]:
        """The harmonic and the percussive part of a spectrogram (bins, frames)."""


class Factorisation(_Factorised):
    """Components of scikit-learn's NMF, grouped afterwards.

    Args:
        config: "analysis" and "hop" in samples; "divergence": "kullback-leibler" (of magnitudes) or
            "itakura-saito" (of powers); "components" and "iterations".
        sample_rate: Hz.
    """

    def models(self, data: Matrix) -> tuple[Matrix, Matrix]:
        """See `_Factorised`."""
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning

        model = NMF(
            min(self._config["components"], *data.shape),
            init="nndsvda",
            solver="mu",
            beta_loss=self._config["divergence"],
            max_iter=self._config["iterations"],
            tol=0.0,
            random_state=0,
        )
        with warnings.catch_warnings():
            # The number of iterations is the configuration's choice.
            warnings.simplefilter("ignore", ConvergenceWarning)
            spectra = np.asarray(model.fit_transform(data), np.float64)
        gains = np.asarray(model.components_, np.float64)
        tonal = hoyer_sparseness(spectra.T) > hoyer_sparseness(gains)
        return spectra[:, tonal] @ gains[tonal], spectra[:, ~tonal] @ gains[~tonal]


class HarmonicPercussive(_Factorised):
    """Components that are learnt as harmonic or as percussive ones.

    Percussive spectra are smooth and their gains sparse; harmonic spectra are sparse and their gains smooth.

    Args:
        config: "analysis" and "hop" in samples; "divergence": "kullback-leibler"; "components" of each kind;
            "iterations"; "smoothness" and "sparseness", the weights of the constraints.
        sample_rate: Hz.
    """

    def models(self, data: Matrix) -> tuple[Matrix, Matrix]:
        """See `_Factorised`."""
        count = self._config["components"]
        rng = np.random.default_rng(0)
        spectra = rng.random((data.shape[0], 2 * count)) + FLOOR
        gains = rng.random((2 * count, data.shape[1])) + FLOOR
        spectra, gains = constrained_nmf(
            data,
            spectra,
            gains,
            self._config["iterations"],
            self._config["smoothness"],
            self._config["sparseness"],
        )
        return spectra[:, :count] @ gains[:count], spectra[:, count:] @ gains[count:]


def constrained_nmf(
    data: Matrix, spectra: Matrix, gains: Matrix, iterations: int, smoothness: float, sparseness: float
) -> tuple[Matrix, Matrix]:
    """Multiplicative updates of the Kullback-Leibler divergence, with constraints.

    Those of Cañadas-Quesada et al., with the penalties of T. Virtanen, "Monaural sound source separation by
    nonnegative matrix factorization with temporal continuity and sparseness criteria", IEEE TASLP 15(3),
    2007. Their gradients, parted into what is positive and what is negative, make the updates; a component's
    scale does not matter to them.

    Args:
        data: (bins, frames), above zero.
        spectra: (bins, components) to begin with: harmonic ones first, as many percussive ones behind them.
        gains: (components, frames) to begin with.
        iterations: each updates the spectra, then the gains.
        smoothness, sparseness: weights against the divergence; 0 for plain NMF.

    Returns:
        Spectra and gains, after `iterations`.
    """
    half = spectra.shape[1] // 2
    spectra, gains = spectra.copy(), gains.copy()
    for _ in range(iterations):
        up, down = _constraints(spectra.T, half, smoothness, sparseness, smooth_first=False)
        # Weighted by what a component amounts to, or loud ones would not feel them.
        scale = gains.sum(axis=1)
        ratio = data / (spectra @ gains)
        spectra *= (ratio @ gains.T + scale * down.T) / (scale * (1.0 + up.T))
        np.maximum(spectra, FLOOR * FLOOR, out=spectra)
        up, down = _constraints(gains, half, smoothness, sparseness, smooth_first=True)
        scale = spectra.sum(axis=0)
        ratio = data / (spectra @ gains)
        gains *= (spectra.T @ ratio + scale[:, None] * down) / (scale[:, None] * (1.0 + up))
        np.maximum(gains, FLOOR * FLOOR, out=gains)
    return spectra, gains


def _constraints(
    rows: Matrix, half: int, smoothness: float, sparseness: float, smooth_first: bool
) -> tuple[Matrix, Matrix]:
    """Positive and negative parts of the penalties' gradients: one half of the rows smooth, one sparse."""
    up, down = np.zeros_like(rows), np.zeros_like(rows)
    level = np.sqrt(np.mean(rows**2, axis=1, keepdims=True))
    scaled = rows / np.maximum(level, FLOOR)
    first, second = slice(0, half), slice(half, None)
    smooth, sparse = (first, second) if smooth_first else (second, first)
    x = scaled[smooth]
    around = np.zeros_like(x)
    around[:, 1:] += x[:, :-1]
    around[:, :-1] += x[:, 1:]
    steps = (np.diff(x, axis=1) ** 2).sum(axis=1, keepdims=True) / x.shape[1]
    up[smooth] = smoothness * 4.0 * x
    down[smooth] = smoothness * (2.0 * around + 2.0 * x * steps)
    x = scaled[sparse]
    up[sparse] = sparseness
    down[sparse] = sparseness * x * x.mean(axis=1, keepdims=True)
    return up, down
