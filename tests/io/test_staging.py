"""A folder's files appear together or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rtsep.io.staging import (
    ABANDONED_SECONDS,
    AlreadyThereError,
    StagedFolder,
    no_empty_parents,
    remove_abandoned,
    remove_attempt,
)
from rtsep.spec import AudioFileError

NAMES = ("a.wav", "b.wav")


def fill(staged: StagedFolder, text: str = "new") -> None:
    for name in NAMES:
        (staged.path / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "out" / "song"
    with StagedFolder(target, NAMES) as staged:
        fill(staged)
        assert not target.exists()
    assert contents(tmp_path) == {"out/song/a.wav": "new", "out/song/b.wav": "new"}
    assert os.listdir(target.parent) == ["song"]


def test_joins_what_is_there(tmp_path: Path) -> None:
    target = tmp_path / "song"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with StagedFolder(target, NAMES) as staged:
        fill(staged)
    assert contents(tmp_path) == {"song/notes.txt": "mine", "song/a.wav": "new", "song/b.wav": "new"}
    assert os.listdir(tmp_path) == ["song"]


def test_replaces_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "song"
    target.mkdir()
    (target / "b.wav").write_text("old")
    (target / "c.wav").write_text("other")
    with pytest.raises(AlreadyThereError) as failure, StagedFolder(target, NAMES):
        pass
    assert failure.value.file == target / "b.wav"
    assert contents(tmp_path) == {"song/b.wav": "old", "song/c.wav": "other"}
    with StagedFolder(target, NAMES, overwrite=True) as staged:
        fill(staged)
    assert contents(tmp_path) == {"song/a.wav": "new", "song/b.wav": "new", "song/c.wav": "other"}


@pytest.mark.parametrize("error", [AudioFileError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_no_trace(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), StagedFolder(tmp_path / "deep" / "er" / "song", NAMES) as staged:
        fill(staged)
        raise error
    assert os.listdir(tmp_path) == []


def test_an_error_while_replacing_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "song"
    target.mkdir()
    (target / "a.wav").write_text("old")
    with pytest.raises(RuntimeError), StagedFolder(target, NAMES, overwrite=True) as staged:
        fill(staged)
        raise RuntimeError
    assert contents(tmp_path) == {"song/a.wav": "old"}


def test_parents_that_others_use_stay(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), StagedFolder(tmp_path / "out" / "song", NAMES):
        (tmp_path / "out" / "theirs.txt").write_text("theirs")
        raise RuntimeError
    assert contents(tmp_path) == {"out/theirs.txt": "theirs"}


def test_things_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "song").write_text("a file")
    with pytest.raises(AudioFileError, match="in the way: a file"), StagedFolder(tmp_path / "song", NAMES):
        pass
    with pytest.raises(AudioFileError, match="cannot be made"), StagedFolder(tmp_path / "song" / "x", NAMES):
        pass
    (tmp_path / "other" / "a.wav").mkdir(parents=True)
    with pytest.raises(AudioFileError, match="in the way: a folder"):
        StagedFolder(tmp_path / "other", NAMES, overwrite=True).check()
    assert sorted(os.listdir(tmp_path)) == ["other", "song"]


def test_two_attempts_leave_one_result(tmp_path: Path) -> None:
    """Whoever comes second replaces what the first has put there, file by file."""
    target = tmp_path / "song"
    with StagedFolder(target, NAMES) as first:
        fill(first, "first")
        with StagedFolder(target, NAMES) as second:
            fill(second, "second")
    assert contents(tmp_path) == {"song/a.wav": "first", "song/b.wav": "first"}
    assert os.listdir(tmp_path) == ["song"]


def test_what_an_attempt_left_is_found_by_its_token(tmp_path: Path) -> None:
    mine, other = (StagedFolder(tmp_path / "song", NAMES, token=token) for token in ("mine", "other"))
    for staged in (mine, other):
        staged.__enter__()
    remove_attempt(tmp_path / "song", "mine")
    assert not mine.path.exists() and other.path.exists()


def test_only_what_was_abandoned_is_removed(tmp_path: Path) -> None:
    old = time.time() - ABANDONED_SECONDS - 60
    for name, written in (("song", old), ("song", None), ("song.live", old), ("other", old)):
        staged = StagedFolder(tmp_path / name, NAMES, token="new" if written is None else "old")
        staged.__enter__()
        (staged.path / "a.wav").touch()
        if written is not None:
            os.utime(staged.path / "a.wav", (written, written))
            os.utime(staged.path, (written, written))
    remove_abandoned(tmp_path / "song")
    assert sorted(os.listdir(tmp_path)) == [".other.old.part", ".song.live.old.part", ".song.new.part"]
    remove_abandoned(tmp_path / "nowhere" / "song")


def test_a_parent_that_two_failed_attempts_shared_goes_as_well(tmp_path: Path) -> None:
    """The first has made it, and cannot remove it while the second, which has not made it, is there."""
    folders = [tmp_path / "deep" / "out" / name for name in ("1", "2")]
    with pytest.raises(RuntimeError), no_empty_parents(folders):
        first, second = (StagedFolder(folder, NAMES) for folder in folders)
        first.__enter__()
        with pytest.raises(RuntimeError), second:
            first.__exit__(RuntimeError, RuntimeError(), None)
            raise RuntimeError
        assert os.listdir(tmp_path / "deep") == ["out"]
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_parents_that_were_there_or_are_used_stay(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with no_empty_parents([tmp_path / "old" / "1", tmp_path / "new" / "2", tmp_path / "none" / "3"]):
        with StagedFolder(tmp_path / "new" / "2", NAMES) as staged:
            fill(staged)
        (tmp_path / "none").mkdir()
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_a_failure_names_the_file_as_it_would_have_been_called(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError) as failure, StagedFolder(tmp_path / "song", NAMES) as staged:
        raise AudioFileError(f"{staged.path / 'a.wav'}: cannot be written: why")
    assert str(failure.value) == f"{tmp_path / 'song' / 'a.wav'}: cannot be written: why"
