"""Two decks in one engine: each is what it would be alone, and the crossfader lies between them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream, open_stream
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.worker import RAMP
from rtsep.io.file import FileDriver, array_reader
from rtsep.io.null import NullDriver
from rtsep.mixer.decks import CUT_WIDTH
from rtsep.rt.ring import RingBuffer
from rtsep.spec import UsageError
from tests.engine.standin import DELAY, HOP, RATE, SHARES, StandIn, delayed, sine, through_file
from tests.engine.test_unity import residual_db
from tests.models import ARCHITECTURES, build_tiny_model

BLOCKS = (16, 101, 128, 509, 1024)
VOCALS = np.float32(SHARES[0])


def noise(seed: int, samples: int = 44100) -> NDArray[np.float32]:
    return (0.2 * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def two_sines(hops: int) -> NDArray[np.float32]:
    """(4, samples): 110 Hz on the first deck, 155 Hz and softer on the second."""
    return np.concatenate([sine(hops * HOP), sine(hops * HOP, 155.0, 0.3)])


@pytest.fixture(scope="module", params=ARCHITECTURES)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HopStream:
    """Separates nonsense, but into stems that differ."""
    return open_stream(build_tiny_model(tmp_path_factory.mktemp("models"), request.param), decks=2)


def recorded(
    stream: HopStream, audio: NDArray[np.float32], decks: int = 2
) -> tuple[NDArray[np.float32], int]:
    """Every strip as it was separated, (strips, 2, samples), and the hops that were replaced."""
    stream.reset()
    strips = decks * len(stream.spec.stems)
    tape = RingBuffer((strips + 1) * 2, audio.shape[1] + 16 * 1024)
    _, telemetry, _ = through_file(stream, audio, recorder=tape)
    frames = np.zeros((tape.read_available, tape.channels), np.float32)
    tape.pop(frames)
    return frames.T.reshape(strips + 1, 2, -1)[:-1], telemetry.bad_hops


# -- latency and unity ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def passthrough(tmp_path_factory: pytest.TempPathFactory) -> HopStream:
    root = build_tiny_model(tmp_path_factory.mktemp("models"), "causal-lstm", passthrough=True)
    return open_stream(root, decks=2)


@pytest.mark.parametrize("block", BLOCKS)
def test_an_impulse_comes_out_of_either_deck_when_the_report_says(passthrough: HopStream, block: int) -> None:
    at = (3001, 6007)
    audio = np.zeros((4, 16384), np.float32)
    audio[0:2, at[0]] = 1.0
    audio[2:4, at[1]] = 1.0
    passthrough.reset()
    heard: list[NDArray[np.float32]] = []
    driver = FileDriver(
        array_reader(audio), lambda piece: heard.append(piece.copy()), RATE, 4, 2, block, align=False
    )
    with InProcessEngine(driver, passthrough) as engine:
        assert engine.wait(60.0)
        assert engine.telemetry().underruns == 0
        late = engine.latency.stream
    out = np.concatenate(heard, axis=1)
    # Both decks play, 3 dB down, in the middle of the crossfader.
    for channel in out:
        assert sorted(np.argsort(np.abs(channel))[-2:]) == [at[0] + late, at[1] + late]


@pytest.mark.parametrize("deck", [1, 2])
@pytest.mark.parametrize("block", [128, 509])
def test_the_output_is_the_delayed_input_of_the_deck_that_is_heard(
    stream: HopStream, deck: int, block: int
) -> None:
    audio = np.concatenate([noise(1), noise(2)])
    stream.reset()
    out, telemetry, latency = through_file(
        stream, audio, block, prepare=lambda engine: engine.board.set_crossfader(deck - 1.0)
    )
    assert telemetry.underruns == telemetry.bad_hops == 0
    # The fader has to come from the middle: it is there within a hop and a ramp.
    begin = latency + stream.spec.hop + RAMP
    mine = audio[2 * deck - 2 : 2 * deck]
    assert residual_db(out[:, begin:], mine[:, begin - latency :], 0) < -100.0


def test_a_bypass_is_the_delayed_sum_behind_the_crossfader(stream: HopStream) -> None:
    audio = np.concatenate([noise(1), noise(2)])
    stream.reset()

    def prepare(engine: InProcessEngine) -> None:
        engine.board.set_bypass()
        engine.board.set_deck_gain(2, -6.0)

    out, _, latency = through_file(stream, audio, prepare=prepare)
    begin = latency + stream.spec.hop + RAMP
    half = np.sqrt(0.5)
    due = half * delayed(audio[:2], latency, out.shape[1])
    due += half * 10 ** (-6 / 20) * delayed(audio[2:], latency, out.shape[1])
    assert np.abs(out - due)[:, begin:].max() < 1e-6


# -- one deck and the other ----------------------------------------------------------------------------------


def test_what_plays_on_one_deck_never_changes_the_other(
    stream: HopStream, tmp_path: pytest.TempPathFactory
) -> None:
    first, second = noise(1), noise(2)
    together, _ = recorded(stream, np.concatenate([first, second]))
    with open_stream(stream.package) as one:
        for deck, song in enumerate((first, second)):
            alone, _ = recorded(one, song, decks=1)
            share = together[4 * deck : 4 * deck + 4]
            length = min(alone.shape[2], share.shape[2])
            assert np.abs(alone[..., :length] - share[..., :length]).max() < 1e-5
            assert np.abs(alone[0]).max() > 0.01
    loud, bad = recorded(stream, np.concatenate([first, np.sign(second)]))
    # A recording ends with the hop in which the engine was told to.
    length = min(loud.shape[2], together.shape[2])
    assert np.abs(loud[:4, :, :length] - together[:4, :, :length]).max() < 1e-5 and bad == 0


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_deck_gone_mad_leaves_the_other_alone(spoilt: int) -> None:
    """One hop of NaN and a stretch of runaway on one deck: the other's stems are the same bit for bit."""

    def run(mad: bool) -> tuple[NDArray[np.float32], StandIn, tuple[int, ...]]:
        stream = StandIn(decks=2)

        def spoil(hop: int, strips: NDArray[np.float32]) -> None:
            share = strips[4 * spoilt : 4 * spoilt + 4]
            if hop == 60:
                share[1, 0, 5] = np.nan
            if 100 <= hop < 110:
                share *= np.float32(1e5)

        if mad:
            stream.spoil = spoil
        out, telemetry, _ = through_file(
            stream.as_stream(),
            two_sines(200),
            prepare=lambda engine: engine.board.set_crossfader(1.0 - spoilt),
        )
        return out, stream, telemetry.deck_bad_hops

    calm, _, none = run(False)
    out, stream, counts = run(True)
    assert none == (0, 0)
    assert counts[spoilt] >= 2 and counts[1 - spoilt] == 0
    assert stream.deck_resets[spoilt] >= 2 and stream.deck_resets[1 - spoilt] == 0
    assert np.array_equal(out, calm)


def test_a_reset_of_one_deck_leaves_the_other_alone() -> None:
    def run(ask: bool) -> tuple[NDArray[np.float32], StandIn]:
        stream = StandIn(decks=2)

        def prepare(engine: InProcessEngine) -> None:
            engine.board.set_crossfader(0.0)
            engine.board.set_mute("1/vocals")
            engine.board.set_mute("2/vocals")
            if ask:
                stream.before = lambda hop: engine.board.request_reset(2) if hop == 50 else None

        out, telemetry, _ = through_file(stream.as_stream(), two_sines(120), prepare=prepare)
        assert telemetry.resets == int(ask) and telemetry.bad_hops == 0
        return out, stream

    calm, _ = run(False)
    out, stream = run(True)
    assert stream.deck_resets == [0, 1]
    assert np.array_equal(out, calm)


def test_a_reset_of_both_decks_is_one_request() -> None:
    stream = StandIn(decks=2)

    def prepare(engine: InProcessEngine) -> None:
        stream.before = lambda hop: engine.board.request_reset() if hop == 50 else None

    _, telemetry, _ = through_file(stream.as_stream(), two_sines(80), prepare=prepare)
    assert telemetry.resets == 1 and stream.deck_resets == [1, 1]


# -- the crossfader ------------------------------------------------------------------------------------------


def settled(prepare: object, hops: int = 120) -> tuple[NDArray[np.float32], ...]:
    """What is heard once every fader has arrived, and the two decks' inputs as they are due then."""
    audio = two_sines(hops)
    out, telemetry, latency = through_file(StandIn(decks=2).as_stream(), audio, prepare=prepare)  # type: ignore[arg-type]
    assert telemetry.bad_hops == telemetry.underruns == 0
    later = slice(latency + 8 * HOP, None)
    decks = [delayed(audio[k : k + 2], latency, out.shape[1])[:, later] for k in (0, 2)]
    return out[:, later], *decks


@pytest.mark.parametrize(
    ("position", "cut", "levels"),
    [
        (0.0, False, (1.0, 0.0)),
        (0.5, False, (np.sqrt(0.5), np.sqrt(0.5))),
        (0.25, False, (np.cos(np.pi / 8), np.sin(np.pi / 8))),
        (1.0, False, (0.0, 1.0)),
        (0.0, True, (1.0, 0.0)),
        (CUT_WIDTH, True, (1.0, 1.0)),
        (0.5, True, (1.0, 1.0)),
        (1.0 - CUT_WIDTH / 2, True, (0.5, 1.0)),
        (1.0, True, (0.0, 1.0)),
    ],
)
def test_the_crossfader_has_two_curves(position: float, cut: bool, levels: tuple[float, float]) -> None:
    def prepare(engine: InProcessEngine) -> None:
        engine.board.set_crossfader(position)
        engine.board.set_crossfader_cut(cut)

    out, first, second = settled(prepare)
    due = np.float32(levels[0]) * first + np.float32(levels[1]) * second
    assert np.abs(out - due).max() < 1e-6


def test_a_swap_puts_a_stem_of_either_deck_on_the_others_side() -> None:
    """The second deck's vocals over the first's instrumental, and the reverse at the fader's other end."""
    for position in (0.0, 1.0):

        def prepare(engine: InProcessEngine, position: float = position) -> None:
            engine.board.set_crossfader(position)
            engine.board.set_swapped("vocals")

        out, first, second = settled(prepare)
        heard, other = (first, second) if position == 0.0 else (second, first)
        assert np.abs(out - ((1 - VOCALS) * heard + VOCALS * other)).max() < 1e-6


def test_strips_gains_and_solos_are_each_deck_s_own() -> None:
    def prepare(engine: InProcessEngine) -> None:
        engine.board.set_crossfader_cut()
        engine.board.set_solo("2/vocals")
        engine.board.set_mute("drums")
        engine.board.set_deck_gain(2, -20.0)

    out, first, second = settled(prepare)
    due = np.float32(1 - SHARES[1]) * first + np.float32(0.1) * VOCALS * second
    assert np.abs(out - due).max() < 1e-6


def test_fader_and_swap_move_without_a_step_while_it_plays() -> None:
    """Thrown from end to end, swapped and cut: never more bent than a gain's shortest ramp bends it."""
    stream = StandIn(decks=2)
    audio = two_sines(300)

    def prepare(engine: InProcessEngine) -> None:
        board = engine.board
        board.set_crossfader(0.0)
        gestures = {
            60: lambda: board.set_crossfader(1.0),
            100: lambda: board.set_swapped("vocals"),
            140: lambda: board.set_crossfader_cut(),
            180: lambda: board.set_crossfader(0.0, 20.0),
            220: lambda: board.set_deck_gain(1, -60.0),
        }
        stream.before = lambda hop: gestures.get(hop, lambda: None)()

    out, _, latency = through_file(stream.as_stream(), audio, prepare=prepare)
    # A ramp of 256 samples across 0.8, both decks: its bend is 6 / 256^2 of that; a step of it would be 0.8.
    assert np.abs(np.diff(out[:, latency:], 2)).max() < 0.0005
    assert np.abs(out).max() > 0.3


# -- inputs --------------------------------------------------------------------------------------------------


def test_decks_hear_the_channels_that_they_are_given() -> None:
    audio = np.concatenate([sine(80 * HOP), sine(80 * HOP, 155.0, 0.3), sine(80 * HOP, 200.0, 0.2)])
    audio[1] *= -1.0
    out, _, latency = through_file(
        StandIn(decks=2).as_stream(),
        audio,
        in_map={1: (6, 1), 2: (2,)},
        prepare=lambda engine: engine.board.set_crossfader_cut(),
    )
    left, right = (audio[c] for c in (5, 0))
    due = delayed(np.stack([left + audio[1], right + audio[1]]), latency, out.shape[1])
    later = latency + 8 * HOP
    assert np.abs(out - due)[:, later:].max() < 1e-6


@pytest.mark.parametrize(
    ("in_map", "words"),
    [
        ({3: (1, 2)}, "no deck 3"),
        ({2: (3, 5)}, "deck 2 cannot hear channel 5: the input has 4"),
        ({1: (1, 2, 3)}, "one or two input channels, not 3"),
    ],
)
def test_inputs_that_there_are_not_are_refused(in_map: dict[int, tuple[int, ...]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        through_file(StandIn(decks=2).as_stream(), two_sines(4), in_map=in_map)


def test_a_device_of_two_channels_has_no_second_deck() -> None:
    with pytest.raises(UsageError, match="deck 2 cannot hear channel 3: the input has 2"):
        through_file(StandIn(decks=2).as_stream(), sine(4 * HOP))


# -- underruns -----------------------------------------------------------------------------------------------


@pytest.mark.realtime
def test_an_underrun_is_the_sum_of_the_decks_as_the_crossfader_has_it() -> None:
    """A stall at the pace of a clock: what is heard meanwhile is neither silence nor one deck in full."""
    stream = StandIn(decks=2)
    stream.before = lambda hop: time.sleep(0.12 if hop == 150 else 0.0)
    audio = two_sines(300)
    driver = NullDriver(RATE, 128, audio)
    engine = InProcessEngine(driver, stream.as_stream(), allowance=16 * 128)
    engine.board.set_crossfader(0.25)
    for stem in ("1/vocals", "2/vocals"):
        engine.board.set_mute(stem)
    with engine:
        assert engine.wait(60.0)
        telemetry, late = engine.telemetry(), engine.latency.stream
    out = driver.captured
    assert telemetry.underruns >= 1 and telemetry.bad_hops == 0
    first, second = (delayed(audio[k : k + 2], late, out.shape[1]) for k in (0, 2))
    dry = np.float32(np.cos(np.pi / 8)) * first + np.float32(np.sin(np.pi / 8)) * second
    heard = np.abs(out - dry).max(axis=0) < 2e-6
    loud = np.abs(dry[0]) > 0.05
    assert np.count_nonzero(heard & loud) > 1000, "some of it is dry, sample by sample"
    wet = (1 - VOCALS) * dry
    mixed = np.abs(out - wet).max(axis=0) < 2e-6
    assert np.count_nonzero(mixed & loud) > 10000, "and the rest is the mix, no later than before"
    assert np.abs(np.diff(out[:, DELAY + HOP :], 2)).max() < 0.0015
