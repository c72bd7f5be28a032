"""Memories of untrained recurrent cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rtsep.separators.causal_lstm import CausalLSTM, CausalLSTMConfig


def test_untrained_cells_remember_from_a_frame_to_seconds() -> None:
    network = CausalLSTM(CausalLSTMConfig(width=64))
    lstms: Any = network.recurrence
    for lstm in lstms:
        # What one frame leaves of a cell that nothing is added to, as a number of frames.
        forget = torch.sigmoid((lstm.bias_ih_l0 + lstm.bias_hh_l0)[64:128].detach())
        memory = torch.sort(1.0 / (1.0 - forget)).values
        assert float(memory[0]) < 2.5 and 300.0 < float(memory[-1]) < 400.0, "four seconds are 344 frames"
        assert float(memory[32]) == pytest.approx(float(memory[-1]) ** 0.5, rel=0.3)
