"""Chunks of an offline model: nothing lost, nothing doubled, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.engine.chunks import ChunkedFeed
from rtsep.spec import AudioSpec, ModelError

CHUNK, OVERLAP = 100, 30


class Standin:
    """Passes the mix on as the first stem; the second says where in its chunk a sample lay."""

    spec = AudioSpec(1000, 2, ("mix", "place"))
    chunk = CHUNK
    overlap = OVERLAP

    def __init__(self, poison: int | None = None) -> None:
        self.lengths: list[int] = []
        self._poison = poison

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._poison == len(self.lengths):
            mix = mix * np.float32(np.nan)
        self.lengths.append(mix.shape[1])
        place = np.broadcast_to(np.arange(mix.shape[1], dtype=np.float32), mix.shape)
        return np.stack([mix, place])

    def close(self) -> None:
        pass


def fed(model: Standin, mix: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    feed = ChunkedFeed(model)
    parts = [feed.push(mix[:, at : at + block]) for at in range(0, mix.shape[1], block)]
    return np.concatenate([*parts, feed.finish()], axis=-1)


@pytest.mark.parametrize("samples", [1, OVERLAP, 99, 100, 101, 130, 131, 170, 171, 199, 200, 345, 1000])
def test_what_comes_in_comes_out(samples: int) -> None:
    mix = np.random.default_rng(1).standard_normal((2, samples)).astype(np.float32)
    whole = fed(Standin(), mix, samples)
    assert whole.shape == (2, 2, samples)
    # A cross-fade of equals is no change.
    np.testing.assert_allclose(whole[0], mix, atol=1e-6)
    for block in (1, 7, CHUNK, 333):
        np.testing.assert_array_equal(fed(Standin(), mix, block), whole)


def test_one_chunk_is_the_network_itself() -> None:
    model = Standin()
    stems = fed(model, np.ones((2, CHUNK), np.float32), 13)
    assert model.lengths == [CHUNK]
    np.testing.assert_array_equal(stems[1, 0], np.arange(CHUNK))


def test_the_fade_is_linear_and_as_long_as_said() -> None:
    place = fed(Standin(), np.ones((2, 170), np.float32), 170)[1, 0]
    np.testing.assert_array_equal(place[:70], np.arange(70))
    rise = (np.arange(OVERLAP) + 0.5) / OVERLAP
    fade = (1.0 - rise) * np.arange(70, 100) + rise * np.arange(0, 30)
    np.testing.assert_allclose(place[70:100], fade, rtol=1e-5)
    np.testing.assert_array_equal(place[100:], np.arange(30, 100))


def test_the_last_chunk_reaches_back() -> None:
    model = Standin()
    fed(model, np.ones((2, 175), np.float32), 175)
    assert model.lengths == [CHUNK] * 3, "a short piece would hear no past"


def test_memory_does_not_grow_with_the_song() -> None:
    feed = ChunkedFeed(Standin())
    held = []
    for _ in range(50):
        feed.push(np.ones((2, 90), np.float32))
        held.append(sum(block.shape[1] for block in feed._pending) + feed._past.shape[1])
    assert max(held) <= 2 * CHUNK + 90


def test_numbers_that_are_none_are_said() -> None:
    with pytest.raises(ModelError, match="not numbers, after 0.1 s"):
        fed(Standin(poison=2), np.ones((2, 400), np.float32), 50)
