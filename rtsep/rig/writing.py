"""From a rig to a file that a person can read and mend."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel

from rtsep.rig.config import Rig

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = "# A rig for 'rtsep live --rig': docs/rig.md describes every key. Paths are seen from this folder.\n"


def write_toml(rig: Rig) -> str:
    """The file's text: what was set, and nothing that was not."""
    lines = [_HEAD, f"format = {rig.format}"]
    for name in type(rig).model_fields:
        value = getattr(rig, name)
        if isinstance(value, BaseModel):
            lines += _table(name, value)
        elif isinstance(value, dict):
            for key, strip in value.items():
                # A key such as 2/vocals needs quotes.
                lines += _table(f"{name}.{key if _BARE.fullmatch(key) else _plain(key)}", strip)
    return "\n".join(lines) + "\n"


def _table(name: str, table: BaseModel) -> list[str]:
    keys = [key for key in type(table).model_fields if key in table.model_fields_set]
    known = [(key, getattr(table, key)) for key in keys]
    said = [f"{key} = {_plain(value)}" for key, value in known if value is not None]
    # A page or OSC is wanted by its table being there, even an empty one.
    return ["", f"[{name}]", *said] if said or name in ("page", "osc") else []


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    # JSON's escapes are among TOML's, but for one character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
