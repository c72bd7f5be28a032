"""`rtsep latency`: where every sample of latency comes from, and whether that is true."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND
from rtsep.cli.threads import capped
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import RtsepError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rtsep.backends.stream import HopStream
    from rtsep.engine.latency import LatencyReport
    from rtsep.engine.loopback import Loop
    from rtsep.engine.measurement import MeasuredDelay
    from rtsep.engine.telemetry import Telemetry
    from rtsep.io.driver import AudioDriver, StreamFormat
    from rtsep.spec import StreamSpec


def latency(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model: see 'rtsep models'.")
    ] = DEFAULT_MODEL,
    block: Annotated[
        int, typer.Option(min=1, help="Frames that the device hands over at once. JACK sets its own.")
    ] = 128,
    sample_rate: Annotated[
        int | None, typer.Option(min=1000, help="Of the device, in Hz.  [default: the model's]")
    ] = None,
    allowance: Annotated[
        int | None,
        typer.Option(min=1, help="Device samples that computing a hop may take.  [default: a hop]"),
    ] = None,
    input: Annotated[
        str | None, typer.Option(metavar="DEV", help="Ask this device: number, name or part of it.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="DEV", help="Ask this device: number, name or part of it.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Send noise through the engine and see. Makes no sound."),
    ] = False,
    loopback: Annotated[
        bool,
        typer.Option(
            "--loopback",
            help="Play half a second of noise through the device and listen for it: with a cable from output"
            " to input, what the device really adds.",
        ),
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long to measure hop times.")] = 10.0,
    backend: Annotated[
        str, typer.Option(metavar="|".join(BACKENDS), help="What runs the model.")
    ] = DEFAULT_BACKEND,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for the model.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one object.")] = False,
) -> None:
    """Explain the latency of a model, a block size and a device; measure it.

    Without a device it is arithmetic. With --input or --output that device is opened for what it says of
    itself. With --measure the delay of sound through the real engine is compared with the report, to the
    sample, and computing is timed; where they differ, the exit code is 1. With --loopback and a cable
    from the device's output to its input, what the device adds is measured as well.

    Example: rtsep latency --block 64 --measure
    Example: rtsep latency --input Scarlett --output Scarlett --loopback
    """
    # Here and not above: help should not wait for numerical libraries.
    from rtsep.backends.stream import open_stream
    from rtsep.engine.measurement import measure_delay, measure_hops
    from rtsep.engine.rates import plan
    from rtsep.separators.registry import find

    package = find(model)
    threads = capped(threads)
    spec = package.spec
    driver = _driver(spec, input, output, block, sample_rate)
    if loopback and driver is None:
        raise UsageError("--loopback takes a device: --input and --output")
    fmt = _format(spec, driver, block, sample_rate)
    report = plan(spec, fmt, allowance)
    loop: Loop | None = None
    delay: MeasuredDelay | None = None
    times: Telemetry | None = None
    screen = _screen(as_json)
    if screen is not None:
        _explain(screen, report, spec, fmt, package.name, driver is not None)
    if measure:
        with open_stream(package, backend=backend, device=device, threads=threads) as stream:
            delay = measure_delay(stream, fmt, allowance)
            if screen is not None:
                _tell_delay(screen, delay)
            times = _watched(stream, fmt, seconds, allowance, measure_hops)
            if screen is not None:
                _tell_times(screen, times, report)
    if driver is not None and loopback:
        from rtsep.engine.loopback import measure_loop

        loop = measure_loop(driver)
        if screen is not None:
            _tell_loop(screen, loop, report)
    if as_json:
        typer.echo(json.dumps(as_data(report, spec, fmt, package.name, delay, times, loop), indent=2))
    if delay is not None and not delay.agrees:
        raise RtsepError(
            f"measured {delay.measured:g} samples of latency where {float(delay.reported):g} were reported"
        )


def as_data(
    report: LatencyReport,
    spec: StreamSpec,
    fmt: StreamFormat,
    model: str,
    delay: MeasuredDelay | None,
    times: Telemetry | None,
    loop: Loop | None,
) -> dict[str, Any]:
    """All of it as plain data; samples are the device's, times milliseconds."""

    def length(samples: Any) -> dict[str, float]:
        return {"samples": float(samples), "ms": report.milliseconds(samples)}

    data: dict[str, Any] = {
        "model": model,
        "sample_rate": report.sample_rate,
        "model_sample_rate": spec.sample_rate,
        "block": fmt.block,
        "hop": spec.hop,
        "parts": [{"name": p.name, **length(p.samples), "meaning": p.meaning} for p in report.parts],
        "stream": length(report.stream),
        "total": length(report.total),
        "allowance": length(report.allowance),
    }
    if delay is not None:
        data["measured_stream"] = {
            **length(delay.measured),
            "agrees": delay.agrees,
            "residual_db": delay.residual_db,
        }
    if times is not None:
        data["measured_hops"] = {
            "hops": times.hops,
            "deadline_ms": 1000 * times.deadline,
            **{
                name: None if math.isnan(value) else 1000 * value
                for name, value in (
                    ("p50_ms", times.hop_p50),
                    ("p99_ms", times.hop_p99),
                    ("p99.9_ms", times.hop_p999),
                    ("max_ms", times.hop_max),
                    ("first_hops_max_ms", times.first_hops_max),
                )
            },
            "underruns": times.underruns,
            "late_hops": times.late_hops,
        }
    if loop is not None:
        data["measured_device"] = {
            **length(loop.delay),
            "reported": length(loop.reported),
            "input_channel": loop.channel,
            "gain_db": loop.gain_db,
        }
        data["measured_total"] = length(report.stream + loop.delay)
    return data


def _driver(
    spec: StreamSpec, input: str | None, output: str | None, block: int, sample_rate: int | None
) -> AudioDriver | None:
    """What opens the device that was asked for; None if none was."""
    if input is None and output is None:
        return None
    from rtsep.io.portaudio import PortAudioDriver

    return PortAudioDriver(input, output, block, sample_rate, None, None, preferred_rate=spec.sample_rate)


def _format(
    spec: StreamSpec, driver: AudioDriver | None, block: int, sample_rate: int | None
) -> StreamFormat:
    from rtsep.io.driver import StreamFormat

    if driver is None:
        return StreamFormat(sample_rate or spec.sample_rate, block, 2, 2)
    try:
        return driver.open()
    finally:
        driver.close()


def _screen(as_json: bool) -> Console | None:
    from rich.console import Console

    return None if as_json else Console(highlight=False)


def _explain(
    screen: Console, report: LatencyReport, spec: StreamSpec, fmt: StreamFormat, model: str, asked: bool
) -> None:
    from rtsep.cli.tables import latency_table

    screen.print(
        f"model [bold]{model}[/], blocks of {fmt.block} frames, {'a' if asked else 'no'} device asked"
    )
    screen.print(latency_table(report))
    for line in sentences(report, spec, asked):
        screen.print(line)


def sentences(report: LatencyReport, spec: StreamSpec, asked: bool) -> list[str]:
    """What the parts mean to whoever plays: the model's share apart from the computer's."""
    parts = {part.name: part.samples for part in report.parts}

    def ms(samples: Any) -> str:
        return f"{report.milliseconds(samples):.1f} ms"

    lines = [
        f"[bold]The model[/] takes {ms(parts['algorithmic'])} (algorithmic): it must hear that much before it"
        " can tell what belongs to whom. No computer makes it less, another model may.",
        f"[bold]Computing[/] takes {ms(parts['pipeline'])} (pipeline) beyond the block: a hop has"
        f" {ms(report.allowance)} to be computed in, and is played after that however early it is ready."
        " Where hops take much less (--measure tells), a shorter --allowance will do.",
    ]
    if "resampler" in parts:
        lines.append(
            f"[bold]Resampling[/] takes {ms(parts['resampler'])}: the device runs at {report.sample_rate} Hz,"
            f" the model at {spec.sample_rate} Hz. A device at the model's rate needs none."
        )
    if parts["block adapter"]:
        why = (
            f"the model's hop is {spec.hop} samples, which it does not divide. A power of two does."
            if report.sample_rate == spec.sample_rate
            else "at two rates blocks and hops never line up. A smaller block costs less."
        )
        lines.append(f"[bold]The block[/] takes {ms(parts['block adapter'])}: {why}")
    around = parts["device in"] + parts["device out"]
    lines.append(
        f"[bold]The device[/] takes {ms(around)}"
        + (
            ": what its driver says; converters may add a little that it does not know of."
            if asked
            else ": only the block that it collects, as none was asked. --input and --output ask one."
        )
    )
    return lines


def _tell_delay(screen: Console, delay: MeasuredDelay) -> None:
    verdict = "[green]as reported[/]" if delay.agrees else "[red]NOT as reported[/]"
    line = (
        f"[bold]Measured[/]: noise came out {delay.measured:g} samples after it went in; reported"
        f" {float(delay.reported):g}: {verdict}."
    )
    if delay.residual_db is not None:
        line += f" With all stems at 0 dB it came out unchanged, to {delay.residual_db:.0f} dB."
    screen.print()
    screen.print(line)


def _tell_loop(screen: Console, loop: Loop, report: LatencyReport) -> None:
    more = loop.delay - loop.reported
    said = (
        f"{abs(more)} {'more' if more > 0 else 'less'} than the device says" if more else "as the device says"
    )
    screen.print()
    screen.print(
        f"[bold]Through the cable[/]: noise came back to input {loop.channel} after {loop.delay} samples"
        f" ({report.milliseconds(loop.delay):.1f} ms), {said}, at {loop.gain_db:+.1f} dB. With the stream's"
        f" {float(report.stream):g} samples all of it takes"
        f" {report.milliseconds(report.stream + loop.delay):.1f} ms."
    )


def _tell_times(screen: Console, times: Telemetry, report: LatencyReport) -> None:
    from rtsep.cli.tables import hop_table, troubles

    screen.print(hop_table(times))
    screen.print(f"{troubles(times)}")
    screen.print(hop_verdict(times, report))


def hop_verdict(times: Telemetry, report: LatencyReport) -> str:
    """Whether the computer keeps up, in a sentence."""
    budget = report.allowance / report.sample_rate
    if times.hop_max > budget:
        return (
            f"[red]The longest hop took longer than the {1000 * budget:.1f} ms that it is given: such a hop"
            " is not heard, but the fallback.[/]"
        )
    share = 100 * times.hop_max / budget
    verdict = f"The longest hop took {share:.0f} % of the {1000 * budget:.1f} ms that it is given."
    if times.late_hops or times.underruns:
        verdict += (
            " [yellow]Still some came late: something else on this machine held the engine up. A longer"
            " --allowance, or less else to do, helps.[/]"
        )
    return verdict


def _watched(
    stream: HopStream, fmt: StreamFormat, seconds: float, allowance: int | None, measure_hops: Any
) -> Telemetry:
    """`measure_hops` with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("timing hops"),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=seconds)
        telemetry: Telemetry = measure_hops(
            stream, fmt, seconds, allowance, lambda done: bar.update(task, completed=done)
        )
    return telemetry
