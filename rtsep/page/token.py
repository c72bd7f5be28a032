"""The secret in the page's address."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from rtsep.spec import UsageError

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")


def new_token() -> str:
    """A fresh one: 192 random bits, as text that an address can carry."""
    return secrets.token_urlsafe(24)


def same(given: str, token: str) -> bool:
    """Whether it is the token, in a time that does not tell how much of it is right."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


def kept_token(file: Path) -> str:
    """The token that a file holds; made and written, for its owner's eyes only, if the file is not there.

    So an address that a phone has kept is good for the next set too.

    Raises:
        UsageError: when the file cannot be read or written, or holds no token.
    """
    try:
        if not file.exists():
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as sink:
                sink.write(new_token() + "\n")
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not _TOKEN.fullmatch(token):
        raise UsageError(f"{file}: holds no token, 22 letters, digits, - and _ at least; remove it")
    return token
