"""`rtsep latency`: the arithmetic, the device's own figures, and the measurement that checks it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from rtsep.cli.latency import _tell_loop, hop_verdict, latency, sentences
from rtsep.engine import measurement
from rtsep.engine.board import Board
from rtsep.engine.loopback import Loop, _found, measure_loop
from rtsep.engine.measurement import noise
from rtsep.engine.rates import plan
from rtsep.engine.telemetry import FIRST_HOPS
from rtsep.io.driver import StreamFormat
from rtsep.io.portaudio import PortAudioDriver
from rtsep.separators.registry import find
from rtsep.spec import DeviceError, RtsepError
from tests.cli.command import one_line, rtsep, rtsep_here
from tests.jack_server import JackServer

pytestmark = pytest.mark.usefixtures("models")

HOP, DELAY = 128, 128


def asked(*arguments: str) -> dict[str, Any]:
    result = rtsep_here("latency", "--json", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    data: dict[str, Any] = json.loads(result.stdout)
    assert sum(part["samples"] for part in data["parts"]) == pytest.approx(data["total"]["samples"])
    for length in (data["stream"], data["total"], *data["parts"]):
        assert length["ms"] == pytest.approx(1000 * length["samples"] / data["sample_rate"])
    return data


def parts(data: dict[str, Any]) -> dict[str, float]:
    return {part["name"]: part["samples"] for part in data["parts"]}


def test_without_a_device_it_is_arithmetic() -> None:
    data = asked("--block", "96", "--allowance", "288")
    assert parts(data) == {
        "device in": 96,
        "algorithmic": HOP + DELAY,
        "block adapter": 96 - 32,
        "pipeline": 288 - 96,
        "device out": 0,
    }
    assert data["stream"]["samples"] == HOP + DELAY + 64 + 192
    assert (data["model"], data["block"], data["hop"], data["allowance"]["samples"]) == ("live", 96, HOP, 288)


def test_people_get_a_table_and_a_sentence_for_each_part() -> None:
    result = rtsep_here("latency", "--block", "96", "--sample-rate", "48000")
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("algorithmic", "resampler", "block adapter", "pipeline", "total", "no device asked"):
        assert word in result.stdout
    for subject in ("The model takes 5.8 ms", "Computing takes", "Resampling takes", "The block takes"):
        assert subject in result.stdout


def test_sentences_are_only_of_what_there_is() -> None:
    spec = find("live").spec

    def told(fmt: StreamFormat, asked: bool = False) -> str:
        return "\n".join(sentences(plan(spec, fmt), spec, asked))

    aligned = told(StreamFormat(44100, 128, 2, 2))
    assert "Resampling" not in aligned and "The block" not in aligned and "as none was asked" in aligned
    assert "A power of two does" in told(StreamFormat(44100, 100, 2, 2))
    resampled = told(StreamFormat(48000, 128, 2, 2))
    assert "A power of two" not in resampled and "48000 Hz" in resampled
    assert "takes 10.0 ms: what its driver says" in told(StreamFormat(44100, 128, 2, 2, 100, 213), True)


@pytest.mark.realtime
def test_a_device_is_asked_for_its_own_figures() -> None:
    with JackServer("latency", rate=48000, period=256) as server:
        data = asked("--output", "system")
        capture = server.run("jack_lsp", "-l", "system:capture_1")
    # The rate and the block are the server's, and the whole of what it says of its input is counted.
    assert (data["sample_rate"], data["block"], data["model_sample_rate"]) == (48000, 256, 44100)
    assert f"capture latency = [ {parts(data)['device in']:.0f} " in capture
    assert parts(data)["device out"] >= 256 and parts(data)["resampler"] > 0


@pytest.mark.realtime
@pytest.mark.parametrize(("block", "rate"), [(128, 44100), (101, 44100), (64, 48000)])
def test_measured_is_reported(block: int, rate: int) -> None:
    options = ("--block", str(block), "--sample-rate", str(rate), "--measure", "--seconds", "0.5")
    data = asked(*options)
    measured, exact = (
        data["measured_stream"],
        sum(part["samples"] for part in data["parts"] if not part["name"].startswith("device")),
    )
    assert measured["agrees"] is True
    if rate == 44100:
        assert measured["samples"] == exact == data["stream"]["samples"]
        assert measured["residual_db"] < -100
    else:
        assert measured["samples"] == pytest.approx(exact, abs=0.05)
    hops = data["measured_hops"]
    assert hops["hops"] > FIRST_HOPS
    assert 0 < hops["p50_ms"] <= hops["p99_ms"] <= hops["p99.9_ms"] <= hops["max_ms"]
    assert hops["deadline_ms"] == pytest.approx(1000 * HOP / 44100)


@pytest.mark.realtime
def test_measuring_tells_people_too() -> None:
    result = rtsep("latency", "--measure", "--seconds", "0.5")
    assert (result.returncode, result.stderr) == (0, "")
    words = " ".join(result.stdout.split())
    assert ": as reported." in words and "unchanged, to -" in words
    assert "The longest hop took" in words


@contextlib.contextmanager
def cable(server: JackServer) -> Iterator[None]:
    """From the first output of whatever PortAudio opens meanwhile to its first input."""
    over = threading.Event()

    def connect() -> None:
        while not over.wait(0.2):
            wire = ["jack_connect", "-s", server.name, "PortAudio:out_0", "PortAudio:in_0"]
            subprocess.run(wire, capture_output=True, check=False, timeout=10)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.realtime
@pytest.mark.parametrize("period", [64, 256])
def test_through_a_cable_it_is_what_lies_between(period: int) -> None:
    """JACK hands on what a client gives itself one period later, to the sample and as loud."""
    with JackServer("loopback", period=period) as server:
        with cable(server):
            data = asked("--output", "system", "--loopback")
        with pytest.raises(DeviceError, match="nothing came back"):
            measure_loop(PortAudioDriver(None, "system"), settle=0.1)
    device = data["measured_device"]
    assert (device["samples"], device["input_channel"]) == (period, 1)
    assert device["gain_db"] == pytest.approx(0.0, abs=0.1)
    assert device["reported"]["samples"] == parts(data)["device in"] + parts(data)["device out"]
    assert data["measured_total"]["samples"] == data["stream"]["samples"] + period


def test_what_comes_back_is_found_in_what_else_is_heard() -> None:
    rng = np.random.default_rng(5)
    played = noise(1, 20_000)[0]
    hum = np.sin(0.01 * np.arange(60_000))
    heard = np.stack([0.3 * hum, 0.1 * hum + 0.02 * rng.standard_normal(60_000)]).astype(np.float32)
    with pytest.raises(DeviceError, match="nothing came back"):
        _found(played, heard)
    heard[1, 1234:21_234] -= np.float32(0.25) * played  # as an inverting amplifier gives it
    delay, channel, gain_db = _found(played, heard)
    assert (delay, channel) == (1234, 1) and gain_db == pytest.approx(20 * math.log10(0.25), abs=0.5)
    # A device that loses sound once, and from then on hears it sooner.
    shorter = heard.copy()
    shorter[1, 16_000:-100] = heard[1, 16_100:]
    assert _found(played, shorter)[:2] == (1234, 1)
    shorter[1, 8_000:-100] = shorter[1, 8_100:].copy()
    with pytest.raises(DeviceError, match="now sooner and now later"):
        _found(played, shorter)


@pytest.mark.parametrize("more", [-3, 0, 37])
def test_what_a_device_adds_is_told_beside_what_it_says(more: int) -> None:
    report = plan(find("live").spec, StreamFormat(44100, 128, 2, 2, 100, 213), 256)
    screen = Console(file=io.StringIO(), width=400)
    _tell_loop(screen, Loop(441 + more, 441, 2, -6.02), report)
    text = cast(io.StringIO, screen.file).getvalue()
    assert f"to input 2 after {441 + more} samples" in text and "at -6.0 dB" in text
    words = {-3: "3 less than the device says", 0: "as the device says", 37: "37 more than the device says"}
    assert words[more] in text


@pytest.mark.parametrize(
    ("longest", "late", "verdict"),
    [
        (0.002, 0, "took 34 % of the 5.8 ms that it is given."),
        (0.002, 3, "something else on this machine held the engine up"),
        (0.009, 3, "longer than the 5.8 ms"),
    ],
)
def test_the_verdict_on_hop_times_is_the_telemetrys(longest: float, late: int, verdict: str) -> None:
    times = replace(Board(("vocals",)).telemetry(), hop_max=longest, late_hops=late, hops=100)
    report = plan(find("live").spec, StreamFormat(44100, 128, 2, 2), 256)
    assert verdict in hop_verdict(times, report)


@pytest.mark.realtime
def test_a_report_that_is_wrong_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = measurement.measure_delay

    def wrong(*arguments: Any) -> measurement.MeasuredDelay:
        found = honest(*arguments)
        return replace(found, reported=found.reported + 1)

    monkeypatch.setattr(measurement, "measure_delay", wrong)
    with pytest.raises(
        RtsepError, match="measured 384 samples of latency where 385 were reported"
    ) as failure:
        latency(allowance=256, measure=True, seconds=0.5)
    assert failure.value.exit_code == 1
    assert "NOT as reported" in " ".join(capsys.readouterr().out.split())


def test_agreement_is_to_the_sample() -> None:
    def agrees(reported: Fraction, measured: float, residual: float | None) -> bool:
        return measurement.MeasuredDelay(reported, measured, residual).agrees

    assert agrees(Fraction(384), 384, -120.0) and not agrees(Fraction(384), 385, -120.0)
    assert agrees(Fraction(3843, 10), 384.5, None) and not agrees(Fraction(3843, 10), 384.9, None)


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "no-such"], 4, "no model is called 'no-such'"),
        (["--allowance", "64"], 2, "shorter than the block"),
        (["--output", "no such device"], 6, "device"),
        (["--measure", "--backend", "abacus", "--json"], 5, "unknown backend 'abacus'"),
        (["--block", "0"], 2, "--block"),
        (["--loopback"], 2, "--loopback takes a device: --input and --output"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], code: int, message: str) -> None:
    result = rtsep_here("latency", *arguments)
    assert message in one_line(result)
    assert result.returncode == code
