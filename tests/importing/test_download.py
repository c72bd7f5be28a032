"""A download is whole and the right file, or there is nothing."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtsep.importing.download import check_file, fetch
from rtsep.spec import ModelError, UsageError
from tests.file_server import FileServer, serve

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "weights.pth").write_bytes(CONTENT)
    with serve(tmp_path / "served") as files:
        yield files


@pytest.mark.parametrize("digits", [8, 16, 64])
def test_the_right_file_arrives(digits: int, server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "here.pth"
    fetch(
        f"{server.url}/weights.pth",
        target,
        DIGEST[:digits].upper(),
        lambda done, total: told.append((done, total)),
    )
    assert target.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told) and len(told) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.pth", "served"]


def test_another_file_is_refused(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"its SHA-256 is {DIGEST}, not {'0' * 64}"):
        fetch(f"{server.url}/weights.pth", tmp_path / "here.pth", "0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_a_connection_that_is_cut_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    server.cut.add("weights.pth")
    with pytest.raises(ModelError, match=f"ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes"):
        fetch(f"{server.url}/weights.pth", tmp_path / "here.pth", DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_what_the_server_has_not_is_said(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the server says 404"):
        fetch(f"{server.url}/other.pth", tmp_path / "here.pth", DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_no_server_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else answers there
        with pytest.raises(ModelError, match="cannot be reached"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/x.pth", tmp_path / "here.pth", DIGEST)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a/b.pth", "weights.pth", "http://"])
def test_only_the_web_is_downloaded_from(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only http and https"):
        fetch(url, tmp_path / "here.pth", DIGEST)


@pytest.mark.parametrize("digits", ["", "1234567", "xyzxyzxyz", DIGEST + "0"])
def test_what_is_no_hash_is_refused_before_anything_is_asked(
    digits: str, server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is no SHA-256"):
        fetch(f"{server.url}/weights.pth", tmp_path / "here.pth", digits)
    assert not server.asked


def test_files_that_are_here_are_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(CONTENT)
    check_file(file, DIGEST[:8])
    with pytest.raises(ModelError, match="not 00000000"):
        check_file(file, "0" * 8)
    with pytest.raises(ModelError, match="cannot be read"):
        check_file(tmp_path / "none", DIGEST)
