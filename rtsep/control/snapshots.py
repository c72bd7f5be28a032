"""Snapshots of a desk, by name, in a TOML file that a person can read and mend.

format = 1

[snapshots.verse]
"stem/vocals/gain" = -6.0
"stem/drums/mute" = true
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from rtsep.control.parameters import Value
from rtsep.io.textfiles import replace_text
from rtsep.spec import UsageError

FORMAT = 1
Snapshot = Mapping[str, Value]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _-]{0,62}[A-Za-z0-9_-])?")


def check_name(name: str) -> str:
    """The same name.

    Raises:
        UsageError: when it is not 1 to 64 letters, digits, spaces, - and _, with a letter or digit first.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"snapshot {name!r}: a name is letters, digits, spaces, - and _, 64 at most, no space first"
        )
    return name


def read_snapshots(file: Path) -> dict[str, dict[str, Value]]:
    """All snapshots in a file, by name. Whether a desk has the addresses is the desk's to say.

    Raises:
        UsageError: for a file that cannot be read or is no such file, naming it in one line.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: is no TOML: {error}") from None
    if content.get("format") != FORMAT or not isinstance(content.get("snapshots", {}), dict):
        raise UsageError(f"{file}: holds no snapshots of format {FORMAT}")
    found: dict[str, dict[str, Value]] = {}
    for name, values in content.get("snapshots", {}).items():
        try:
            check_name(name)
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from None
        if not isinstance(values, dict) or not all(
            isinstance(value, bool | int | float) for value in values.values()
        ):
            raise UsageError(f"{file}: snapshot {name!r} is not addresses with numbers, true or false")
        found[name] = {
            address: value if isinstance(value, bool) else float(value) for address, value in values.items()
        }
    return found


def write_snapshots(file: Path, snapshots: Mapping[str, Snapshot]) -> None:
    """Write all of them: the file is the old one or the new one, whatever happens meanwhile.

    Raises:
        UsageError: when it cannot be written, or a name is not one.
    """
    lines = [f"format = {FORMAT}"]
    for name, values in snapshots.items():
        lines += ["", f'[snapshots."{check_name(name)}"]']
        lines += [f'"{address}" = {_toml(value)}' for address, value in values.items()]
    text = "\n".join(lines) + "\n"
    try:
        replace_text(file, text, mode=0o600)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    number = float(value)
    if math.isinf(number):
        return "-inf" if number < 0 else "inf"
    return repr(number)
