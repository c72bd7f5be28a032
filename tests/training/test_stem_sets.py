"""A set of stems is configuration: six classes, some missing in some songs, from files to a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError

from rtsep.backends.stream import open_stream
from rtsep.engine.offline import separate_array
from rtsep.evaluation.aggregate import rank_stems
from rtsep.evaluation.campaign import Settings, evaluate
from rtsep.evaluation.systems import Model, Oracle
from rtsep.evaluation.tracks import find_tracks
from rtsep.spec import STEMS, UsageError
from rtsep.training.config import TrainConfig
from rtsep.training.corpus import Track, load_training
from rtsep.training.data_config import DataConfig, MixConfig
from rtsep.training.labels import knows_backing, labels_of
from rtsep.training.loop import Trainer
from rtsep.training.mixing import Mixer
from rtsep.training.networks import make_network
from rtsep.training.release import CARD, release
from rtsep.training.scores import overall
from tests.training.corpora import NETWORK, RATE, run_config, write_track

SIX = ("vocals", "drums", "bass", "guitar", "piano", "other")
ROOTS = ("full", "lacking", "unknown", "four", "lone")


@pytest.fixture(autouse=True)
def denormals_as_they_were() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six; some silent; some unknown beside a mixture; a four-stem song; a guitar alone."""
    root = tmp_path_factory.mktemp("six")
    write_track(root / "full" / "song", SIX, seed=0)
    write_track(root / "lacking" / "song", ("vocals", "bass", "guitar"), seed=1)
    write_track(root / "unknown" / "song", ("vocals", "guitar", "mixture"), seed=2)
    write_track(root / "four" / "song", STEMS, seed=3)
    write_track(root / "lone" / "solo", ("guitar",), seed=4)
    return root


def config(corpus: Path, output: Path, **changes: dict[str, Any]) -> TrainConfig:
    data = {
        "roots": [corpus / name for name in ROOTS],
        "bass_in_other": [],
        "missing": {"unknown": "unknown", "lone": "unknown"},
        "mastered": ["unknown"],
        "includes": {"four": {"other": ["guitar", "piano"]}},
        "validation": corpus / "full",
    }
    tables = {"network": NETWORK | {"stems": SIX}, "data": data}
    for table, values in changes.items():
        tables[table] = tables.get(table, {}) | values
    return run_config(corpus, output, **tables)


def tracks_of(run: TrainConfig) -> dict[str, Track]:
    return {track.root: track for track in load_training(run.data, RATE, run.stems)[0]}


def test_labels_say_what_is_silent_what_is_unknown_and_what_is_one(corpus: Path, tmp_path: Path) -> None:
    tracks = tracks_of(config(corpus, tmp_path))
    found = {root: labels_of(track, False) for root, track in tracks.items()}
    assert found["full"] == [((s,), (name,)) for s, name in enumerate(SIX)]
    silent = [((1,), ()), ((4,), ()), ((5,), ())]
    assert found["lacking"] == [((0,), ("vocals",)), ((2,), ("bass",)), ((3,), ("guitar",)), *silent]
    assert found["unknown"] == [((0,), ("vocals",)), ((3,), ("guitar",))]
    assert found["four"] == [
        ((0,), ("vocals",)),
        ((1,), ("drums",)),
        ((2,), ("bass",)),
        ((3, 4, 5), ("other",)),
    ]
    assert found["lone"] == [((3,), ("guitar",))]
    backed = {root for root, track in tracks.items() if knows_backing(track, False)}
    assert backed == {"full", "lacking", "four"}


def test_a_mixture_that_is_no_sum_is_told(corpus: Path, tmp_path: Path) -> None:
    run = config(corpus, tmp_path, data={"missing": {"unknown": "unknown"}, "mastered": []})
    # The mixture there is noise of its own, in which the known parts do not lie.
    with pytest.raises(UsageError, match="is not the sum of"):
        tracks_of(run)


def test_a_plain_sum_less_what_is_known_is_the_rest(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "sums" / "song", SIX, seed=5)
    whole = sum(soundfile.read(folder / f"{stem}.wav")[0] for stem in SIX)
    soundfile.write(folder / "mixture.wav", whole, RATE, subtype="FLOAT")
    for stem in ("drums", "bass", "piano", "other"):
        (folder / f"{stem}.wav").unlink()
    facts = {"roots": [tmp_path / "sums"], "missing": {"sums": "unknown"}, "cache": tmp_path / "cache"}
    (track,), _ = load_training(DataConfig.model_validate(facts), RATE, SIX)
    assert labels_of(track, False) == [((0,), ("vocals",)), ((3,), ("guitar",)), ((1, 2, 4, 5), ("rest",))]
    assert track.whole and track.covered == set(SIX) and knows_backing(track, False)
    off = dict.fromkeys(("over_backing", "remixed", "instrumental", "vocal"), 0.0)
    mix = MixConfig(aligned=1.0, procedure="sum", **off)
    mixer = Mixer([track], DataConfig.model_validate(facts), mix, 4000, sample_rate=RATE, stems=SIX)
    example = mixer.draw(np.random.default_rng(0))
    assert [list(np.flatnonzero(row)) for row in example.groups[:4]] == [[0], [3], [1, 2, 4, 5], []]


@pytest.mark.parametrize("kind", ["aligned", "over_backing", "remixed", "instrumental", "vocal"])
def test_every_kind_of_example_carries_only_what_is_known(corpus: Path, tmp_path: Path, kind: str) -> None:
    off = dict.fromkeys(("aligned", "over_backing", "remixed", "instrumental", "vocal"), 0.0)
    run = config(corpus, tmp_path, mix=off | {kind: 1.0})
    tracks, _ = load_training(run.data, RATE, SIX)
    mixer = Mixer(tracks, run.data, run.mix, 4000, run.augment, RATE, SIX)
    groups = set()
    for number in range(12):
        example = mixer.draw(np.random.default_rng(number))
        assert example.parts.shape == (6, 2, 4000) and example.groups.shape == (6, 6)
        assert np.all(example.groups.sum(axis=0) <= 1.0), "two parts share a stem"
        unused = example.groups.sum(axis=1) == 0.0
        assert not example.parts[unused].any() and example.parts.any()
        groups |= {tuple(map(int, np.flatnonzero(row))) for row in example.groups} - {()}
    singles = {(s,) for s in range(6)}
    expected = {
        "aligned": singles | {(3, 4, 5)},
        "over_backing": singles | {(3, 4, 5)},
        "remixed": singles,
        "instrumental": singles | {(3, 4, 5)},
        "vocal": {(0,), (1, 2, 3, 4, 5)},
    }
    assert groups == expected[kind]


@pytest.mark.parametrize("objective", ["masks", "waveform"])
def test_six_classes_train_ship_stream_and_are_scored(corpus: Path, tmp_path: Path, objective: str) -> None:
    run = config(
        corpus,
        tmp_path / objective,
        loss={"objective": objective},
        optimiser={"steps": 4, "validate_every": 2, "seconds": 0.5},
    )
    trainer = Trainer(run, lambda _: None)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    moved = [
        name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert any("to_masks" in name for name in moved)
    target = tmp_path / objective / "models" / "six"
    target.parent.mkdir()
    package = release(run, "rtsep train six.toml", target, "Noise.", lambda _: None)
    assert package.spec.stems == SIX and package.manifest.description.startswith("Six stems")
    assert {f"{stem}_sdr" for stem in SIX} <= package.manifest.scores.keys()
    assert "| SDR of the guitar |" in (target / CARD).read_text(encoding="utf-8")
    assert overall({"guitar_sdr": 1.0, "vocals_sdr": 4.0, "damage": 9.0}) == pytest.approx(3.0)
    if objective == "waveform":
        return
    with open_stream(target) as stream:
        mix = 0.1 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
        stems = separate_array(stream, mix)
        assert stems.shape == (6, 2, RATE)
        np.testing.assert_allclose(stems.sum(axis=0), mix, atol=1e-5)
    system = Model(target)
    try:
        result = evaluate(find_tracks(corpus / "full", SIX), [system, Oracle("irm2")], Settings(excerpts=0))
    finally:
        system.close()
    assert set(result.tracks[0].scores["six"].targets) == {*SIX, "accompaniment"}
    ranking = [ranked.stem for ranked in rank_stems(result)["irm2"]]
    assert sorted(ranking) == sorted(SIX)


def test_classes_need_no_vocals(corpus: Path, tmp_path: Path) -> None:
    band = ("drums", "guitar", "piano")
    run = config(
        corpus,
        tmp_path,
        network={"stems": band},
        data={"roots": [corpus / "full", corpus / "lone"], "includes": {}, "missing": {}, "mastered": []},
        optimiser={"steps": 2, "validate_every": 1},
    )
    Trainer(run, lambda _: None).run()
    result = evaluate(find_tracks(corpus / "full", band), [Oracle("irm1")], Settings(excerpts=1))
    assert set(result.tracks[0].scores["irm1"].targets) == set(band)
    assert [excerpt.label for excerpt in result.tracks[0].excerpts][:2] == ["mixture", "true drums"]
    assert len(rank_stems(result)["irm1"]) == 3


@pytest.mark.parametrize(
    "changes,complaint",
    [
        ({"data": {"names": {"gtr": "banjo"}}}, "data.names: 'gtr' cannot hold 'banjo'"),
        ({"data": {"includes": {"four": {"other": ["organ"]}}}}, "data.includes.four: 'organ' is none of"),
        ({"data": {"bass_in_other": ["four"]}}, "data.bass_in_other is for the four stems"),
        ({"mix": {"silent_source": 0.1}}, "mix.silent_source is for"),
        ({"network": {"stems": STEMS}}, "data.includes is for other sets of stems"),
    ],
)
def test_what_the_stems_do_not_fit_is_said(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        config(corpus, tmp_path, **changes)


def test_a_stem_cannot_be_called_like_a_sum(corpus: Path, tmp_path: Path) -> None:
    stems = ("vocals", "accompaniment")
    run = config(corpus, tmp_path, network={"stems": stems}, data={"includes": {}})
    with pytest.raises(UsageError, match="'accompaniment' is what others add up to"):
        make_network(run)
