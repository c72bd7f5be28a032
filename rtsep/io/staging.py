"""Files that belong together, made visible together."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from rtsep.spec import AudioFileError


class AlreadyThereError(AudioFileError):
    """A file that would be replaced without having been told to.

    Attributes:
        file: which.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file}: exists already")
        self.file = file


ABANDONED_SECONDS = 600.0
"""A hidden folder that nobody has written to for so long is what a crash left."""


def new_token() -> str:
    """A name for one attempt to write a folder."""
    return secrets.token_hex(4)


def remove_attempt(folder: Path, token: str) -> None:
    """Remove what an attempt that died has left beside `folder`, if anything."""
    shutil.rmtree(_hidden(folder, token), ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what attempts at `folder` left that died long ago, whoever began them."""
    prefix, suffix = f".{folder.name}.", ".part"
    try:
        beside = [p for p in folder.parent.iterdir() if p.name.startswith(prefix) and p.name.endswith(suffix)]
    except OSError:
        return
    for part in beside:
        # `.a.b.<token>.part` is of the folder `a.b`, not of `a`.
        if "." in part.name[len(prefix) : -len(suffix)] or not part.is_dir():
            continue
        with contextlib.suppress(OSError):
            newest = max(file.stat().st_mtime for file in (part, *part.iterdir()))
            if time.time() - newest > ABANDONED_SECONDS:
                shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def no_empty_parents(folders: Iterable[Path]) -> Iterator[None]:
    """At the end, remove those parents of folders that were not there at the beginning and hold nothing.

    A parent that one `StagedFolder` has made and others use is not empty when that one fails, and those that
    fail later have not made it: who begins them all looks after it.
    """
    missing: set[Path] = set()
    for folder in folders:
        for parent in folder.parents:
            if parent in missing or parent.exists():
                break
            missing.add(parent)
    try:
        yield
    finally:
        for parent in sorted(missing, key=lambda parent: len(parent.parts), reverse=True):
            with contextlib.suppress(OSError):
                parent.rmdir()


def _hidden(folder: Path, token: str) -> Path:
    return folder.with_name(f".{folder.name}.{token}.part")


class StagedFolder:
    """A hidden folder that takes its name when everything in it is complete.

    Used with `with`: write the files into `path`; at the end they appear in `folder`, all in one step where
    `folder` did not exist, otherwise one after the other in place of those of the same name (whatever else
    lies there stays). An error or Ctrl-C removes the hidden folder, and the parents that were made for it; an
    AudioFileError that names a file in the hidden folder names it in `folder` from then on.

    Args:
        folder: where the files will lie; parents are made as needed.
        names: of the files that will be written.
        overwrite: replace files of these names.
        token: part of the hidden folder's name, for who wants to find it after a crash; by default random.

    Attributes:
        folder: as given.
        path: where to write now; it exists while the `with` block runs.

    Raises:
        AudioFileError: on entry, when a file exists that may not be replaced or the folder cannot be made.
    """

    def __init__(
        self, folder: str | Path, names: Iterable[str], overwrite: bool = False, token: str | None = None
    ) -> None:
        self.folder = Path(folder)
        self._names = tuple(names)
        self._overwrite = overwrite
        self._made: list[Path] = []
        self.path = _hidden(self.folder, token or new_token())

    def check(self) -> None:
        """Raise what entering would raise because of what exists; touches nothing."""
        if self.folder.exists() and not self.folder.is_dir():
            raise AudioFileError(f"{self.folder}: is in the way: a file, where a folder is to be")
        for name in self._names:
            file = self.folder / name
            if file.is_dir():
                raise AudioFileError(f"{file}: is in the way: a folder, where a file is to be")
            if file.exists() and not self._overwrite:
                raise AlreadyThereError(file)

    def __enter__(self) -> Self:
        self.check()
        try:
            try:
                self._make()
            except FileNotFoundError:
                # Another process, whose song failed, has just removed a parent that it had made.
                self._make()
        except OSError as error:
            self._remove()
            raise AudioFileError(f"{self.folder}: cannot be made: {error.strerror}") from None
        except BaseException:
            self._remove()
            raise
        return self

    def _make(self) -> None:
        missing = []
        parent = self.path.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for parent in reversed(missing):
            self._made.append(parent)
            parent.mkdir(exist_ok=True)
        self.path.mkdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._remove()
            if isinstance(error, AudioFileError) and str(self.path) in str(error):
                # Whoever writes knows only the hidden folder, which nobody has asked for and which is gone.
                raise AudioFileError(str(error).replace(str(self.path), str(self.folder))) from None
            return
        try:
            self._publish()
        except OSError as failure:
            self._remove()
            raise AudioFileError(f"{self.folder}: cannot be written: {failure.strerror}") from None
        except BaseException:
            self._remove()
            raise

    def _publish(self) -> None:
        if not self.folder.exists():
            try:
                os.rename(self.path, self.folder)
                return
            except OSError:
                # Unless another attempt has put its results there in this moment.
                if not self.folder.is_dir():
                    raise
        for name in self._names:
            os.replace(self.path / name, self.folder / name)
        shutil.rmtree(self.path)

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in reversed(self._made):
            # Not empty: someone else has begun to use it.
            with contextlib.suppress(OSError):
                parent.rmdir()
