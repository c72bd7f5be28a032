"""`rtsep models`: which models there are, and all about one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtsep.spec import ModelError

if TYPE_CHECKING:
    from rtsep.separators.registry import ModelPackage

models = typer.Typer(no_args_is_help=False, help="List the models, or show one.")


@models.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """List every model that can be named, with its latency."""
    from rtsep.separators.registry import SEARCH_VARIABLE, available, search_path

    packages = available()
    if not packages:
        places = ", ".join(str(folder) for folder in search_path())
        raise ModelError(f"there are no models in {places}; {SEARCH_VARIABLE} names more folders")
    rows = [
        (
            package.name,
            f"{latency_ms(package):.1f} ms",
            ", ".join(package.manifest.stems),
            package.manifest.licence,
            package.manifest.title,
        )
        for package in packages
    ]
    typer.echo(table(("name", "latency", "stems", "licence", "what it is"), rows))


@models.command("info")
def info(name: Annotated[str, typer.Argument(help="A model's name, or its folder.")]) -> None:
    """Show a model: latency, size, scores, licence, what it was trained on; check its files."""
    from rtsep.separators.registry import find

    package = find(name)
    manifest, spec = package.manifest, package.spec
    files = manifest.files
    rate = f"{spec.sample_rate} Hz"
    rows = [
        ("name", package.name),
        ("title", manifest.title),
        ("description", manifest.description),
        ("version", manifest.version),
        ("licence", manifest.licence),
        ("folder", str(package.root)),
        ("architecture", manifest.architecture),
        ("stems", ", ".join(spec.stems)),
        ("audio", f"{spec.channels} channels at {rate}"),
        ("hop", f"{spec.hop} samples, {1000 * spec.hop_seconds:.1f} ms"),
        ("latency", f"{spec.algorithmic_latency} samples, {latency_ms(package):.1f} ms (the model's own)"),
        ("state", f"{manifest.state_bytes / 1e6:.2f} MB in {len(manifest.state)} tensors"),
        ("weights", f"{files.weights.path}, {files.weights.bytes / 1e6:.1f} MB"),
        ("graph", f"{files.onnx.path}, {files.onnx.bytes / 1e6:.1f} MB"),
        *((f"score: {key}", f"{value:g}") for key, value in manifest.scores.items()),
        *((f"training: {key}", plain(value)) for key, value in manifest.training.items()),
    ]
    # Shown even when a file is damaged: what the model should be helps to get it again.
    typer.echo(table((), rows))
    package.verify()
    typer.echo("files are intact")


def latency_ms(package: ModelPackage) -> float:
    """The model's own latency in milliseconds: its synthesis window, or hop plus look-ahead."""
    return 1000 * package.spec.algorithmic_latency / package.spec.sample_rate


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Aligned columns that survive a pipe: nothing is cut to a terminal's width."""
    lines = [head, *rows] if head else list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def plain(value: Any) -> str:
    """A value from a manifest in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return " ".join(str(value).split())
