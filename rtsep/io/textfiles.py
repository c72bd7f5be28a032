"""Small text files that people keep: replaced whole, or left as they were."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file beside its place, in UTF-8, and move it there.

    Args:
        path: of the file; one that is there is replaced.
        text: all of it.
        mode: its permissions, less the umask.

    Raises:
        OSError: when it cannot be written; nothing is left behind then.
    """
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as sink:
            sink.write(text)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)
