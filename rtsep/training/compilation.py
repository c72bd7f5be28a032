"""Having torch compile parts of a network, where there is something to compile with."""

from __future__ import annotations

import torch

from rtsep.separators.network import Compilable
from rtsep.spec import UsageError
from rtsep.training.networks import TrainableNetwork

MOST = 64
"""Variants of one function that may be compiled."""


def compile_parts(network: TrainableNetwork, device: torch.device) -> None:
    """Let torch compile what it can of a network, for training.

    Raises:
        UsageError: when the network has no such parts, or nothing here compiles.
    """
    if not isinstance(network, Compilable):
        raise UsageError(f"[compute] compile: {network.architecture} has no parts that are compiled")
    try:
        # What torch raises for a missing compiler is of many kinds, and comes in the midst of a step.
        torch.compile(torch.exp)(torch.zeros(8, device=device))
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"[compute] compile: torch cannot compile here: {said[0]}") from None
    from torch._dynamo import config

    # Every dilation is a function of its own to torch, and more than these eight it would leave as they are.
    config.recompile_limit = max(config.recompile_limit, MOST)
    network.compile_training()
