"""A StemBoard streams what it would make of the whole, and is a Pedalboard to whoever calls it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pedalboard import (
    BrickwallLimiter,
    Compressor,
    Delay,
    Gain,
    LowpassFilter,
    Pedalboard,
    PitchShift,
    Reverb,
)

import rtsep
from rtsep.engine.offline import open_model, separate_array
from rtsep.engine.stemboard import StemBoard
from rtsep.spec import UsageError
from tests.effects.streams import RATE, Audio, noise
from tests.models import build_tiny_model

SAMPLES = 20000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def board(model: Path) -> Iterator[StemBoard]:
    """Stems that are late by different times, and a master that is late itself."""
    with StemBoard(
        model,
        vocals=[Delay(0.02, mix=0.5), BrickwallLimiter(ceiling_db=0.0)],
        drums=[Compressor(-30.0, 4.0)],
        bass=[LowpassFilter(500.0)],
        master=[BrickwallLimiter(ceiling_db=0.0, lookahead_ms=2.0), Reverb(wet_level=0.1)],
    ) as made:
        yield made


def streamed(board: StemBoard, audio: Audio, cuts: list[int], rate: int = RATE) -> Audio:
    board.reset()
    edges = [0, *sorted(cuts), audio.shape[1]]
    pieces = [board.process(audio[:, a:b], rate, reset=False) for a, b in pairwise(edges)]
    return np.concatenate([*pieces, board.flush()], axis=1)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, SAMPLES), max_size=12))
def test_a_stream_in_any_blocks_is_the_whole(board: StemBoard, cuts: list[int]) -> None:
    audio = noise(SAMPLES)
    whole = board(audio, RATE)
    out = streamed(board, audio, cuts)
    assert out.shape == whole.shape == audio.shape
    assert np.abs(out - whole).max() < 1e-5


def test_how_a_stream_is_cut_changes_no_bit(board: StemBoard) -> None:
    audio = noise(SAMPLES)
    assert np.array_equal(streamed(board, audio, [7, 5000]), streamed(board, audio, [12345]))


@pytest.mark.parametrize("rate", [48000, 22050])
def test_at_another_rate(board: StemBoard, rate: int) -> None:
    audio = noise(SAMPLES)
    whole = board(audio, rate)
    out = streamed(board, audio, [3, 999, 7000], rate)
    assert out.shape == whole.shape == audio.shape
    assert np.abs(out - whole).max() < 1e-5


def test_the_whole_is_the_sum_of_affected_stems(model: Path, board: StemBoard) -> None:
    audio = noise(SAMPLES)
    with open_model(model) as opened:
        stems = separate_array(opened, audio)
    expected = np.zeros_like(audio)
    for name, stem in zip(board.spec.stems, stems, strict=True):
        expected += Pedalboard(list(board[name]))(stem, RATE)
    expected = Pedalboard(list(board["master"]))(expected, RATE)
    assert np.abs(board(audio, RATE) - expected).max() < 1e-6


def test_without_effects_it_is_its_input(model: Path) -> None:
    audio = noise(SAMPLES)
    with rtsep.StemBoard(model) as plain:
        assert np.abs(plain(audio, RATE) - audio).max() < 1e-5
        assert np.abs(streamed(plain, audio, [100]) - audio).max() < 1e-5
        assert plain.flush().shape == (2, 0)


def test_its_lists_are_a_pedalboards(model: Path) -> None:
    audio = noise(SAMPLES)
    with StemBoard(model, vocals=[Gain(-6.0)]) as board:
        board["vocals"].append(Gain(6.0))
        del board["vocals"][0]
        assert [type(plugin) for plugin in board["vocals"]] == [Gain] and board["vocals"][0].gain_db == 6.0
        louder = board(audio, RATE)
        board["vocals"][0].gain_db = 0.0
        assert np.abs(board(audio, RATE) - audio).max() < 1e-4 < np.abs(louder - audio).max()


def test_layouts(board: StemBoard) -> None:
    audio = noise(SAMPLES)
    stereo = board(audio, RATE)
    assert np.array_equal(board(audio.T, RATE), stereo.T)
    assert board(audio[0], RATE).shape == (SAMPLES,)
    assert board(audio[:1], RATE).shape == (1, SAMPLES)
    for wrong in (np.zeros((3, 2, 100)), np.zeros((3, 100))):
        with pytest.raises(UsageError, match="expected"):
            board(wrong, RATE)
    with pytest.raises(UsageError, match="0 Hz"):
        board(audio, 0)
    board(audio, RATE, reset=False)
    with pytest.raises(UsageError, match="call reset"):
        board(audio, 48000, reset=False)
    board.reset()


def test_mistakes_are_told(model: Path) -> None:
    with pytest.raises(UsageError, match="no stem 'piano'.* and master"):
        StemBoard(model, piano=[])
    with pytest.raises(UsageError, match="list of pedalboard's plug-ins"):
        StemBoard(model, vocals=["Reverb"])
    with StemBoard(model, vocals=[PitchShift(3.0)]) as board:
        assert board(noise(SAMPLES), RATE).shape == (2, SAMPLES)
        with pytest.raises(UsageError, match="PitchShift: pedalboard gives silence"):
            board(noise(SAMPLES), RATE, reset=False)
