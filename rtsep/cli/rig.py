"""`rtsep rig`: a set in one file, made by asking, and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtsep.spec import UsageError, strip_names

if TYPE_CHECKING:
    from rtsep.io.devices import Device

rig = typer.Typer(no_args_is_help=True, help="Write and check the file of a set, for 'rtsep live --rig'.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="Such as club.toml.")]


@rig.command()
def check(file: File) -> None:
    """Say whether a rig is right, and if not in which line."""
    from rtsep.rig.reading import read_rig

    found = read_rig(file)
    typer.echo(f"{file}: right; plays with {found.engine.model}")


@rig.command()
def init(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Ask for devices, model, decks, levels, page and OSC, and write them down.

    Return takes what is in brackets.
    """
    from rtsep.io.devices import list_devices
    from rtsep.io.textfiles import replace_text
    from rtsep.rig.config import Rig
    from rtsep.rig.reading import parse_rig
    from rtsep.rig.writing import write_toml
    from rtsep.separators.registry import DEFAULT_MODEL, ModelPackage, available

    if file.exists() and not force:
        raise UsageError(f"{file} is there already: --force writes over it")
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent}: no such folder")
    models = {package.name: package for package in available() if isinstance(package, ModelPackage)}
    content: dict[str, Any] = {"format": 1}

    devices = list_devices()
    if devices and typer.confirm("Play through a sound card?", default=True):
        audio = {side: _device(devices, side) for side in ("input", "output")}
        content["audio"] = {side: name for side, name in audio.items() if name is not None}
        content["audio"]["block"] = _number("Block, in frames", 128, 16, 8192)
    else:
        if not devices:
            typer.echo("There are no audio devices: this rig will run on a clock (null).")
        content["audio"] = {"null": True}

    for name, package in models.items():
        spec = package.spec
        typer.echo(f"  {name}: {1000 * spec.algorithmic_latency / spec.sample_rate:.0f} ms, "
                   f"{', '.join(spec.stems)}")  # fmt: skip
    model = _choice("Model", [*models], DEFAULT_MODEL)
    content["engine"] = {"model": model}
    stems = models[model].spec.stems
    decks = _decks(_inputs(devices, content["audio"]))
    if decks:
        content["decks"] = decks
        # The first deck's may be named without a number, as on the command line.
        stems = (*stems, *strip_names(stems, 2))
    muted = _stems("Begin with which stems muted? (names, or none)", stems)
    content["stems"] = {stem: {"mute": True} for stem in muted}
    snapshots = typer.prompt("File of snapshots (made when the first is kept; none for none)", default="none")
    if snapshots != "none":
        content["snapshots"] = {"file": snapshots}
    if typer.confirm("Serve the control page?", default=True):
        network = typer.confirm("To phones on the network too, with a token?", default=False)
        content["page"] = {"bind": "0.0.0.0", "token_file": f"{file.stem}.token"} if network else {}
    if typer.confirm("Listen to OSC?", default=False):
        content["osc"] = {}

    text = write_toml(Rig.model_validate(content))
    parse_rig(text, file)
    try:
        replace_text(file, text)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    typer.echo(f"written; begin with: rtsep live --rig {file}")


def _device(devices: list[Device], side: str) -> str | None:
    """A device's name, or None for the system's own."""
    wanted = [d for d in devices if (d.in_channels if side == "input" else d.out_channels) > 0]
    for place, device in enumerate(wanted, start=1):
        typer.echo(f"  {place}  {device.name} ({device.host})")
    place = _number(f"{side.capitalize()}: which? (0 for the system's own)", 0, 0, len(wanted))
    return wanted[place - 1].name if place else None


def _inputs(devices: list[Device], audio: dict[str, Any]) -> int | None:
    """How many channels the chosen input has; None where that shows only later."""
    chosen = [d for d in devices if d.name == audio.get("input") and d.in_channels]
    return chosen[0].in_channels if chosen else None


def _decks(channels: int | None) -> dict[str, Any]:
    """The table of two decks; empty for one: all that an input of fewer than four channels serves."""
    from rtsep.engine.options import usual_inputs

    if channels is not None and channels < 4:
        return {}
    if _number("Decks, each with a stereo input of its own", 1, 1, 2) == 1:
        return {}
    inputs = [_pair(deck, channels) for deck in (1, 2)]
    usual = all(pair == usual_inputs(deck) for deck, pair in enumerate(inputs, start=1))
    return {"count": 2} if usual else {"count": 2, "inputs": [list(pair) for pair in inputs]}


def _pair(deck: int, channels: int | None) -> tuple[int, int]:
    from rtsep.engine.options import usual_inputs

    default = ",".join(map(str, usual_inputs(deck)))
    while True:
        words = typer.prompt(f"Input channels of deck {deck}", default=default).replace(",", " ").split()
        pair = [int(word) for word in words if word.isdecimal()]
        if len(words) == len(pair) == 2 and all(1 <= channel <= (channels or 256) for channel in pair):
            return pair[0], pair[1]
        typer.echo(
            f"  two channels{f' of {channels}' if channels else ''}, from 1, such as {default}, please"
        )


def _number(question: str, default: int, low: int, high: int) -> int:
    while True:
        number: int = typer.prompt(question, default=default, type=int)
        if low <= number <= high:
            return number
        typer.echo(f"  from {low} to {high}, please")


def _choice(question: str, names: list[str], default: str) -> str:
    while True:
        name: str = typer.prompt(question, default=default if default in names else names[0])
        if name in names:
            return name
        typer.echo(f"  one of {', '.join(names)}, please")


def _stems(question: str, stems: tuple[str, ...]) -> list[str]:
    while True:
        words = typer.prompt(question, default="none").replace(",", " ").split()
        wanted = [] if words == ["none"] else words
        if all(stem in stems for stem in wanted):
            return list(dict.fromkeys(wanted))
        typer.echo(f"  some of {', '.join(stems)}, please")
