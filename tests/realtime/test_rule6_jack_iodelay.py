"""Reported latency against jack_iodelay, through a real JACK server and the engine in its own process.

jack_iodelay plays tones and finds the delay at which they come back. JACK delays any loop of clients by one
period, since somebody in it must run first; how much that is is measured with the loop closed without rtsep.
The rest must be the stream's reported latency to the sample.

What the report adds for the device is what JACK says of its physical ports. There is no cable between them
here, so that part is compared with JACK's own figures.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rtsep
from rtsep.engine.latency import Part
from tests.jack_server import JackServer
from tests.models import build_tiny_model
from tests.realtime.iodelay import IN, OUT, measure, meter

pytestmark = [pytest.mark.realtime, pytest.mark.alone]


def told(server: JackServer, port: str, direction: str) -> int:
    """Frames that JACK says a port is away from the outside world."""
    answer = server.run("jack_lsp", "-l", port)
    found = re.search(rf"{direction} latency = \[ (\d+) (\d+) \]", answer)
    assert found is not None, answer
    assert found[1] == found[2]
    return int(found[1])


# Periods below, at and above the hop, and one that does not divide it.
@pytest.mark.parametrize(("period", "hop"), [(64, 128), (256, 128), (128, 96)])
def test_the_report_is_what_jack_iodelay_measures(tmp_path: Path, period: int, hop: int) -> None:
    model = build_tiny_model(
        tmp_path, "causal-lstm", passthrough=True, hop=hop, synthesis=2 * hop, analysis=512
    )
    with JackServer("iodelay", period=period) as server, meter(server) as jack_iodelay:
        loop = measure(server, jack_iodelay, [(OUT, IN)])
        assert loop == pytest.approx(period, abs=0.1)
        # All the patience there is: a machine shared with others must not turn the measured signal dry.
        with rtsep.Engine(
            model, input="system", output="system", block=period, allowance=32 * period
        ) as engine:
            for side, system in (("in", "capture"), ("out", "playback")):
                for k in (0, 1):
                    ends = [f"system:{system}_{k + 1}", f"PortAudio:{side}_{k}"]
                    server.run("jack_disconnect", *(ends if side == "in" else reversed(ends)))
            wires = [(OUT, "PortAudio:in_0"), (OUT, "PortAudio:in_1"), ("PortAudio:out_0", IN)]
            round_trip = measure(server, jack_iodelay, wires)
            report = engine.latency
            telemetry = engine.telemetry()
            parts = {part.name: part for part in report.parts}
            device_in, device_out = parts["device in"].samples, parts["device out"].samples
            assert device_in == told(server, "system:capture_1", "capture")
            assert device_out == told(server, "system:playback_1", "playback")
    # It is the worker's output that has been measured, not the fallback.
    assert telemetry.hops > telemetry.underruns + telemetry.late_hops
    assert round_trip - loop == pytest.approx(report.stream, abs=0.1)
    assert report.total == device_in + report.stream + device_out
    assert isinstance(parts["algorithmic"], Part) and parts["algorithmic"].samples == 2 * hop


def test_either_of_two_decks_is_as_late_as_the_report_says(tmp_path: Path) -> None:
    """Four inputs of a server; each deck heard by itself through the crossfader, in one engine."""
    period, hop = 128, 128
    model = build_tiny_model(
        tmp_path, "causal-lstm", passthrough=True, hop=hop, synthesis=2 * hop, analysis=512
    )
    with JackServer("decks", period=period, inputs=4) as server, meter(server) as jack_iodelay:
        loop = measure(server, jack_iodelay, [(OUT, IN)])
        with rtsep.Engine(
            model, input="system", output="system", block=period, allowance=32 * period, decks=2
        ) as engine:
            for k in range(4):
                server.run("jack_disconnect", f"system:capture_{k + 1}", f"PortAudio:in_{k}")
            for k in range(2):
                server.run("jack_disconnect", f"PortAudio:out_{k}", f"system:playback_{k + 1}")
            for deck, ports in ((1, (0, 1)), (2, (2, 3))):
                engine.crossfade(deck - 1.0)
                wires = [*((OUT, f"PortAudio:in_{k}") for k in ports), ("PortAudio:out_0", IN)]
                round_trip = measure(server, jack_iodelay, wires)
                assert round_trip - loop == pytest.approx(engine.latency.stream, abs=0.1)
            telemetry = engine.telemetry()
    assert telemetry.hops > telemetry.underruns + telemetry.late_hops
    assert telemetry.deck_bad_hops == (0, 0)
