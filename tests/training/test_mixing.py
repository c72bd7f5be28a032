"""Examples: the same for the same generator, and labelled with what is known of them and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtsep.spec import UsageError
from rtsep.training.augmentation import rms
from rtsep.training.config import DataConfig, MixConfig
from rtsep.training.corpus import Track, load_corpus
from rtsep.training.mixing import Example, Mixer
from tests.training.corpora import RATE, write_corpus

SAMPLES = RATE // 2
KINDS = ("aligned", "over_backing", "remixed", "instrumental", "vocal")

V, D, B, O = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)  # noqa: E741 - other
UNUSED = (0, 0, 0, 0)
FOUR = (V, D, B, O)
"""All stems known apart."""
INSIDE = (V, D, (0, 0, 1, 1), UNUSED)
"""The bass line sounds within `other`."""
TWO = (V, (0, 1, 1, 1), UNUSED, UNUSED)
"""A voice and its accompaniment."""

Groups = tuple[tuple[int, ...], ...]


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Track]:
    root = tmp_path_factory.mktemp("corpus")
    return load_corpus(write_corpus(root), root / "cache", RATE)


def make_mixer(
    tracks: list[Track], only: str | None = None, weights: dict[str, float] | None = None
) -> Mixer:
    roots = tuple(sorted({Path(t.root) for t in tracks}))
    known = tuple(r.name for r in roots)
    data = DataConfig(
        workers=0,
        roots=roots,
        bass_in_other=("inside",) if "inside" in known else (),
        weights={k: v for k, v in (weights or {}).items() if k in known},
    )
    odds = MixConfig.model_validate({} if only is None else {kind: float(kind == only) for kind in KINDS})
    return Mixer(tracks, data, odds, SAMPLES)


def draw(mixer: Mixer, count: int, seed: int = 0) -> list[Example]:
    return [mixer.draw(np.random.default_rng((seed, 5, k))) for k in range(count)]


def groups_of(examples: list[Example]) -> set[Groups]:
    return {tuple(tuple(int(v) for v in row) for row in e.groups) for e in examples}


# -- determinism --------------------------------------------------------------------------------------


def test_an_example_depends_on_its_generator_alone(tracks: list[Track]) -> None:
    first = [make_mixer(tracks).draw(np.random.default_rng((7, 3, k))) for k in range(12)]
    again = make_mixer(tracks)
    for k in reversed(range(12)):  # in another order, and from one mixer
        second = again.draw(np.random.default_rng((7, 3, k)))
        assert np.array_equal(first[k].parts, second.parts)
        assert np.array_equal(first[k].groups, second.groups)


def test_seed_step_and_number_each_make_another_example(tracks: list[Track]) -> None:
    mixer = make_mixer(tracks, "aligned")
    drawn = [
        mixer.draw(np.random.default_rng(key)).parts for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    for i in range(4):
        for k in range(i):
            assert not np.array_equal(drawn[i], drawn[k])


def test_the_corpus_is_left_as_it_was(tracks: list[Track]) -> None:
    before = [np.array(s) for t in tracks for s in t.stems.values()]
    draw(make_mixer(tracks), 10)
    after = [s for t in tracks for s in t.stems.values()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# -- labels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("aligned", {FOUR, INSIDE}),
        ("remixed", {FOUR}),
        ("over_backing", {FOUR, INSIDE, TWO}),
        ("instrumental", {FOUR, INSIDE, TWO}),
        ("vocal", {TWO}),
    ],
)
def test_labels_say_what_is_known(tracks: list[Track], kind: str, expected: set[Groups]) -> None:
    assert groups_of(draw(make_mixer(tracks, kind), 60)) == expected


def test_known_parts_share_no_stem(tracks: list[Track]) -> None:
    for example in draw(make_mixer(tracks), 60):
        assert np.array_equal(example.groups.sum(axis=0), np.ones(4))


def test_unused_rows_are_silent(tracks: list[Track]) -> None:
    for example in draw(make_mixer(tracks), 60):
        assert not example.parts[example.groups.sum(axis=1) == 0].any()


def test_a_missing_stem_beside_others_is_known_to_be_silent(tracks: list[Track]) -> None:
    beats = [t for t in tracks if t.root == "beats"]  # drums and bass, no other
    for example in draw(make_mixer(beats, "instrumental"), 10):
        assert groups_of([example]) == {FOUR}
        assert not example.parts[0].any() and example.parts[1].any() and example.parts[2].any()
        assert not example.parts[3].any()


def test_a_kind_has_the_sound_that_its_name_says(tracks: list[Track]) -> None:
    for example in draw(make_mixer(tracks, "instrumental"), 20):
        assert not example.parts[0].any() and example.parts[1:].any()
    for example in draw(make_mixer(tracks, "vocal"), 20):
        assert example.parts[0].any() and not example.parts[1:].any()
    for example in draw(make_mixer(tracks, "over_backing"), 20):
        assert example.parts[0].any() and example.parts[1:].any()


def test_alone_drawn_other_never_comes_with_a_bass_inside(tracks: list[Track]) -> None:
    mixer = make_mixer(tracks)
    assert {t.root for t in mixer.others} == {"songs"}


# -- levels and odds ----------------------------------------------------------------------------------


def test_shapes_and_levels(tracks: list[Track]) -> None:
    lowest, highest = MixConfig().level_db
    for example in draw(make_mixer(tracks), 40):
        assert example.parts.shape == (4, 2, SAMPLES) and example.parts.dtype == np.float32
        assert example.groups.shape == (4, 4) and example.groups.dtype == np.float32
        level = 20.0 * np.log10(rms(example.parts.sum(axis=0)))
        assert lowest - 0.1 < level < highest + 0.1


def test_roots_are_drawn_by_their_weights(tracks: list[Track]) -> None:
    mixer = make_mixer(tracks, "instrumental", weights={"songs": 0.0, "inside": 0.0, "backings": 0.0})
    assert groups_of(draw(mixer, 30)) == {FOUR}  # beats alone are left
    heavy = make_mixer(tracks, weights={"voices": 8.0})
    rng = np.random.default_rng(0)
    picked = [heavy.voices.pick(rng).root for _ in range(400)]
    share = picked.count("voices") / 400  # 8 of 8 + 1 + 1 + 1
    assert 0.62 < share < 0.83


def test_kinds_for_which_there_is_no_sound_are_left_out(tracks: list[Track]) -> None:
    bands = [t for t in tracks if t.name == "band"]
    assert make_mixer(bands).kinds == ["instrumental"]
    voices = [t for t in tracks if t.root == "voices"]
    assert make_mixer(voices).kinds == ["vocal"]
    assert set(make_mixer(tracks).kinds) == set(KINDS)


def test_a_corpus_without_what_is_asked_for_is_refused(tracks: list[Track]) -> None:
    bands = [t for t in tracks if t.name == "band"]
    with pytest.raises(UsageError, match="hold nothing that the \\[mix\\] table asks for"):
        make_mixer(bands, "vocal")


def test_a_track_shorter_than_an_example_is_padded(tmp_path: Path, tracks: list[Track]) -> None:
    short = [Track(t.name, t.root, {n: s[:1000] for n, s in t.stems.items()}) for t in tracks]
    for example in draw(make_mixer(short), 20):
        assert example.parts.shape == (4, 2, SAMPLES)
        assert np.isfinite(example.parts).all()
