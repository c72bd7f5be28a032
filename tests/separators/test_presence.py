"""A stem that is favoured while it is there: how that is known, and what it does to the masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rtsep.dsp.bands import band_centres, band_interpolation
from rtsep.dsp.presence import weights_of_bands
from rtsep.separators.favouring import energies, favoured, logits_of
from rtsep.separators.presence import Presence
from rtsep.spec import ModelError
from tests.models import build_tiny_network

PRESENCE = Presence(logits=2.0, from_db=-24.0, to_db=-18.0, seconds=(0.3, 2.0))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.floats(0.0, 6.0))
def test_masks_are_those_of_raised_logits(seed: int, stem: int, more: float) -> None:
    logits = 4.0 * torch.randn((2, 5, 4, 2, 7), generator=torch.Generator().manual_seed(seed))
    raised = logits.clone()
    raised[:, :, stem] += more
    found = favoured(torch.softmax(logits, dim=2), stem, torch.full((2, 5), more))
    torch.testing.assert_close(found, torch.softmax(raised, dim=2), rtol=0.0, atol=1e-5)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(2, 5, 2, 7), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("short_db", "long_db", "logits"),
    [(-30.0, -40.0, 0.0), (-24.0, -30.0, 0.0), (-21.0, -30.0, 1.0), (-30.0, -19.5, 1.5), (-3.0, -60.0, 2.0)],
)
def test_the_larger_share_counts(short_db: float, long_db: float, logits: float) -> None:
    shares = torch.tensor([[10.0 ** (short_db / 10.0), 1.0], [10.0 ** (long_db / 10.0), 1.0]])
    for loudness in (1e-6, 1.0, 1e6):
        assert float(logits_of(loudness * shares, PRESENCE)) == pytest.approx(logits, abs=1e-3)


def test_nothing_is_there_in_silence() -> None:
    assert float(logits_of(torch.zeros(2, 2), PRESENCE)) == 0.0


def test_energies_are_those_of_masked_bands() -> None:
    random = np.random.default_rng(0)
    masks, powers = random.random((3, 2, 5), np.float32), random.random((2, 5), np.float32)
    weights = np.array([0.0, 1.0, 2.0, 3.0, 0.0], np.float32)
    own, whole = energies(*map(torch.from_numpy, (masks, powers)), 1, torch.from_numpy(weights))
    assert float(own) == pytest.approx(float((masks[1] ** 2 * powers * weights).sum()), rel=1e-5)
    assert float(whole) == pytest.approx(float((powers * weights).sum()), rel=1e-5)


def test_bands_count_by_their_bins_within_the_limits() -> None:
    centres = band_centres(257, 100.0, 2000.0, 16000.0, 12)
    triangles = band_interpolation(257, centres)
    weights = weights_of_bands(triangles, 100.0, 450.0, 5000.0)
    # Up to 2 kHz every band is a bin.
    assert not weights[:5].any() and np.all(weights[5:20] == 1.0)
    inside = centres * 100.0 <= 4500.0
    assert np.all(weights[21:][inside[21:]] > 1.0) and not weights[-3:].any()
    assert 40.0 < weights.sum() < 50.0


def test_a_voice_is_kept_through_a_rest_and_let_go_after_it() -> None:
    """Frames in which the stem has all, then ones in which it has nothing."""
    network = build_tiny_network("band-split", presence=PRESENCE.model_dump())
    c = network.config
    there = torch.full((1, 4, 2, network.bands), 1e-3)
    there[:, 0] = 0.997
    absent = torch.full_like(there, 1.0 / 3.0)
    absent[:, 0] = 1e-4
    absent = absent / absent.sum(dim=1, keepdim=True)
    powers = torch.ones((1, 2, network.bands))
    sums = network.init_state(1)["presence"]
    a_second = c.sample_rate // c.hop

    def gained(masks: torch.Tensor, frames: int) -> float:
        """What is added to the logits after so many frames."""
        nonlocal sums
        for _ in range(frames):
            found, sums = network._favour_once(masks, powers, sums)
        odds = found[0, 0] / (1.0 - found[0, 0])
        return float(torch.log(odds / (masks[0, 0] / (1.0 - masks[0, 0]))).median())

    assert gained(absent, a_second) == pytest.approx(0.0, abs=0.02)
    assert gained(there, a_second // 20) == pytest.approx(2.0, abs=0.02)
    assert gained(there, 4 * a_second) == pytest.approx(2.0, abs=0.02)
    assert gained(absent, 4 * a_second) == pytest.approx(2.0, abs=0.02)
    # The long memory falls by 8.7 dB in four seconds and reaches the lower limit after eleven.
    assert gained(absent, 10 * a_second) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"from_db": -18.0}, "from_db, -18, must lie below to_db, -18"),
        ({"low_hz": 6000.0}, "low_hz, 6000, must lie below high_hz, 5000"),
        ({"seconds": (0.0, 1.0)}, "seconds must be positive"),
        ({"logits": -1.0}, "greater than or equal to 0"),
        ({"logits": math.nan}, "finite"),
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Presence.model_validate({"logits": 1.0} | wrong)


def test_only_a_stem_can_be_there() -> None:
    with pytest.raises(
        ModelError, match=r"presence: piano is none of the stems \(vocals, drums, bass, other\)"
    ):
        build_tiny_network("band-split", presence={"logits": 1.0, "stem": "piano"})
