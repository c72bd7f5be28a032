"""OSC as a controller sends it: datagrams in, the desk moved, state and meters back."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from rtsep.control.desk import Desk
from rtsep.control.session import Session
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.osc.server import LARGEST_BYTES, LISTENERS, OscServer
from rtsep.spec import UsageError
from tests.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """The shipped model's desk; its engine is never opened."""
    engine = ProcessEngine(EngineOptions(audio="null"))
    with contextlib.closing(engine):
        yield Session(engine, Desk(engine.board, engine.telemetry))


class Controller:
    """A socket that speaks OSC with the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))

    def say(self, address: str, *arguments: Any) -> None:
        self.socket.send(message(address, *arguments).dgram)

    def hear(self, address: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            heard = OscMessage(self.socket.recv(8192))
            if heard.address == address:
                return heard.params[0]
        raise AssertionError(f"nothing of {address}")


def message(address: str, *arguments: Any) -> OscMessage:
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build()


@pytest.fixture
def controller(session: Session) -> Iterator[Controller]:
    with OscServer(session, port=0) as server:
        made = Controller(server.port)
        with made.socket:
            yield made


@pytest.mark.parametrize(
    ("address", "argument", "where", "value"),
    [
        ("/rtsep/stem/vocals/gain", -6.0, "stem/vocals/gain", -6.0),
        ("/rtsep/stem/vocals/gain", -7, "stem/vocals/gain", -7.0),
        ("/rtsep/stem/drums/mute", 1, "stem/drums/mute", True),
        ("/rtsep/stem/drums/mute", False, "stem/drums/mute", False),
        ("/rtsep/stem/bass/solo", True, "stem/bass/solo", True),
        ("/rtsep/stem/bass/solo", "off", "stem/bass/solo", False),
        ("/rtsep/stem/other/pan", -0.5, "stem/other/pan", -0.5),
        ("/rtsep/deck/1/stem/other/gain", 2.0, "stem/other/gain", 2.0),
        ("/rtsep/place/stem/other/gain", 1.0, "stem/other/gain", 12.0),
        ("/rtsep/master/gain", -3.0, "master/gain", -3.0),
    ],
)
def test_an_address_sets(
    session: Session, controller: Controller, address: str, argument: Any, where: str, value: Any
) -> None:
    controller.say(address, argument)
    until(lambda: session.desk.get(where) == pytest.approx(value))


def test_gestures_and_snapshots(session: Session, controller: Controller) -> None:
    controller.say("/rtsep/gesture/acapella")
    until(lambda: session.desk.get("stem/drums/mute") is True)
    controller.say("/rtsep/snapshot/capture", "voice")
    until(lambda: "voice" in session.desk.snapshots)
    controller.say("/rtsep/gesture/everything", 1.0)
    until(lambda: session.desk.get("stem/drums/mute") is False)
    controller.say("/rtsep/snapshot/recall/voice", 1)
    until(lambda: session.desk.get("stem/drums/mute") is True)
    session.desk.everything()


def test_a_bundle_is_several_messages(session: Session, controller: Controller) -> None:
    bundle = OscBundleBuilder(IMMEDIATELY)
    bundle.add_content(message("/rtsep/stem/vocals/gain", -1.0))
    bundle.add_content(message("/rtsep/stem/drums/gain", -2.0))
    controller.socket.send(bundle.build().dgram)
    until(
        lambda: session.desk.get("stem/vocals/gain") == -1.0 and session.desk.get("stem/drums/gain") == -2.0
    )


def test_a_question_is_answered(session: Session, controller: Controller) -> None:
    session.desk.set_gain("bass", -4.0)
    controller.say("/rtsep/stem/bass/gain")
    assert controller.hear("/rtsep/stem/bass/gain") == pytest.approx(-4.0)
    controller.say("/rtsep/place/stem/bass/gain")
    assert 0.5 < controller.hear("/rtsep/place/stem/bass/gain") < 0.63


def test_who_subscribes_hears_everything(session: Session, controller: Controller) -> None:
    session.desk.set_pan("drums", 0.25)
    controller.say("/rtsep/subscribe")
    assert controller.hear("/rtsep/stem/drums/pan") == pytest.approx(0.25)
    session.desk.set_mute("other")
    until(lambda: controller.hear("/rtsep/stem/other/mute") == 1.0)
    assert controller.hear("/rtsep/meter/stem/vocals") == -120.0
    assert controller.hear("/rtsep/engine/underruns") == 0
    assert controller.hear("/rtsep/engine/model") == "live"
    session.desk.set_mute("other", False)
    controller.say("/rtsep/unsubscribe")
    with pytest.raises(TimeoutError):
        controller.socket.settimeout(0.5)
        while True:
            controller.socket.recv(8192)


def test_a_fixed_target_hears_without_asking(session: Session) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(PATIENCE)
        with OscServer(session, port=0, send=(f"127.0.0.1:{target.getsockname()[1]}",)):
            addresses = {OscMessage(target.recv(8192)).address for _ in range(20)}
    assert "/rtsep/stem/vocals/gain" in addresses


@pytest.mark.parametrize(
    ("address", "arguments", "words"),
    [
        ("/rtsep/stem/kazoo/gain", (1.0,), "kazoo"),
        ("/rtsep/stem/vocals/gain", (99.0,), "between"),
        ("/rtsep/stem/vocals/gain", (float("nan"),), "between"),
        ("/rtsep/stem/vocals/gain", (b"\x00\x01",), "not a number"),
        ("/rtsep/place/snapshot/recall", (0.5,), "takes a name"),
        ("/rtsep/place/stem/vocals/gain", ("x",), "could not convert"),
        ("/rtsep/snapshot/recall", ("none such",), "no snapshot"),
    ],
)
def test_a_mistake_is_told_to_who_made_it(
    session: Session, controller: Controller, address: str, arguments: tuple[Any, ...], words: str
) -> None:
    before = session.desk.snapshot()
    controller.say(address, *arguments)
    assert words in controller.hear("/rtsep/error")
    assert session.desk.snapshot() == before


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.binary(max_size=80).map(lambda tail: b"/rtsep/stem/vocals/gain\x00" + tail)
    | st.binary(max_size=60).map(lambda tail: b"#bundle\x00" + tail)
)
def test_noise_harms_nothing(controller: Controller, data: bytes) -> None:
    controller.socket.send(data)


def test_the_server_lives_after_noise(session: Session, controller: Controller) -> None:
    for data in (
        b"",
        b"\xff" * 100,
        b"/" * (LARGEST_BYTES + 100),
        b"#bundle\x00" * 20,
        b"/rtsep/x\x00\x00\x00\x00,zz\x00",
    ):
        controller.socket.send(data)
    controller.say("/rtsep/stem/vocals/gain", -8.0)
    until(lambda: session.desk.get("stem/vocals/gain") == -8.0)


def test_only_so_many_listen(session: Session) -> None:
    with OscServer(session, port=0) as server, contextlib.ExitStack() as opened:
        several = [Controller(server.port) for _ in range(LISTENERS + 1)]
        for one in several:
            opened.enter_context(one.socket)
            one.say("/rtsep/subscribe")
            if one is not several[-1]:
                one.hear("/rtsep/stem/vocals/gain")
        assert "too many" in several[-1].hear("/rtsep/error")


def test_a_port_that_is_taken_is_one_line(session: Session) -> None:
    with OscServer(session, port=0) as server, pytest.raises(UsageError, match="in use"):
        OscServer(session, port=server.port).__enter__()


@pytest.mark.parametrize("text", ["", "host", "host:", ":9000", "127.0.0.1:0", "127.0.0.1:99999"])
def test_a_target_that_is_none_is_refused(session: Session, text: str) -> None:
    with pytest.raises(UsageError):
        OscServer(session, send=(text,))


@pytest.fixture
def two_decks() -> Iterator[tuple[Session, Controller]]:
    engine = ProcessEngine(EngineOptions(audio="null", decks=2))
    with contextlib.closing(engine):
        made = Session(engine, Desk(engine.board, engine.telemetry))
        with OscServer(made, port=0) as server:
            controller = Controller(server.port)
            with controller.socket:
                yield made, controller


def test_two_decks_are_set_and_told(two_decks: tuple[Session, Controller]) -> None:
    session, controller = two_decks
    for address, argument, value in (
        ("deck/2/stem/vocals/gain", -6.0, -6.0),
        ("deck/2/stem/drums/mute", 1, True),
        ("deck/1/stem/bass/solo", True, True),
        ("deck/2/stem/other/pan", -0.5, -0.5),
        ("deck/2/gain", -3, -3.0),
        ("crossfader", 0.25, 0.25),
        ("swap/vocals", 1, True),
    ):
        controller.say(f"/rtsep/{address}", argument)
        until(lambda address=address, value=value: session.desk.get(address) == value)
    controller.say("/rtsep/stem/vocals/gain", -9.0)
    until(lambda: session.desk.get("deck/1/stem/vocals/gain") == -9.0)
    controller.say("/rtsep/gesture/swap/vocals")
    until(lambda: session.desk.get("swap/vocals") is False)
    controller.say("/rtsep/subscribe")
    assert controller.hear("/rtsep/deck/2/stem/vocals/gain") == -6.0
    assert controller.hear("/rtsep/place/crossfader") == 0.25
    session.engine.board.words["levels"][4] = 0.5
    assert controller.hear("/rtsep/meter/deck/1/stem/vocals") == -120.0
    assert controller.hear("/rtsep/meter/deck/2/stem/vocals") == pytest.approx(-6.02, abs=0.01)
    session.desk.set_mute("2/bass")
    assert controller.hear("/rtsep/deck/2/stem/bass/mute") == 1.0
    controller.say("/rtsep/deck/3/stem/vocals/gain", 0.0)
    assert "deck/3" in controller.hear("/rtsep/error")
