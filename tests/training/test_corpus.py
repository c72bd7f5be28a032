"""Folders of stems: what is found, what is decoded, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtsep.spec import UsageError
from rtsep.training.corpus import find_tracks, load_corpus
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
