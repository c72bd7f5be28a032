"""Sounds inside the page: the right piece, and whole."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from rtsep.evaluation.excerpts import choose, cut, encode
from rtsep.evaluation.tracks import Track
from tests.evaluation.songs import RATE, stem, track


def decode(uri: str) -> tuple[np.ndarray, int]:
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])), always_2d=True)
    return audio.T, rate


def test_the_piece_is_where_the_vocals_are_loudest() -> None:
    song = track(seconds=20.0)
    song.parts["vocals"][:] = 0.0
    song.parts["vocals"][:, 10 * RATE : 11 * RATE] = 0.5
    piece = choose(song)
    assert piece.stop - piece.start == 6 * RATE
    assert piece.start <= 10 * RATE and piece.stop >= 11 * RATE


def test_without_vocals_it_is_where_the_music_is_and_a_short_song_is_taken_whole() -> None:
    song = track(seconds=20.0)
    for part in song.parts.values():
        part[:, : 13 * RATE] = 0.0
    song.parts["vocals"][:] = 0.0
    assert choose(song).start >= 13 * RATE
    short = track(seconds=0.3)
    assert choose(short) == slice(0, short.samples)


@pytest.mark.parametrize(("rate", "kind"), [(44100, "mpeg"), (8000, "mpeg"), (96000, "flac")])
def test_sounds_survive(rate: int, kind: str) -> None:
    tone = 0.5 * np.sin(2.0 * np.pi * 440.0 * np.arange(rate) / rate)
    uri = encode(np.stack([tone, -tone]), rate)
    assert uri.startswith(f"data:audio/{kind};base64,")
    audio, found = decode(uri)
    assert found == rate and abs(audio.shape[1] - rate) < 2500
    middle = audio[0, rate // 4 : 3 * rate // 4]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(220, abs=1)


def test_all_sounds_of_a_track_have_one_gain() -> None:
    loud = Track("loud", 96000, {"vocals": 40.0 * stem(0, 0.5), "accompaniment": 0.0 * stem(1, 0.5)})
    first, second = cut(loud, {"mixture": loud.mixture, "half": 0.5 * loud.mixture})
    assert (first.label, second.label) == ("mixture", "half")
    whole, half = decode(first.uri)[0], decode(second.uri)[0]
    assert np.abs(whole).max() == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_allclose(half, 0.5 * whole, atol=1e-4)
