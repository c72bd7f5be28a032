"""The multichannel Wiener filter that makes estimates of magnitudes into stems.

Every source is a zero-mean complex Gaussian whose covariance at frame t and bin f is a power v_j(t, f) times
a spatial covariance R_j(f), which does not move within an excerpt. Given both, the best estimate of the
source from the mixture x is the Wiener filter

    y_j(t, f) = v_j(t, f) R_j(f) (sum_k v_k(t, f) R_k(f) + eps I)^-1 x(t, f)

and given estimates y_j, power and covariance follow from them: expectation and maximisation in turn
(N. Duong, E. Vincent, R. Gribonval, "Under-determined reverberant audio source separation using a full-rank
spatial covariance model", IEEE TASLP 18(7), 2010). The update of the covariances is the weighted one of
A. Nugraha, A. Liutkus, E. Vincent, "Multichannel audio source separation with deep neural networks", IEEE/ACM
TASLP 24(9), 2016; scaling and regularisation are those of Open-Unmix, so that results can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rtsep.spec import UsageError

EPSILON = 1e-10
"""Power below which a bin is silent; its square root regularises the mixture's covariance."""

HEADROOM = 10.0
"""Largest magnitude that the iteration works at: louder mixtures are scaled down to it and back."""


def wiener(magnitudes: Tensor, mix: Tensor, iterations: int, residual: bool) -> Tensor:
    """Complex spectra of the sources of one excerpt.

    The first estimate is each magnitude with the mixture's phase; `iterations` rounds of the filter refine
    it. They run in double precision: with music near the middle of the stereo image the covariances are
    nearly singular. Where the mixture is exactly zero, so is every source.

    Args:
        magnitudes: (sources, channels, bins, frames), estimates, not negative.
        mix: (channels, bins, frames), complex.
        iterations: rounds of expectation and maximisation; none leaves the first estimate.
        residual: one more source, last: what the first estimates lack of the mixture.

    Returns:
        (sources, channels, bins, frames), complex of the mixture's type; one source more with `residual`.

    Raises:
        UsageError: when iterations are asked for with a single source, which the filter would set to the
            mixture.
    """
    estimates = magnitudes * torch.sgn(mix)
    if residual:
        estimates = torch.cat((estimates, (mix - estimates.sum(dim=0)).unsqueeze(0)))
    if iterations == 0:
        return estimates
    if len(estimates) == 1:
        raise UsageError("a Wiener filter needs two sources, or one and the residual")
    scale = (mix.abs().max() / HEADROOM).clamp(min=1.0)
    x = (mix / scale).to(torch.complex128)
    y = (estimates / scale).to(torch.complex128)
    for _ in range(iterations):
        y = _refined(y, x)
    return (y * scale).to(mix.dtype)


def _refined(y: Tensor, x: Tensor) -> Tensor:
    """One round: power and covariance of each source from its estimate, then the filter with them.

    In einsum's letters j is a source, c and d are channels, f is a bin and t a frame.
    """
    channels = x.shape[0]
    power = y.abs().square().mean(dim=1)  # jft
    outer = torch.einsum("jcft,jdft->jfcd", y, y.conj())
    spatial = outer / (power.sum(dim=-1) + EPSILON)[..., None, None]
    mixture = torch.einsum("jft,jfcd->ftcd", power.to(y.dtype), spatial)
    mixture = mixture + EPSILON**0.5 * torch.eye(channels, dtype=y.dtype, device=y.device)
    # Solved once for all sources, rather than inverted for each: R_j is applied to the whitened mixture.
    whitened = torch.linalg.solve(mixture, x.permute(1, 2, 0).unsqueeze(-1)).squeeze(-1)  # ftc
    return power.unsqueeze(1) * torch.einsum("jfcd,ftd->jcft", spatial, whitened)
