"""Long memories from the start: how the recurrent cells of an untrained network are set."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

MEMORY_SECONDS = 4.0
"""The longest memory that an untrained cell is given."""


def spread_memory(lstm: nn.LSTM, frames_a_second: float) -> None:
    """Let an LSTM's cells start with memories from a frame to `MEMORY_SECONDS`, spread evenly in octaves.

    As PyTorch draws them, every cell forgets half of itself each frame, and a network must first learn
    to remember. This is the chrono initialisation of C. Tallec, Y. Ollivier, "Can recurrent neural
    networks warp time?", ICLR 2018, section 3. One layer, one direction.
    """
    width = lstm.hidden_size
    # To a type checker a module's attribute may be a module itself.
    biases: Any = lstm
    longest = max(MEMORY_SECONDS * frames_a_second, 2.0)
    frames = torch.logspace(0.0, math.log10(longest), width)
    forget = torch.log(frames[torch.randperm(width)] + 1e-2)
    with torch.no_grad():
        # torch adds two biases and orders the gates input, forget, cell, output.
        biases.bias_hh_l0.zero_()
        biases.bias_ih_l0[:width] = -forget
        biases.bias_ih_l0[width : 2 * width] = forget
