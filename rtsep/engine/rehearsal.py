"""A recording played through the live engine, paced by a clock: what the stage would hear, kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream
from rtsep.engine.board import Board
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.latency import LatencyReport
from rtsep.engine.telemetry import Telemetry
from rtsep.io.null import NullDriver
from rtsep.rt.ring import RingBuffer


@dataclass(frozen=True)
class Rehearsal:
    """What came out, aligned with what went in.

    Attributes:
        output: (channels, samples), what the audience would have heard.
        stems: (stems, channels, samples), before the mixer.
        latency: the stream's, which has been taken out of the arrays.
        telemetry: at the end.
    """

    output: NDArray[np.float32]
    stems: NDArray[np.float32]
    latency: LatencyReport
    telemetry: Telemetry


def rehearse(
    stream: HopStream, audio: NDArray[np.float32], *, block: int = 128, muted: tuple[str, ...] = ()
) -> Rehearsal:
    """Play `audio` through the engine at the speed of a sound card, with nothing plugged in.

    Args:
        stream: the separator; it is reset.
        audio: (channels, samples) at the stream's rate; held in memory whole.
        block: frames per callback.
        muted: stems to mute from the first sample on.

    Raises:
        UsageError: for a stem that the model does not have.
        DeviceError: when the engine fails.
    """
    spec = stream.spec
    board = Board(spec.stems)
    for stem in muted:
        board.set_mute(stem)
    samples = audio.shape[1]
    width = (len(spec.stems) + 1) * spec.channels
    recorder = RingBuffer(width, samples + 64 * spec.hop + 8 * block)
    driver = NullDriver(spec.sample_rate, block, audio, audio.shape[0], spec.channels)
    stream.reset()
    with InProcessEngine(driver, stream, board=board, recorder=recorder) as engine:
        engine.wait()
        latency = engine.latency
        telemetry = engine.telemetry()
    captured = driver.captured[:, latency.stream : latency.stream + samples]
    taped = np.empty((recorder.read_available, width), np.float32)
    recorder.pop(taped)
    aligned = np.zeros((len(spec.stems) * spec.channels, samples), np.float32)
    # A machine that is too slow may not have come to the end: silence is what was heard of the rest.
    heard = taped[spec.delay : spec.delay + samples, : -spec.channels].T
    aligned[:, : heard.shape[1]] = heard
    return Rehearsal(captured, aligned.reshape(len(spec.stems), spec.channels, -1), latency, telemetry)
