"""The measurement finds the delay that there is, not the one that is reported."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rtsep.backends.stream import HopStream, open_stream
from rtsep.engine.latency import default_allowance
from rtsep.engine.measurement import _remainder, measure_delay, measure_hops, trailing
from rtsep.engine.telemetry import FIRST_HOPS
from rtsep.io.driver import StreamFormat
from rtsep.spec import UsageError
from tests.models import build_tiny_model

NOISE = np.random.default_rng(5).standard_normal(40_000)


@pytest.fixture(scope="module", params=["causal-lstm", "conv-tasnet"])
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HopStream]:
    with open_stream(build_tiny_model(tmp_path_factory.mktemp("models"), request.param)) as opened:
        yield opened


@pytest.mark.parametrize("delay", [0, 1, 777, 12_345])
def test_a_whole_delay_is_found(delay: int) -> None:
    place, strength, gain = trailing(NOISE, np.concatenate([np.zeros(delay), -0.5 * NOISE]))
    assert place == delay and gain == pytest.approx(-0.5) and strength > 20.0


@pytest.mark.parametrize("fraction", [-0.5, -0.2, 0.0, 0.01, 0.37])
def test_a_fraction_is_found(fraction: float) -> None:
    turns = np.fft.rfftfreq(len(NOISE))
    late = np.fft.irfft(np.fft.rfft(NOISE) * np.exp(-2j * np.pi * turns * fraction), len(NOISE))
    assert _remainder(NOISE, late, 0.4) == pytest.approx(fraction, abs=1e-6)


@pytest.mark.parametrize("block", [64, 101, 480])
def test_models_with_weights_of_their_own_are_as_late_as_reported(stream: HopStream, block: int) -> None:
    found = measure_delay(stream, StreamFormat(44100, block, 2, 2))
    assert found.agrees and found.measured == found.reported
    assert found.residual_db is not None and found.residual_db < -100


def test_with_resamplers_the_fraction_is_right_too(stream: HopStream) -> None:
    found = measure_delay(stream, StreamFormat(48000, 128, 2, 2))
    assert found.reported.denominator > 1 and found.residual_db is None
    assert found.measured == pytest.approx(float(found.reported), abs=0.05)


def test_the_devices_own_latency_is_not_the_streams(stream: HopStream) -> None:
    bare, device = StreamFormat(44100, 128, 2, 2), StreamFormat(44100, 128, 2, 2, 1000, 2000)
    assert measure_delay(stream, bare) == measure_delay(stream, device)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (2, 1), (2, 6)])
def test_channels_make_no_difference(stream: HopStream, inputs: int, outputs: int) -> None:
    found = measure_delay(stream, StreamFormat(44100, 128, inputs, outputs))
    assert found.agrees
    assert found.residual_db is not None and found.residual_db < -100


def test_an_allowance_counts_and_has_a_least(stream: HopStream) -> None:
    fmt = StreamFormat(44100, 64, 2, 2)
    plain, more = measure_delay(stream, fmt), measure_delay(stream, fmt, 1024)
    assert more.agrees
    assert more.measured - plain.measured == 1024 - default_allowance(64, stream.spec.hop)
    with pytest.raises(UsageError, match="shorter than the block"):
        measure_delay(stream, fmt, 32)


@pytest.mark.realtime
def test_hops_are_timed_at_the_pace_of_a_card(stream: HopStream) -> None:
    done: list[float] = []
    times = measure_hops(stream, StreamFormat(44100, 128, 2, 2), 0.5, progress=done.append)
    assert times.seconds >= 0.5 and done == sorted(done)
    # How many it managed is the machine's affair; that they are counted and timed is ours.
    assert times.hops > FIRST_HOPS
    assert 0 < times.hop_p50 <= times.hop_p99 <= times.hop_max
    assert times.deadline == stream.spec.hop_seconds
