"""One file from a server, whole and checked, or nothing."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rtsep.spec import ModelError, UsageError

Report = Callable[[int, int | None], None]
"""Called with the bytes that have come and, where the server says it, the bytes in all."""

TIMEOUT_SECONDS = 30.0
"""How long a server may be silent."""

_BLOCK = 1 << 16


def fetch(url: str, target: Path, sha256: str, report: Report | None = None) -> None:
    """Download a file; `target` exists only once all of it has come and its hash is right.

    Args:
        url: http or https; what keeps the file honest is the hash, not the connection.
        target: the new file, in a folder that exists.
        sha256: the file's SHA-256 in hexadecimal, or its first digits, at least eight.
        report: told as the file comes.

    Raises:
        UsageError: when `url` or `sha256` are no such things.
        ModelError: when the server does not answer, has no such file, stops half-way, or sends another file.
    """
    if not re.match(r"https?://[^/]", url):
        raise UsageError(f"{url}: only http and https are downloaded")
    expected = checked_hash(sha256)
    part = target.with_name(target.name + ".part")
    try:
        digest = _receive(url, part, report)
        if not digest.startswith(expected):
            raise ModelError(f"{url}: its SHA-256 is {digest}, not {expected}: nothing was installed")
        part.replace(target)
    except urllib.error.HTTPError as error:
        raise ModelError(f"{url}: the server says {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise ModelError(f"{url}: cannot be reached: {error.reason}") from None
    except http.client.HTTPException as error:
        raise ModelError(f"{url}: the server's answer makes no sense: {type(error).__name__}") from None
    except OSError as error:
        raise ModelError(f"{url}: the download failed: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def checked_hash(sha256: str) -> str:
    """A SHA-256 or the first digits of one, in lower case.

    Raises:
        UsageError: when it is none, or too short to tell files apart.
    """
    digits = sha256.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8,64}", digits):
        raise UsageError(f"'{sha256}' is no SHA-256: 64 hexadecimal digits, or at least the first eight")
    return digits


def check_file(file: Path, sha256: str) -> None:
    """Check a file that is here already.

    Raises:
        UsageError: when `sha256` is none.
        ModelError: when the file cannot be read or is another one.
    """
    expected = checked_hash(sha256)
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from None
    if not digest.startswith(expected):
        raise ModelError(f"{file}: its SHA-256 is {digest}, not {expected}: nothing was installed")


def _receive(url: str, part: Path, report: Report | None) -> str:
    """Write what the server sends; returns its SHA-256."""
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "rtsep"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, part.open("wb") as stream:
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdigit() else None
        done = 0
        while block := response.read(_BLOCK):
            stream.write(block)
            digest.update(block)
            done += len(block)
            if report is not None:
                report(done, total)
    # A connection that is cut looks like an end of the file.
    if total is not None and done != total:
        raise ModelError(f"{url}: the connection ended after {done} of {total} bytes")
    return digest.hexdigest()
