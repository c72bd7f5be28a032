"""Multiplications of an offline network, counted while it runs. Needs torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rtsep.separators.catalogue import load_offline
from rtsep.separators.registry import OfflinePackage


def count(package: OfflinePackage, seconds: float) -> int:
    """Multiply-accumulates for a second of sound, from a run over `seconds` of it."""
    network = load_offline(package).eval()
    samples = round(seconds * package.spec.sample_rate)
    return round(of(network, torch.zeros(package.spec.channels, samples)) / seconds)


@torch.no_grad()
def of(network: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of one call.

    torch's counter does not see into fused recurrent layers: those are counted by their sizes, and what it
    did see of them is taken off again.
    """
    recurrent = 0
    counter = FlopCounterMode(display=False)
    seen: list[int] = []

    def before(module: nn.Module, given: Any) -> None:
        seen.append(counter.get_total_flops())

    def after(module: nn.Module, given: Any, result: Any) -> None:
        nonlocal recurrent
        x = given[0]
        frames = x.shape[0] * (x.shape[1] if x.ndim == 3 else 1)
        weights = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
        recurrent += 2 * frames * weights - (counter.get_total_flops() - seen.pop())

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        with counter:
            network(*inputs)
        return (counter.get_total_flops() + recurrent) // 2
    finally:
        for hook in hooks:
            hook.remove()
