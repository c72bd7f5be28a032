"""Finding and reading tracks: every layout, every kind of label, everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtsep.evaluation.tracks import find_tracks
from rtsep.spec import AudioFileError, UsageError
from tests.evaluation.songs import RATE, STEMS, stem, write, write_track


def test_folders_are_searched_and_sorted(tmp_path: Path) -> None:
    write_track(tmp_path / "test" / "b")
    write_track(tmp_path / "test" / "a", ("vocals", "accompaniment"))
    write(tmp_path / "test" / "a" / "mixture.wav", stem(9))
    write(tmp_path / ".hidden" / "vocals.wav", stem(9))
    (tmp_path / "notes.txt").write_text("no track")
    found = find_tracks(tmp_path)
    assert [source.name for source in found] == [str(Path("test") / "a"), str(Path("test") / "b")]
    assert set(found[0].files) == {"vocals", "accompaniment"}


def test_a_folder_of_stems_is_one_track(tmp_path: Path) -> None:
    (source,) = find_tracks(write_track(tmp_path / "my song"))
    track = source.read()
    assert track.name == "my song" and track.sample_rate == RATE and track.seconds == 3.0
    assert tuple(track.parts) == STEMS
    np.testing.assert_array_equal(track.parts["drums"], stem(1))
    np.testing.assert_allclose(track.mixture, sum(track.parts.values()), atol=1e-6)
    np.testing.assert_allclose(
        track.targets["accompaniment"], track.mixture - track.parts["vocals"], atol=1e-6
    )


def test_formats_rates_channels_and_lengths_are_brought_together(tmp_path: Path) -> None:
    write(tmp_path / "bass.flac", stem(0))
    write(tmp_path / "drums.ogg", stem(1, channels=1))
    write(tmp_path / "Vocals.wav", stem(2, seconds=2.0, rate=16000), 16000)
    write(tmp_path / "other.mp3", stem(3))
    track = find_tracks(tmp_path)[0].read()
    assert {part.shape for part in track.parts.values()} == {(2, 3 * 16000)}
    assert track.sample_rate == 16000
    vocals = track.parts["vocals"]
    np.testing.assert_array_equal(vocals[:, :32000], stem(2, seconds=2.0, rate=16000))
    assert not np.any(vocals[:, 32000:])
    np.testing.assert_array_equal(track.parts["drums"][0], track.parts["drums"][1])


def test_mono_stays_mono_and_only_the_start_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "drums.wav", stem(1, channels=1))
    track = find_tracks(tmp_path)[0].read(seconds=0.5)
    assert track.parts["drums"].shape == (1, RATE // 2)
    assert tuple(track.parts) == STEMS and not np.any(track.parts["vocals"])


def test_an_accompaniment_alone_has_silent_vocals(tmp_path: Path) -> None:
    write_track(tmp_path, ("accompaniment",))
    track = find_tracks(tmp_path)[0].read()
    assert tuple(track.parts) == ("vocals", "accompaniment") and not np.any(track.parts["vocals"])
    np.testing.assert_array_equal(track.mixture, track.parts["accompaniment"])


def test_an_accompaniment_beside_all_its_parts_is_left_alone(tmp_path: Path) -> None:
    write_track(tmp_path, (*STEMS, "accompaniment"))
    assert tuple(find_tracks(tmp_path)[0].read().parts) == STEMS


def test_the_excerpt_of_stempeg() -> None:
    (source,) = find_tracks("stempeg")
    track = source.read(seconds=1.0)
    assert (track.sample_rate, track.parts["vocals"].shape) == (44100, (2, 44100))
    assert all(np.any(part) for part in track.parts.values())
    (named,) = find_tracks(source.files[""])
    assert named.read(1.0).parts.keys() == track.parts.keys()


@pytest.mark.parametrize(
    ("stems", "error", "message"),
    [
        (("drums", "accompaniment"), UsageError, "accompaniment beside drums"),
        ((), AudioFileError, "there are no tracks"),
    ],
)
def test_folders_that_say_nothing(
    tmp_path: Path, stems: tuple[str, ...], error: type[Exception], message: str
) -> None:
    write_track(tmp_path, stems)
    with pytest.raises(error, match=message):
        find_tracks(tmp_path)


def test_what_is_not_there_or_no_track(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="there is no such folder"):
        find_tracks(tmp_path / "nowhere")
    with pytest.raises(AudioFileError, match="neither a folder of stems nor"):
        find_tracks(write(tmp_path / "song.wav", stem(0)))
    write(tmp_path / "a" / "drums.wav", stem(0))
    write(tmp_path / "a" / "drums.flac", stem(0))
    with pytest.raises(UsageError, match=r"has two files of drums, drums.flac and drums.wav"):
        find_tracks(tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write_track(tmp_path / "a", ("vocals",))
    (tmp_path / "a" / "drums.wav").write_text("no sound")
    (source,) = find_tracks(tmp_path / "a")
    with pytest.raises(AudioFileError, match=r"drums\.wav"):
        source.check()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.stem.mp4").write_text("no sound")
    (source,) = find_tracks(tmp_path / "b")
    assert source.name == "x"
    source.check()
    with pytest.raises(AudioFileError, match=r"x\.stem\.mp4: cannot be read"):
        source.read()


def test_a_bass_line_inside_other_is_known_with_it(tmp_path: Path) -> None:
    write_track(tmp_path / "inside", ("vocals", "drums", "other"))
    write_track(tmp_path / "apart")
    write_track(tmp_path / "backing", ("vocals", "accompaniment"))
    write_track(tmp_path / "drums", ("vocals", "drums"))
    tracks = {source.name: source.read() for source in find_tracks(tmp_path, bass_in_other=True)}
    assert tuple(tracks["inside"].parts) == ("vocals", "drums", "bass+other")
    np.testing.assert_array_equal(tracks["inside"].parts["bass+other"], stem(2))
    assert tuple(tracks["apart"].parts) == tuple(tracks["drums"].parts) == STEMS
    assert tuple(tracks["backing"].parts) == ("vocals", "accompaniment")
    assert tuple(find_tracks(tmp_path)[3].read().parts) == STEMS
    with pytest.raises(UsageError, match="takes both among the stems: vocals, guitar"):
        find_tracks(tmp_path, ("vocals", "guitar"), bass_in_other=True)
