"""On PipeWire, whose ports look like JACK's and say other things of their latency.

Its virtual devices hand over what was made in the same period, so they are zero frames away; and its period
is whatever its clients ask for, which changes while they play.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import rtsep
from tests.models import build_tiny_model
from tests.pipewire_server import PipeWireServer
from tests.realtime.iodelay import IN, OUT, measure, meter
from tests.waiting import until

pytestmark = [pytest.mark.realtime, pytest.mark.alone]


@pytest.mark.parametrize(("period", "hop"), [(128, 128), (64, 96)])
def test_the_report_is_what_jack_iodelay_measures(tmp_path: Path, period: int, hop: int) -> None:
    model = build_tiny_model(
        tmp_path, "causal-lstm", passthrough=True, hop=hop, synthesis=2 * hop, analysis=512
    )
    with PipeWireServer(period=period) as server, meter(server) as jack_iodelay:
        # A client's link to itself is no delay here; a loop of two is one period.
        back = ("card:monitor_FL", IN)
        loop = measure(server, jack_iodelay, [(OUT, "card:playback_FL"), back])
        assert loop == pytest.approx(period, abs=0.1)
        with rtsep.Engine(model, input="card", output="card", block=999, allowance=32 * period) as engine:
            for k, side in enumerate(("FL", "FR")):
                server.run("jack_disconnect", f"card:monitor_{side}", f"PortAudio:in_{k}")
                server.run("jack_disconnect", f"PortAudio:out_{k}", f"card:playback_{side}")
            wires = [(OUT, "PortAudio:in_0"), (OUT, "PortAudio:in_1")]
            wires += [("PortAudio:out_0", "card:playback_FL"), back]
            round_trip = measure(server, jack_iodelay, wires)
            report, telemetry = engine.latency, engine.telemetry()
    parts = {part.name: part.samples for part in report.parts}
    assert parts["device in"] == parts["device out"] == 0
    assert telemetry.block == telemetry.planned_block == period and not telemetry.outgrown
    assert telemetry.hops > telemetry.underruns + telemetry.late_hops
    assert round_trip - loop == pytest.approx(report.stream, abs=0.1)


def test_blocks_that_grow_are_told(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path)
    with PipeWireServer(period=128) as server:
        with rtsep.Engine(model, input="card", output="card") as engine:
            until(lambda: engine.telemetry().hops > 10, "hops")
            server.change_period(512)
            until(lambda: engine.telemetry().outgrown, "longer blocks")
            assert (engine.telemetry().block, engine.telemetry().planned_block) == (512, 128)
            server.change_period(64)
            until(lambda: engine.telemetry().block == 64, "shorter blocks")
            assert not engine.telemetry().outgrown
