"""Who is let in: hosts, origins, tokens, and the rules every answer carries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rtsep.control.session import Session
from rtsep.page.hub import Hub
from rtsep.page.server import build_app
from rtsep.page.token import new_token

HERE = "http://127.0.0.1:8377"
TOKEN = new_token()


def client_of(session: Session, token: str | None = None, base: str = HERE) -> TestClient:
    return TestClient(build_app(Hub(session), token), base_url=base)


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    with client_of(session) as opened:
        yield opened


@pytest.fixture
def locked(session: Session) -> Iterator[TestClient]:
    with client_of(session, TOKEN) as opened:
        yield opened


def opens(client: TestClient, path: str = "/live", **headers: str) -> bool:
    given = {"origin": HERE, **headers}
    try:
        with client.websocket_connect(
            f"ws://127.0.0.1:8377{path}", headers={k: v for k, v in given.items() if v}
        ) as socket:
            return bool(socket.receive_json()["is"] == "hello")
    except WebSocketDisconnect as refused:
        assert refused.code == 1008
        return False


def test_every_answer_says_what_may_be_loaded(client: TestClient) -> None:
    for path in ("/", "/static/main.js", "/static/style.css", "/absent"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert "ws://127.0.0.1:8377" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers
    assert (
        "access-control-allow-origin" not in client.get("/", headers={"origin": "http://e.example"}).headers
    )


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8377", "127.0.0.1.evil.example:8377", "127.0.0.1:8378", "10.9.8.7:8377",
     "", "x@127.0.0.1:8377", "127.0.0.1:8377/x", "127.0.0.1:99999999", "[::1",
     "127.0.0.1:8377, evil.example"],
)  # fmt: skip
def test_a_host_that_is_not_this_machine_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: a foreign name that has been turned to this address."""
    assert client.get("/", headers={"host": host}).status_code == 403
    assert not opens(client, host=host, origin=f"http://{host}")


@pytest.mark.parametrize("host", ["localhost:8377", "127.0.0.1:8377", "[::1]:8377", "LOCALHOST:8377"])
def test_names_of_this_machine_are_good(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200
    assert opens(client, host=host, origin=f"http://{host}")


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "https://127.0.0.1:8377", "http://127.0.0.1:8000"]
)
def test_another_pages_websocket_is_refused(client: TestClient, origin: str) -> None:
    assert not opens(client, origin=origin)
    assert opens(client)


def test_with_a_token_nothing_is_told_without_it(locked: TestClient) -> None:
    for path in ("/", "/static/main.js", "/?token=", f"/?token={TOKEN[:-1]}", f"/?token=x&token={TOKEN}"):
        answer = locked.get(path)
        assert answer.status_code == 403 and "set-cookie" not in answer.headers
        assert TOKEN not in answer.text
    assert not opens(locked)
    assert not opens(locked, "/live?token=" + new_token())
    assert not opens(locked, cookie="rtsep_8377=" + new_token())


def test_the_token_in_the_address_is_remembered(session: Session) -> None:
    with client_of(session, TOKEN) as client:
        cookie = client.get(f"/?token={TOKEN}").headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Domain" not in cookie
        # The client keeps cookies as a browser does.
        assert client.get("/static/main.js").status_code == 200
        assert opens(client)
        assert not opens(client, origin="http://evil.example")


def test_only_the_pages_own_files_are_served(client: TestClient) -> None:
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/static/"):
        assert client.get(path).status_code == 404
    assert client.post("/").status_code == 405
