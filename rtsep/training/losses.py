"""Losses on waveforms: what an estimate differs from the truth by, each as one number a known part.

Every term takes estimates and truths of known parts and gives (batch, parts): zero, or for SI-SDR the lowest
value, where both are equal. A batch's loss is the mean over its known parts of the weighted sum of terms, so
that batches may be cut up and shared out at will. Spectra are scaled to keep a signal's mean power, so that
terms in either domain are of one order of magnitude.

Parts that are silent are no matter for relative terms (SI-SDR, multi-resolution STFT), which would divide by
nothing; they have a term of their own, `silence`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

FRAME = 2048
"""Samples of a frame of the terms on one spectrum; frames start every quarter."""
RESOLUTIONS = (2048, 1024, 512)
"""Samples of a frame of each spectrum of the multi-resolution term."""
DUAL_MAGNITUDE, DUAL_TIME = 0.9, 0.1
"""Alpha and beta of the dual loss."""
COMPRESSION = 0.3
COMPLEX_SHARE = 0.3
"""Exponent of the compressed spectra, and what the term with phases weighs against the one without."""
HIGHEST_SDR_DB = 30.0
"""SI-SDR beyond which nothing more is won."""
SILENT_DB = -60.0
"""Level against the mixture's at or below which a part, or a second of it, counts as silent."""
HEARD_DB = -30.0
"""Level against the mixture's below which what is left in a silent second does not matter."""
TINY = 1e-10
"""Power, -100 dB of full scale: beside it nothing can be heard, and gradients stay finite at silence."""


class Scene:
    """One batch of estimates and truths, with their spectra, each computed once.

    Args:
        estimate: (batch, parts, channels, samples).
        truth: the same shape.
        mix: (batch, channels, samples).
        segment: samples over which activity is looked at; a rest at the end that is shorter is left out.

    Attributes:
        estimate, truth, mix, segment: as given, in float32.
        active: (batch, parts), whether the part sounds at all.
    """

    def __init__(self, estimate: Tensor, truth: Tensor, mix: Tensor, segment: int) -> None:
        self.estimate, self.truth, self.mix = estimate.float(), truth.float(), mix.float()
        self.segment = min(segment, mix.shape[-1])
        self._spectra: dict[int, tuple[Tensor, Tensor]] = {}
        loudness = self.mix.square().mean(dim=(1, 2)).unsqueeze(1)
        self.active = self.truth.square().mean(dim=(2, 3)) > _power(SILENT_DB) * loudness + TINY

    def spectra(self, frame: int) -> tuple[Tensor, Tensor]:
        """Complex spectra of estimate and truth, (batch, parts, channels * bins * frames) each."""
        if frame not in self._spectra:
            self._spectra[frame] = spectrum(self.estimate, frame), spectrum(self.truth, frame)
        return self._spectra[frame]


Loss = Callable[[Scene], Tensor]


def spectrum(signal: Tensor, frame: int) -> Tensor:
    """Short-time spectrum with a Hann window: (batch, parts, channels, samples) to (batch, parts, all bins).

    Scaled by the window's energy: white noise of power p has bins of power p.
    """
    window = torch.hann_window(frame, device=signal.device)
    flat = signal.flatten(0, 2)
    short = max(frame // 2 + 1 - flat.shape[-1], 0)
    bins = torch.stft(
        torch.nn.functional.pad(flat, (0, short)), frame, frame // 4, window=window, return_complex=True
    )
    return (bins / window.square().sum().sqrt()).reshape(*signal.shape[:2], -1)


def magnitude(bins: Tensor) -> Tensor:
    """Magnitudes whose gradient is finite at zero: 100 dB below full scale they level off."""
    return torch.sqrt(bins.real.square() + bins.imag.square() + TINY)


# -- the waveform ---------------------------------------------------------------------------------------


def l1(scene: Scene) -> Tensor:
    """Mean absolute error of the samples.

    A. Defossez, N. Usunier, L. Bottou, F. Bach, "Music source separation in the waveform domain", 2019
    (arXiv:1911.13254), section 4; HS-TasNet is trained with it too.
    """
    return (scene.estimate - scene.truth).abs().mean(dim=(2, 3))


def mse(scene: Scene) -> Tensor:
    """Mean squared error of the samples. By Parseval's theorem that of the complex spectrum, too."""
    return (scene.estimate - scene.truth).square().mean(dim=(2, 3))


def si_sdr(scene: Scene) -> Tensor:
    """Negative scale-invariant SDR in dB, all channels as one vector; 0 where the part is silent.

    J. Le Roux, S. Wisdom, H. Erdogan, J. Hershey, "SDR - half-baked or well done?", ICASSP 2019
    (arXiv:1811.02508), with the soft threshold of S. Wisdom et al., "Unsupervised sound separation using
    mixture invariant training", NeurIPS 2020 (arXiv:2006.12701), section 3.2: easy examples do not drown
    the others.
    """
    estimate, truth = scene.estimate.flatten(2), scene.truth.flatten(2)
    energy = truth.square().sum(dim=2, keepdim=True)
    target = (estimate * truth).sum(dim=2, keepdim=True) / energy.clamp_min(TINY) * truth
    power = target.square().sum(dim=2)
    error = (estimate - target).square().sum(dim=2)
    # A floor by the estimate's own energy: a scale must not change the value, nor an orthogonal guess end it.
    least = 1e-6 * estimate.square().sum(dim=2) + 1e-20
    ratio = (power + least) / (error + _power(-HIGHEST_SDR_DB) * power + least)
    return torch.where(scene.active, -10.0 * torch.log10(ratio), 0.0)


# -- spectra --------------------------------------------------------------------------------------------


def magnitude_mse(scene: Scene) -> Tensor:
    """Mean squared error of the magnitudes: what Open-Unmix is trained with.

    F.-R. Stoter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix - A Reference Implementation for Music
    Source Separation", JOSS 4(41), 2019.
    """
    estimate, truth = scene.spectra(FRAME)
    return (magnitude(estimate) - magnitude(truth)).square().mean(dim=2)


def magnitude_l1(scene: Scene) -> Tensor:
    """Mean absolute error of the magnitudes: what U-Nets that mask spectrograms are trained with.

    A. Jansson et al., "Singing voice separation with deep U-Net convolutional networks", ISMIR 2017, section
    3.1; R. Hennequin et al., "Spleeter", JOSS 5(50), 2020.
    """
    estimate, truth = scene.spectra(FRAME)
    return (magnitude(estimate) - magnitude(truth)).abs().mean(dim=2)


def dual(scene: Scene) -> Tensor:
    """Magnitude and time together: 0.9 of the magnitudes' squared error, 0.1 of the samples'.

    K. George, K. Li, G. Min, J. Seong, "Singing vocal source separation with deep neural networks",
    section 2.4.2, equation 2.
    """
    return DUAL_MAGNITUDE * magnitude_mse(scene) + DUAL_TIME * mse(scene)


def mr_stft(scene: Scene) -> Tensor:
    """Spectral convergence and L1 of log magnitudes, averaged over three resolutions; 0 for a silent part.

    R. Yamamoto, E. Song, J.-M. Kim, "Parallel WaveGAN", ICASSP 2020 (arXiv:1910.11480), section 2.2. Bins are
    looked at down to 40 dB below the part's own mean magnitude: what lies lower is the codec's noise.
    """
    total = torch.zeros_like(scene.active, dtype=torch.float32)
    for frame in RESOLUTIONS:
        estimate, truth = (magnitude(bins) for bins in scene.spectra(frame))
        difference = (estimate - truth).square().sum(dim=2)
        # The root's slope at zero is infinite.
        energy = truth.square().sum(dim=2)
        convergence = torch.sqrt(difference / energy + 1e-8) - 1e-4
        least = 0.01 * truth.mean(dim=2, keepdim=True)
        logarithms = (torch.log(estimate + least) - torch.log(truth + least)).abs().mean(dim=2)
        total = total + (convergence + logarithms) / len(RESOLUTIONS)
    return torch.where(scene.active, total, 0.0)


def complex_l1(scene: Scene) -> Tensor:
    """Mean absolute error of the real and imaginary parts of the spectrum.

    Y. Luo, J. Yu, "Music source separation with band-split RNN", IEEE/ACM TASLP 31, 2023 (arXiv:2209.15174),
    section III-C, who add that of the waveform (`l1`).
    """
    estimate, truth = scene.spectra(FRAME)
    return torch.view_as_real(estimate - truth).abs().mean(dim=(2, 3))


def compressed(scene: Scene) -> Tensor:
    """Squared error of spectra whose magnitudes are raised to 0.3: 0.7 without phases, 0.3 with them.

    S. Braun, I. Tashev, "A consolidated view of loss functions for supervised deep learning-based speech
    enhancement", 2021 (arXiv:2009.12286), section 3; after A. Ephrat et al., "Looking to listen at the
    cocktail party", 2018. Quiet bins count nearly as much as loud ones, as they do to the ear.
    """
    estimate, truth = scene.spectra(FRAME)
    magnitudes = magnitude(estimate), magnitude(truth)
    powers = [m**COMPRESSION for m in magnitudes]
    plain = (powers[0] - powers[1]).square().mean(dim=2)
    turned = [bins * m ** (COMPRESSION - 1.0) for bins, m in zip((estimate, truth), magnitudes, strict=True)]
    phased = torch.view_as_real(turned[0] - turned[1]).square().sum(dim=3).mean(dim=2)
    return (1.0 - COMPLEX_SHARE) * plain + COMPLEX_SHARE * phased


# -- what parts are to each other, and to silence -------------------------------------------------------


def consistency(scene: Scene, remainder: Tensor) -> Tensor:
    """Mean absolute value of what all stems' sum lacks of the mixture, the same for every part.

    Of use for networks whose stems do not sum to it by construction; see S. Wisdom et al., "Differentiable
    consistency constraints for improved deep speech enhancement", ICASSP 2019 (arXiv:1811.08521).

    Args:
        scene: the parts.
        remainder: mixture minus the sum of all stems, (batch, channels, samples).
    """
    return remainder.float().abs().mean(dim=(1, 2)).unsqueeze(1).expand(scene.active.shape)


def silence(scene: Scene) -> Tensor:
    """Level of what is left where a part is silent, in tens of dB above `HEARD_DB` of the mixture.

    Mean over all seconds; those in which the part sounds count zero. S. Wisdom et al., "What's all the FUSS
    about free universal sound separation data?", ICASSP 2021 (arXiv:2011.00803), section 3: a loss for
    sources that are not there, with the mixture's power for a threshold.
    """
    left, own = _energies(scene.estimate, scene.segment), _energies(scene.truth, scene.segment)
    whole = _energies(scene.mix.unsqueeze(1), scene.segment)
    quiet = own <= _power(SILENT_DB) * whole + TINY
    level = torch.log10(1.0 + left / (_power(HEARD_DB) * (whole + TINY)))
    return torch.where(quiet, level, 0.0).mean(dim=2)


LOSSES: dict[str, Loss] = {
    "l1": l1,
    "mse": mse,
    "magnitude": magnitude_mse,
    "magnitude_l1": magnitude_l1,
    "dual": dual,
    "si_sdr": si_sdr,
    "mr_stft": mr_stft,
    "complex": complex_l1,
    "compressed": compressed,
    "silence": silence,
}
"""By the name in a training file's [loss] table, where also `consistency` stands."""


def weighted(scene: Scene, remainder: Tensor, weights: dict[str, float]) -> Tensor:
    """The weighted sum of terms, (batch, parts).

    Args:
        scene: the parts.
        remainder: mixture minus the sum of all stems, (batch, channels, samples).
        weights: by name, of `LOSSES` and "consistency"; at least one.
    """
    terms = LOSSES | {"consistency": partial(consistency, remainder=remainder)}
    total = torch.zeros_like(scene.active, dtype=torch.float32)
    for name, weight in weights.items():
        total = total + weight * terms[name](scene)
    return total


def _power(decibels: float) -> float:
    return float(10.0 ** (decibels / 10.0))


def _energies(signal: Tensor, segment: int) -> Tensor:
    """Mean power of (batch, parts, channels, samples) in every whole segment: (batch, parts, segments)."""
    whole = signal.shape[-1] // segment
    cut = signal[..., : whole * segment].unflatten(-1, (whole, segment))
    return cut.square().mean(dim=(2, 4))
