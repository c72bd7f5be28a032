"""Products in pieces equal the whole product, whatever the matrix and the pieces."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtsep.separators.banded import BandedProduct

SIZES = st.integers(1, 30)


@given(rows=SIZES, columns=SIZES, pieces=st.integers(1, 40), seed=st.integers(0, 99))
def test_pieces_equal_the_whole(rows: int, columns: int, pieces: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre = np.linspace(0.0, rows - 1.0, columns)
    near = np.abs(np.arange(rows)[:, None] - centre) < rng.uniform(0.0, 4.0)
    matrix = (near * rng.standard_normal((rows, columns))).astype(np.float32)
    x = rng.standard_normal((2, 3, rows)).astype(np.float32)
    product = BandedProduct(matrix, pieces)
    assert not product.state_dict()
    np.testing.assert_allclose(product(torch.from_numpy(x)), x @ matrix, atol=1e-5)


def test_zeros_are_left_out() -> None:
    product = BandedProduct(np.eye(100, dtype=np.float32), 10)
    assert sum(piece.numel() for piece in product.buffers()) == 1000
