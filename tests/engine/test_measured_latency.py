"""Reported latency is the measured one, to the sample, whatever the block."""

from __future__ import annotations

import numpy as np
import pytest

from rtsep.backends.stream import HopStream, open_stream
from rtsep.engine.inprocess import InProcessEngine
from rtsep.io.file import FileDriver, array_reader
from tests.models import build_tiny_model

BLOCKS = (16, 17, 64, 101, 127, 128, 256, 441, 480, 509, 512, 1000, 1021, 1024, 2039, 2048, 4093, 4096)
IMPULSE_AT = 3001


@pytest.fixture(scope="module", params=["causal-lstm", "conv-tasnet"])
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HopStream:
    root = build_tiny_model(tmp_path_factory.mktemp("models"), request.param, passthrough=True)
    return open_stream(root)


def measure(
    stream: HopStream, block: int, rate: int = 44100, allowance: int | None = None
) -> tuple[int, int]:
    """Reported and measured delay of an impulse, in samples."""
    audio = np.zeros((2, 4 * 4096 + IMPULSE_AT), np.float32)
    audio[:, IMPULSE_AT] = 1.0
    heard: list[np.ndarray] = []
    driver = FileDriver(
        array_reader(audio), lambda block: heard.append(block.copy()), rate, 2, 2, block, align=False
    )
    stream.reset()
    with InProcessEngine(driver, stream, allowance=allowance) as engine:
        assert engine.wait(60.0)
        assert engine.telemetry().underruns == 0
        reported = engine.latency.stream
    out = np.concatenate(heard, axis=1)
    measured = int(np.argmax(np.abs(out[0]))) - IMPULSE_AT
    # An impulse through a band-limit of a third of its rate keeps a third of its height.
    assert np.abs(out[:, IMPULSE_AT + measured]).min() > 0.3
    return reported, measured


@pytest.mark.parametrize("block", BLOCKS)
def test_an_impulse_comes_out_when_the_report_says(stream: HopStream, block: int) -> None:
    reported, measured = measure(stream, block)
    assert measured == reported


def test_a_shorter_allowance_is_less_latency_by_as_much(stream: HopStream) -> None:
    long, short = measure(stream, 64, allowance=512), measure(stream, 64, allowance=192)
    assert long[0] - short[0] == 320
    assert long[0] == long[1] and short[0] == short[1]


@pytest.mark.parametrize("rate", [48000, 96000, 32000])
def test_resamplers_are_counted(stream: HopStream, rate: int) -> None:
    reported, measured = measure(stream, 128, rate)
    assert abs(measured - reported) <= 1
