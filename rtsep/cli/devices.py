"""`rtsep devices`: which audio devices there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtsep.io.devices import Device

NOTHING = (
    "There are no audio devices. Plug in an audio interface, or start a JACK or PipeWire server, and look"
    " again; 'rtsep live --null' runs without any."
)

Row = tuple[str, str, str, str, str, str]


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list of objects.")] = False,
) -> None:
    """List the audio devices.

    The number, the name or a part of the name is what --input and --output of 'rtsep live' take. Where there
    are none, that is said, and is no failure: the exit code is 0.
    """
    # Here and not above: help should not wait for the audio system.
    from rtsep.io.devices import list_devices

    found = list_devices()
    if as_json:
        typer.echo(json.dumps([asdict(device) for device in found], indent=2))
    elif not found:
        typer.echo(NOTHING)
    else:
        typer.echo(listing(found))


def listing(found: Sequence[Device]) -> str:
    """Devices under the names of their hosts, in aligned columns; a star marks what is used by default."""
    head: Row = ("", "no.", "name", "in", "out", "rate")
    rows = {
        device.index: (
            "*" if device.default_input or device.default_output else " ",
            str(device.index),
            device.name,
            str(device.in_channels or "-"),
            str(device.out_channels or "-"),
            f"{device.sample_rate} Hz",
        )
        for device in found
    }
    widths = [max(len(row[column]) for row in (head, *rows.values())) for column in range(len(head))]
    lines = [_line(head, widths, "")]
    for host in dict.fromkeys(device.host for device in found):
        lines.append(host)
        lines += [_line(rows[d.index], widths, _default(d)) for d in found if d.host == host]
    return "\n".join(lines)


def _line(row: Row, widths: Sequence[int], note: str) -> str:
    mark, index, name, *rest = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    numbers = "  ".join(cell.strip().rjust(width) for cell, width in zip(rest, widths[3:], strict=True))
    return f"{mark or ' '} {index.strip().rjust(widths[1])}  {name}  {numbers}  {note}".rstrip()


def _default(device: Device) -> str:
    sides = [
        side
        for side, chosen in (("input", device.default_input), ("output", device.default_output))
        if chosen
    ]
    return f"default {' and '.join(sides)}" if sides else ""
