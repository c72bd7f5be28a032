"""The secret: fresh, kept, compared, and refused when it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsep.page.token import kept_token, new_token, same
from rtsep.spec import UsageError


def test_every_token_is_another() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100 and all(len(token) == 32 for token in tokens)


def test_only_the_same_is_the_same() -> None:
    token = new_token()
    assert same(token, token)
    assert not same(token[:-1], token)
    assert not same("", token)
    assert not same("\udce4" + token, token)


def test_a_file_keeps_it_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = kept_token(file)
    assert kept_token(file) == token
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"short", b"with a space in it, and long enough", b"\xff" * 40])
def test_a_file_without_one_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="holds no token"):
        kept_token(file)


def test_a_file_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        kept_token(tmp_path / "absent" / "token")
