"""`rtsep midi`: ports, what a controller sends, learning, and the mappings that there are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.cli.errors import warn
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import DeviceError, UsageError

if TYPE_CHECKING:
    from rtsep.control.desk import Desk
    from rtsep.midi.surface import Surface, Wanted

NOTHING = "There are no MIDI ports. Plug in a controller, or start the program that has them, and look again."

midi = typer.Typer(
    help="List MIDI ports, watch and learn controls, show mappings.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
)

Api = Annotated[
    str | None,
    typer.Option("--api", metavar="NAME", help="alsa, jack, core or windowsmm.  [default: all that answer]"),
]
Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="Whose stems the addresses name.")]


@midi.command(name="list")
def list_ports(api: Api = None) -> None:
    """List the MIDI ports, and the mapping that each would get.

    A port's name or a part of it is what --midi of 'rtsep live' takes.
    """
    from rtsep.midi.mapping import mapping_for
    from rtsep.midi.ports import list_ports as found_ports
    from rtsep.midi.ports import usable_apis

    apis = usable_apis(api)
    inputs, outputs = found_ports("input", apis), found_ports("output", apis)
    if not inputs and not outputs:
        typer.echo(NOTHING)
        return
    for title, ports in (("to be heard", inputs), ("to be spoken to", outputs)):
        for system, name in ports:
            mapping = f"  mapping: {mapping_for(name).name}" if ports is inputs else ""
            typer.echo(f"{title:<15}  {system:<5}  {name}{mapping}")


@midi.command()
def mappings(
    show: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print this one, as a beginning for your own.")
    ] = None,
) -> None:
    """List the mappings that rtsep brings, or print one.

    Example: rtsep midi mappings --show lpd8 > mine.toml
    """
    from rtsep.midi.mapping import read_mapping, shipped_mappings

    if show is not None:
        typer.echo(read_mapping(show).text, nl=False)
        return
    names = shipped_mappings()
    width = max(len(name) for name in names)
    for name in names:
        typer.echo(f"{name:<{width}}  {read_mapping(name).mapping.title}")


@midi.command()
def monitor(
    port: Annotated[
        list[str], typer.Argument(metavar="PORT[=MAPPING]...", help="As for 'rtsep live --midi'.")
    ],
    model: Model = DEFAULT_MODEL,
    api: Api = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop by itself after so long.  [default: Ctrl-C]")
    ] = None,
) -> None:
    """Print what controllers send and what it would set, without any sound, until Ctrl-C."""
    from rtsep.midi.surface import parse_wanted

    desk = _desk(model)
    lines: list[str] = []
    with _surface(desk, [parse_wanted(text) for text in port], api) as surface:
        # The desk tells of what has been set, the watcher of what has come in; both are printed here.
        surface.watcher = lambda controller, event: lines.append(
            f"{controller.wanted.port}: {event.kind} {event.number} on channel {event.channel}: {event.value}"
        )
        version = desk.version
        end = None if seconds is None else time.monotonic() + seconds
        with contextlib.suppress(KeyboardInterrupt):
            while end is None or time.monotonic() < end:
                time.sleep(0.05)
                while lines:
                    typer.echo(lines.pop(0))
                version, changes = desk.changes_since(version)
                for address, value in changes.items():
                    shown = f"{value:.2f}" if isinstance(value, float) else value
                    typer.echo(f"    {address} = {shown}")


@midi.command()
def learn(
    address: Annotated[list[str], typer.Argument(help="Such as stem/vocals/gain; one control for each.")],
    port: Annotated[str, typer.Option(metavar="PORT", help="Where the controls are.")],
    file: Annotated[
        Path, typer.Option(help="The mapping that learns them; made if it is not there.", dir_okay=False)
    ],
    mode: Annotated[
        str | None, typer.Option(metavar="toggle|momentary", help="For buttons.  [default: toggle]")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each control.")] = 30.0,
    model: Model = DEFAULT_MODEL,
    api: Api = None,
) -> None:
    """Learn controls: move each when asked; a mapping file then says so.

    What the file has besides stays as it is.

    Example: rtsep midi learn stem/vocals/gain stem/vocals/mute --port LPD8 --file mine.toml
    """
    from rtsep.midi.learn import save
    from rtsep.midi.mapping import MappingFile, read_mapping
    from rtsep.midi.surface import Wanted, complete

    if mode not in (None, "toggle", "momentary"):
        raise UsageError(f"--mode {mode}: write toggle or momentary")
    desk = _desk(model)
    kinds = {one: desk.parameter(one).kind for one in address}
    if file.exists():
        read_mapping(str(file))
    elif not file.parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}")
    # A mapping that is in no file: what is learned is written here, as each control is known.
    empty = MappingFile("learning", "format = 1\n")
    with _surface(desk, [Wanted(port, empty)], api) as surface:
        for one in address:
            typer.echo(f"Move the control for {one} ...")
            more = {} if mode is None else {"mode": mode}
            learning = surface.learn(one, more)
            if not learning.over.wait(timeout):
                surface.cancel_learning()
                raise DeviceError(f"nothing was moved on {port!r} within {timeout:g} s")
            if learning.error is not None or learning.learned is None:
                raise UsageError(learning.error or f"{one} was not learned")
            save(file, complete(learning.learned, one, kinds[one], more))
            typer.echo(f"{learning.learned}: {file}")


def _desk(model: str) -> Desk:
    """A desk that moves nothing, with a model's stems."""
    from rtsep.control.desk import Desk
    from rtsep.engine.board import Board
    from rtsep.separators.registry import find

    return Desk(Board(find(model).spec.stems))


@contextlib.contextmanager
def _surface(desk: Desk, wanted: Sequence[Wanted], api: str | None) -> Iterator[Surface]:
    from rtsep.midi.surface import Surface

    with Surface(desk, wanted, warn, api) as surface:
        yield surface
