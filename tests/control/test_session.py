"""One desk and several engines: what is set goes along, and a change that fails leaves what was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rtsep.control.desk import Desk
from rtsep.control.session import Session
from rtsep.engine.board import Board
from rtsep.engine.latency import LatencyReport
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.spec import DeviceError, UsageError
from tests.models import build_tiny_model
from tests.waiting import until

STEMS = ("vocals", "drums", "bass", "other")


def test_a_desk_goes_over_to_another_board() -> None:
    old, new = Board(STEMS), Board(("vocals", "drums", "piano"))
    desk = Desk(old)
    desk.set_gain("vocals", -6.0)
    desk.set_mute("bass")
    desk.set_limiter(True, -1.0)
    desk.set_bypass()
    desk.panic()
    desk.capture("verse")
    version = desk.version
    desk.rebind(new)
    assert new.words["gain_db"][0] == -6.0 and new.words["limiter"] == 1 and new.words["ceiling_db"] == -1.0
    assert new.words["bypass"] == 1 and new.words["panic"] == 1
    assert new.words["revision"] == 1, "it is one change"
    assert desk.stems == ("vocals", "drums", "piano") and desk.snapshots == ("verse",)
    now, changed = desk.changes_since(version)
    assert now > version and changed.keys() == desk.changes_since(-1)[1].keys()
    with pytest.raises(UsageError):
        desk.get("stem/bass/mute")
    desk.set_gain("vocals", 1.0)
    assert old.words["gain_db"][0] == -6.0 and new.words["gain_db"][0] == 1.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root, name="live")
    build_tiny_model(root, name="other", architecture="conv-tasnet")
    return root


@pytest.fixture
def session(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("RTSEP_MODELS", str(models))
    engine = ProcessEngine(EngineOptions(model="live", audio="null"))
    with contextlib.closing(Session(engine, Desk(engine.board, engine.telemetry))) as made:
        yield made


@pytest.mark.realtime
def test_another_model_plays_on_with_what_was_set(session: Session) -> None:
    session.engine.open()
    session.engine.start()
    first = session.engine
    session.desk.set_mute("vocals")
    session.request(model="other", block=256)
    assert session.pending and session.carry_out() and not session.pending
    assert session.engine is not first and session.options.model == "other" and session.options.block == 256
    assert session.generation == 2 and session.failure == "" and not session.changing
    until(lambda: session.desk.telemetry().hops >= 3, "hops of the new engine")
    assert session.engine.board.words["mute"][0] == 1
    # A model that cannot be: the engine plays on as if nothing had been asked for, and it is said why.
    second, pid = session.engine, session.engine.pid
    session.request(model="no such model")
    assert not session.carry_out()
    assert "no such model" in session.failure and session.options.model == "other"
    assert session.engine is second and second.pid == pid is not None
    assert session.generation == 4 and not session.changing
    hops = second.telemetry().hops
    until(lambda: second.telemetry().hops > hops, "more hops")


@pytest.mark.realtime
def test_what_plays_goes_on_while_the_next_one_loads(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.engine.open()
    session.engine.start()
    first, prepare = session.engine, ProcessEngine.prepare
    heard: list[int] = []

    def watched(engine: ProcessEngine) -> None:
        prepare(engine)
        if engine is not first:
            hops = first.telemetry().hops
            until(lambda: first.telemetry().hops > hops, "hops of the old engine when the new one has loaded")
            heard.append(engine.telemetry().hops)

    monkeypatch.setattr(ProcessEngine, "prepare", watched)
    session.request(model="other")
    assert session.carry_out()
    assert heard == [0] and first.pid is None


@pytest.mark.realtime
def test_where_the_next_one_does_not_come_up_the_last_one_plays_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.engine.open()
    session.engine.start()
    begin = ProcessEngine.open

    def refused(engine: ProcessEngine) -> LatencyReport:
        if engine.options.model == "other":
            engine.close()
            raise DeviceError("the device is busy")
        return begin(engine)

    monkeypatch.setattr(ProcessEngine, "open", refused)
    first = session.engine
    session.request(model="other")
    assert not session.carry_out()
    assert session.failure == "the device is busy" and session.options.model == "live"
    assert session.engine is not first
    until(lambda: session.desk.telemetry().hops >= 3, "hops of the engine that plays again")


@pytest.mark.realtime
def test_an_engine_is_asked_for_anew_when_blocks_have_grown(session: Session) -> None:
    # What it is opened with; an allowance that is too short for the new blocks is left to it.
    session.engine.options = replace(session.options, allowance=256)
    session.renew(512)
    assert session.pending and session.carry_out()
    assert (session.options.block, session.options.allowance) == (512, None)
    assert session.desk.telemetry().planned_block == 512
    session.engine.options = replace(session.options, allowance=2048)
    session.renew(1024)
    assert session.carry_out() and (session.options.block, session.options.allowance) == (1024, 2048)
    session.locked = "it is being recorded"
    with pytest.raises(UsageError, match="recorded"):
        session.renew(2048)
    assert not session.pending


def test_what_may_not_be_asked_for(session: Session) -> None:
    with pytest.raises(UsageError, match="threads cannot"):
        session.request(threads=4)
    with pytest.raises(UsageError, match="without a device"):
        session.request(output=1)
    session.request(block=128)
    assert not session.pending, "it is so already"
    session.request(block=64)
    with pytest.raises(UsageError, match="under way"):
        session.request(block=32)
    session.locked = "it is being recorded"
    with pytest.raises(UsageError, match="recorded"):
        session.request(block=32)
