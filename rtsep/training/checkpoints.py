"""The files that a run leaves of itself, each written aside and renamed: there is always a whole one."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtsep.spec import UsageError
from rtsep.training.config import TrainConfig

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
_KEYS = {"config", "network", "average", "optimiser", "step", "seconds_spent", "best"}


def kept(step: int) -> str:
    """The name of the checkpoint that is kept of a step."""
    return f"checkpoint-{step}.pt"


def is_kept(step: int, config: TrainConfig) -> bool:
    """Whether later checkpoints are to leave this step's."""
    every = config.optimiser.keep_every
    return step in config.release.average or (every > 0 and step % every == 0)


def write_checkpoint(path: Path, config: TrainConfig, content: dict[str, Any]) -> None:
    """Put a checkpoint of a run in the place of what is there.

    Args:
        path: of the file.
        config: the run.
        content: what goes on from it: `network`, `average`, `optimiser`, `step`, `seconds_spent`, `best`,
            and what else there is.
    """
    partial = path.with_name(f"{path.name}.partial")
    torch.save({"architecture": config.architecture, "config": config.network, **content}, partial)
    partial.replace(path)


def read_checkpoint(path: Path, config: TrainConfig) -> dict[str, Any]:
    """What `write_checkpoint` was given, on the CPU.

    Raises:
        UsageError: when it is no checkpoint, or one of another network.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        # What torch says of it advises to load it whatever it may do.
        raise UsageError(f"{path} is not a checkpoint: it holds more than tensors and tables") from None
    except (OSError, EOFError, RuntimeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is not a checkpoint: {why}") from None
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise UsageError(f"{path} is not a checkpoint of a training run")
    # Those from before there were several architectures do not say which theirs is.
    architecture = content.get("architecture", "causal-lstm")
    if architecture != config.architecture:
        raise UsageError(f"{path} is of {architecture}; give the run another name")
    if content["config"] != config.network:
        raise UsageError(f"{path} was trained with another [network] table; give the run another name")
    return content


def copied(state: dict[str, Any]) -> dict[str, Tensor]:
    """A state that does not change with the network's."""
    return {name: value.clone() for name, value in state.items()}


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several states, tensor by tensor.

    What counts, such as batches that norms have seen, has no mean: the last one's it is.
    """
    return {
        name: torch.stack([one[name] for one in states]).mean(dim=0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }
