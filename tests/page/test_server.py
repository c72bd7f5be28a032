"""Pages and the desk stay in step, and no page can harm another or the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rtsep.control.session import Session
from rtsep.page import hub
from rtsep.page.hub import Hub
from rtsep.page.limits import BURST, CLIENTS, MESSAGE_BYTES
from rtsep.page.server import PageServer, build_app
from rtsep.spec import UsageError
from tests import waiting
from tests.page.sets import silent_set

HERE = "http://127.0.0.1:8377"


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    with TestClient(build_app(Hub(session)), base_url=HERE) as opened:
        yield opened


def page(client: TestClient) -> contextlib.AbstractContextManager[WebSocketTestSession]:
    return client.websocket_connect("ws://127.0.0.1:8377/live", headers={"origin": HERE})


def until(socket: WebSocketTestSession, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(500):
        message: dict[str, Any] = socket.receive_json()
        if right(message):
            return message
    raise AssertionError("it never came")


def changed(address: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["is"] == "now" and address in message["values"]


def say(socket: WebSocketTestSession, **message: Any) -> None:
    socket.send_text(json.dumps(message))


def test_a_hello_tells_all_there_is(session: Session, client: TestClient) -> None:
    session.desk.set_gain("vocals", -6.0)
    session.desk.capture("verse")
    with page(client) as one:
        hello = one.receive_json()
    assert hello["is"] == "hello" and hello["stems"] == list(session.desk.stems)
    assert hello["parameters"].keys() == session.desk.describe().keys()
    assert hello["values"]["stem/vocals/gain"][0] == -6.0
    assert hello["snapshots"] == ["verse"] and hello["learn"] is False
    assert hello["engine"]["model"] == "live" and hello["engine"]["audio"] == "null"
    assert {model["name"] for model in hello["models"]} >= {"live", "other"}


def test_a_page_that_comes_before_the_models_are_known_waits_for_them(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, read = threading.Event(), hub._models

    def slowly() -> list[dict[str, Any]]:
        assert known.wait(60)
        return read()

    monkeypatch.setattr(hub, "_models", slowly)
    serves = Hub(session)
    with TestClient(build_app(serves), base_url=HERE) as client, page(client) as early:
        assert client.portal is not None
        # Time enough for a hello that does not wait.
        client.portal.call(asyncio.sleep, 0.2)
        assert serves.clients == 1
        known.set()
        hello = early.receive_json()
    assert {model["name"] for model in hello["models"]} >= {"live", "other"}


def test_models_that_cannot_be_read_do_not_silence_the_page(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> list[dict[str, Any]]:
        raise PermissionError("the folder of models is locked")

    monkeypatch.setattr(hub, "_models", fails)
    with TestClient(build_app(Hub(session)), base_url=HERE) as client, page(client) as one:
        assert one.receive_json()["models"] == []
        # All else goes on: meters too.
        until(one, lambda m: m["is"] == "meters")


def test_what_one_page_moves_the_desk_has_and_the_other_sees(session: Session, client: TestClient) -> None:
    with page(client) as one, page(client) as two:
        # What is set before a page's hello is in the hello, and no change for it.
        assert one.receive_json()["is"] == two.receive_json()["is"] == "hello"
        say(one, do="set", n=5, to=[["stem/drums/gain", 0.5], ["stem/bass/mute", 1]])
        seen = until(two, changed("stem/drums/gain"))
        own = until(one, lambda m: m["is"] == "now" and m["done"] == 5)
    assert session.desk.get("stem/bass/mute") is True
    assert session.desk.get_normalised("stem/drums/gain") == pytest.approx(0.5)
    assert seen["values"]["stem/drums/gain"][1] == pytest.approx(0.5) and seen["done"] == 0
    assert own["values"].keys() >= {"stem/drums/gain", "stem/bass/mute"}


def test_what_a_program_sets_every_page_sees(session: Session, client: TestClient) -> None:
    with page(client) as one:
        one.receive_json()
        session.desk.instrumental()
        seen = until(one, changed("stem/vocals/mute"))
    assert seen["values"]["stem/vocals/mute"] == [True, 1.0]


def test_snapshots_are_kept_recalled_and_forgotten(session: Session, client: TestClient) -> None:
    with page(client) as one:
        say(one, do="name", at="snapshot/capture", name="drop")
        until(one, lambda m: m.get("snapshots") == ["drop"])
        session.desk.set_mute("vocals")
        say(one, do="name", at="snapshot/recall", name="drop")
        until(one, lambda m: m["is"] == "now" and m["values"].get("snapshot/recall", [""])[0] == "drop")
        assert session.desk.get("stem/vocals/mute") is False
        say(one, do="name", at="snapshot/forget", name="drop")
        until(one, lambda m: m.get("snapshots") == [])


def test_a_mistake_is_told_to_who_made_it_and_no_more(session: Session, client: TestClient) -> None:
    before = session.desk.snapshot()
    with page(client) as one:
        for wrong in (
            '{"do":"set","n":1,"to":[["stem/kazoo/gain",1]]}',
            "nonsense",
            '{"do":"learn","at":"x"}',
        ):
            one.send_text(wrong)
            assert until(one, lambda m: m["is"] == "sorry")["why"]
        say(one, do="ping", n=9)
        assert until(one, lambda m: m["is"] == "pong")["n"] == 9
    assert session.desk.snapshot() == before


def test_meters_and_health_come_by_themselves(client: TestClient) -> None:
    with page(client) as one:
        meters = until(one, lambda m: m["is"] == "meters")
        health = until(one, lambda m: m["is"] == "health")
    assert meters["stems"].keys() == {"vocals", "drums", "bass", "other"}
    assert meters["underruns"] == 0 and meters["late"] == 0 and meters["state"] == "starting"
    assert health["median"] is None and health["max"] is None


class FakeMidi:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = ""

    def start(self, address: str) -> None:
        self.asked.append(address)
        self.status = f"move a control for {address}"

    def cancel(self) -> None:
        self.asked.append("")
        self.status = ""


def test_midi_is_taught_where_there_is_any(session: Session) -> None:
    midi = FakeMidi()
    with TestClient(build_app(Hub(session, midi)), base_url=HERE) as client, page(client) as one:
        assert one.receive_json()["learn"] is True
        say(one, do="learn", at="stem/vocals/mute")
        until(one, lambda m: m.get("learning") == "move a control for stem/vocals/mute")
        say(one, do="learn", at="stem/kazoo/mute")
        assert "kazoo" in until(one, lambda m: m["is"] == "sorry")["why"]
        say(one, do="learn", at="")
        until(one, lambda m: m.get("learning") == "")
    assert midi.asked == ["stem/vocals/mute", ""]


def test_another_engine_is_asked_for_and_not_more(session: Session, client: TestClient) -> None:
    with page(client) as one:
        say(one, do="engine", input=3)
        assert "without a device" in until(one, lambda m: m["is"] == "sorry")["why"]
        say(one, do="engine", model="other", block=256)
        say(one, do="engine", model="live")
        assert "under way" in until(one, lambda m: m["is"] == "sorry")["why"]
    assert session.pending


def test_a_recording_keeps_the_engine(models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTSEP_MODELS", models)
    with silent_set("live", "it is being recorded") as session:
        with TestClient(build_app(Hub(session)), base_url=HERE) as client, page(client) as one:
            assert one.receive_json()["engine"]["locked"] == "it is being recorded"
            say(one, do="engine", model="other")
            assert "recorded" in until(one, lambda m: m["is"] == "sorry")["why"]
    assert not session.pending


def test_too_many_messages_end_a_page_and_only_that(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slowly a busy machine sends them, they are more than may be saved up.
    monkeypatch.setattr(hub, "MESSAGES_PER_SECOND", 0.1)
    with page(client) as good, page(client) as bad:
        with pytest.raises(WebSocketDisconnect) as ended:
            for _ in range(int(BURST) + 200):
                bad.send_text('{"do":"ping","n":1}')
            while True:
                bad.receive_json()
        assert ended.value.code == 1008
        say(good, do="ping", n=2)
        until(good, lambda m: m["is"] == "pong")


def test_only_so_many_pages_are_open(client: TestClient) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(CLIENTS):
            opened.enter_context(page(client)).receive_json()
        with pytest.raises(WebSocketDisconnect) as refused, page(client) as one:
            one.receive_json()
        assert refused.value.code == 1013


# -- over real sockets -----------------------------------------------------------------------------------


@pytest.fixture
def server(session: Session) -> Iterator[PageServer]:
    with PageServer(session, port=0) as running:
        yield running


def dial(server: PageServer, **options: Any) -> ClientConnection:
    here = f"127.0.0.1:{server.port}"
    return connect(f"ws://{here}/live", origin=f"http://{here}", compression=None, **options)


def test_too_long_a_message_ends_a_page(server: PageServer) -> None:
    with dial(server) as one:
        one.send('{"do":"ping","n":1}')
        one.send(" " * (MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                one.recv(timeout=waiting.PATIENCE)
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1009


def test_binary_ends_a_page(server: PageServer) -> None:
    with dial(server) as one:
        one.send(b"\x00\x01")
        with pytest.raises(ConnectionClosed):
            while True:
                one.recv(timeout=waiting.PATIENCE)


def test_a_page_that_takes_nothing_is_dropped_and_holds_up_nobody(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "SEND_SECONDS", 0.5)
    # Long messages fill the sockets' buffers soon.
    monkeypatch.setattr(hub, "METERS_SECONDS", 0.005)
    meters = hub.Health.meters
    monkeypatch.setattr(hub.Health, "meters", lambda self: meters(self) | {"padding": "x" * 50_000})
    with PageServer(session, port=0) as server, dial(server) as good:
        here = f"127.0.0.1:{server.port}"
        with socket.socket() as bad:
            bad.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            bad.connect(("127.0.0.1", server.port))
            bad.sendall(
                f"GET /live HTTP/1.1\r\nHost: {here}\r\nOrigin: http://{here}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            deadline = time.monotonic() + waiting.PATIENCE
            seen = 1
            while seen < 2:
                good.recv(timeout=waiting.PATIENCE)
                seen = max(seen, server.clients)
                assert time.monotonic() < deadline
            while server.clients > 1:
                good.recv(timeout=waiting.PATIENCE)  # the good one is served all the while
                assert time.monotonic() < deadline
        session.desk.set_mute("vocals")
        while '"stem/vocals/mute":[true' not in str(good.recv(timeout=waiting.PATIENCE)):
            assert time.monotonic() < deadline


def test_the_network_is_open_only_with_a_token(session: Session) -> None:
    with PageServer(session, bind="0.0.0.0", port=0) as server:
        assert server.token is not None and server.token in server.address
        with pytest.raises(InvalidStatus):
            dial(server)
        with dial(server, additional_headers={"Cookie": f"rtsep_{server.port}={server.token}"}) as one:
            assert json.loads(one.recv(timeout=waiting.PATIENCE))["is"] == "hello"


def test_a_port_that_is_taken_is_one_line(session: Session, server: PageServer) -> None:
    with pytest.raises(UsageError, match=f"port {server.port}: .*in use"):
        with PageServer(session, port=server.port):
            pass


@pytest.mark.parametrize("bind", ["203.0.113.7", "no such host"])
def test_an_address_that_is_not_here_is_one_line(session: Session, bind: str) -> None:
    with pytest.raises(UsageError, match="cannot be served"):
        with PageServer(session, bind=bind, port=0):
            pass


def test_nothing_stays_behind(session: Session) -> None:
    before = set(threading.enumerate())
    with PageServer(session, port=0) as server, dial(server) as one:
        one.recv(timeout=waiting.PATIENCE)
    ours = ("control page", "page listener")
    waiting.until(
        lambda: not {t for t in threading.enumerate() if t.name in ours} - before, "the threads' end"
    )
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1)
