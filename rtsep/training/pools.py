"""Tracks to choose among: a root by its weight, then a track by its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from rtsep.training.corpus import Track


class Pool:
    """Some tracks of a corpus.

    Args:
        tracks: any number.
        weights: of the roots; 1 where not named.
    """

    def __init__(self, tracks: Iterable[Track], weights: Mapping[str, float]) -> None:
        self.tracks = list(tracks)
        self.roots = sorted({track.root for track in self.tracks})
        odds = np.array([weights.get(root, 1.0) for root in self.roots])
        self.odds: NDArray[np.float64] = odds / odds.sum() if odds.sum() > 0.0 else odds
        self.choices = [[t for t in self.tracks if t.root == root] for root in self.roots]
        self.shares = [_shares(choice) for choice in self.choices]

    def __len__(self) -> int:
        return len(self.tracks) if self.odds.any() else 0

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    def pick(self, rng: np.random.Generator) -> Track:
        """One track. A long root does not drown the others."""
        root = int(rng.choice(len(self.roots), p=self.odds))
        return self.choices[root][int(rng.choice(len(self.choices[root]), p=self.shares[root]))]


def _shares(tracks: list[Track]) -> NDArray[np.float64]:
    lengths = np.array([track.samples for track in tracks], dtype=np.float64)
    return lengths / lengths.sum()
