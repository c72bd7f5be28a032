"""A constant matrix that is zero but near its diagonal, multiplied in pieces: zeros cost time, too.

Averages over bands and interpolation between them are such matrices. Multiplied whole, they take a
stream's step as long as the network between them; piece by piece, a tenth of that.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class BandedProduct(nn.Module):
    """`x @ matrix` for a matrix whose columns each have few rows that are not zero, close to each other.

    Args:
        matrix: (rows, columns).
        pieces: runs of columns, of about one length, that are multiplied apart: more skip more zeros, and
            each is an operator of its own.
    """

    def __init__(self, matrix: NDArray[np.float32], pieces: int) -> None:
        super().__init__()
        self._rows: list[tuple[int, int]] = []
        edges = np.linspace(0, matrix.shape[1], min(pieces, matrix.shape[1]) + 1).astype(int)
        for number, (first, last) in enumerate(itertools.pairwise(edges)):
            used = np.flatnonzero(matrix[:, first:last].any(axis=1))
            low, high = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
            self._rows.append((low, high))
            piece = torch.from_numpy(np.ascontiguousarray(matrix[low:high, first:last]))
            self.register_buffer(f"piece{number}", piece, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., rows) to (..., columns)."""
        pieces = dict(self.named_buffers())
        return torch.cat(
            [x[..., low:high] @ pieces[f"piece{n}"] for n, (low, high) in enumerate(self._rows)], dim=-1
        )
