"""A stage is laid over studio recordings: what the mixture holds of each stem stays its truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.cli.eval import _live
from rtsep.evaluation.campaign import Settings, evaluate
from rtsep.evaluation.live_conditions import LiveConditions, bleed, crowd, gain_to, render_live
from rtsep.evaluation.report import as_json
from rtsep.evaluation.systems import Oracle
from rtsep.evaluation.tracks import Track, find_tracks
from rtsep.spec import UsageError
from tests.cli.command import rtsep

RATE = 8000


def song(seconds: float = 2.0, stems: tuple[str, ...] = ("vocals", "drums", "bass", "other")) -> Track:
    rng = np.random.default_rng(0)
    samples = int(seconds * RATE)
    parts = {stem: (0.1 * rng.standard_normal((2, samples))).astype(np.float32) for stem in stems}
    return Track("song", RATE, parts)


def level_db(audio: np.ndarray, against: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(audio.astype(float) ** 2) / np.mean(against.astype(float) ** 2)))


def test_bleed_is_late_soft_and_part_of_the_source() -> None:
    impulse = np.zeros((2, RATE), np.float32)
    impulse[:, 100] = 1.0
    heard = bleed(impulse, 3, -20.0, RATE, np.random.default_rng(1)) - impulse
    first, last = 100 + int(1.0 / 343.0 * RATE), 100 + int(6.0 / 343.0 * RATE)
    # The filters ring a little before and after the times of arrival.
    assert np.sum(heard[:, :50] ** 2) < 1e-3 * np.sum(heard**2)
    assert np.sum(heard[:, first - 10 : last + 60] ** 2) > 0.9 * np.sum(heard**2)
    assert np.abs(heard).max() < 0.35
    silence = np.zeros((2, 100), np.float32)
    assert not bleed(silence, 3, -20.0, RATE, np.random.default_rng(1)).any()


def test_bleed_has_about_the_level_that_was_asked_for() -> None:
    source = song(4.0).parts["vocals"]
    levels = [
        level_db(bleed(source, 1, -20.0, RATE, np.random.default_rng(seed)) - source, source)
        for seed in range(30)
    ]
    # Two channels of noise have a mean 3 dB softer; filters and the draw of levels take some more.
    assert -32.0 < np.median(levels) < -20.0
    assert np.ptp(levels) > 3.0


@given(st.integers(0, 5), st.floats(-40.0, -3.0), st.integers(100, 9000))
@settings(max_examples=15, deadline=None)
def test_a_crowd_has_unit_level_and_is_mixed_as_loud_as_told(seed: int, level: float, samples: int) -> None:
    noise = crowd(samples, RATE, np.random.default_rng(seed))
    assert noise.shape == (2, samples) and noise.dtype == np.float32 and np.isfinite(noise).all()
    assert np.mean(noise.astype(float) ** 2) == pytest.approx(1.0, rel=1e-3)
    mixture = 0.3 * np.ones((2, samples), np.float32)
    assert level_db(noise * gain_to(noise, mixture, level), mixture) == pytest.approx(level, abs=0.01)
    assert gain_to(noise, 0.0 * mixture, level) == 0.0


def test_a_crowd_is_wide_and_restless() -> None:
    noise = crowd(4 * RATE, RATE, np.random.default_rng(0))
    assert 0.2 < np.corrcoef(noise)[0, 1] < 0.9
    seconds = np.sqrt(np.mean(noise.reshape(2, 16, -1) ** 2, axis=(0, 2)))
    assert seconds.max() / seconds.min() > 1.2


def test_rendering_is_a_function_of_name_and_seed() -> None:
    track = song()
    conditions = LiveConditions()
    once, twice = render_live(track, conditions), render_live(track, conditions)
    assert all(np.array_equal(once.parts[stem], twice.parts[stem]) for stem in track.parts)
    for other in (replace(conditions, seed=1), conditions):
        named = track if other.seed else replace(track, name="another")
        assert not np.allclose(render_live(named, other).parts["vocals"], once.parts["vocals"])
    still = render_live(track, LiveConditions(crowd_db=None, bleed_db=None))
    assert all(np.array_equal(still.parts[stem], audio) for stem, audio in track.parts.items())


@pytest.mark.parametrize(
    "stems,host",
    [
        (("vocals", "drums", "bass", "other"), "other"),
        (("vocals", "accompaniment"), "accompaniment"),
        (("vocals", "other", "crowd"), "crowd"),
    ],
)
def test_the_crowd_belongs_to_one_stem(stems: tuple[str, ...], host: str) -> None:
    track = song(stems=stems)
    live = render_live(track, LiveConditions(crowd_db=-10.0, bleed_db=None))
    added = {stem: live.parts[stem] - track.parts[stem] for stem in stems}
    assert [stem for stem in stems if added[stem].any()] == [host]
    assert level_db(live.mixture - track.mixture, track.mixture) == pytest.approx(-10.0, abs=0.05)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UsageError, match="none of vocals, drums can have the crowd"):
        render_live(song(stems=("vocals", "drums")), LiveConditions())
    with pytest.raises(UsageError, match="bleed of 3 dB is not between -80 and 0"):
        LiveConditions(bleed_db=3.0)


def test_the_command_scores_live_conditions(tmp_path: Path) -> None:
    for stem, audio in song().parts.items():
        (tmp_path / "songs" / "one").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "songs" / "one" / f"{stem}.wav", audio.T, RATE)
    out = tmp_path / "scores"
    arguments = ("eval", tmp_path / "songs", "--oracle", "irm1", "--excerpts", "0", "-q", "-o", out)
    result = rtsep(*arguments, "--live-conditions", "crowd=-15,bleed=off,seed=3")
    assert result.returncode == 0, result.stderr
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    conditions = LiveConditions(crowd_db=-15.0, bleed_db=None, seed=3)
    assert scores["settings"]["live_conditions"] == {"crowd_db": -15.0, "bleed_db": None, "seed": 3}
    (track,) = find_tracks(tmp_path / "songs")
    wanted = evaluate([track], [Oracle("irm1")], Settings(live=conditions, excerpts=0))
    assert scores == json.loads(as_json(wanted))
    studio = evaluate([track], [Oracle("irm1")], Settings(excerpts=0))
    assert json.loads(as_json(studio))["medians"] != scores["medians"]


def test_conditions_are_read_from_one_text() -> None:
    assert _live("") == LiveConditions()
    assert _live("seed=4, bleed=-30") == LiveConditions(bleed_db=-30.0, seed=4)
    for wrong in ("rain=3", "crowd=loud", "seed=1,seed=2", "seed=-1", "crowd"):
        with pytest.raises(UsageError, match="write some of crowd=DB"):
            _live(wrong)
    for wrong in ("crowd=5", "bleed=nan"):
        with pytest.raises(UsageError, match="is not between -80 and 0"):
            _live(wrong)
