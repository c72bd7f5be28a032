"""`rtsep.load(...).separate`: what it refuses, in one line and at once."""

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


def test_a_closed_separator_separates_nothing() -> None:
    separator = load("hpss")
    separator.close()
    separator.close()
    with pytest.raises(UsageError, match="closed"):
        separator.separate(AUDIO, 44_100)
