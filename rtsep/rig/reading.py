"""From a file to a rig, or to one line that says what is wrong and where."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from rtsep.rig.config import Rig
from rtsep.rig.lines import line_of
from rtsep.separators.registry import find
from rtsep.spec import RtsepError, UsageError, strip_names

_WORDS = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "string_type": "must be a text, in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}


def read_rig(file: Path) -> Rig:
    """Read and check a rig: its keys and values, the model it names, the model's stems, the files it names.

    Raises:
        UsageError: in one line with the file's and, where there is one, the line's number.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is no text in UTF-8") from None
    return parse_rig(text, file)


def parse_rig(text: str, file: Path) -> Rig:
    """The same from text; `file` is where it stands or will stand: paths in it are seen from its folder."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message ends in "(at line 3, column 7)".
        raise UsageError(f"{file}: is no TOML: {error}") from None
    try:
        rig = Rig.model_validate(content)
    except ValidationError as error:
        raise _refusal(error, text, file) from None
    folder = file.parent
    model = model_of(rig.engine.model, folder)
    try:
        stems = find(model).spec.stems
    except RtsepError as error:
        raise _at(file, text, ("engine", "model"), str(error)) from None
    strips = strip_names(stems, rig.decks.count)
    for stem in rig.stems:
        if stem not in strips and stem not in stems:
            raise _at(file, text, ("stems", stem), f"{rig.engine.model} has {', '.join(strips)}")
        if f"1/{stem}" in rig.stems:
            raise _at(file, text, ("stems", f"1/{stem}"), f"is {stem}, which is there already")
    if len(rig.decks.inputs) > rig.decks.count:
        raise _at(
            file, text, ("decks", "inputs"), f"more inputs than decks, of which there are {rig.decks.count}"
        )
    if rig.decks.count == 1:
        for key in ("crossfader", "curve"):
            if key in rig.decks.model_fields_set:
                raise _at(file, text, ("decks", key), "takes two decks: count = 2")
    if rig.audio.null and (rig.audio.input is not None or rig.audio.output is not None):
        raise _at(file, text, ("audio", "null"), "null is without a device: leave out input and output")
    named: list[tuple[tuple[str, ...], Path | None]] = [
        (("stems", stem, "chain"), strip.chain) for stem, strip in rig.stems.items()
    ]
    named.append((("master", "chain"), rig.master.chain))
    if rig.midi is not None:
        for kind, ports in (("ports", rig.midi.ports), ("virtual", rig.midi.virtual)):
            # A name without a suffix is that of a mapping that comes with rtsep.
            named += [
                (("midi", kind, port), Path(mapping))
                for port, mapping in ports.items()
                if mapping.endswith(".toml")
            ]
    if rig.snapshots is not None and rig.snapshots.begin is not None:
        named.append((("snapshots", "file"), rig.snapshots.file))
    for path, other in named:
        if other is not None and not (folder / other).is_file():
            raise _at(file, text, path, f"{folder / other}: no such file")
    return rig


def model_of(name: str, folder: Path) -> str:
    """A model's name as it is, or the folder of one seen from the rig's."""
    return str(folder / name) if (folder / name).is_dir() else name


def mapping_of(name: str, folder: Path) -> str:
    """The path of a MIDI mapping seen from the rig's folder, or the name of one that comes with rtsep."""
    return str(folder / name) if name.endswith(".toml") else name


def _refusal(error: ValidationError, text: str, file: Path) -> UsageError:
    first = error.errors()[0]
    path = first["loc"]
    words = _WORDS.get(first["type"], first["msg"][:1].lower() + first["msg"][1:])
    # A choice of types is told as its last, with the type at the end of the path.
    path = tuple(key for key in path if key not in ("str", "int"))
    if first["type"] == "extra_forbidden":
        near = get_close_matches(str(path[-1]), _known(path[:-1]), 1)
        words += f": {near[0]}?" if near else f"; there are {', '.join(_known(path[:-1]))}"
    return _at(file, text, path, words)


def _known(path: Sequence[str | int]) -> list[str]:
    """The keys that the table at a path may have."""
    if path and path[0] == "stems":
        return list(Rig.model_fields["stems"].annotation.__args__[1].model_fields)  # type: ignore[union-attr]
    if path:
        blank = {"snapshots": {"file": "x"}}.get(str(path[0]), {})
        whole = Rig.model_validate({"format": 1, str(path[0]): blank})
        return list(type(getattr(whole, str(path[0]))).model_fields)
    return list(Rig.model_fields)


def _at(file: Path, text: str, path: Sequence[str | int], words: str) -> UsageError:
    return UsageError(f"{file}, line {line_of(text, path)}: {'.'.join(map(str, path))}: {words}")
