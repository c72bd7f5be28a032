"""Oracles: masks with known values, perfect sums, and the order in which they bound one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from rtsep.evaluation.oracles import binary_masks, ibm, irm, multichannel_wiener, ratio_masks
from rtsep.evaluation.scorer import song_sdr
from rtsep.evaluation.spectra import Transform
from rtsep.spec import UsageError

RATE = 8000
SMALL = Transform(512, 512, 128)
Stems = NDArray[np.float64]

oracles = pytest.mark.parametrize(
    "oracle",
    [
        lambda stems, t: irm(stems, 1.0, t),
        lambda stems, t: irm(stems, 2.0, t),
        ibm,
        multichannel_wiener,
    ],
    ids=["irm1", "irm2", "ibm", "mwf"],
)


def song(channels: int = 2, seconds: float = 1.5, seed: int = 0) -> Stems:
    """A melody, clicks and a low note, each at its own place between the speakers: (3, channels, samples)."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    melody = sum(np.sin(2.0 * np.pi * f * t + np.sin(5.0 * t)) for f in (440.0, 880.0, 1320.0))
    clicks = random.standard_normal(len(t)) * (np.exp(-60.0 * (t % 0.25)))
    low = np.sign(np.sin(2.0 * np.pi * 82.0 * t)) * (1.0 + np.sin(3.0 * t))
    pans = np.array([[0.7, 0.7], [1.0, 0.3], [0.4, 0.9]])[:, :channels]
    return 0.1 * pans[:, :, None] * np.stack([np.asarray(melody), 2.0 * clicks, low])[:, None, :]


@settings(deadline=None, max_examples=50)
@given(
    magnitudes=hnp.arrays(np.float64, (3, 4, 5), elements=st.floats(0.0, 1e3)),
    alpha=st.sampled_from([1.0, 2.0]),
)
def test_masks_share_out_exactly_one(magnitudes: NDArray[np.float64], alpha: float) -> None:
    masks = ratio_masks(magnitudes, alpha)
    assert np.all(masks >= 0.0)
    np.testing.assert_allclose(masks.sum(axis=0), 1.0)
    binary = binary_masks(magnitudes)
    assert set(np.unique(binary)) <= {0.0, 1.0}
    assert np.all(binary.sum(axis=0) == 1.0)
    taken = np.take_along_axis(magnitudes, binary.argmax(axis=0)[None], axis=0)
    assert np.all(taken == magnitudes.max(axis=0))


def test_masks_of_known_magnitudes() -> None:
    magnitudes = np.array([[3.0], [1.0]])
    assert ratio_masks(magnitudes, 1.0)[:, 0].tolist() == [0.75, 0.25]
    assert ratio_masks(magnitudes, 2.0)[:, 0].tolist() == [0.9, 0.1]
    assert binary_masks(magnitudes)[:, 0].tolist() == [1.0, 0.0]
    assert ratio_masks(np.zeros((4, 1)), 2.0)[:, 0].tolist() == [0.25] * 4


@oracles
@pytest.mark.parametrize("transform", [SMALL, Transform(512, 128, 32)], ids=["symmetric", "asymmetric"])
def test_better_than_the_mixture_and_adding_up_to_it(
    oracle: Callable[[Stems, Transform], Stems], transform: Transform
) -> None:
    stems = song()
    mixture = stems.sum(axis=0)
    estimates = oracle(stems, transform)
    assert estimates.shape == stems.shape
    np.testing.assert_allclose(estimates.sum(axis=0), mixture, atol=1e-6)
    for truth, estimate in zip(stems, estimates, strict=True):
        assert song_sdr(truth, estimate) > song_sdr(truth, mixture) + 5.0


@oracles
def test_a_stem_alone_comes_back_whole(oracle: Callable[[Stems, Transform], Stems]) -> None:
    stems = song()
    stems[1:] = 0.0
    estimates = oracle(stems, SMALL)
    np.testing.assert_allclose(estimates, stems, atol=1e-6)


@oracles
def test_stems_that_share_no_frequency_come_back(oracle: Callable[[Stems, Transform], Stems]) -> None:
    t = np.arange(RATE) / RATE
    stems = np.stack([np.tile(np.sin(2.0 * np.pi * f * t), (2, 1)) for f in (250.0, 2000.0)])
    estimates = oracle(stems, SMALL)
    middle = slice(1000, -1000)  # a tone that begins is wide
    for truth, estimate in zip(stems, estimates, strict=True):
        assert song_sdr(truth[:, middle], estimate[:, middle]) > 40.0


def test_power_ratios_better_magnitude_ratios() -> None:
    stems = song()
    one, two = irm(stems, 1.0, SMALL), irm(stems, 2.0, SMALL)
    for truth, magnitude, power in zip(stems, one, two, strict=True):
        assert song_sdr(truth, power) > song_sdr(truth, magnitude)


def test_with_one_channel_the_wiener_filter_is_the_power_ratio() -> None:
    stems = song(channels=1)
    np.testing.assert_allclose(multichannel_wiener(stems, SMALL), irm(stems, 2.0, SMALL), atol=1e-6)


def test_the_wiener_filter_hears_where_a_stem_stands() -> None:
    """Two noises that no mask can part, one on the left and one on the right."""
    left, right = 0.1 * np.random.default_rng(0).standard_normal((2, RATE))
    turn = np.array([[0.9, 0.1], [0.2, 0.8]])
    stems = np.stack([turn[:, :1] * left, turn[:, 1:] * right])
    masked, filtered = irm(stems, 2.0, SMALL), multichannel_wiener(stems, SMALL)
    for truth, mask, wiener in zip(stems, masked, filtered, strict=True):
        assert song_sdr(truth, wiener) > song_sdr(truth, mask) + 10.0


def test_the_length_of_a_block_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    stems = song(seconds=0.5)
    whole = [ibm(stems, SMALL), multichannel_wiener(stems, SMALL)]
    monkeypatch.setattr("rtsep.evaluation.spectra.BLOCK", 7)
    for expected, found in zip(whole, [ibm(stems, SMALL), multichannel_wiener(stems, SMALL)], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("oracle", [irm, ibm, multichannel_wiener])
def test_other_shapes_are_refused(oracle: Callable[[Stems], Stems]) -> None:
    for shape in ((2, 100), (0, 2, 100), (3, 2, 0)):
        with pytest.raises(UsageError, match="expected"):
            oracle(np.zeros(shape))
