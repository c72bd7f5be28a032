"""`rtsep train`: train a causal separator from a file that says everything."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from rtsep.spec import BackendError


def train(
    config: Annotated[Path, typer.Argument(help="The run: a TOML file, as in configs/.")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the network.")] = 2,
) -> None:
    """Train a separator; run it again to go on where it was stopped.

    Checkpoints, the log and the best weights lie in the folder that the file names.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise BackendError("training needs torch: pip install 'rtsep[train]'") from None
    from rtsep.training.config import load_config
    from rtsep.training.loop import Trainer

    torch.set_num_threads(threads)
    run = load_config(config)
    Trainer(run, lambda line: print(time.strftime("%H:%M:%S"), line, flush=True)).run()
