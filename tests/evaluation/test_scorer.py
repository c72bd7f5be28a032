"""The one scorer: figures known beforehand, labels that are partial, and muting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.evaluation.scorer import median, score_muting, score_target, score_track, sdr_over_time, song_sdr
from rtsep.spec import UsageError
from tests.evaluation.songs import RATE, stem, track
from tests.evaluation.test_metrics import noise, orthogonal


@settings(deadline=None, max_examples=30)
@given(sdr=st.floats(-30.0, 60.0), channels=st.integers(1, 2), seed=st.integers(0, 1000))
def test_song_sdr_of_a_known_error(sdr: float, channels: int, seed: int) -> None:
    target = noise(seed, 1, channels)
    estimate = target + orthogonal(target, seed + 1) * 10.0 ** (-sdr / 20.0)
    assert song_sdr(target, estimate) == pytest.approx(sdr, abs=1e-6)


def test_song_sdr_weighs_by_energy_where_chunks_do_not() -> None:
    target = stem(0).astype(np.float64)
    target[:, RATE:] *= 0.1
    estimate = target.copy()
    estimate[:, :RATE] *= 0.9  # 20 dB in the loud second
    assert song_sdr(target, estimate) == pytest.approx(20.0, abs=0.2)
    assert score_target(target, estimate, RATE).values["sdr"] == pytest.approx(120.0)


def test_song_sdr_of_nothing() -> None:
    assert math.isnan(song_sdr(np.zeros((2, 9)), np.ones((2, 9))))
    assert song_sdr(noise(0), noise(0)) == pytest.approx(120.0)
    with pytest.raises(UsageError, match="cannot compare"):
        song_sdr(noise(0), noise(0)[:1])


def test_figures_over_time_keep_their_place() -> None:
    target = track().parts["vocals"]
    sdr = sdr_over_time(target, 0.9 * target, RATE)
    assert np.isnan(sdr).tolist() == [False, True, False]
    assert sdr[[0, 2]] == pytest.approx([20.0, 20.0], abs=1e-4)


def test_longer_chunks() -> None:
    target = stem(0)
    assert len(score_target(target, 0.9 * target, RATE, 1.5).chunks["sdr"]) == 2
    assert len(score_target(target, 0.9 * target, RATE, 60.0).chunks["sdr"]) == 1


def test_every_known_target_is_scored() -> None:
    song = track()
    estimates = {name: 0.9 * target for name, target in song.targets.items()}
    score = score_track(song, "system", estimates | {"guitar": stem(7)})
    assert set(score.targets) == {"vocals", "drums", "bass", "other", "accompaniment"}
    for target in score.targets.values():
        assert target.values["sdr"] == pytest.approx(20.0, abs=1e-3)
        assert target.values["sdr_song"] == pytest.approx(20.0, abs=1e-3)
        assert target.values["si_sdr"] == pytest.approx(120.0, abs=15.0)  # single precision
        assert "bss_sdr" not in target.values
    assert score.muting["vocal_attenuation"] == pytest.approx(20.0, abs=1e-3)
    assert score.muting["damage"] == pytest.approx(-120.0)


def test_partial_labels_are_scored_where_known() -> None:
    song = track(("vocals", "accompaniment"))
    estimates = {name: stem(5) for name in ("vocals", "drums", "bass", "other", "accompaniment")}
    score = score_track(song, "system", estimates)
    assert set(score.targets) == {"vocals", "accompaniment"}


def test_without_vocals_all_that_is_taken_is_damage() -> None:
    song = track(("vocals", "accompaniment"))
    song.parts["vocals"][:] = 0.0
    muting = score_muting(song, 0.1 * song.parts["accompaniment"])
    assert math.isnan(muting["vocal_attenuation"])
    assert muting["damage"] == pytest.approx(-20.0, abs=1e-3)
    score = score_track(song, "system", {"vocals": song.mixture})
    assert math.isnan(score.targets["vocals"].values["sdr"])


def test_damage_counts_only_where_nobody_sings() -> None:
    song = track()
    taken = np.zeros_like(song.mixture)
    taken[:, RATE : 2 * RATE] = 0.01 * song.mixture[:, RATE : 2 * RATE]
    taken[:, 2 * RATE :] = song.mixture[:, 2 * RATE :]
    assert score_muting(song, taken)["damage"] == pytest.approx(-40.0, abs=1e-3)


def test_a_track_shorter_than_a_second() -> None:
    song = track(seconds=0.25)
    muting = score_muting(song, 0.5 * song.parts["vocals"])
    assert muting["vocal_attenuation"] == pytest.approx(6.02, abs=0.01)
    assert math.isnan(muting["damage"])


def test_bsseval_measures_both_scenes() -> None:
    song = track(("vocals", "accompaniment"), seconds=2.0)
    estimates = {name: 0.7 * part + 0.1 * song.mixture for name, part in song.parts.items()}
    score = score_track(song, "system", estimates, bss=True)
    for target in score.targets.values():
        for ratio in ("sdr", "isr", "sir", "sar"):
            frames = target.chunks[f"bss_{ratio}"]
            # The vocals are silent in the second second, so nothing is measured there.
            assert frames.shape == (2,) and np.isnan(frames[1])
            assert target.values[f"bss_{ratio}"] == frames[0]


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(UsageError, match="system estimates nothing that is known of song"):
        score_track(track(), "system", {"guitar": stem(0)})


def test_medians_pass_over_what_is_not_defined() -> None:
    assert median(np.array([1.0, np.nan, 3.0])) == 2.0
    assert math.isnan(median(np.array([np.nan])))
    assert math.isnan(median(np.array([])))
