"""Folders of stems: what is found, what is decoded, what is kept."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtsep.spec import UsageError
from rtsep.training.corpus import Track, find_tracks, load_corpus, load_training, load_validation
from rtsep.training.data_config import DataConfig
from tests.training.corpora import RATE, write_corpus, write_track


def test_every_folder_with_a_stem_is_a_track(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "songs" / "notes").mkdir()
    (tmp_path / "songs" / "notes" / "vocals.txt").touch()
    write_track(tmp_path / "songs" / "album" / "deep", ("drums",))
    found = find_tracks(tmp_path / "songs")
    assert [f.relative_to(tmp_path / "songs").as_posix() for f in found] == ["album/deep", "song0", "song1"]


def test_a_root_may_be_a_track_itself(tmp_path: Path) -> None:
    root = write_track(tmp_path / "song", ("vocals", "accompaniment"))
    (track,) = load_corpus([root], tmp_path / "cache", RATE)
    assert (track.name, track.root, set(track.stems)) == (".", "song", {"vocals", "accompaniment"})


def test_tracks_know_their_stems_and_lack_the_others(tmp_path: Path) -> None:
    tracks = load_corpus(write_corpus(tmp_path), tmp_path / "cache", RATE)
    stems = {(t.root, t.name): set(t.stems) for t in tracks}
    assert stems["songs", "song0"] == {"vocals", "drums", "bass", "other"}
    assert stems["inside", "song"] == {"vocals", "drums", "other"}
    assert stems["voices", "voice"] == {"vocals"}
    assert stems["backings", "band"] == {"accompaniment"}
    assert all(t.samples == 2 * RATE for t in tracks)


def test_samples_are_the_files_own(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "root" / "song", ("vocals",))
    (track,) = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    original, _ = soundfile.read(folder / "vocals.wav", always_2d=True)
    assert track.stems["vocals"].dtype == np.int16
    assert np.abs(track.stems["vocals"] / 32767.0 - original).max() < 1.0 / 32767.0


def test_stems_of_different_lengths_are_cut_to_the_shortest(tmp_path: Path) -> None:
    write_track(tmp_path / "root" / "song", ("vocals",), seconds=2.0)
    write_track(tmp_path / "root" / "song", ("drums",), seconds=1.0)
    (track,) = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    assert {s.shape for s in track.stems.values()} == {(RATE, 2)} and track.samples == RATE


def test_mono_many_channels_other_rates_and_loud_samples(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "song"
    folder.mkdir(parents=True)
    time = np.arange(4 * RATE) / (2 * RATE)
    soundfile.write(folder / "vocals.flac", 0.5 * np.sin(2 * np.pi * 100 * time), 2 * RATE)
    wide = np.zeros((2 * RATE, 4), np.float32)
    wide[:, 0], wide[:, 1], wide[:, 3] = 0.25, 3.0, 0.7
    soundfile.write(folder / "drums.wav", wide, RATE, subtype="FLOAT")
    (track,) = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    vocals, drums = track.stems["vocals"], track.stems["drums"]
    assert vocals.shape == drums.shape == (2 * RATE, 2)
    assert np.array_equal(vocals[:, 0], vocals[:, 1])
    expected = 0.5 * np.sin(2 * np.pi * 100 * np.arange(2 * RATE) / RATE)
    assert np.abs(vocals[1000:-1000, 0] / 32767.0 - expected[1000:-1000]).max() < 1e-3
    assert np.all(drums[:, 0] == round(0.25 * 32767)) and np.all(drums[:, 1] == 32767)


def test_files_are_decoded_once(tmp_path: Path) -> None:
    roots, cache = write_corpus(tmp_path), tmp_path / "cache"
    load_corpus(roots, cache, RATE)
    kept = sorted(cache.iterdir())
    times = [f.stat().st_mtime_ns for f in kept]
    # Were a file decoded again, this one would be told to be no sound.
    vocals = roots[0] / "song0" / "vocals.wav"
    vocals.write_bytes(bytes(vocals.stat().st_size))
    tracks = load_corpus(roots, cache, RATE)
    assert tracks[0].stems["vocals"].any()
    assert sorted(cache.iterdir()) == kept and [f.stat().st_mtime_ns for f in kept] == times
    assert not [f for f in kept if "partial" in f.name]


def test_another_rate_or_a_file_of_another_size_is_decoded_anew(tmp_path: Path) -> None:
    folder, cache = write_track(tmp_path / "root" / "song", ("vocals",)), tmp_path / "cache"
    load_corpus([tmp_path / "root"], cache, RATE)
    (other,) = load_corpus([tmp_path / "root"], cache, 2 * RATE)
    assert other.samples == 4 * RATE
    write_track(folder, ("vocals",), seconds=1.0)
    (shorter,) = load_corpus([tmp_path / "root"], cache, RATE)
    assert shorter.samples == RATE and len(list(cache.iterdir())) == 3


def test_what_is_no_corpus_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such training folder"):
        load_corpus([tmp_path / "nothing"], tmp_path / "cache", RATE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no stems .* below .*empty"):
        load_corpus([tmp_path / "empty"], tmp_path / "cache", RATE)
    folder = write_track(tmp_path / "root" / "song", ("vocals",))
    (folder / "drums.wav").write_bytes(b"this is no sound")
    with pytest.raises(UsageError, match="cannot read .*drums.wav") as caught:
        load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    assert "\n" not in str(caught.value)


# -- names, several files, several roots -----------------------------------------------------------------


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * RATE), 2))


def put(folder: Path, **sounds: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, audio in sounds.items():
        soundfile.write(folder / f"{name}.wav", audio, RATE, subtype="PCM_16")
    return folder


def load(tmp_path: Path, *roots: Path, **table: object) -> list[Track]:
    data = DataConfig.model_validate({"roots": roots, "cache": tmp_path / "cache", **table})
    return load_training(data, RATE)[0]


def heard(track: Track, stem: str) -> np.ndarray:
    return track.stems[stem] / 32767.0


def test_names_are_mapped_and_files_of_one_stem_are_summed(tmp_path: Path) -> None:
    lead, choir, piano = noise(1.0, 1), noise(0.5, 2), noise(1.0, 3)
    put(tmp_path / "root" / "song", Lead=lead, choir=choir, piano=piano, mixture=lead)
    (track,) = load(
        tmp_path, tmp_path / "root", names={"lead": "vocals", "Choir": "vocals", "piano": "other"}
    )
    assert set(track.stems) == {"vocals", "other"} and track.samples == RATE
    lead[: RATE // 2] += choir
    assert np.abs(heard(track, "vocals") - lead).max() < 1e-4
    assert np.abs(heard(track, "other") - piano).max() < 1e-4


def test_roots_that_share_a_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for part in ("a", "b"):
        put(tmp_path / part / "train" / "song", vocals=noise())
    first, second = str(tmp_path / "a" / "train"), str(tmp_path / "b" / "train")
    tracks = load(tmp_path, Path(first), Path(second), weights={second: 2.0})
    assert [t.root for t in tracks] == [first, second]
    with pytest.raises(ValueError, match="'train' is the name of none of the roots"):
        load(tmp_path, Path(first), Path(second), weights={"train": 2.0})


def _load_in_a_process(root: Path, cache: Path, gate: multiprocessing.synchronize.Barrier) -> None:
    gate.wait(60)
    load_corpus([root], cache, RATE)


def test_processes_that_decode_the_same_at_once_do_not_collide(tmp_path: Path) -> None:
    write_track(tmp_path / "root" / "song", ("vocals", "drums", "bass"), seconds=20.0)
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(4)
    several = [
        context.Process(target=_load_in_a_process, args=(tmp_path / "root", tmp_path / "cache", gate))
        for _ in range(4)
    ]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert [process.exitcode for process in several] == [0] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 3
    (track,) = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    original, _ = soundfile.read(tmp_path / "root" / "song" / "bass.wav")
    assert np.abs(heard(track, "bass") - original).max() < 1e-4


def test_a_cache_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    put(tmp_path / "root" / "song", vocals=noise())
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UsageError, match="cannot write the cache .*cache: ") as caught:
        load(tmp_path, tmp_path / "root")
    assert "\n" not in str(caught.value)


# -- what is missing -------------------------------------------------------------------------------------


def unknown(tmp_path: Path, **table: object) -> list[Track]:
    return load(tmp_path, tmp_path / "root", missing={"root": "unknown"}, **table)


def test_the_rest_of_a_mixture_is_what_remains(tmp_path: Path) -> None:
    v, d, b, o = (noise(seed=seed) for seed in range(4))
    put(tmp_path / "root" / "1 vocals", vocals=v, mixture=v + d + b + o)
    put(tmp_path / "root" / "2 drums", drums=d, mixture=v + d + b + o)
    put(tmp_path / "root" / "3 three", vocals=v, drums=d, bass=b, mixture=v + d + b + o)
    put(tmp_path / "root" / "4 backing", accompaniment=d + b + o, mixture=v + d + b + o)
    put(tmp_path / "root" / "5 part", drums=d, accompaniment=d + b + o)
    put(tmp_path / "root" / "6 all", vocals=v, drums=d, bass=b, other=o, mixture=v + d + b + o)
    put(tmp_path / "root" / "7 nothing", mixture=v + d + b + o)
    put(tmp_path / "root" / "8 voice", vocals=v)
    expected: list[tuple[dict[str, np.ndarray], tuple[str, ...], bool]] = [
        ({"vocals": v, "accompaniment": d + b + o}, (), True),
        ({"drums": d, "rest": v + b + o}, ("vocals", "bass", "other"), True),
        ({"vocals": v, "drums": d, "bass": b, "other": o}, (), True),
        ({"vocals": v, "accompaniment": d + b + o}, (), True),
        ({"drums": d, "rest": b + o}, ("bass", "other"), False),
        ({"vocals": v, "drums": d, "bass": b, "other": o}, (), True),
        ({"rest": v + d + b + o}, ("vocals", "drums", "bass", "other"), True),
        ({"vocals": v}, (), False),
    ]
    tracks = unknown(tmp_path)
    assert len(tracks) == len(expected)
    for track, (stems, rest, whole) in zip(tracks, expected, strict=True):
        assert (set(track.stems), track.rest, track.whole) == (set(stems), rest, whole), track.name
        for stem, audio in stems.items():
            assert np.abs(heard(track, stem) - audio).max() < 2e-4, (track.name, stem)


def test_a_mixture_is_left_alone_where_missing_stems_are_silent(tmp_path: Path) -> None:
    put(tmp_path / "root" / "song", vocals=noise(), mixture=noise(seed=1))
    (track,) = load(tmp_path, tmp_path / "root")
    assert set(track.stems) == {"vocals"} and track.whole


@pytest.mark.parametrize("damage", ["louder", "late", "another song"])
def test_nothing_is_taken_away_from_what_is_no_sum(tmp_path: Path, damage: str) -> None:
    v, o = noise(), noise(seed=1)
    mixture = {"louder": 1.6 * (v + o), "late": np.roll(v + o, 9, axis=0), "another song": noise(seed=5)}
    put(tmp_path / "root" / "song", vocals=v, mixture=mixture[damage])
    with pytest.raises(UsageError, match="mixture.wav: is not the sum of vocals.wav and others") as caught:
        unknown(tmp_path)
    assert "\n" not in str(caught.value)
    (track,) = unknown(tmp_path, mastered=["root"])
    assert set(track.stems) == {"vocals", "mixture"} and not track.whole


# -- MUSDB18 ---------------------------------------------------------------------------------------------

HELD_OUT = "Actions - One Minute Smile"
"""One of the 14 that the musdb package sets apart."""


def test_musdb18_is_read_as_the_musdb_package_reads_it(tmp_path: Path) -> None:
    import musdb
    import stempeg

    train = tmp_path / "musdb18" / "train"
    train.mkdir(parents=True)
    streams = np.stack([noise(1.0, seed) for seed in range(5)])
    # The layout as published: one file a song. AAC wants one of its rates.
    stempeg.write_stems(str(train / "Some Band - Some Song.stem.mp4"), streams, sample_rate=44100)
    shutil.copy(stempeg.example_stem_path(), train / f"{HELD_OUT}.stem.mp4")
    data = DataConfig.model_validate(
        {"roots": [train], "cache": tmp_path / "cache", "validation_tracks": "musdb"}
    )
    training, validation = load_training(data, 44100)
    for tracks, split in ((training, "train"), (validation, "valid")):
        (track,) = tracks
        (theirs,) = musdb.DB(root=str(tmp_path / "musdb18"), subsets=["train"], split=split)
        assert track.name == theirs.name and track.whole
        for stem in ("vocals", "drums", "bass", "other"):
            audio = theirs.sources[stem].audio
            assert track.stems[stem].shape == audio.shape
            assert np.abs(heard(track, stem) - np.clip(audio, -1.0, 1.0)).max() < 1e-4, stem
    (train / "._Some Band - Some Song.stem.mp4").write_bytes(b"left by a file manager")
    assert [t.name for t in load_validation(data, 44100)] == [HELD_OUT]
    assert len(list((tmp_path / "cache").iterdir())) == 8


def test_musdb18_hq_is_a_folder_of_folders(tmp_path: Path) -> None:
    import musdb

    train = tmp_path / "musdb18hq" / "train"
    for name in ("Some Band - Some Song", HELD_OUT):
        write_track(train / name, ("mixture", "vocals", "drums", "bass", "other"))
    data = DataConfig.model_validate(
        {"roots": [train], "cache": tmp_path / "cache", "validation_tracks": "musdb"}
    )
    training, validation = load_training(data, RATE)
    for tracks, split in ((training, "train"), (validation, "valid")):
        theirs = musdb.DB(root=str(tmp_path / "musdb18hq"), is_wav=True, subsets=["train"], split=split)
        assert [t.name for t in tracks] == [t.name for t in theirs]
        assert set(tracks[0].stems) == {"vocals", "drums", "bass", "other"}


def test_a_stem_file_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "song.stem.mp4").write_bytes(b"no sound")
    with pytest.raises(UsageError, match="song.stem.mp4: cannot be read") as caught:
        load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    assert "\n" not in str(caught.value)


def test_tracks_to_validate_on_are_held_out_by_name(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_track(tmp_path / "root" / name, ("vocals", "drums"))
    write_track(tmp_path / "valid" / "four", ("vocals",))

    def split(names: object) -> tuple[list[str], list[str]]:
        table = {"roots": [tmp_path / "root"], "cache": tmp_path / "cache", "validation_tracks": names}
        data = DataConfig.model_validate(table | {"validation": tmp_path / "valid"})
        training, validation = load_training(data, RATE)
        return [t.name for t in training], [t.name for t in validation]

    assert split(["two"]) == (["one", "three"], ["four", "two"])
    assert split([]) == (["one", "three", "two"], ["four"])
    with pytest.raises(UsageError, match="no track to validate on is called 'five'"):
        split(["one", "five"])
    with pytest.raises(UsageError, match="there is none to train on"):
        split(["one", "two", "three"])
    with pytest.raises(UsageError, match="no track to validate on is called"):
        split("musdb")


def test_what_is_not_wholly_known_is_not_validated_on(tmp_path: Path) -> None:
    v = noise()
    put(tmp_path / "root" / "song", vocals=v, mixture=v + noise(seed=1))
    put(tmp_path / "root" / "more", vocals=v)
    with pytest.raises(UsageError, match="root/song cannot be validated on"):
        unknown(tmp_path, validation_tracks=["song"])


def test_a_track_whose_bass_is_inside_other_is_not_validated_on(tmp_path: Path) -> None:
    for root in ("inside", "apart"):
        for name in (f"{root}-one", f"{root}-two"):
            write_track(tmp_path / root / name, ("vocals", "drums", "other"))
    table = {
        "roots": [tmp_path / "inside", tmp_path / "apart"],
        "cache": tmp_path / "cache",
        "bass_in_other": ["inside"],
    }

    def held_out(name: str) -> list[str]:
        data = DataConfig.model_validate(table | {"validation_tracks": [name]})
        return [track.name for track in load_validation(data, RATE)]

    with pytest.raises(UsageError, match="inside/inside-one cannot be validated on: its bass line is inside"):
        held_out("inside-one")
    assert held_out("apart-one") == ["apart-one"]
