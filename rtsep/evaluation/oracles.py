"""Oracles: what masks could do if they were ideal. They know the true stems and bound those who do not.

All take the true stems, (stems, channels, samples), whose sum is the mixture, and give estimates of the same
shape in double precision that add up to the mixture again.

They are those of F.-R. Stöter, A. Liutkus, N. Ito, "The 2018 signal separation evaluation campaign", LVA/ICA
2018 (its part on oracle performance), but for the binary mask: there a stem takes a bin when it has more than
half of it, and some bins go to nobody; here the strongest takes it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.spectra import Transform
from rtsep.spec import UsageError

Audio = NDArray[np.floating]
Stems = NDArray[np.float64]
Masks = NDArray[np.float64]

SILENCE = 1e-30
"""Energy below which a bin has no owner; all stems share it."""


def ratio_masks(magnitudes: NDArray[np.floating], alpha: float) -> Masks:
    """Ideal ratio masks |y_j|^alpha / sum over j' of |y_j'|^alpha.

    Args:
        magnitudes: (stems, ...), not negative.
        alpha: 1 for ratios of magnitudes, 2 for those of power (the Wiener filter of one channel).

    Returns:
        (stems, ...), their sum over stems one; equal shares where all stems are silent.
    """
    power = np.asarray(magnitudes, np.float64) ** alpha
    total = power.sum(axis=0, keepdims=True)
    silent = total < SILENCE
    masks: Masks = np.where(silent, 1.0 / len(power), power / np.where(silent, 1.0, total))
    return masks


def binary_masks(magnitudes: NDArray[np.floating]) -> Masks:
    """Ideal binary masks: each bin goes whole to the stem that is strongest in it.

    Args:
        magnitudes: (stems, ...), not negative.

    Returns:
        (stems, ...) of zeros and ones, one of the latter in every bin; the first stem's among equals.
    """
    strongest = np.argmax(magnitudes, axis=0)
    masks: Masks = (np.arange(len(magnitudes)).reshape(-1, *[1] * strongest.ndim) == strongest).astype(
        np.float64
    )
    return masks


def irm(stems: Audio, alpha: float = 2.0, transform: Transform | None = None) -> Stems:
    """Ideal ratio masks on the short-time spectrum of the mixture, every channel by itself.

    Args:
        stems: (stems, channels, samples).
        alpha: see `ratio_masks`.
        transform: windows and hop; 4096 samples of square-root Hann every 1024 unless told.

    Returns:
        (stems, channels, samples).

    Raises:
        UsageError: when `stems` has another shape or no samples.
    """
    return _masked(stems, lambda magnitudes: ratio_masks(magnitudes, alpha), transform or Transform())


def ibm(stems: Audio, transform: Transform | None = None) -> Stems:
    """Ideal binary masks on the short-time spectrum of the mixture; arguments and result as `irm`."""
    return _masked(stems, binary_masks, transform or Transform())


def multichannel_wiener(stems: Audio, transform: Transform | None = None) -> Stems:
    """The multichannel Wiener filter that knows each stem's power and spatial covariance.

    The local Gaussian model of N. Q. K. Duong, E. Vincent, R. Gribonval, "Under-determined reverberant audio
    source separation using a full-rank spatial covariance model", IEEE TASLP 18(7), 2010, section II: stem j
    has in frame t and bin f the covariance v_j(t, f) R_j(f). Here v_j is its true power, the mean over the
    channels, and R_j its true spatial covariance over the song, of trace C:

        R_j(f) = sum over t of y_j y_j^H / sum over t of v_j
        estimate = v_j R_j (sum over j' of v_j' R_j')^-1 x

    With one channel it is `irm` of alpha 2.

    Args, returns, raises: as `irm`.
    """
    transform = transform or Transform()
    truth = _checked(stems)
    samples, (count, channels) = truth.shape[-1], truth.shape[:2]
    padded = transform.pad(truth)
    covariance = np.zeros((count, transform.bins, channels, channels), np.complex128)
    power = np.zeros((count, transform.bins))
    for block in transform.blocks(samples):
        y = transform.spectra(padded, block)
        covariance += np.einsum("jctf,jdtf->jfcd", y, y.conj(), optimize=True)
        power += np.mean(np.abs(y) ** 2, axis=1).sum(axis=1)
    identity = np.eye(channels)
    silent = (power < SILENCE)[..., None, None]
    spatial = np.where(silent, identity, covariance / np.maximum(power, SILENCE)[..., None, None])

    out = np.zeros_like(padded)
    for block in transform.blocks(samples):
        y = transform.spectra(padded, block)
        x = y.sum(axis=0)
        v = np.mean(np.abs(y) ** 2, axis=1)
        total = np.einsum("jtf,jfcd->tfcd", v, spatial, optimize=True)
        # Stems in the middle of the image have singular covariances: a little of the identity inverts them.
        load = 1e-9 * np.trace(total, axis1=-2, axis2=-1).real / channels + SILENCE
        total = total + load[..., None, None] * identity
        whitened = np.linalg.solve(total, np.moveaxis(x, 0, -1)[..., None])[..., 0]
        estimates = np.einsum("jtf,jfcd,tfd->jctf", v, spatial, whitened, optimize=True)
        # What the loading kept back belongs to all alike: stems add up to the mixture.
        estimates += (x - estimates.sum(axis=0)) / count
        transform.add(estimates, block, out)
    return transform.crop(out, samples)


def _masked(stems: Audio, masks: Callable[[NDArray[np.float64]], Masks], transform: Transform) -> Stems:
    truth = _checked(stems)
    samples = truth.shape[-1]
    padded = transform.pad(truth)
    out = np.zeros_like(padded)
    for block in transform.blocks(samples):
        y = transform.spectra(padded, block)
        transform.add(masks(np.abs(y)) * y.sum(axis=0), block, out)
    return transform.crop(out, samples)


def _checked(stems: Audio) -> NDArray[np.float64]:
    if stems.ndim != 3 or 0 in stems.shape:
        raise UsageError(f"expected (stems, channels, samples) of audio, not {stems.shape}")
    return np.asarray(stems, np.float64)
