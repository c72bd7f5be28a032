"""One step of an LSTM layer, its equations written out: an exported graph then holds plain products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def lstm_step(lstm: nn.LSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer makes of one frame; one layer, one direction.

    Args:
        lstm: whose weights.
        x: (..., input size).
        h, c: (..., hidden size), what it kept of the frame before.

    Returns:
        The next h, which is the output too, and the next c.
    """
    # To a type checker any attribute of a module may be a module itself.
    w: Any = lstm
    gates = functional.linear(x, w.weight_ih_l0, w.bias_ih_l0 + w.bias_hh_l0)
    gates = gates + functional.linear(h, w.weight_hh_l0)
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell
