"""Another sampling rate inside a network: a windowed sinc, as a convolution that gradients pass.

J. O. Smith, "Digital audio resampling home page", CCRMA, 2002, with the window, the normalisation and the
defaults of the julius package (`julius.ResampleFrac`), which Demucs resamples with: what comes out is the
same.
"""

from __future__ import annotations

from math import ceil, gcd

import torch
from torch import Tensor, nn
from torch.nn import functional


class Resampler(nn.Module):
    """Resamples the last axis by a ratio of whole numbers.

    Args:
        before: the input's rate; any unit.
        after: the output's.
        zeros: zero crossings of the sinc on either side.
        rolloff: cut-off, as a share of the lower of both Nyquist frequencies.
    """

    kernels: Tensor

    def __init__(self, before: int, after: int, zeros: int = 24, rolloff: float = 0.945) -> None:
        super().__init__()
        common = gcd(before, after)
        self.before, self.after = before // common, after // common
        cutoff = min(self.before, self.after) * rolloff
        self.reach = ceil(zeros * self.before / cutoff)
        # One kernel for each phase that an output sample can have between two input samples.
        grid = torch.arange(-self.reach, self.before + self.reach, dtype=torch.float64) / self.before
        phases = torch.arange(self.after, dtype=torch.float64) / self.after
        times = ((grid - phases.unsqueeze(1)) * cutoff).clamp(-zeros, zeros)
        kernels = torch.sinc(times) * torch.cos(0.5 * torch.pi * times / zeros).square()
        # A constant stays what it is.
        kernels = (kernels / kernels.sum(dim=1, keepdim=True)).float().unsqueeze(1)
        self.register_buffer("kernels", kernels, persistent=False)

    def length(self, samples: int) -> int:
        """Samples that come out of so many."""
        return samples * self.after // self.before

    def forward(self, signal: Tensor) -> Tensor:
        """(..., samples) to (..., `length(samples)`); beyond its ends the signal keeps its last value."""
        if self.before == self.after:
            return signal
        flat = signal.reshape(-1, 1, signal.shape[-1])
        padded = functional.pad(flat, (self.reach, self.reach + self.before), mode="replicate")
        phases = functional.conv1d(padded, self.kernels, stride=self.before)
        resampled = phases.transpose(1, 2).flatten(1)[:, : self.length(signal.shape[-1])]
        return resampled.reshape(*signal.shape[:-1], -1)
