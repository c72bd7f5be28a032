"""`rtsep train`: train a causal separator from a file that says everything."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from rtsep.spec import BackendError, UsageError


def train(
    config: Annotated[Path, typer.Argument(help="The run: a TOML file, as in configs/.")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the network.")] = 1,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="DIR",
            help="Train no further: export the run's best weights as the model in this folder.",
        ),
    ] = None,
    about: Annotated[
        Path | None,
        typer.Option(help="With --export: a text on the data, sources and licences, for the model's card."),
    ] = None,
) -> None:
    """Train a separator; run it again to go on where it was stopped.

    Checkpoints, the log, the report and the best weights lie in the folder that the file names. In many
    processes: torchrun --nproc-per-node 2 -m rtsep train run.toml
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise BackendError("training needs torch: pip install 'rtsep[train]'") from None
    from rtsep.training.config import load_config
    from rtsep.training.loop import Trainer
    from rtsep.training.processes import join_processes
    from rtsep.training.release import release

    torch.set_num_threads(threads)
    run = load_config(config)
    if export is None:
        with join_processes(run.compute.device) as processes:
            Trainer(run, _say if processes.leads else _say_nothing, processes).run()
        return
    try:
        text = about.read_text(encoding="utf-8") if about else "The data are not described."
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{about}: {error}") from None
    package = release(run, f"rtsep train {config}", export, text.strip(), _say)
    _say(f"exported to {package.root}")


def _say(line: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {line}")


def _say_nothing(line: str) -> None:
    """For all processes but the first."""
