"""`rtsep doctor`: one page on whether this machine can go on stage, and what to do about it."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.separators.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.console import Console

    from rtsep.engine.checkup import Finding

EXIT_FAILURE = 9
"""Something would go wrong on stage."""
EXIT_WARNING = 8
"""With --strict: something might."""


def doctor(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model is to be played.")
    ] = DEFAULT_MODEL,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long to time the model.")] = 10.0,
    block: Annotated[int, typer.Option(min=1, help="Frames that the device hands over at once.")] = 128,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are failures too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one object.")] = False,
) -> int:
    """Say whether this machine can go on stage: devices, limits, processor, models, and time for a hop.

    Makes no sound and changes nothing. The exit code is 0 if nothing fails, 9 if something does; with
    --strict it is 8 if there are warnings only.

    Example: rtsep doctor --model live --seconds 10
    """
    # Here and not above: help should not wait for numerical libraries.
    from rich.console import Console

    from rtsep.engine import checkup

    notes = Console(file=sys.stderr, highlight=False)
    with notes.status(f"looking, and timing {model} for {seconds:g} s"):
        findings = checkup.look(
            [
                ("audio", checkup.audio_devices),
                ("audio server", checkup.audio_servers),
                ("limits", checkup.limits),
                ("processor", checkup.processor),
                ("compute", checkup.compute),
                ("MIDI", checkup.midi),
                ("ports", checkup.ports),
                ("extras", checkup.extras),
                ("models", functools.partial(checkup.models, model)),
                ("hop time", functools.partial(checkup.hop_times, model, block, seconds)),
            ]
        )
    verdict = checkup.worst(findings)
    if as_json:
        plain = {"verdict": verdict, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(plain, indent=2))
    else:
        show(Console(highlight=False), findings, verdict)
    if verdict == "failure":
        return EXIT_FAILURE
    return EXIT_WARNING if strict and verdict == "warning" else 0


def show(screen: Console, findings: Sequence[Finding], verdict: str) -> None:
    """The page: a table of what was found, what to do, and the verdict."""
    from rich.table import Table
    from rich.text import Text

    marks = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failure": ("FAILURE", "red")}
    table = Table(show_edge=False)
    for name in ("", "area", "found", "what to do"):
        table.add_column(name)
    for finding in findings:
        mark, colour = marks[finding.level]
        table.add_row(Text(mark, style=colour), finding.area, Text(finding.found), Text(finding.remedy))
    screen.print(table)
    said = {
        "ok": "[green]Ready to go on stage.[/]",
        "warning": "[yellow]It will play. What the warnings say can go wrong.[/]",
        "failure": "[red]Not ready to go on stage: see the failures.[/]",
    }
    screen.print(said[verdict])
