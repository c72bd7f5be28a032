"""`rtsep live`: separates what an audio device hears, and plays the mix that is wanted."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND
from rtsep.cli.errors import warn
from rtsep.cli.first_settings import FirstSettings, SnapshotChoice
from rtsep.cli.rig_options import load_rig
from rtsep.cli.surfaces import OscOptions, PageOptions
from rtsep.cli.threads import capped
from rtsep.engine.ports import OSC_PORT, PAGE_PORT
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import UsageError, strip_names

if TYPE_CHECKING:
    from rtsep.engine.recorder import Recorder


class Curve(StrEnum):
    """How a crossfader goes from deck to deck."""

    power = "constant-power"
    cut = "cut"


class Fallback(StrEnum):
    """What an underrun sounds like."""

    dry = "dry"
    silence = "silence"


class RecordFormat(StrEnum):
    """What a recording is written to."""

    stems = "stems"
    multichannel = "multichannel"


def live(
    input: Annotated[
        str | None,
        typer.Option(
            metavar="DEV", help="Number, name or part of it: see 'rtsep devices'.  [default: system's]"
        ),
    ] = None,
    output: Annotated[str | None, typer.Option(metavar="DEV", help="Likewise.")] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model: see 'rtsep models'.")
    ] = DEFAULT_MODEL,
    mute: Annotated[
        list[str] | None, typer.Option("--mute", metavar="STEM", help="Silence this stem; may be repeated.")
    ] = None,
    solo: Annotated[
        list[str] | None, typer.Option("--solo", metavar="STEM", help="Hear only this stem; may be repeated.")
    ] = None,
    gain: Annotated[
        list[str] | None,
        typer.Option("--gain", metavar="STEM=DB", help="Such as drums=-6; up to +12; may be repeated."),
    ] = None,
    pan: Annotated[
        list[str] | None,
        typer.Option("--pan", metavar="STEM=PLACE", help="From -1 (left) to 1 (right); may be repeated."),
    ] = None,
    master: Annotated[
        float | None, typer.Option(metavar="DB", help="Level of all that is heard, up to +12.  [default: 0]")
    ] = None,
    limiter: Annotated[
        bool | None,
        typer.Option(
            "--limiter/--no-limiter",
            help="Let no sample exceed full scale, unless the input does.  [default: limiter]",
        ),
    ] = None,
    dry_wet: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Of the mix against the delayed input, 1 (the mix) to 0.  [default: 1]"
        ),
    ] = None,
    fade: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="Begin with the music as it is, and go in this time to what is set.  [default: 0]",
            min=0.0,
        ),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[#NAME]",
            help="Begin with what a file of snapshots holds; options given here are stronger.",
        ),
    ] = None,
    out_map: Annotated[
        list[str] | None,
        typer.Option(
            "--out-map",
            metavar="STEM=CH,CH",
            help="Send a stem to channels of its own too, such as vocals=3,4. The mix has 1 and 2.",
        ),
    ] = None,
    decks: Annotated[
        int,
        typer.Option(
            min=1,
            max=2,
            help="Stereo inputs to separate at once. A stem of the second is written 2/vocals.",
        ),
    ] = 1,
    in_map: Annotated[
        list[str] | None,
        typer.Option(
            "--in-map",
            metavar="DECK=CH,CH",
            help="Which input channels a deck hears, such as 2=3,4.  [default: 1=1,2 and 2=3,4]",
        ),
    ] = None,
    crossfader: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="From deck 1 alone (0) to deck 2 alone (1).  [default: 0.5]"),
    ] = None,
    crossfader_curve: Annotated[
        Curve | None, typer.Option(help="How it goes from deck to deck.  [default: constant-power]")
    ] = None,
    fx: Annotated[
        list[str] | None,
        typer.Option(
            "--fx",
            metavar="STEM=FILE",
            help="Put a stem, bus or master through a chain of effects (docs/effects.md). May be repeated.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Record every stem as it was separated, and the mix as it was heard."
        ),
    ] = None,
    record_format: Annotated[
        RecordFormat,
        typer.Option(help="With --record: a file a stem, or one with the stems on pairs of channels."),
    ] = RecordFormat.stems,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop by itself after so long.  [default: Ctrl-C]")
    ] = None,
    block: Annotated[
        int, typer.Option(min=1, help="Frames that the device hands over at once. JACK sets its own.")
    ] = 128,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=1000, help="Of the device, in Hz.  [default: the model's or, if refused, the device's]"
        ),
    ] = None,
    allowance: Annotated[
        int | None,
        typer.Option(min=1, help="Device samples that computing a hop may take.  [default: a hop]"),
    ] = None,
    fallback: Annotated[
        Fallback, typer.Option(help="What is heard where a hop is not ready: the delayed input, or silence.")
    ] = Fallback.dry,
    realtime: Annotated[
        bool,
        typer.Option(help="Ask for real-time priority: other programs then do not hold up the sound."),
    ] = True,
    backend: Annotated[
        str, typer.Option(metavar="|".join(BACKENDS), help="What runs the model.")
    ] = DEFAULT_BACKEND,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the model.")] = 1,
    precision: Annotated[
        str, typer.Option(metavar="fp32|fp16", help="Of the torch backend; fp16 where the model holds it.")
    ] = "fp32",
    midi: Annotated[
        list[str] | None,
        typer.Option(
            "--midi",
            metavar="PORT[=MAPPING]",
            help="A controller, and the name or file of its mapping: see 'rtsep midi'; may be repeated.",
        ),
    ] = None,
    midi_virtual: Annotated[
        list[str] | None,
        typer.Option(
            "--midi-virtual", metavar="NAME[=MAPPING]", help="Make a MIDI port for others to connect to."
        ),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", help="Run on a clock, without a sound card: silence in, nothing heard.")
    ] = False,
    ui: Annotated[bool, typer.Option("--ui", help="Serve the control page: faders for a phone.")] = False,
    ui_bind: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where it is served; 0.0.0.0 for the network, with a token."),
    ] = "127.0.0.1",
    ui_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Its port; 0 for any that is free.")
    ] = PAGE_PORT,
    ui_token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the page's token there, so that its address stays good."),
    ] = None,
    osc: Annotated[bool, typer.Option("--osc", help="Listen to OSC.")] = False,
    osc_bind: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where it listens; OSC knows no password.")
    ] = "127.0.0.1",
    osc_port: Annotated[int, typer.Option(min=0, max=65535, help="Its UDP port.")] = OSC_PORT,
    osc_send: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Send state and meters there too, not only to who asks; may be repeated.",
        ),
    ] = None,
    rig: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take all that is not given here from a rig: see 'rtsep rig'.",
            is_eager=True,
            callback=load_rig,
        ),
    ] = None,
) -> int:
    """Separate what an audio device hears and play the mix you want, until Ctrl-C.

    Says first how late the sound will be, then shows levels and how the computer keeps up. What is recorded
    is at the model's sample rate; recording never holds up the sound.

    Example: rtsep live --input Scarlett --output Scarlett --mute vocals
    """
    from rtsep.cli.stem_options import (
        check_stems,
        parse_effects,
        parse_gains,
        parse_in_map,
        parse_out_map,
        parse_pans,
    )
    from rtsep.separators.registry import find

    threads = capped(threads)
    if null and (input is not None or output is not None):
        raise UsageError("--null is without a device: leave out --input and --output")
    if record is None and record_format is not RecordFormat.stems:
        raise UsageError(f"--record-format {record_format} is of a recording: give --record DIR")
    package = find(model)
    if decks == 1 and (crossfader is not None or crossfader_curve is not None):
        raise UsageError("a crossfader takes --decks 2")
    spec, stems = package.spec, strip_names(package.spec.stems, decks)
    heard_by = parse_in_map(in_map or (), decks)
    channels = parse_out_map(out_map or (), stems)
    settings = FirstSettings(
        gains=parse_gains(gain or (), stems),
        pans=parse_pans(pan or (), stems),
        muted=check_stems("--mute", mute or (), stems),
        soloed=check_stems("--solo", solo or (), stems),
        master=master,
        crossfader=crossfader,
        crossfader_cut=None if crossfader_curve is None else crossfader_curve is Curve.cut,
        dry_wet=dry_wet,
        limiter=limiter,
        fade=fade,
    )
    chains = parse_effects(fx or (), stems)
    first = SnapshotChoice.parse(snapshot)

    # Here and not above: help and refusals should not wait for numerical libraries. The engine's process
    # loads its own while this one does.
    from rtsep.engine.spawn import spawn

    child = spawn()
    from rich.console import Console

    from rtsep.cli.midi_options import PageLearning, controllers, parse_controllers
    from rtsep.cli.performance import Surfaces, perform
    from rtsep.cli.tables import latency_table
    from rtsep.control.desk import Desk
    from rtsep.control.session import Session
    from rtsep.engine.board import Board
    from rtsep.engine.options import EngineOptions, routes
    from rtsep.engine.process import ProcessEngine
    from rtsep.engine.recorder import Recorder

    # As many as are needed, or whatever two channels or one the device has.
    needed = max((channel for pair in channels.values() for channel in pair), default=0) or None
    if needed is not None:
        needed = max(needed, spec.channels)
        routes(channels, Board(spec.stems, decks=decks), needed)
    options = EngineOptions(
        model=model,
        backend=backend,
        device=device,
        threads=threads,
        precision=precision,
        audio="null" if null else "portaudio",
        input=input,
        output=output,
        block=block,
        sample_rate=sample_rate,
        in_channels=None,
        out_channels=needed,
        out_map=channels,
        allowance=allowance,
        fallback=fallback.value,
        effects=chains,
        decks=decks,
        in_map=heard_by,
        realtime=realtime,
    )
    touched = parse_controllers(midi, midi_virtual)
    console = Console(highlight=False)
    recorder: Recorder | None = None
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(contextlib.closing(ProcessEngine(options, record is not None, child)))
        desk = Desk(engine.board, engine.telemetry, first.file)
        desk.set_limiter()
        first.recall(desk)
        settings.apply(desk)
        locked = "" if record is None else "what plays is being recorded: model and device stay as they are"
        session = Session(engine, desk, locked)
        if record is not None:
            assert engine.recorder is not None
            together = record_format is RecordFormat.multichannel
            names = tuple(f"deck{name.replace('/', '-')}" if decks > 1 else name for name in stems)
            recorder = Recorder(engine.recorder, record, names, spec.sample_rate, spec.channels, together)
        waiting = console.status("loading the model and asking the device")
        with waiting if console.is_terminal else contextlib.nullcontext():
            report = engine.open()
        if engine.precision != precision:
            warn(f"{package.name} does not hold {precision}: it runs in {engine.precision}")
        desk.add_effects(engine.effects)
        surface = stack.enter_context(controllers(desk, touched))
        console.print(latency_table(report))
        planned = engine.telemetry().planned_block
        if planned != block:
            console.print(f"blocks of {planned} frames, which the audio server chooses, not of {block}")
        surfaces = Surfaces(
            PageOptions(ui_bind, ui_port, ui_token_file) if ui else None,
            OscOptions(osc_bind, osc_port, tuple(osc_send or ())) if osc else None,
            None if surface is None else PageLearning(surface),
        )
        return perform(session, console, surfaces, recorder, seconds, fade)
