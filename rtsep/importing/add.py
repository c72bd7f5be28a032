"""`add`: a source in, an installed model out, or nothing at all."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Literal
from urllib.parse import unquote, urlsplit

from rtsep.importing.download import Report, check_file, checked_hash, fetch
from rtsep.importing.published import PUBLISHED, Published
from rtsep.importing.streaming_onnx import read_description
from rtsep.separators.manifest import MANIFEST_NAME
from rtsep.separators.registry import AnyPackage, available, install_folder, read_package
from rtsep.spec import BackendError, ModelError, UsageError

CADENZA_CONFIG = "config.json"
"""What a folder of the Cadenza project's weights is known by."""

NOT_STATED = "not stated"
"""The licence of weights that come without one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is shown before something is downloaded.

    Attributes:
        title: of the model.
        licence: of its weights.
        terms: what the licence asks for, in a sentence; empty where only its name is known.
        page: where it is described.
    """

    title: str
    licence: str
    terms: str
    page: str


Accept = Callable[[Terms], bool]
"""Asks whether the licence is accepted."""

Announce = Callable[[str], Report]
"""Called with the name of each file that is about to be downloaded."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for.

    Attributes:
        source: a name of `PUBLISHED`; an address; or a file or folder.
        name: what the model will be called; None for what its source suggests.
        sha256: of the file at `source`, or its first digits; required for an address.
        manifest: the manifest of an ONNX file.
        licence: of weights that do not carry one.
    """

    source: str
    name: str | None = None
    sha256: str | None = None
    manifest: Path | None = None
    licence: str | None = None


def add(request: Request, accept: Accept, announce: Announce) -> AnyPackage:
    """Install a model in the user's folder of models.

    A model is written and checked in a hidden folder beside its place and moved there when it is whole.

    Args:
        request: what to install.
        accept: asked before anything is downloaded; no answer but True goes on.
        announce: told of downloads.

    Returns:
        The installed model.

    Raises:
        UsageError: when the request contradicts itself, or the licence is not accepted.
        ModelError: when a file cannot be had or is not what it should be, or a model of the name exists.
        BackendError: when torch is needed and not installed.
    """
    if request.sha256 is not None:
        checked_hash(request.sha256)
    published = PUBLISHED.get(request.source)
    remote = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", request.source) is not None
    name = _checked_name(request.name or _suggested_name(request, remote))
    _check_free(name)
    root = install_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as hidden:
            folder, scratch = Path(hidden) / name, Path(hidden) / "downloads"
            folder.mkdir()
            scratch.mkdir()
            if published is not None:
                _add_published(published, request, folder, scratch, accept, announce)
            elif remote:
                _add_remote(request, folder, scratch, accept, announce)
            else:
                _add_local(request, Path(request.source).expanduser(), folder, request.source)
            # Named as what it will be: what is moved must be what can be loaded there.
            read_package(folder).verify()
            folder.rename(root / name)
    except OSError as error:
        raise ModelError(f"{root}: the model cannot be written: {error.strerror or error}") from None
    return read_package(root / name)


def _suggested_name(request: Request, remote: bool) -> str:
    if request.source in PUBLISHED:
        return request.source
    if request.manifest is not None:
        described = read_description(request.manifest).get("name")
        if isinstance(described, str):
            return described
    if remote:
        return _file_name(request.source).partition(".")[0]
    path = Path(request.source).expanduser().resolve()
    return path.name if path.is_dir() else path.stem


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"'{name}' cannot be a model's name: letters, digits, '.', '_' and '-'; see --name")
    return name


def _check_free(name: str) -> None:
    taken = next((p for p in available() if p.name == name and not p.built_in), None)
    if taken is not None or (install_folder() / name).exists():
        where = taken.root if taken is not None else install_folder() / name
        raise ModelError(f"a model is called '{name}' already, in {where}: remove it, or use --name")


def _add_published(
    published: Published, request: Request, folder: Path, scratch: Path, accept: Accept, announce: Announce
) -> None:
    if request.manifest is not None or request.licence is not None:
        raise UsageError(f"'{request.source}' is a published model: its manifest and licence are known")
    hashed = all(remote.sha256 for remote in published.files.values())
    if hashed and request.sha256 is not None:
        raise UsageError(f"'{request.source}' is a published model: its hashes are known")
    if not hashed and request.sha256 is None:
        raise UsageError(f"rtsep knows no hash of '{request.source}': --sha256, as {published.page} shows it")
    importer = _importer(published.layout)  # before a long download rather than after it
    _ask(Terms(published.title, published.licence, published.terms, published.page), accept)
    files = {}
    for target, remote in published.files.items():
        files[target] = scratch / _file_name(remote.url)
        fetch(remote.url, files[target], remote.sha256 or request.sha256 or "", announce(files[target].name))
    about = {
        "title": published.title,
        "description": published.description,
        "version": "1",
        "licence": published.licence,
        "training": {"source": published.page, "files": [remote.url for remote in published.files.values()]},
    }
    if published.layout == "open-unmix":
        importer.convert(importer.Source(files), folder, **about)
    elif published.layout == "demucs":
        importer.convert(tuple(files.values()), published.config or {}, folder, **about)
    else:
        (scratch / importer.CONFIG_FILE).write_text(json.dumps(published.config), encoding="utf-8")
        importer.convert(files[""], folder, **about)


def _add_remote(request: Request, folder: Path, scratch: Path, accept: Accept, announce: Announce) -> None:
    if request.sha256 is None:
        raise UsageError(f"{request.source}: a download needs --sha256, the hash of the file")
    file = scratch / _file_name(request.source)
    _suffix(request, file)
    licence = request.licence or NOT_STATED
    if request.manifest is not None:
        licence = str(read_description(request.manifest).get("licence", licence))
    _ask(Terms(file.name, licence, "", request.source), accept)
    fetch(request.source, file, request.sha256, announce(file.name))
    _add_local(
        Request(str(file), None, None, request.manifest, request.licence), file, folder, request.source
    )


def _add_local(request: Request, path: Path, folder: Path, source: str) -> None:
    if not path.exists():
        names = ", ".join(PUBLISHED)
        raise ModelError(f"{source}: no such file or folder, nor one of the published models: {names}")
    if path.is_dir():
        if request.sha256 is not None or request.manifest is not None:
            raise UsageError(f"{source}: is a folder; --sha256 and --manifest go with a file")
        if (path / MANIFEST_NAME).exists():
            _copy_package(request, path, folder)
            return
        if (path / CADENZA_CONFIG).exists():
            _importer("cadenza").convert(
                path,
                folder,
                title="Conv-TasNet, causal",
                description="Causal Conv-TasNet as the Cadenza challenges have it.",
                version="1",
                licence=request.licence or NOT_STATED,
                training={"source": source},
            )
            return
        found = _importer("open-unmix").find_files(path)
    else:
        suffix = _suffix(request, path)
        if request.sha256 is not None:
            check_file(path, request.sha256)
        if suffix == ".onnx":
            if request.licence is not None:
                raise UsageError("the licence of an ONNX file is a field of its manifest")
            from rtsep.importing import streaming_onnx

            assert request.manifest is not None  # `_suffix` has seen to it
            streaming_onnx.convert(path, request.manifest, folder, source)
            return
        if suffix == ".th":
            _importer("demucs").convert(
                (path,),
                {},
                folder,
                title="Demucs",
                description="A model of the demucs package; offline.",
                version="1",
                licence=request.licence or NOT_STATED,
                training={"source": source},
            )
            return
        open_unmix = _importer("open-unmix")
        found = open_unmix.Source({open_unmix.target_of(path): path})
    _importer("open-unmix").convert(
        found,
        folder,
        title=f"Open-Unmix, {' and '.join(found.files)}",
        description="Bidirectional LSTM for each stem with a Wiener filter; offline.",
        version="1",
        licence=request.licence or NOT_STATED,
        training={"source": source},
    )


def _copy_package(request: Request, path: Path, folder: Path) -> None:
    """A folder of rtsep's own: its files are copied as they are, under the name that is wanted."""
    if request.licence is not None:
        raise UsageError("the model's licence is a field of its manifest")
    package = read_package(path)
    package.verify()
    shutil.copytree(path, folder, dirs_exist_ok=True)
    package.manifest.model_copy(update={"name": folder.name}).write(folder / MANIFEST_NAME)


def _importer(layout: Literal["open-unmix", "cadenza", "demucs"]) -> ModuleType:
    """An importer that needs torch, which only some have."""
    try:
        return importlib.import_module(f"{__package__}.{layout.replace('-', '_')}")
    except ModuleNotFoundError as error:
        raise BackendError(f"such weights need {error.name}, which is not installed") from None


def _suffix(request: Request, file: Path) -> str:
    """The suffix of a file that can be imported, with what has to come with it."""
    suffix = file.suffix.lower()
    if suffix not in (".onnx", ".pth", ".th"):
        raise UsageError(
            f"{file.name}: an ONNX file (.onnx), Open-Unmix's state dict (.pth) or a model of the demucs"
            " package (.th) can be added"
        )
    if (suffix == ".onnx") != (request.manifest is not None):
        raise UsageError(
            f"{file.name}: an ONNX file needs --manifest, see docs/models.md"
            if suffix == ".onnx"
            else f"{file.name}: --manifest goes with an ONNX file"
        )
    return suffix


def _ask(terms: Terms, accept: Accept) -> None:
    if accept(terms) is not True:
        raise UsageError(f"the licence of '{terms.title}' was not accepted: nothing was downloaded")


def _file_name(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).name or "download"
