"""`rtsep.load(...).separate`: what its stems add up to; what it refuses, in one line and at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rtsep.engine.separator import Separator, load
from rtsep.spec import UsageError
from tests.models import build_tiny_model

AUDIO = np.zeros((2, 5_000), np.float32)


@pytest.fixture(scope="module")
def separator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Separator]:
    with load(build_tiny_model(tmp_path_factory.mktemp("model"), passthrough=True)) as found:
        yield found


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -float("inf"), -1, 0, 999, 768_001])
def test_an_impossible_rate_is_refused(separator: Separator, rate: float) -> None:
    with pytest.raises(UsageError, match=f"rate of {rate} Hz is not possible; rtsep takes 1000 to 768000 Hz"):
        separator.separate(AUDIO, rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1_000, 44_100, 768_000])
def test_the_ends_of_the_range_are_in_it(separator: Separator, rate: int) -> None:
    assert {stem.shape for stem in separator.separate(AUDIO, rate).values()} == {AUDIO.shape}


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("shape", [(2, 30_001), (1, 30_001), (30_001,)])
def test_stems_add_up_to_the_audio_at_any_rate(rate: int, shape: tuple[int, ...]) -> None:
    """White noise, which fills the band up to the top that the model lacks."""
    audio = np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 8
    with load("hpss") as separator:
        stems = separator.separate(audio, rate)
    np.testing.assert_allclose(np.sum(list(stems.values()), axis=0), audio, rtol=0, atol=3e-6)


def test_what_the_models_rate_lacks_is_in_one_stem_alone() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 30_000 / 96_000 * np.arange(96_000))).astype(np.float32)
    with load("hpss") as separator:
        stems = separator.separate(tone, 96_000)
        rest = stems.pop(separator.spec.rest)
    np.testing.assert_allclose(rest[2000:-2000], tone[2000:-2000], rtol=0, atol=1e-5)
    assert max(np.abs(stem[2000:-2000]).max() for stem in stems.values()) < 1e-5


def test_a_closed_separator_separates_nothing() -> None:
    separator = load("hpss")
    separator.close()
    separator.close()
    with pytest.raises(UsageError, match="closed"):
        separator.separate(AUDIO, 44_100)
