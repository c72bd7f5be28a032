"""The figures of training are those of `rtsep eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.evaluation.aggregate import medians
from rtsep.evaluation.campaign import evaluate
from rtsep.evaluation.systems import System
from rtsep.evaluation.tracks import Track, find_tracks, with_accompaniment
from rtsep.spec import STEMS
from rtsep.training.corpus import load_corpus
from rtsep.training.scores import score_tracks
from tests.training.corpora import RATE, write_track


class Shares:
    """Gives every stem its share of the mixture."""

    name, kind, milliseconds, spec = "shares", "model", None, None

    def __call__(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([mix * np.float32(share) for share in (0.5, 0.3, 0.15, 0.05)])

    def separate(self, track: Track) -> dict[str, NDArray[Any]]:
        return with_accompaniment(dict(zip(STEMS, self(track.mixture), strict=True)))


def test_it_is_what_the_evaluation_says_of_the_same_songs(tmp_path: Path) -> None:
    """With several songs, one of whose accompaniment is known in one piece alone."""
    for number, stems in enumerate((("vocals", "drums"), ("vocals", "accompaniment"), STEMS)):
        write_track(tmp_path / "root" / f"song{number}", stems, seconds=3.0, seed=number)
    middle = medians(evaluate(find_tracks(tmp_path / "root"), [cast(System, Shares())]))["shares"]
    expected = {f"{stem}_sdr": middle.targets[stem]["sdr"] for stem in STEMS}
    expected["vocals_sdr_gain"] = middle.targets["vocals"]["nsdr"]
    expected["vocal_attenuation"] = middle.muting["vocal_attenuation"]
    tracks = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    assert score_tracks(Shares(), tracks, RATE) == pytest.approx(expected, abs=1e-3)


def test_without_a_voice_an_accompaniment_is_no_part(tmp_path: Path) -> None:
    write_track(tmp_path / "root" / "song", ("drums", "accompaniment"), seconds=2.0)
    stems = ("drums", "rest")
    tracks = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE, stems)
    assert score_tracks(lambda mix: np.stack([mix, 0 * mix]), tracks, RATE, stems).keys() == {"drums_sdr"}
