"""Where in a TOML file a key stands: Python's reader tells a value but not its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[{1,2}(?P<path>[^\[\]]+)\]{1,2}\s*(?:#.*)?$")
_KEY = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_ASSIGNMENT = re.compile(rf"\s*(?P<path>{_KEY}(?:\s*\.\s*{_KEY})*)\s*=")
_INLINE = re.compile(rf"({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, counted from 1, at which the longest known part of a path is set.

    Args:
        text: of a valid TOML file.
        path: keys from the top; numbers, places in a list, are passed over.

    Returns:
        The line of the key; of its table, where the key is not there; 1 for the whole file.
    """
    wanted = [str(key) for key in path if not isinstance(key, int)]
    best, depth = 1, 0
    table: list[str] = []
    quotes = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if quotes:  # within a text of several lines nothing is a key
            quotes = "" if line.count(quotes) % 2 else quotes
            continue
        header = _HEADER.match(line)
        if header:
            found = table = _keys(header["path"])
        else:
            assignment = _ASSIGNMENT.match(line)
            if assignment is None:
                continue
            found = [*table, *_keys(assignment["path"])]
            quotes = next((q for q in ('"""', "'''") if line.count(q) % 2), "")
            # An inline table has its keys behind the equals sign, on the same line.
            behind = line[assignment.end() :]
            inner = [_keys(keys) for keys in _INLINE.findall(behind)]
            found = next((whole for keys in inner if (whole := [*found, *keys]) == wanted), found)
        common = next(
            (k for k, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), -1
        )
        shared = min(len(found), len(wanted)) if common < 0 else 0
        if shared > depth:
            best, depth = number, shared
    return best


def _keys(path: str) -> list[str]:
    """The keys of a dotted path, quotes taken off."""
    try:
        tree = tomllib.loads(f"{path} = 0")
    except tomllib.TOMLDecodeError:
        return []
    keys: list[str] = []
    while isinstance(tree, dict):
        (key,) = tree
        keys.append(key)
        tree = tree[key]
    return keys
