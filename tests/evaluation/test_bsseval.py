"""BSSEval is museval's: the same figures, to the last bit."""

from __future__ import annotations

import builtins
from typing import Any

import museval
import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.evaluation.bsseval import RATIOS, bsseval, on_16_bits
from rtsep.evaluation.oracles import irm
from rtsep.evaluation.tracks import find_tracks
from rtsep.spec import UsageError

RATE = 2000
Audio = NDArray[np.float64]


def scene(channels: int = 1, seconds: int = 3) -> tuple[dict[str, Audio], dict[str, Audio]]:
    """Noise stems, and estimates with some of each other and of something else in them."""
    random = np.random.default_rng(5)
    shape = (channels, seconds * RATE)
    targets = {name: random.standard_normal(shape) for name in ("vocals", "drums")}
    mixture = np.sum(list(targets.values()), axis=0)
    estimates = {
        name: target + 0.2 * mixture + 0.1 * random.standard_normal(shape) for name, target in targets.items()
    }
    return targets, estimates


@pytest.mark.parametrize("channels", [1, 2])
def test_equals_museval(channels: int) -> None:
    targets, estimates = scene(channels)
    found = bsseval(targets, estimates, RATE)
    truth = np.stack([t.T for t in targets.values()])
    guess = np.stack([e.T for e in estimates.values()])
    for ratio, expected in zip(RATIOS, museval.evaluate(truth, guess, win=RATE, hop=RATE), strict=True):
        assert getattr(found, ratio).shape == (2, 3)
        np.testing.assert_array_equal(getattr(found, ratio), expected)
    assert found.frames("drums")["sir"].tolist() == found.sir[1].tolist()


def test_equals_museval_on_music_and_makes_sense() -> None:
    """Stems from a lossy codec: without the noise of 16 bits an ideal mask would have an SIR below zero."""
    track = find_tracks("stempeg")[0].read(2.0)
    left = {name: on_16_bits(track.targets[name][:1]) for name in ("vocals", "accompaniment")}
    guess = irm(np.stack(list(left.values())))
    found = bsseval(left, dict(zip(left, guess, strict=True)), 44100)
    truth = np.stack([part.T for part in left.values()])
    expected = museval.evaluate(truth, guess.transpose(0, 2, 1))
    for ratio, values in zip(RATIOS, expected, strict=True):
        np.testing.assert_array_equal(getattr(found, ratio), values)
    assert np.all(found.sir > 10.0) and np.all(found.sar > 5.0), found


def test_rounding_leaves_16_bits_alone_and_is_small() -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, (2, 1000)) / 32768.0
    np.testing.assert_array_equal(on_16_bits(samples), samples)
    noise = np.random.default_rng(1).uniform(-1.0, 1.0, (2, 1000))
    assert 0.0 < np.abs(on_16_bits(noise) - noise).max() <= 0.5 / 32768.0
    assert not np.any(on_16_bits(np.zeros((2, 10))))


def test_a_silent_frame_is_not_a_number_and_a_silent_stem_is_left_out() -> None:
    targets, estimates = scene()
    without = bsseval(targets, estimates, RATE)
    targets["other"] = np.zeros_like(targets["drums"])
    estimates["other"] = 0.01 * estimates["drums"]
    found = bsseval(targets, estimates, RATE)
    assert np.isnan(found.sdr[2]).all()
    np.testing.assert_array_equal(found.sdr[:2], without.sdr)
    targets["drums"][:, RATE : 2 * RATE] = 0.0
    found = bsseval(targets, estimates, RATE)
    assert np.isnan(found.sdr[:, 1]).all() and np.isfinite(found.sdr[:2, [0, 2]]).all()


def test_all_silent_or_too_short_is_no_error() -> None:
    silence = {"vocals": np.zeros((2, 2 * RATE)), "drums": np.zeros((2, 2 * RATE))}
    assert np.isnan(bsseval(silence, silence, RATE).sdr).all()
    targets, estimates = scene()
    short = bsseval(
        {n: t[:, :100] for n, t in targets.items()}, {n: e[:, :100] for n, e in estimates.items()}, RATE
    )
    assert short.sar.shape == (2, 0)


def test_bad_arguments() -> None:
    targets, estimates = scene()
    with pytest.raises(UsageError, match="no estimate of drums"):
        bsseval(targets, {n: e for n, e in estimates.items() if n != "drums"}, RATE)
    with pytest.raises(UsageError, match="cannot compare"):
        bsseval(targets, estimates | {"drums": estimates["drums"][:, 1:]}, RATE)


def test_without_museval_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_museval(name: str, *rest: Any) -> Any:
        if name.startswith("museval"):
            raise ModuleNotFoundError("No module named 'museval'", name="museval")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_museval)
    with pytest.raises(UsageError, match=r"BSSEval needs museval .*pip install 'rtsep\[evaluate\]'"):
        bsseval(*scene(), RATE)
