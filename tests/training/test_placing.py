"""A new model takes the place of an empty folder or of a model, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsep.spec import ModelError, RtsepError, UsageError
from rtsep.training.placing import check_place, placed
from tests.cli.command import one_line, rtsep_here, snapshot
from tests.models import build_tiny_model
from tests.training.test_command import write_config


def fill(folder: Path) -> None:
    """What a folder may hold that is somebody's work."""
    (folder / "songs").mkdir(parents=True)
    (folder / "songs" / "vocals.wav").write_text("mine")
    (folder / "site").mkdir()
    (folder / "site" / "manifest.json").write_text('{"name": "a page on the web"}')
    (folder / "file").write_text("mine too")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", UsageError, "'' cannot be a model's name"),
        ("..", UsageError, "cannot be a model's name"),
        ("../evil", UsageError, "cannot be a model's name"),
        ("my model", UsageError, "cannot be a model's name"),
        ("songs", ModelError, "holds something else than a model"),
        ("site", ModelError, "holds something else than a model"),
        ("file", ModelError, "a file, where a folder is to be"),
    ],
)
def test_what_is_no_model_is_left_alone(
    tmp_path: Path, name: str, error: type[RtsepError], words: str, overwrite: bool
) -> None:
    fill(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(error, match=words):
        check_place(tmp_path, name, overwrite)
    assert snapshot(tmp_path) == before


def test_what_came_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match="something else than a model"),
        placed(tmp_path / "mine", True) as folder,
    ):
        (folder / "model.onnx").write_text("new")
        fill(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "songs" / "vocals.wav").read_text() == "mine"


def test_empty_folders_and_models_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    build_tiny_model(tmp_path, name="old")
    with pytest.raises(ModelError, match="there is a model already"):
        check_place(tmp_path, "old", overwrite=False)
    for name in ("empty", "old"):
        check_place(tmp_path, name, overwrite=True)
        with placed(tmp_path / name, overwrite=True) as folder:
            (folder / "model.onnx").write_text("new")
        assert [path.name for path in (tmp_path / name).iterdir()] == ["model.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "old"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".", "cannot be a model's name"),
        ("my model", "'my model' cannot be a model's name"),
        ("songs", "songs: is in the way: it holds something else than a model"),
        ("file", "file: is in the way: a file, where a folder is to be"),
        ("file/m", "file: is in the way: a file, where a folder is to be"),
    ],
)
def test_a_run_is_exported_over_nothing_of_the_users(tmp_path: Path, place: str, words: str) -> None:
    """Before anything else is looked at: the run here has not even begun."""
    fill(tmp_path)
    write_config(tmp_path)
    before = snapshot(tmp_path)
    result = rtsep_here("train", "run.toml", "--export", place, cwd=tmp_path)
    assert words in one_line(result)
    assert result.returncode in (UsageError.exit_code, ModelError.exit_code)
    assert snapshot(tmp_path) == before
