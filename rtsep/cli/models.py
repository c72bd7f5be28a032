"""`rtsep models`: which models there are, all about one, and how to get more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtsep.spec import ModelError, StreamSpec, UsageError

if TYPE_CHECKING:
    from rtsep.separators.registry import AnyPackage

models = typer.Typer(no_args_is_help=False, help="List, show, add and remove models.")


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
            latency(package),
            size(package),
            ", ".join(package.manifest.stems),
            package.manifest.licence,
            package.manifest.title,
        )
        for package in packages
    ]
    typer.echo(table(("name", "latency", "weights", "stems", "licence", "what it is"), rows))


@models.command("info")
def info(name: Annotated[str, typer.Argument(help="A model's name, or its folder.")]) -> None:
    """Show a model: latency, size, scores, licence, what it was trained on; check its files."""
    from rtsep.separators.registry import find_any

    package = find_any(name)
    manifest, spec = package.manifest, package.spec
    rows = [
        ("name", package.name),
        ("title", manifest.title),
        ("description", manifest.description),
        ("version", manifest.version),
        ("licence", manifest.licence),
        ("folder", "none: it is built in" if package.built_in else str(package.root)),
        ("architecture", manifest.architecture),
        ("stems", ", ".join(spec.stems)),
        ("audio", f"{spec.channels} channels at {spec.sample_rate} Hz"),
        *_about(package),
        *((f"score: {key}", f"{value:g}") for key, value in manifest.scores.items()),
        *((f"training: {key}", plain(value)) for key, value in manifest.training.items()),
    ]
    # Shown even when a file is damaged: what the model should be helps to get it again.
    typer.echo(table((), rows))
    package.verify()
    typer.echo("there are no files" if package.built_in else "files are intact")


@models.command("add")
def add(
    source: Annotated[
        str,
        typer.Argument(
            help="A published model: umx, umxhq, umxl, htdemucs, htdemucs_ft, htdemucs_6s, hdemucs_mmi or"
            " cadenza-convtasnet; or a folder of rtsep's own, of Open-Unmix or of the Cadenza project; or a"
            " file: .onnx, .pth of Open-Unmix, .th of the demucs package; or the address of one."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it.  [default: as its source]")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="The file's hash, or its first digits.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An ONNX file's manifest, TOML or JSON.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of weights that do not say it themselves.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of what is downloaded.")
    ] = False,
) -> None:
    """Add a model: published weights, or your own.

    Nothing is downloaded before its licence was shown and accepted, and nothing is installed before its
    hash was right and it ran. Demucs' files take the demucs package: pip install 'rtsep[demucs]'.

    Example: rtsep models add umxhq
    """
    from rtsep.cli.progress import DownloadProgress
    from rtsep.importing import add as adding

    def accept(terms: adding.Terms) -> bool:
        rows = [("model", terms.title), ("licence", terms.licence), ("", terms.terms), ("from", terms.page)]
        typer.echo(table((), [row for row in rows if row[1]]))
        if accept_licence:
            return True
        if not sys.stdin.isatty():
            raise UsageError("accept the licence with --accept-licence: nobody can be asked here")
        return typer.confirm("Do you accept this licence?")

    with DownloadProgress() as progress:
        request = adding.Request(source, name, sha256, manifest, licence)
        package = adding.add(request, accept, progress.begin)
    typer.echo(f"{package.name}: {package.manifest.title}; licence: {package.manifest.licence}")
    typer.echo(f"installed in {package.root}")


@models.command("remove")
def remove(name: Annotated[str, typer.Argument(help="The model's name.")]) -> None:
    """Delete a model of your own."""
    from rtsep.separators import registry

    typer.echo(f"removed {registry.remove(name)}")


def latency(package: AnyPackage) -> str:
    """The model's own latency: its synthesis window, or hop plus look-ahead; "offline" where it has none."""
    spec = package.spec
    if not isinstance(spec, StreamSpec):
        return "offline"
    return f"{1000 * spec.algorithmic_latency / spec.sample_rate:.1f} ms"


def size(package: AnyPackage) -> str:
    """How much was learnt: the size of what holds it; "no weights" of a method that is built in."""
    from rtsep.separators.manifest import OfflineFiles

    files = package.manifest.files
    if files is None:
        return "no weights"
    entry = files.weights if isinstance(files, OfflineFiles) or files.weights else files.onnx
    assert entry is not None
    return f"{entry.bytes / 1e6:.1f} MB"


def _about(package: AnyPackage) -> list[tuple[str, str]]:
    """What `info` shows of one kind of model only."""
    from rtsep.separators.manifest import OfflineManifest

    manifest = package.manifest
    rows = []
    if isinstance(manifest, OfflineManifest):
        seconds = manifest.chunk / manifest.sample_rate
        fade = manifest.overlap / manifest.sample_rate
        rows.append(("kind", "offline: for files, it cannot run live"))
        rows.append(("chunk", f"{seconds:g} s at once, {fade:g} s cross-faded"))
    else:
        spec = manifest.spec
        rows.append(("kind", "causal: for files and live"))
        rows.append(("hop", f"{spec.hop} samples, {1000 * spec.hop_seconds:.1f} ms"))
        own = f"{spec.algorithmic_latency} samples, {latency(package)} (the model's own)"
        rows.append(("latency", own))
        rows.append(("state", f"{manifest.state_bytes / 1e6:.2f} MB in {len(manifest.state)} tensors"))
    if manifest.files is None:
        rows.append(("weights", "none: nothing was trained"))
        return rows
    if manifest.files.weights is not None:
        weights = manifest.files.weights
        rows.append(("weights", f"{weights.path}, {weights.bytes / 1e6:.1f} MB"))
    if not isinstance(manifest, OfflineManifest):
        assert manifest.files is not None
        onnx = manifest.files.onnx
        rows.append(("graph", f"{onnx.path}, {onnx.bytes / 1e6:.1f} MB"))
    return rows


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
