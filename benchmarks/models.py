"""The model that a benchmark runs: a shipped one, a folder, or one of full size with random weights."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtsep.separators.registry import ModelPackage, find

RANDOM = "random"


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """`--model`, as `open_model` takes it."""
    parser.add_argument(
        "--model",
        default="live",
        help=f"a shipped model, a folder, or '{RANDOM}': the default causal LSTM with random weights",
    )


@contextmanager
def open_model(name: str) -> Iterator[ModelPackage]:
    """The package of that name. Random weights take as long as trained ones; making them needs torch."""
    if name != RANDOM:
        yield find(name)
        return
    from rtsep.separators.catalogue import build
    from rtsep.training.export import export

    with tempfile.TemporaryDirectory(prefix="rtsep-random-") as scratch:
        yield export(
            build("causal-lstm", {}),
            Path(scratch),
            "random",
            title="Random causal LSTM",
            description="Random weights, for benchmarks.",
            version="0",
            licence="MIT",
        )
