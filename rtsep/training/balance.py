"""How loud a network's stems should be, by least squares over examples.

A loss without a scale (SI-SDR) leaves open how loud each stem is, and to whom goes what none of them claims.
The best that a fixed matrix can do about it is a linear problem: its rows say what each stem is made of those
that the network tells apart. Since those sum to the mixture, as the true ones do, the columns of the solution
sum to one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from rtsep.spec import ModelError
from rtsep.training.mixing import Example
from rtsep.training.networks import TrainableNetwork

DECIMALS = 4
"""Of the numbers that are written into a manifest."""
SILENT = 1e-9
"""Energy a sample below which a mixture says nothing."""


def fit_balance(network: TrainableNetwork, examples: Iterable[Example]) -> tuple[tuple[float, ...], ...]:
    """The matrix B for which B times a network's stems is nearest to the truth.

    The error is that of the known parts, which may be sums of stems, each example's against its mixture's
    energy: loud ones do not drown the others.

    Args:
        network: in eval mode, unbalanced.
        examples: mixtures by their known parts.

    Returns:
        (stems, stems), columns summing to one.

    Raises:
        ModelError: when the examples do not determine it, since a stem never sounds in them.
    """
    count = len(network.spec.stems)
    left = np.zeros((count * count, count * count))
    right = np.zeros(count * count)
    device = next(network.parameters()).device
    for example in examples:
        parts = example.parts.astype(np.float64).reshape(count, -1)
        energy = float(np.square(parts.sum(axis=0)).sum())
        if energy < SILENT * parts.shape[1]:
            continue
        mix = torch.from_numpy(example.parts.sum(axis=0)).to(device)
        with torch.no_grad():
            stems = network(mix[None])[0].cpu().numpy().astype(np.float64).reshape(count, -1)
        groups = example.groups.astype(np.float64)
        # The normal equations of sum |groups B stems - parts|^2, B column by column.
        left += np.kron(stems @ stems.T, groups.T @ groups) / energy
        right += (groups.T @ parts @ stems.T).flatten(order="F") / energy
    if np.linalg.matrix_rank(left) < count * count:
        raise ModelError("balance: the examples do not say how loud every stem should be")
    matrix = np.linalg.solve(left, right).reshape(count, count, order="F")
    # Rounded numbers need not sum to one. Each stem's own share takes the rest.
    matrix = np.round(matrix, DECIMALS)
    matrix[np.diag_indices(count)] += 1.0 - matrix.sum(axis=0)
    return tuple(tuple(round(float(one), DECIMALS) for one in row) for row in matrix)
