"""Where models lie and how they are found: names, folders, and files that are what they should be.

Loads neither torch nor ONNX Runtime: listing what is installed costs a few small files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rtsep.separators.builtin import methods
from rtsep.separators.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Files,
    Manifest,
    OfflineFiles,
    OfflineManifest,
    read_manifest,
)
from rtsep.spec import AudioSpec, ModelError, StreamSpec

DEFAULT_MODEL = "live"
"""The model that commands use when none is named."""

SEARCH_VARIABLE = "RTSEP_MODELS"
"""Environment variable: folders of models, separated as in PATH, that are searched first."""


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A causal model's folder and what its manifest says, or a built-in method that streams.

    Attributes:
        manifest: checked when it was read.
        root: the folder, absolute; of a built-in method, the package that it is part of and its name.
    """

    manifest: Manifest
    root: Path

    @classmethod
    def read(cls, root: Path) -> ModelPackage:
        """Read the manifest in `root`. The files beside it are not touched: that is `verify`.

        Raises:
            ModelError: when the folder, its manifest or a field of it is missing or wrong, or when the model
                is an offline one.
        """
        return streaming(read_package(root))

    @property
    def name(self) -> str:
        """What `find` takes: the folder's name."""
        return self.root.name

    @property
    def spec(self) -> StreamSpec:
        """The stream's shape."""
        return self.manifest.spec

    @property
    def weights(self) -> Path:
        """The safetensors file.

        Raises:
            ModelError: when the model has none: it was imported as a graph, or is built in.
        """
        entry = self.files.weights
        if entry is None:
            raise ModelError(f"{self.root}: has no weights for torch, only a graph for ONNX Runtime")
        return self.root / entry.path

    @property
    def onnx(self) -> Path:
        """The streaming graph. Raises ModelError as `files`."""
        return self.root / self.files.onnx.path

    @property
    def files(self) -> Files:
        """What the folder holds.

        Raises:
            ModelError: for a built-in method.
        """
        if self.manifest.files is None:
            raise ModelError(f"{self.name} is built in: it has no weights, and no graph")
        return self.manifest.files

    @property
    def built_in(self) -> bool:
        """Whether it is a method without files; see `rtsep.separators.builtin`."""
        return self.manifest.files is None

    def verify(self) -> None:
        """Check that all files are there and are, byte for byte, the ones the manifest describes.

        Raises:
            ModelError: naming the first file that is missing, cut short or changed.
        """
        if self.built_in:
            return
        if self.files.weights is not None:
            _verify(self.weights, self.files.weights)
        _verify(self.onnx, self.files.onnx)


@dataclass(frozen=True, slots=True)
class OfflinePackage:
    """An offline model's folder and what its manifest says, or a built-in method that needs whole pieces.

    It cannot stream; see `streaming`.

    Attributes:
        manifest: checked when it was read.
        root: as of a `ModelPackage`.
    """

    manifest: OfflineManifest
    root: Path

    @property
    def name(self) -> str:
        """What `find_any` takes: the folder's name."""
        return self.root.name

    @property
    def spec(self) -> AudioSpec:
        """What the model takes and gives."""
        return self.manifest.spec

    @property
    def weights(self) -> Path:
        """The safetensors file. Raises ModelError as `files`."""
        return self.root / self.files.weights.path

    @property
    def files(self) -> OfflineFiles:
        """What the folder holds. Raises ModelError for a built-in method."""
        if self.manifest.files is None:
            raise ModelError(f"{self.name} is built in: it has no weights")
        return self.manifest.files

    @property
    def built_in(self) -> bool:
        """Whether it is a method without files; see `rtsep.separators.builtin`."""
        return self.manifest.files is None

    def verify(self) -> None:
        """Check that the weights are, byte for byte, the ones the manifest describes.

        Raises:
            ModelError: when they are missing, cut short or changed.
        """
        if not self.built_in:
            _verify(self.weights, self.files.weights)


AnyPackage = ModelPackage | OfflinePackage
"""A model of either kind."""


def read_package(root: Path) -> AnyPackage:
    """Read the manifest in `root`. The files beside it are not touched: that is `verify`.

    Raises:
        ModelError: when the folder, its manifest or a field of it is missing or wrong.
    """
    if not root.is_dir():
        raise ModelError(f"{root}: there is no such model folder")
    manifest = read_manifest(root / MANIFEST_NAME)
    if isinstance(manifest, OfflineManifest):
        return OfflinePackage(manifest, root.resolve())
    return ModelPackage(manifest, root.resolve())


def streaming(package: AnyPackage) -> ModelPackage:
    """The package, if it can separate a stream.

    Raises:
        ModelError: when the model is an offline one.
    """
    if isinstance(package, OfflinePackage):
        raise ModelError(
            f"{package.name} is an offline model: it needs sound that is still to come and cannot run live; "
            "'rtsep separate' takes it for files"
        )
    return package


def describe_file(root: Path, path: str) -> FileEntry:
    """The manifest entry of a file that lies at `path` inside `root`."""
    file = root / path
    return FileEntry(path=path, sha256=_sha256(file), bytes=file.stat().st_size)


def search_path() -> list[Path]:
    """Folders that hold models, in the order in which they are searched.

    Those of RTSEP_MODELS, the user's own, the checkout's `models/`, and what an installed rtsep carries.
    """
    package = Path(__file__).resolve().parent.parent
    return [*_named_folders(), user_models(), package.parent / "models", package / "shipped_models"]


def user_models() -> Path:
    """Where this user's own models lie, by the custom of the platform."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "rtsep" / "models"


def install_folder() -> Path:
    """Where models are added: the first folder of RTSEP_MODELS, or the user's own."""
    return _named_folders()[0] if _named_folders() else user_models()


def remove(name: str) -> Path:
    """Delete a model of the user's own.

    Args:
        name: as in `available`; a path is not taken.

    Returns:
        The folder that was deleted.

    Raises:
        ModelError: when there is no such model, it is part of rtsep, or it cannot be deleted.
    """
    folder = next((child for child in _folders() if child.name == name), None)
    if folder is None and built_in(name) is not None:
        raise ModelError(f"'{name}' is built into rtsep: it cannot be removed")
    if folder is None:
        raise ModelError(f"no model is called '{name}'; {_existing()}")
    if folder.parent not in (*_named_folders(), user_models()):
        raise ModelError(f"'{name}' is part of rtsep, in {folder}: it cannot be removed")
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            # Out of sight first: what is interrupted half-way must not look like a model.
            hidden = folder.with_name(f".{name}.removed")
            folder.rename(hidden)
            shutil.rmtree(hidden)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be removed: {error.strerror}") from None
    return folder


def available() -> list[AnyPackage]:
    """Every model that can be found by name, sorted by it: first those in folders, then the built-in ones.

    A name found twice counts where it is found first. A folder whose manifest is broken is left out:
    one bad download must not hide the rest; `find` says what is wrong with it.
    """
    packages = []
    for folder in _folders():
        try:
            packages.append(read_package(folder))
        except ModelError:
            continue
    taken = {folder.name for folder in _folders()}
    own = (built_in(name) for name in sorted(methods()) if name not in taken)
    return [*sorted(packages, key=lambda package: package.name), *(package for package in own if package)]


def built_in(name: str) -> AnyPackage | None:
    """The built-in method of that name; None if there is none."""
    manifest = methods().get(name)
    if manifest is None:
        return None
    root = Path(__file__).resolve().parent / name
    if isinstance(manifest, OfflineManifest):
        return OfflinePackage(manifest, root)
    return ModelPackage(manifest, root)


def broken() -> list[str]:
    """What is wrong with those that `available` leaves out, a line each."""
    lines = []
    for folder in _folders():
        try:
            read_package(folder)
        except ModelError as error:
            lines.append(str(error))
    return lines


def find(name_or_path: str | Path = DEFAULT_MODEL) -> ModelPackage:
    """The causal model of that name on the search path, or in that folder.

    Raises:
        ModelError: as `find_any`; and when the model is an offline one.
    """
    return streaming(find_any(name_or_path))


def find_any(name_or_path: str | Path = DEFAULT_MODEL) -> AnyPackage:
    """The model of that name on the search path, or in that folder, causal or offline.

    Args:
        name_or_path: a name as in `available`; or a model's folder, or the manifest in it. A plain word
            is a name first and a folder only when no model has that name.

    Raises:
        ModelError: when there is none, listing those that exist; or when its manifest is broken.
    """
    path = Path(name_or_path).expanduser()
    # "one" is a plain word; "./one" and "models/one" are not.
    plain = isinstance(name_or_path, str) and path.name == name_or_path
    if plain:
        for folder in _folders():
            if folder.name == name_or_path:
                return read_package(folder)
        if (package := built_in(path.name)) is not None:
            return package
    if path.name == MANIFEST_NAME and path.is_file():
        return read_package(path.parent)
    if path.is_dir() or not plain:
        return read_package(path)
    raise ModelError(f"no model is called '{name_or_path}'; {_existing()}")


def _existing() -> str:
    names = ", ".join(package.name for package in available())
    return f"there are: {names}" if names else "none is installed"


def _named_folders() -> list[Path]:
    return [Path(part) for part in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if part]


def _folders() -> Iterator[Path]:
    """Folders with a manifest on the search path, each name once."""
    seen: set[str] = set()
    for parent in search_path():
        try:
            children = sorted(parent.iterdir())
        except OSError:
            continue
        for child in children:
            # Hidden ones are models that are being written or removed.
            if (
                child.name not in seen
                and not child.name.startswith(".")
                and (child / MANIFEST_NAME).is_file()
            ):
                seen.add(child.name)
                yield child


def _verify(file: Path, entry: FileEntry) -> None:
    try:
        size = file.stat().st_size
        if size != entry.bytes:
            raise ModelError(f"{file}: is {size} bytes long, the manifest says {entry.bytes}")
        if _sha256(file) != entry.sha256:
            raise ModelError(f"{file}: its SHA-256 is not the manifest's: the file is damaged or was changed")
    except FileNotFoundError:
        raise ModelError(f"{file}: missing, though the manifest names it") from None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
