"""A separator that is no network: its stems are fixed shares of the mixture. It misbehaves when told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream
from rtsep.effects.stage import EffectStage
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.telemetry import Telemetry
from rtsep.io.driver import AudioDriver
from rtsep.io.file import FileDriver, array_reader
from rtsep.rt.ring import RingBuffer
from rtsep.spec import STEMS, StreamSpec

SHARES = (0.4, 0.3, 0.2, 0.1)
HOP = 128
DELAY = 128
RATE = 44100
_WARM_UP_STEPS = 1
"""Steps that the worker runs before the first hop."""


class StandIn:
    """What a `HopStream` is to the worker.

    Attributes:
        before: called with the hop's number, from 0 on, at the beginning of its step.
        spoil: called with the hop's number and its stems, to do with as it likes.
        resets: how often the stream was reset while it ran.
    """

    def __init__(self, hop: int = HOP, delay: int = DELAY, rate: int = RATE, decks: int = 1) -> None:
        self.spec = StreamSpec(rate, 2, STEMS, hop, delay)
        self.decks = decks
        self.inputs = np.zeros((decks, 2, hop), np.float32)
        self.strips = np.zeros((decks * len(STEMS), 2, hop), np.float32)
        self.input, self.stems = self.inputs[0], self.strips[: len(STEMS)]
        self.before: Callable[[int], None] = lambda hop: None
        self.spoil: Callable[[int, NDArray[np.float32]], None] = lambda hop, stems: None
        self.resets = 0
        self.deck_resets = [0] * decks
        self._past = np.zeros((decks, 2, delay + hop), np.float32)
        self._steps = 0

    def step(self) -> None:
        hop = self.spec.hop
        number = self._steps - _WARM_UP_STEPS
        self._steps += 1
        self.before(number)
        self._past[:, :, :-hop] = self._past[:, :, hop:].copy()
        self._past[:, :, -hop:] = self.inputs
        for k, strip in enumerate(self.strips):
            deck, stem = divmod(k, len(STEMS))
            np.multiply(self._past[deck, :, :hop], np.float32(SHARES[stem]), out=strip)
        self.spoil(number, self.strips)

    def keep_alive(self) -> None:
        pass

    def reset(self, deck: int | None = None) -> None:
        running = self._steps > _WARM_UP_STEPS
        for k in range(self.decks) if deck is None else (deck,):
            self._past[k].fill(0.0)
            self.strips[k * len(STEMS) : (k + 1) * len(STEMS)].fill(0.0)
            self.deck_resets[k] += running
        self.resets += running

    def as_stream(self) -> HopStream:
        return cast(HopStream, self)


def through_file(
    stream: HopStream,
    audio: NDArray[np.float32],
    block: int = 128,
    *,
    rate: int = RATE,
    recorder: RingBuffer | None = None,
    effects: EffectStage | None = None,
    in_map: dict[int, tuple[int, ...]] | None = None,
    prepare: Callable[[InProcessEngine], None] = lambda engine: None,
) -> tuple[NDArray[np.float32], Telemetry, int]:
    """Run (input channels, samples) through a whole engine as fast as it goes.

    Args:
        prepare: called with the opened engine before it starts.

    Returns:
        What came out, unaligned, (2, samples + latency); the telemetry; the stream's latency.
    """
    heard: list[NDArray[np.float32]] = []
    driver: AudioDriver = FileDriver(
        array_reader(audio), lambda piece: heard.append(piece.copy()), rate, len(audio), 2, block, align=False
    )
    engine = InProcessEngine(driver, stream, recorder=recorder, effects=effects, in_map=in_map)
    latency = engine.open().stream
    try:
        prepare(engine)
        engine.start()
        assert engine.wait(120.0)
        return np.concatenate(heard, axis=1), engine.telemetry(), latency
    finally:
        engine.close()


def sine(samples: int, hertz: float = 110.0, amplitude: float = 0.5) -> NDArray[np.float32]:
    """(2, samples), the same in both channels; it begins and ends softly, so that it is nowhere bent."""
    time = np.arange(samples)
    edge = np.clip(np.minimum(time, time[::-1]) / 2048.0, 0.0, 1.0)
    one = amplitude * np.sin(2.0 * np.pi * hertz / RATE * time) * (0.5 - 0.5 * np.cos(np.pi * edge))
    return np.stack([one, one]).astype(np.float32)


def delayed(audio: NDArray[np.float32], by: int, length: int) -> NDArray[np.float32]:
    """The input as it is due at the output: (2, length), `by` samples later."""
    due = np.zeros((2, length), np.float32)
    count = min(audio.shape[1], length - by)
    due[:, by : by + count] = audio[:, :count]
    return due
