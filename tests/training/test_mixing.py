"""Examples: the same for the same generator, and labelled with what is known of them and no more."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rtsep.spec import UsageError
from rtsep.training.augmentation import rms
from rtsep.training.corpus import Track, load_corpus, load_training
from rtsep.training.data_config import AugmentConfig, DataConfig, MixConfig
from rtsep.training.mixing import Example, Mixer
from tests.training.corpora import RATE, write_corpus

SAMPLES = RATE // 2
DRAWS = Path(__file__).parent / "draws.json"
"""Examples as they were drawn before augmentations could be configured: of every part the product with fixed
noise and the RMS, and the generator's next number."""
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
    tracks: list[Track],
    only: str | None = None,
    weights: dict[str, float] | None = None,
    mix: dict[str, Any] | None = None,
    **extra: Any,
) -> Mixer:
    roots = tuple(sorted({Path(t.root) for t in tracks}))
    known = tuple(r.name for r in roots)
    data = DataConfig(
        workers=0,
        roots=roots,
        bass_in_other=("inside",) if "inside" in known else (),
        weights={k: v for k, v in (weights or {}).items() if k in known},
    )
    odds = {} if only is None else {kind: float(kind == only) for kind in (*KINDS, "silent_source")}
    table = MixConfig.model_validate(odds | (mix or {}))
    return Mixer(tracks, data, table, SAMPLES, AugmentConfig.model_validate(extra), RATE)


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


# -- who joins in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["guitars", "synths"])
def test_who_joins_in_is_heard_where_other_sounds_and_nowhere_else(tracks: list[Track], option: str) -> None:
    mixer = make_mixer(tracks, mix={option: 1.0})
    join = {"guitars": mixer._with_guitar, "synths": mixer._with_synth}[option]
    noise = np.random.default_rng(0).standard_normal((4, 2, SAMPLES)).astype(np.float32)
    changed = 0
    for seed in range(10):
        parts = [((0,), noise[0]), ((1, 2, 3), noise[1])]
        (voice, backing) = join(parts, np.random.default_rng(seed))
        assert voice[0] == (0,) and backing[0] == (1, 2, 3)
        np.testing.assert_array_equal(voice[1], noise[0])
        assert np.isfinite(backing[1]).all() and backing[1].dtype == np.float32
        changed += not np.allclose(backing[1], noise[1], atol=0.05)
        assert 0.1 < rms(backing[1]) < 4.0
    assert changed == 10
    silent = [((0,), noise[0]), ((1,), noise[1]), ((2,), noise[2]), ((3,), np.zeros_like(noise[3]))]
    for (_, before), (_, after) in zip(silent, join(silent, np.random.default_rng(1)), strict=True):
        np.testing.assert_array_equal(before, after)


def test_synthesisers_are_in_examples_only_where_they_are_asked_for(tracks: list[Track]) -> None:
    plain, asked = (make_mixer(tracks, "instrumental", mix={"synths": share}) for share in (0.0, 1.0))
    assert groups_of(draw(plain, 10)) == groups_of(draw(asked, 10))
    for without, joined in zip(draw(plain, 5), draw(asked, 5), strict=True):
        assert not np.allclose(without.parts, joined.parts, atol=1e-3)


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


# -- what is not asked for changes nothing ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["all", *KINDS])
def test_examples_are_what_they_have_always_been(tracks: list[Track], kind: str) -> None:
    """A run that is going on, and one that is done again, must see what the first one saw."""
    probe = np.random.default_rng(99).standard_normal((2, SAMPLES))
    mixer = make_mixer(tracks, None if kind == "all" else kind)
    for k, before in enumerate(json.loads(DRAWS.read_text(encoding="utf-8"))[kind]):
        rng = np.random.default_rng((11, 2, k))
        example = mixer.draw(rng)
        assert example.groups.astype(int).tolist() == before["groups"]
        products = [float((part * probe).sum()) for part in example.parts]
        levels = [float(np.sqrt(np.mean(np.square(part)))) for part in example.parts]
        assert products == pytest.approx(before["parts"], abs=2e-4)
        assert levels == pytest.approx(before["rms"], abs=2e-6)
        assert rng.random() == before["next"], "another number of values was drawn"


# -- partly unknown tracks -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def partly_known(tmp_path_factory: pytest.TempPathFactory) -> list[Track]:
    """Songs with some stems and a mixture, a mastered one, an unlabelled one, and lone stems."""
    root = tmp_path_factory.mktemp("partly")
    rng = np.random.default_rng(3)
    time = np.arange(6 * RATE) / RATE
    v, d, b, o = (
        (0.1 * np.sin(2.0 * np.pi * f * time) + 0.01 * rng.standard_normal(len(time)))[:, None].repeat(2, 1)
        for f in (500.0, 1500.0, 100.0, 700.0)
    )
    v[: 3 * RATE] = 0.0
    songs: dict[str, dict[str, np.ndarray]] = {
        "voice": {"vocals": v, "mixture": v + d + b + o},
        "drums": {"drums": d, "mixture": v + d + b + o},
        "duo": {"vocals": v, "drums": d, "mixture": v + d + b + o},
        "lone": {"drums": d, "bass": b},
        "alone": {"other": o},
        "unlabelled": {"mixture": 0.2 * np.sin(2.0 * np.pi * 60.0 * time)[:, None].repeat(2, 1)},
    }
    folders = {root / "songs" / name: stems for name, stems in songs.items()}
    folders[root / "mastered" / "song"] = {"vocals": v, "mixture": np.tanh(9.0 * (v + d + b + o))}
    for folder, stems in folders.items():
        folder.mkdir(parents=True)
        for stem, audio in stems.items():
            soundfile.write(folder / f"{stem}.wav", audio, RATE, subtype="PCM_16")
    data = DataConfig.model_validate(
        {
            "roots": [root / "songs", root / "mastered"],
            "cache": root / "cache",
            "missing": {"songs": "unknown", "mastered": "unknown"},
            "mastered": ["mastered"],
        }
    )
    return load_training(data, RATE)[0]


def test_only_what_is_known_is_taught(partly_known: list[Track]) -> None:
    duo = (V, D, (0, 0, 1, 1), UNUSED)
    drums = (D, (1, 0, 1, 1), UNUSED, UNUSED)
    assert groups_of(draw(make_mixer(partly_known, "aligned"), 60)) == {TWO, drums, duo}
    assert groups_of(draw(make_mixer(partly_known, "over_backing"), 60)) == {TWO, duo}


def test_lone_stems_go_where_nothing_is_said_of_the_missing(partly_known: list[Track]) -> None:
    mixer = make_mixer(partly_known)
    assert {t.name for t in mixer.drums} == {"drums", "duo", "lone"}
    assert {t.name for t in mixer.basses} == {"lone"}
    assert not mixer.others.tracks, "an `other` without a bass beside it may have one inside"
    assert {t.name for t in mixer.backings} == {"voice", "duo"}
    assert "remixed" not in mixer.kinds


def test_a_source_is_laid_over_where_it_is_silent(partly_known: list[Track]) -> None:
    mixer = make_mixer(partly_known, "silent_source", mix={"silence_db": -30.0})
    found = {(s.track.root, s.track.name, source) for source, all_ in mixer.stretches.items() for s in all_}
    # 60 Hz might be a bass or a drum but not a voice; of the mastered song there is a file of the voice.
    assert found == {("songs", "unlabelled", 0), ("mastered", "song", 0)}
    examples = draw(mixer, 30)
    assert groups_of(examples) == {TWO} and all(e.parts[1].any() for e in examples)
    assert sum(bool(e.parts[0].any()) for e in examples) > 20, "half of the voices are rests"


def test_the_voice_of_a_mastered_song_is_in_none_of_its_stretches(partly_known: list[Track]) -> None:
    mastered = [t for t in partly_known if t.root == "mastered"]
    (stretch,) = make_mixer(mastered, "silent_source").stretches[0]
    assert stretch.start == 0 and 2.5 * RATE < stretch.end <= 3 * RATE


def test_without_the_odds_nothing_is_searched(partly_known: list[Track]) -> None:
    assert make_mixer(partly_known).stretches == {}
    with pytest.raises(UsageError, match="hold nothing that"):
        make_mixer([t for t in partly_known if t.name == "lone"], "silent_source")


def test_an_instrumental_without_low_end_gets_a_bass(tracks: list[Track]) -> None:
    silent = np.zeros((4 * RATE, 2), np.int16)
    tone = np.round(6000.0 * np.sin(2.0 * np.pi * 3000.0 * np.arange(4 * RATE) / RATE)).astype(np.int16)
    band = Track("high", "backings", {"accompaniment": silent + tone[:, None]})
    mixer = make_mixer([*(t for t in tracks if t.root == "songs"), band], "silent_source")
    for example in draw(mixer, 8):
        assert groups_of([example]) == {(B, V, (0, 1, 0, 1), UNUSED)}
        assert example.parts[0].any() and not example.parts[1].any() and example.parts[2].any()


# -- procedures and augmentations ------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", ["sum", "average", "scale", "adaptive"])
def test_procedures_take_the_place_of_drawn_levels(tracks: list[Track], procedure: str) -> None:
    loud = [Track(t.name, t.root, {n: 3 * s for n, s in t.stems.items()}) for t in tracks]
    plain = draw(make_mixer(loud, mix={"procedure": "sum"}), 25)
    mixed = draw(make_mixer(loud, mix={"procedure": procedure}), 25)
    peaks = [float(np.abs(example.parts.sum(axis=0)).max()) for example in plain]
    assert max(peaks) > 1.0 > min(peaks)
    for one, other, peak in zip(plain, mixed, peaks, strict=True):
        assert np.array_equal(one.groups, other.groups)
        sounding = [row for row in range(4) if one.parts[row].any()]
        if procedure in ("scale", "adaptive"):
            assert np.abs(other.parts.sum(axis=0)).max() <= 1.0 + 1e-5
            # What fits is left alone.
            fits = peak <= 1.0 and np.abs(one.parts).max() <= 1.0
            assert np.array_equal(one.parts, other.parts) == fits
        if procedure == "average":
            assert np.allclose(other.parts * len(sounding), one.parts, atol=1e-5)


def test_one_channel_of_everything(tracks: list[Track]) -> None:
    stereo, mono = make_mixer(tracks), make_mixer(tracks, mono=1.0)
    for example in draw(mono, 20):
        assert np.array_equal(example.parts[:, 0], example.parts[:, 1]) and example.parts.any()
    assert any(not np.array_equal(e.parts[:, 0], e.parts[:, 1]) for e in draw(stereo, 5))


def test_stems_fall_silent_by_their_odds_and_never_all(tracks: list[Track]) -> None:
    mixer = make_mixer(tracks, "remixed", drop=0.5)
    counts = [sum(bool(part.any()) for part in e.parts) for e in draw(mixer, 80)]
    assert min(counts) == 1 and max(counts) == 4 and 1.6 < np.mean(counts) < 2.6
    assert groups_of(draw(mixer, 20)) == {FOUR}, "a dropped stem is known to be silent"
    assert all(e.parts.any() for e in draw(make_mixer(tracks, drop=1.0), 20))


def test_deep_voices_are_played_lower_and_nothing_else_is(tracks: list[Track]) -> None:
    def tones(kind: str, **extra: Any) -> np.ndarray:
        """Of each example's loudest part, the frequency that is strongest."""
        found = []
        for example in draw(make_mixer(tracks, kind, **extra), 60):
            loudest = max(example.parts, key=rms).mean(0)
            found.append(float(np.abs(np.fft.rfft(loudest)).argmax()) * RATE / SAMPLES)
        return np.array(found)

    deep = tones("vocal", deep_voices=1.0, deep_octaves=(1.0, 1.0))
    assert 0.35 < np.median(deep) / np.median(tones("vocal")) < 0.65
    assert np.array_equal(tones("instrumental", deep_voices=1.0), tones("instrumental"))


def test_an_example_begins_after_its_lead_in_and_is_itself_from_there(tracks: list[Track]) -> None:
    seconds = (0.1, 0.2)
    late = make_mixer(tracks, lead_in=1.0, lead_in_seconds=seconds)
    plain = draw(make_mixer(tracks), 20)
    starts = set()
    for example, whole in zip(draw(late, 20), plain, strict=True):
        sounds = np.flatnonzero(example.parts.any(axis=(0, 1)))
        if not whole.parts.any():
            continue
        begin = int(sounds[0])
        starts.add(begin)
        assert begin >= seconds[0] * RATE and np.array_equal(example.groups, whole.groups)
        sounding = [part for part in example.parts if part.any()]
        assert all(part[:, round(seconds[1] * RATE) :].any() for part in sounding)
    assert len(starts) > 10 and np.median(list(starts)) <= seconds[1] * RATE


def test_a_range_that_descends_is_refused() -> None:
    with pytest.raises(ValueError, match="deep_octaves"):
        AugmentConfig(deep_octaves=(1.0, 0.3))


@pytest.mark.parametrize("extra", ["pitch", "tempo", "codec", "reverb", "distortion"])
@pytest.mark.parametrize("kind", ["aligned", "remixed"])
def test_augmentations_depend_on_the_generator_alone(tracks: list[Track], kind: str, extra: str) -> None:
    plain = draw(make_mixer(tracks, kind), 3)
    first, second = (draw(make_mixer(tracks, kind, **{extra: 1.0}), 3) for _ in range(2))
    for before, one, other in zip(plain, first, second, strict=True):
        assert np.array_equal(one.parts, other.parts) and np.isfinite(one.parts).all()
        assert not np.array_equal(one.parts, before.parts)
        for part in one.parts:
            # It does not end early: the last tenth sounds in every part that does.
            assert not part.any() or part[:, -SAMPLES // 10 :].any()


def test_a_package_that_is_missing_is_told_before_anything_is_drawn(
    tracks: list[Track], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    make_mixer(tracks, mono=1.0, drop=0.1)
    with pytest.raises(UsageError, match="take pedalboard"):
        make_mixer(tracks, tempo=0.1)
