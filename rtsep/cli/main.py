"""The entry point: finds the command and loads only its module, so that `rtsep --help` is immediate."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from rtsep.cli import errors

COMMANDS: dict[str, str] = {
    "separate": "Write the stems of sound files, and the mix without some of them.",
    "live": "Separate what an audio device hears and play the mix you want.",
    "rig": "Write and check the file of a set, for 'rtsep live --rig'.",
    "demo": "Separate a real song as it plays and mute its vocals.",
    "devices": "List the audio devices.",
    "midi": "List MIDI ports, watch and learn controls, show mappings.",
    "models": "List, show, add and remove models.",
    "latency": "Measure and explain the latency.",
    "doctor": "Say whether this machine can go on stage, and what to do about it.",
    "train": "Train a separator.",
    "distill": "Make training tracks of songs without stems, with a teacher.",
    "eval": "Score models, and oracles as their bounds, on known stems.",
    "bench": "Measure speed and quality; keep the results and their history.",
    "export": "Make a smaller, faster variant of a model, and measure what that costs.",
}
"""Commands in the order of the help page. `rtsep.cli.<name>` holds a function, or a Typer, of that name."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Args:
        arguments: without the program's name; None for those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(errors.run(lambda: _run(given or ["--help"])))


def build_app(command: str | None = None) -> typer.Typer:
    """The command line's parser.

    Args:
        command: the one to load; the others are known by name and one line of help only.
    """
    app = typer.Typer(
        name="rtsep",
        help="Mute, solo and rebalance the vocals, drums, bass and the rest of whatever is playing.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, summary in COMMANDS.items():
        if name != command:
            app.command(name, help=summary)(_not_loaded)
            continue
        loaded: Any = getattr(importlib.import_module(f"{__package__}.{name}"), name)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name)
        else:
            app.command(name)(loaded)
    return app


def _run(arguments: list[str]) -> int | None:
    # The program's own options take no values, so the first word that is no option is the command.
    command = next((word for word in arguments if not word.startswith("-")), None)
    parser: Callable[..., Any] = typer.main.get_command(build_app(command))
    code = parser(arguments, prog_name="rtsep", standalone_mode=False)
    return code if isinstance(code, int) else None


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            number = version("rtsep")
        except PackageNotFoundError:
            number = "(run from a folder, not installed)"
        typer.echo(f"rtsep {number}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    pass


def _not_loaded() -> None:
    raise AssertionError("a command that was not loaded cannot be reached")
