"""Griffin-Lim agrees with librosa's, and finds phases that fit."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from rtsep.separators.griffin_lim import griffin_lim
from rtsep.separators.open_unmix import OpenUnmix, OpenUnmixConfig

FRAME, HOP, SAMPLES = 256, 64, 4000


def sweep(samples: int = SAMPLES) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / samples
    return torch.sin(400.0 * time + 900.0 * time**2) * torch.hann_window(samples, dtype=torch.float64)


def analysed(signal: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(FRAME, dtype=signal.dtype)
    return torch.stft(signal, FRAME, HOP, window=window, pad_mode="reflect", return_complex=True)


def rebuilt(start: torch.Tensor, rounds: int, momentum: float = 0.99) -> torch.Tensor:
    window = torch.hann_window(FRAME, dtype=torch.float64)
    return griffin_lim(start, HOP, window, SAMPLES, rounds, momentum)


def inconsistency(signal: torch.Tensor, magnitudes: torch.Tensor) -> float:
    """What the signal's magnitudes are off by, against the wanted ones."""
    return float((analysed(signal).abs() - magnitudes).norm() / magnitudes.norm())


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("rounds", [1, 2, 12])
def test_is_librosas(rounds: int, momentum: float) -> None:
    magnitudes = analysed(sweep()).abs()
    found = rebuilt(magnitudes.to(torch.complex128)[None], rounds, momentum)[0]
    theirs = librosa.griffinlim(
        magnitudes.numpy(), n_iter=rounds, hop_length=HOP, n_fft=FRAME, length=SAMPLES, init=None,
        momentum=momentum, pad_mode="reflect", dtype=np.float64,
    )  # fmt: skip
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(found.numpy(), theirs, atol=1e-6)


def test_no_round_is_the_inverse_transform() -> None:
    signal = sweep()
    torch.testing.assert_close(rebuilt(analysed(signal)[None], 0)[0], signal, atol=1e-10, rtol=0.0)


def test_phases_that_fit_stay() -> None:
    signal = sweep()
    torch.testing.assert_close(rebuilt(analysed(signal)[None], 5)[0], signal, atol=1e-9, rtol=0.0)


def test_rounds_lessen_the_inconsistency_and_momentum_hastens_it() -> None:
    magnitudes = analysed(sweep()).abs()
    phases = torch.rand(magnitudes.shape, dtype=torch.float64) * 2.0 * torch.pi
    start = torch.polar(magnitudes, phases)[None]
    left = [inconsistency(rebuilt(start, rounds)[0], magnitudes) for rounds in (0, 5, 30)]
    assert left[0] > 1.3 * left[1] > 1.5 * left[2]
    assert left[2] < inconsistency(rebuilt(start, 30, 0.0)[0], magnitudes)


def test_open_unmix_takes_it_after_its_filter() -> None:
    sizes = {"frame": FRAME, "hop": HOP, "bins": 100, "width": 8, "depth": 1, "targets": ("a", "b")}
    plain = OpenUnmix(OpenUnmixConfig.model_validate(sizes | {"iterations": 0})).eval()
    other = OpenUnmix(OpenUnmixConfig.model_validate(sizes | {"iterations": 0, "griffin_lim": 8})).eval()
    other.load_state_dict(plain.state_dict())
    mix = 0.1 * torch.randn(2, 5000)
    with torch.no_grad():
        before, after = plain(mix), other(mix)
        wanted = plain.targets["a"](plain._analyse(mix).abs()[None])[0]
        errors = [(plain._analyse(w[0]).abs() - wanted).norm() for w in (before, after)]
    assert after.shape == before.shape and after.isfinite().all()
    assert errors[1] < 0.9 * errors[0]
    with torch.no_grad():
        assert not other(torch.zeros(2, 5000)).any()
