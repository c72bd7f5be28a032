"""Chains as files: one TOML each, checked to the last key before anything is loaded, written back whole."""

from __future__ import annotations

import base64
import binascii
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtsep.effects.catalogue import BUILT_IN, Range
from rtsep.io.textfiles import replace_text
from rtsep.spec import AudioFileError, UsageError

Value = bool | float | str


class _Table(BaseModel):
    """A table of the file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PluginEntry(_Table):
    """One effect of a chain: one of pedalboard's own, by `type`, or a VST3 or AU plug-in, by `path`.

    Attributes:
        type: class of a built-in effect, such as "Reverb"; see `rtsep.effects.catalogue`.
        path: a VST3 bundle or AU component; relative to the chain file.
        name: which plug-in, where the file at `path` holds several.
        bypass: begin without it.
        parameters: values by name; what is left out keeps the plug-in's default.
        expose: of a plug-in by path, the parameters that can be moved while music plays; all of them if
            left out.
        state: of a plug-in by path, what it saved of itself, in base64; set before `parameters`.
        lag: samples by which its output trails its input, over and above those that it holds back at
            first. Measured if left out; 0 says that it is meant to sound late.
    """

    type: str | None = None
    path: Path | None = None
    name: str | None = None
    bypass: bool = False
    parameters: dict[str, Value] = Field(default_factory=dict)
    expose: tuple[str, ...] | None = None
    state: str | None = None
    lag: int | None = Field(None, ge=0)

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return self.type or self.name or (self.path.stem if self.path else "")

    @field_validator("state")
    @classmethod
    def _base64(cls, value: str | None) -> str | None:
        try:
            base64.b64decode(value or "", validate=True)
        except binascii.Error:
            raise ValueError("is not base64") from None
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.type is None) == (self.path is None):
            raise ValueError("needs either 'type', a built-in effect, or 'path', a plug-in's file")
        if self.type is None:
            return self
        if self.type not in BUILT_IN:
            raise ValueError(f"there is no effect '{self.type}'; there are: {', '.join(sorted(BUILT_IN))}")
        for key in ("name", "expose", "state"):
            if getattr(self, key) is not None:
                raise ValueError(f"'{key}' is for plug-ins with a 'path'")
        known = BUILT_IN[self.type]
        for name, value in self.parameters.items():
            if name in known.files:
                if not isinstance(value, str):
                    raise ValueError(f"{self.type}: '{name}' is the name of a file")
                continue
            if name not in known.parameters:
                there = ", ".join((*known.files, *known.parameters)) or "none"
                raise ValueError(f"{self.type} has no parameter '{name}'; there are: {there}")
            _check(f"{self.type}: {name}", value, known.parameters[name])
        for name in known.files:
            if name not in self.parameters:
                raise ValueError(f"{self.type} needs '{name}'")
        return self


class ChainFile(_Table):
    """What a chain file says.

    Attributes:
        name: of the preset, for people.
        bypass: begin with the whole chain bypassed.
        latency_limit_ms: a chain that is later than this is refused: all else would have to wait for it.
        plugin: the effects, in the order in which sound goes through them.
    """

    name: str = ""
    bypass: bool = False
    latency_limit_ms: float = Field(200.0, ge=0.0)
    plugin: tuple[PluginEntry, ...] = Field(min_length=1)


def load_chain(path: str | Path) -> ChainFile:
    """Read and check a chain file; the paths in it become absolute.

    Raises:
        UsageError: one line that names the file and the line or key that is wrong.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such chain file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    try:
        chain = ChainFile.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{path}: {_first_of(error)}") from None
    return chain.model_copy(update={"plugin": tuple(_anchored(entry, path) for entry in chain.plugin)})


def save_chain(chain: ChainFile, path: str | Path) -> None:
    """Write a chain file: whole, or not at all; one that is there is replaced.

    Raises:
        AudioFileError: when it cannot be written.
    """
    path = Path(path)
    try:
        replace_text(path, chain_text(chain))
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be written: {error.strerror}") from None


def chain_text(chain: ChainFile) -> str:
    """A chain as TOML; what has its default value is left out."""
    lines = _pairs(chain.model_dump(exclude={"plugin"}, exclude_defaults=True))
    for entry in chain.plugin:
        fields = entry.model_dump(exclude={"parameters"}, exclude_defaults=True)
        lines += ["", "[[plugin]]", *_pairs(fields)]
        if entry.parameters:
            lines += ["[plugin.parameters]", *_pairs(entry.parameters)]
    return "\n".join(lines).lstrip("\n") + "\n"


def with_values(chain: ChainFile, values: Mapping[str, Value]) -> ChainFile:
    """A chain with other values, as they were set while music played.

    Args:
        chain: what they were set on.
        values: by the end of their address: `bypass`, `0/bypass` or `0/room_size`.

    Raises:
        UsageError: for an address that the chain does not have.
    """
    chain_bypass = bool(values.get("bypass", chain.bypass))
    entries = list(chain.plugin)
    for address, value in values.items():
        if address == "bypass":
            continue
        number, _, name = address.partition("/")
        if not number.isdigit() or int(number) >= len(entries) or not name:
            raise UsageError(f"the chain has no parameter '{address}'")
        entry = entries[int(number)]
        if name == "bypass":
            entries[int(number)] = entry.model_copy(update={"bypass": bool(value)})
        else:
            update = {"parameters": {**entry.parameters, name: value}}
            entries[int(number)] = entry.model_copy(update=update)
    return chain.model_copy(update={"bypass": chain_bypass, "plugin": tuple(entries)})


def _check(what: str, value: Value, range_: Range) -> None:
    if range_.choices == ("off", "on"):
        if not isinstance(value, bool):
            raise ValueError(f"{what} is true or false, not {value!r}")
    elif range_.choices:
        if value not in range_.choices:
            raise ValueError(f"{what} is one of {', '.join(range_.choices)}, not {value!r}")
    elif isinstance(value, bool | str):
        raise ValueError(f"{what} is a number, not {value!r}")
    elif not range_.minimum <= value <= range_.maximum:
        unit = f" {range_.unit}" if range_.unit else ""
        raise ValueError(f"{what} = {value:g} is not between {range_.minimum:g} and {range_.maximum:g}{unit}")


def _anchored(entry: PluginEntry, file: Path) -> PluginEntry:
    """Relative paths begin at the folder of the chain file."""
    folder = file.absolute().parent
    if entry.path is not None:
        return entry.model_copy(update={"path": folder / entry.path})
    names = BUILT_IN[entry.type or ""].files
    files = {name: str(folder / str(entry.parameters[name])) for name in names}
    return entry.model_copy(update={"parameters": {**entry.parameters, **files}})


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {_toml(value)}" for name, value in fields.items()]


def _key(name: str) -> str:
    plain = name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    return name if plain else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's strings are TOML's, but for one character that JSON does not escape.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = [f"plugin {part + 1}" if isinstance(part, int) else str(part) for part in first["loc"]]
    # "plugin, plugin 2" says it twice; of a union of types, what pydantic tried is no part of the file.
    where = [part for k, part in enumerate(where) if not (part == "plugin" and k + 1 < len(where))]
    where = [part for part in where if part not in ("bool", "float", "str")]
    message = first["msg"].removeprefix("Value error, ")
    return f"{': '.join(where)}: {message}" if where else message
