"""Whole evaluations: models as they run live, oracles, medians and rankings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rtsep.evaluation.aggregate import Medians, decibels, medians, rank_stems, tables
from rtsep.evaluation.campaign import Evaluation, Settings, evaluate
from rtsep.evaluation.spectra import Transform
from rtsep.evaluation.systems import FilterbankOracle, Mixture, Model, Oracle, open_oracle, oracle_names
from rtsep.evaluation.tracks import find_tracks
from rtsep.spec import AudioFileError, ModelError, UsageError
from tests.evaluation.songs import stem, track, write, write_track
from tests.models import build_tiny_model

SETTINGS = Settings(transform=Transform(512, 512, 128))


@pytest.fixture(scope="module")
def passthrough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stem is a quarter of the mixture."""
    return build_tiny_model(tmp_path_factory.mktemp("models"), passthrough=True)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory, passthrough: Path) -> Evaluation:
    """Two tracks, one of them with partial labels; a model and two oracles."""
    root = tmp_path_factory.mktemp("tracks")
    write_track(root / "full", seconds=2.0, rate=44100)  # the model's own: nothing is resampled
    write_track(root / "partial", ("vocals", "accompaniment"), seconds=1.0)
    model = Model(passthrough)
    systems = [model, Oracle("irm2", SETTINGS.transform), Oracle("ibm", SETTINGS.transform)]
    try:
        return evaluate(find_tracks(root), systems, SETTINGS)
    finally:
        model.close()


def test_the_mixture_comes_first_and_is_not_muted(evaluation: Evaluation) -> None:
    assert [system.name for system in evaluation.systems] == [
        "mixture", "causal-lstm-passthrough", "irm2", "ibm",
    ]  # fmt: skip
    for result in evaluation.tracks:
        assert result.scores["mixture"].muting == {}
        assert "nsdr" not in result.scores["mixture"].targets["vocals"].values


def test_a_model_is_scored_aligned_and_timed(evaluation: Evaluation) -> None:
    """A quarter of the mixture is known; were it late by a sample, noise would show it."""
    result = evaluation.tracks[0]
    score = result.scores["causal-lstm-passthrough"]
    stems = np.stack([stem(index, 2.0, rate=44100) for index in range(4)])[..., :44100]
    error = np.sum((stems[0] - stems.sum(axis=0) / 4) ** 2)
    first = 10.0 * math.log10(float(np.sum(stems[0] ** 2) / error))
    assert score.targets["vocals"].chunks["sdr"] == pytest.approx([first, math.nan], abs=1e-3, nan_ok=True)
    # Three quarters of the mixture are left when the vocals are muted.
    assert score.muting["damage"] == pytest.approx(20.0 * math.log10(0.25), abs=1e-3)
    assert score.real_time_factor is not None and score.real_time_factor > 0.0
    facts = evaluation.systems[1]
    assert (facts.latency, facts.sample_rate) == (256, 44100)
    assert facts.milliseconds == pytest.approx(256 / 44.1)
    assert evaluation.systems[2].latency is None and evaluation.systems[2].milliseconds is None


def test_oracles_are_above_the_mixture(evaluation: Evaluation) -> None:
    for result in evaluation.tracks:
        for oracle in ("irm2", "ibm"):
            for name, target in result.scores[oracle].targets.items():
                before = result.scores["mixture"].targets[name].values
                assert target.values["sdr_song"] > before["sdr_song"] + 1.0, (result.name, oracle, name)
                assert target.values["nsdr"] == pytest.approx(target.values["sdr"] - before["sdr"])
            assert result.scores[oracle].targets["vocals"].values["nsdr"] > 1.0


def test_medians_are_taken_over_tracks_that_know_the_target(evaluation: Evaluation) -> None:
    middle = medians(evaluation)
    full, partial = (result.scores["irm2"].targets for result in evaluation.tracks)
    assert "drums" not in partial
    assert middle["irm2"].targets["drums"]["sdr"] == full["drums"].values["sdr"]
    both = [full["vocals"].values["sdr"], partial["vocals"].values["sdr"]]
    assert middle["irm2"].targets["vocals"]["sdr"] == pytest.approx(np.mean(both))
    assert middle["mixture"].muting == {} and middle["mixture"].real_time_factor is None


def test_stems_are_ranked_by_the_oracles(monkeypatch: pytest.MonkeyPatch, evaluation: Evaluation) -> None:
    for ranked in rank_stems(evaluation).values():
        assert {r.stem for r in ranked} == {"vocals", "drums", "bass", "other"}
        assert [r.sdr for r in ranked] == sorted((r.sdr for r in ranked), reverse=True)
    figures = {"drums": 3.0, "vocals": math.nan, "bass": 9.0, "accompaniment": 12.0}
    known = {stem: {"sdr": sdr, "si_sdr": sdr - 1.0} for stem, sdr in figures.items()}
    result = {system.name: Medians(known, {}, None) for system in evaluation.systems}
    monkeypatch.setattr("rtsep.evaluation.aggregate.medians", lambda _: result)
    ranking = rank_stems(evaluation)
    assert list(ranking) == ["irm2", "ibm"]
    assert [r.stem for r in ranking["irm2"]] == ["bass", "drums", "vocals"]
    assert ranking["irm2"][0].si_sdr == 8.0


def test_tables_show_every_system_and_target(evaluation: Evaluation) -> None:
    targets, muting, ranking = tables(evaluation)
    assert len(targets.rows) == 5 * 4 and targets.columns[:3] == ("target", "system", "SDR")
    assert all(len(row) == len(table.columns) for table in (targets, muting, ranking) for row in table.rows)
    assert [row[0] for row in muting.rows] == ["causal-lstm-passthrough", "irm2", "ibm"]
    assert muting.rows[0][3] == "5.8 ms" and muting.rows[1][3:] == ("", "")
    assert ranking.columns == ("place", "irm2", "ibm") and len(ranking.rows) == 4
    assert (decibels(None), decibels(math.nan), decibels(-1.234)) == ("", "–", "-1.23")


def test_only_the_first_tracks_are_kept_to_hear_and_progress_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_track(tmp_path / name, seconds=1.0)
    told: list[tuple[str, str]] = []
    settings = Settings(transform=SETTINGS.transform, excerpts=1, seconds=0.5)
    result = evaluate(
        find_tracks(tmp_path),
        [Oracle("irm1", SETTINGS.transform)],
        settings,
        lambda *names: told.append(names),
    )
    labels = [excerpt.label for excerpt in result.tracks[0].excerpts]
    assert labels == ["mixture", "true vocals", "true accompaniment", "irm1: vocals", "irm1: vocals muted"]
    assert result.tracks[1].excerpts == [] and result.tracks[0].seconds == 0.5
    assert told == [("a", "mixture"), ("a", "irm1"), ("b", "mixture"), ("b", "irm1")]


def test_bsseval_reaches_the_results(tmp_path: Path) -> None:
    write(tmp_path / "vocals.wav", stem(0, 1.0, channels=1))
    write(tmp_path / "accompaniment.wav", stem(1, 1.0, channels=1))
    settings = Settings(transform=SETTINGS.transform, bss=True)
    result = evaluate(find_tracks(tmp_path), [Oracle("irm2", SETTINGS.transform)], settings)
    middle = medians(result)
    assert middle["irm2"].targets["vocals"]["bss_sdr"] > middle["mixture"].targets["vocals"]["bss_sdr"]
    assert "SIR" in tables(result)[0].columns


def test_what_cannot_be_evaluated(tmp_path: Path) -> None:
    write_track(tmp_path / "a", seconds=0.2)
    sources = find_tracks(tmp_path)
    with pytest.raises(UsageError, match="two systems are called 'irm2'"):
        evaluate(sources, [Oracle("irm2"), Oracle("irm2")])
    with pytest.raises(UsageError, match="no tracks"):
        evaluate([], [])
    write_track(tmp_path / "b", seconds=0.2)
    (tmp_path / "b" / "bass.wav").write_text("no sound")
    told: list[str] = []
    with pytest.raises(AudioFileError, match=r"bass\.wav"):
        evaluate(find_tracks(tmp_path), [Mixture("second")], progress=lambda t, s: told.append(t))
    assert told == []  # before any work was done


def test_oracles_by_name(tmp_path: Path) -> None:
    assert oracle_names()[:4] == ["ibm", "irm1", "irm2", "mwf"] and "fb-irm1:MODEL" in oracle_names()
    model = build_tiny_model(tmp_path, "conv-tasnet")
    oracle = open_oracle(f"fb-irm1:{model}")
    assert oracle.name == "fb-irm1:conv-tasnet" and oracle.kind == "oracle"
    with pytest.raises(UsageError, match="fb-irm1:conv-tasnet is for 44100 Hz, song has 8000 Hz"):
        oracle.separate(track(seconds=0.1))
    for text, message in [
        ("irm3", "no oracle is called 'irm3'; there are: ibm, irm1"),
        ("fb-irm2", "needs a model's encoding: fb-irm2:MODEL"),
        ("irm1:live", "irm1 takes no model"),
    ]:
        with pytest.raises(UsageError, match=message):
            open_oracle(text)
    with pytest.raises(UsageError, match="no oracle is called 'irm2'"):
        FilterbankOracle("irm2", model)
    with pytest.raises(ModelError, match="no model is called 'nobody'"):
        open_oracle("fb-irm2:nobody")


def test_a_filterbank_oracle_is_scored(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "models", "conv-tasnet", filters=48)
    write_track(tmp_path / "song", seconds=0.2, rate=44100)
    result = evaluate(find_tracks(tmp_path / "song"), [open_oracle(f"fb-irm2-pinv:{model}")])
    for target in result.tracks[0].scores["fb-irm2-pinv:conv-tasnet"].targets.values():
        assert target.values["nsdr"] > 1.0


def test_bass_and_other_are_scored_as_one_where_they_are_known_as_one(
    tmp_path: Path, passthrough: Path
) -> None:
    write_track(tmp_path / "song", ("vocals", "drums", "other"), seconds=1.0, rate=44100)
    model = Model(passthrough)
    oracle = Oracle("irm2", SETTINGS.transform)
    (source,) = find_tracks(tmp_path, bass_in_other=True)
    known = source.read()
    stems, ideal = model.separate(known), oracle.separate(known)
    result = evaluate([source], [model, oracle], Settings(bss=True, transform=SETTINGS.transform))
    model.close()
    np.testing.assert_allclose(stems["bass+other"], stems["bass"] + stems["other"], atol=1e-7)
    # A quarter of the mixture each: the accompaniment is three of them, and has none of them twice.
    np.testing.assert_allclose(stems["accompaniment"], 1.5 * stems["bass+other"], atol=1e-4)
    assert set(ideal) == {"vocals", "drums", "bass+other", "accompaniment"}
    for name, scores in result.tracks[0].scores.items():
        assert list(scores.targets) == ["vocals", "drums", "bass+other", "accompaniment"], name
        assert "bss_sdr" in scores.targets["bass+other"].values
    assert {ranked.stem for ranked in rank_stems(result)["irm2"]} == {"vocals", "drums", "bass+other"}
