"""`rtsep latency`: the arithmetic, the device's own figures, and the measurement that checks it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from rtsep.cli.latency import hop_verdict, latency, sentences
from rtsep.engine import measurement
from rtsep.engine.board import Board
from rtsep.engine.rates import plan
from rtsep.engine.telemetry import FIRST_HOPS
from rtsep.io.driver import StreamFormat
from rtsep.separators.registry import find
from rtsep.spec import RtsepError
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
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], code: int, message: str) -> None:
    result = rtsep_here("latency", *arguments)
    assert message in one_line(result)
    assert result.returncode == code
