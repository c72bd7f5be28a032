"""Parameters and products, counted against what is known of small networks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from rtsep.bench import counting, flops
from rtsep.separators.catalogue import load_weights
from rtsep.separators.registry import ModelPackage
from tests.models import build_tiny_model


def test_parameters_and_products_of_a_graph(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "conv-tasnet"))
    network = load_weights(package).eval()
    assert counting.parameters(package) == sum(p.numel() for p in network.parameters()) + sum(
        b.numel()
        for b in network.buffers()
        if b.numel() and any(b is v for v in network.state_dict().values())
    )
    counted = counting.graph(package)
    shape = package.manifest.input_shape
    expected = flops.of(_Step(network), torch.zeros(shape))
    # torch counts the step as it is written; the graph may have folded what is constant.
    assert 0.8 * expected <= counted["macs"] <= 1.2 * expected
    assert 0 < counted["weight_bytes"] <= package.onnx.stat().st_size


class _Step(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network.step(x, self.network.init_state(1))[0]  # type: ignore[operator]
        return out


def test_recurrent_layers_are_counted_by_their_sizes() -> None:
    lstm = nn.LSTM(5, 7, batch_first=True, bidirectional=True)
    assert flops.of(lstm, torch.zeros(2, 3, 5)) == 2 * 3 * 2 * 4 * 7 * (5 + 7)
    assert flops.of(nn.Linear(4, 6), torch.zeros(10, 4)) == 10 * 4 * 6
