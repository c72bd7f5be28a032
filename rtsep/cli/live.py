"""`rtsep live`: separates what an audio device hears, and plays the mix that is wanted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from rtsep.cli.errors import warn
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import AudioFileError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rtsep.cli.meters import Display
    from rtsep.engine.process import ProcessEngine
    from rtsep.engine.recorder import Recorder

TICK_SECONDS = 0.1


class Fallback(StrEnum):
    """What an underrun sounds like."""

    dry = "dry"
    silence = "silence"


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
    out_map: Annotated[
        list[str] | None,
        typer.Option(
            "--out-map",
            metavar="STEM=CH,CH",
            help="Send a stem to channels of its own too, such as vocals=3,4. The mix has 1 and 2.",
        ),
    ] = None,
    fx: Annotated[
        list[str] | None,
        typer.Option(
            "--fx",
            metavar="STEM=FILE",
            help="Put a stem, or master, through a chain of effects: see docs/effects.md. May be repeated.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Record every stem as it was separated, and the mix as it was heard."
        ),
    ] = None,
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
    backend: Annotated[str, typer.Option(metavar="onnx|torch", help="What runs the model.")] = "onnx",
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the model.")] = 1,
    null: Annotated[
        bool, typer.Option("--null", help="Run on a clock, without a sound card: silence in, nothing heard.")
    ] = False,
) -> int:
    """Separate what an audio device hears and play the mix you want, until Ctrl-C.

    Says first how late the sound will be, then shows levels and how the computer keeps up. What is recorded
    is at the model's sample rate; recording never holds up the sound.

    Example: rtsep live --input Scarlett --output Scarlett --mute vocals
    """
    from rtsep.cli.stem_options import check_stems, parse_effects, parse_gains, parse_out_map
    from rtsep.separators.registry import find

    if null and (input is not None or output is not None):
        raise UsageError("--null is without a device: leave out --input and --output")
    package = find(model)
    spec, stems = package.spec, package.spec.stems
    channels = parse_out_map(out_map or (), stems)
    gains = parse_gains(gain or (), stems)
    chains = parse_effects(fx or (), stems)
    muted, soloed = check_stems("--mute", mute or (), stems), check_stems("--solo", solo or (), stems)

    # Here and not above: help and refusals should not wait for numerical libraries.
    from rich.console import Console

    from rtsep.cli.meters import open_display, summary
    from rtsep.cli.tables import latency_table
    from rtsep.engine.options import EngineOptions, routes
    from rtsep.engine.process import ProcessEngine
    from rtsep.engine.recorder import Recorder

    # As many as are needed, or whatever two channels or one the device has.
    needed = max((channel for pair in channels.values() for channel in pair), default=0) or None
    if needed is not None:
        needed = max(needed, spec.channels)
        routes(channels, stems, needed)
    options = EngineOptions(
        model=model,
        backend=backend,
        device=device,
        threads=threads,
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
    )
    console = Console(highlight=False)
    recorder: Recorder | None = None
    with contextlib.closing(ProcessEngine(options, record=record is not None)) as engine:
        for stem, db in gains.items():
            engine.board.set_gain(stem, db)
        for stem in muted:
            engine.board.set_mute(stem)
        for stem in soloed:
            engine.board.set_solo(stem)
        if record is not None:
            assert engine.recorder is not None
            recorder = Recorder(engine.recorder, record, stems, spec.sample_rate, spec.channels)
        with console.status("loading the model and asking the device") if console.is_terminal else _nothing():
            report = engine.open()
        console.print(latency_table(report))
        notes = _notes(stems, gains, muted, soloed)
        late = report.milliseconds(report.total)
        title = f"{package.name}   {report.sample_rate} Hz   {late:.0f} ms late"
        if recorder is not None:
            recorder.start()
        try:
            with _interruptible() as stopping:
                engine.start()
                with open_display(console, notes, title) as display:
                    _watch(engine, display, recorder, stopping, seconds)
                engine.stop()
        finally:
            # Also when the device has gone: what was played is told, what was recorded is kept.
            engine.close()
            lost = engine.telemetry().record_lost
            code = _close_recording(console, recorder, lost)
            if engine.telemetry().hops:
                for line in summary(engine.telemetry()):
                    console.print(line, markup=False, soft_wrap=True)
    return code


def _watch(
    engine: ProcessEngine,
    display: Display,
    recorder: Recorder | None,
    stopping: threading.Event,
    seconds: float | None,
) -> None:
    """Show how it goes until it is over."""
    told = False
    while not stopping.is_set():
        telemetry = engine.telemetry()
        display.show(telemetry)
        if recorder is not None and recorder.failure is not None and not told:
            told = True
            warn(recorder.failure)
        left = TICK_SECONDS if seconds is None else min(TICK_SECONDS, seconds - telemetry.seconds)
        if left <= 0.0 or engine.wait(left):
            return


def _close_recording(console: Console, recorder: Recorder | None, lost: int) -> int:
    """Complete the recording and say what it is; returns the exit code."""
    if recorder is None:
        return 0
    known = recorder.failure
    made = recorder.stop()
    if made.failure is not None:
        if known is None:
            warn(made.failure)
        return AudioFileError.exit_code
    if made.files:
        names = ", ".join(file.name for file in made.files)
        console.print(
            f"recorded {made.seconds:.1f} s to {recorder.folder}: {names}", markup=False, soft_wrap=True
        )
    if lost:
        warn(
            f"{recorder.folder}: {lost} frames ({lost / made.sample_rate:.2f} s) are missing from the"
            " recording: the disk did not keep up"
        )
        return AudioFileError.exit_code
    return 0


def _notes(
    stems: tuple[str, ...], gains: dict[str, float], muted: tuple[str, ...], soloed: tuple[str, ...]
) -> dict[str, str]:
    """What was set, in words, by stem."""
    notes = {}
    for stem in stems:
        words = [f"{gains[stem]:+g} dB"] if stem in gains else []
        words += ["muted"] if stem in muted else ["solo"] if stem in soloed else []
        notes[stem] = "  ".join(words)
    return notes


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """While it lasts, Ctrl-C sets the event, which is how one ends a set; the second one means it."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
