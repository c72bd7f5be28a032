"""`rtsep export`: a model in another precision, beside what that costs in sound and saves in time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rtsep.spec import BackendError, UsageError

if TYPE_CHECKING:
    from rtsep.separators.registry import ModelPackage


def export(
    model: Annotated[str, typer.Argument(help="A model's name, or its folder.")],
    precision: Annotated[
        str, typer.Option(help="float32, float16 (half the size) or int8 (a quarter, and faster on a CPU).")
    ] = "int8",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder of models to write into; your own, unless you name another."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the variant; <model>-<precision> by default.")] = None,
    score: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Measure both models' SDR on the tracks of stems in here."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a model that is there already.")] = False,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Write the model's own graph anew, as this rtsep exports it."),
    ] = False,
) -> None:
    """Make a smaller, faster variant of a model, and measure what that costs.

    Its layers' weights are rounded; the rest, and the state that a stream carries along, stay as they
    were. The variant is run against the original hop by hop before anything is said of it.
    """
    try:
        from rtsep.training.precision import PRECISIONS, compare, convert
    except ModuleNotFoundError as error:
        raise BackendError(
            f"exporting needs {error.name}, which is not installed: pip install 'rtsep[train]'"
        ) from None
    from rtsep.separators.registry import find, user_models

    if renew:
        if output is not None or name is not None or score is not None:
            raise UsageError("--renew writes the model itself: leave out --output, --name and --score")
        _renew(find(model))
        return

    wanted = next((known for known in PRECISIONS if known == precision), None)
    if wanted is None:
        raise UsageError(f"unknown precision '{precision}'; there are: {', '.join(PRECISIONS)}")
    if score is not None and not score.is_dir():
        raise UsageError(f"no such folder of tracks: {score}")
    original = find(model)
    variant = convert(
        original, output or user_models(), name or f"{original.name}-{wanted}", wanted, overwrite=overwrite
    )
    found = compare(variant, original)
    table = Table(title=f"{variant.name}, in {variant.root}", title_justify="left")
    for column in ("", original.name, variant.name):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("graph", f"{found.original_bytes / 1e6:.1f} MB", f"{found.bytes / 1e6:.1f} MB")
    table.add_row("a hop, median, one thread", f"{found.original_hop_ms:.2f} ms", f"{found.hop_ms:.2f} ms")
    table.add_row("difference of their outputs", "", f"{found.difference_db:.1f} dB")
    if score is not None:
        before, after = _scores(original, score), _scores(variant, score)
        for key, value in before.items():
            table.add_row(key.replace("_", " "), f"{value:.2f} dB", f"{after[key]:.2f} dB")
    Console().print(table)


def _renew(package: ModelPackage) -> None:
    from rtsep.training.export import renew

    before = package.files.onnx.bytes
    after = renew(package).files.onnx.bytes
    Console().print(f"{package.root}: graph {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now")


def _scores(package: ModelPackage, root: Path) -> dict[str, float]:
    """Medians over all tracks below `root`, separated as a stream."""
    import tempfile

    import numpy as np

    from rtsep.engine.separator import load
    from rtsep.training.corpus import load_corpus
    from rtsep.training.scores import score_tracks

    rate = package.spec.sample_rate
    with tempfile.TemporaryDirectory(prefix="rtsep-score-") as cache, load(package) as separator:
        stems = package.spec.stems
        tracks = load_corpus([root], Path(cache), rate, stems)
        return score_tracks(
            lambda mix: np.stack(list(separator.separate(mix, rate).values())), tracks, rate, stems
        )
