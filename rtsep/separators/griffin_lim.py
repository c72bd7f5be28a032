"""Griffin-Lim: phases that fit the magnitudes, instead of the mixture's.

Overlapping frames say the same things several times over, so that few sets of phases make a spectrum that a
signal can have. Going to the signal and back, with the magnitudes put right each time, approaches one of
them (D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32(2),
1984). The momentum is that of N. Perraudin, P. Balazs, P. Sondergaard, "A fast Griffin-Lim algorithm", WASPAA
2013, whose choice of 0.99 is the default here.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOMENTUM = 0.99
"""The alpha of the fast Griffin-Lim algorithm."""
TINY = 1e-16
"""Beside it no magnitude matters; it keeps a phase of nothing finite."""


def griffin_lim(
    start: Tensor, hop: int, window: Tensor, samples: int, rounds: int, momentum: float = MOMENTUM
) -> Tensor:
    """The signal whose spectrum has the magnitudes of `start`, nearly; the search begins with its phases.

    Args:
        start: (..., bins, frames), complex; frames are centred and reflect what lies at the ends.
        hop: samples between frames.
        window: of a frame; bins are half its length and one.
        samples: of the signal.
        rounds: to the signal and back; none is the inverse transform of `start` alone.
        momentum: 0 is the plain algorithm of 1984.

    Returns:
        (..., samples), real.
    """
    frame = window.shape[0]
    flat = start.flatten(0, -3)
    magnitudes = flat.abs()
    lead = momentum / (1.0 + momentum)
    spectra = flat
    before: Tensor | None = None
    for _ in range(rounds):
        wave = torch.istft(spectra, frame, hop, window=window, length=samples)
        rebuilt = torch.stft(wave, frame, hop, window=window, pad_mode="reflect", return_complex=True)
        ahead = rebuilt if before is None else rebuilt - lead * before
        spectra = magnitudes * (ahead / (ahead.abs() + TINY))
        before = rebuilt
    signal: Tensor = torch.istft(spectra, frame, hop, window=window, length=samples)
    return signal.unflatten(0, start.shape[:-2])
