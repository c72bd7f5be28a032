"""Where a new model's folder may go, and what it may take the place of: an empty folder or a model."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtsep.separators.registry import read_package
from rtsep.spec import ModelError, UsageError


def check_place(root: Path, name: str, overwrite: bool) -> None:
    """See, before any work, that the model `root/name` can be written; touches nothing.

    Args:
        root: the folder of models.
        name: the model's, and its folder's.
        overwrite: a model that is there already may be replaced.

    Raises:
        UsageError: when no model can be called so.
        ModelError: when what is there may not be replaced, or a file stands where a folder is to be.
    """
    target = root / name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(
            f"{target}: '{name}' cannot be a model's name: letters, digits, '.', '_' and '-', the first a"
            " letter or a digit"
        )
    existing = next(folder for folder in target.absolute().parents if folder.exists())
    if not existing.is_dir():
        raise ModelError(f"{existing}: is in the way: a file, where a folder is to be")
    _require_replaceable(target, overwrite)


@contextmanager
def placed(target: Path, overwrite: bool) -> Iterator[Path]:
    """An empty folder to write a model into, named as `target`, which it becomes at the end or not at all.

    Args:
        target: the model's folder; parents are made when missing.
        overwrite: replace a model that is there already.

    Raises:
        ModelError: when what is there may not be replaced, or the folder cannot be written.
    """
    _require_replaceable(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as hidden:
            folder = Path(hidden) / target.name
            folder.mkdir()
            yield folder
            # Again: it may have come there while the model was made.
            _require_replaceable(target, overwrite)
            _move(folder, target, Path(hidden) / "replaced")
    except OSError as error:
        raise ModelError(f"{target}: cannot be written: {error.strerror or error}") from None


def _require_replaceable(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ModelError(f"{target}: is in the way: a file, where a folder is to be")
    if not any(target.iterdir()):
        return
    try:
        read_package(target)
    except ModelError:
        raise ModelError(f"{target}: is in the way: it holds something else than a model") from None
    if not overwrite:
        raise ModelError(f"{target}: there is a model already")


def _move(folder: Path, target: Path, aside: Path) -> None:
    if not target.exists():
        folder.rename(target)
        return
    # Two renames: for a moment there is no model, but never half of one.
    target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        aside.rename(target)
        raise
