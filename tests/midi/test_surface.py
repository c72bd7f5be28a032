"""Controllers on a JACK server: real ports, real messages, plugs pulled, the engine's sound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rtsep.control.desk import Desk
from rtsep.engine.board import Board
from rtsep.midi.mapping import MappingFile, read_mapping
from rtsep.midi.ports import find_port, list_ports, usable_apis
from rtsep.midi.surface import Surface, Wanted, parse_wanted
from rtsep.spec import STEMS, DeviceError, UsageError
from tests.jack_server import JackServer
from tests.midi.pads import Pads
from tests.midi.response import measure
from tests.models import build_tiny_model
from tests.waiting import until

pytestmark = pytest.mark.realtime

MUTE = "stem/vocals/mute"


@pytest.fixture(scope="module")
def server() -> Iterator[JackServer]:
    # A server that skips a period loses its MIDI; with long ones it does so hardly ever, even when busy.
    with JackServer("midi", rate=44100, period=1024) as running:
        yield running


@pytest.fixture
def desk(server: JackServer) -> Desk:
    return Desk(Board(STEMS))


def send_until(pads: Pads, message: list[int], condition: Callable[[], object]) -> None:
    """Send a message, and again where a busy server has lost it."""
    for _ in range(10):
        pads.send(*message)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.002)
    raise AssertionError(f"{message} never came")


def mapping(*entries: str, top: str = "") -> MappingFile:
    return MappingFile("test", f"format = 1\n{top}\n" + "".join(f"[[map]]\n{e}\n" for e in entries))


def test_a_controller_moves_the_desk_and_its_lamps_follow(desk: Desk) -> None:
    with Pads("Launch Control XL") as pads:
        with Surface(desk, [parse_wanted("launch control")], api="jack") as surface:
            # The template is chosen first, then come the lamps, dark.
            told: list[list[int]] = []
            until(lambda: told.extend(pads.told()) or [0x98, 76, 12] in told)
            assert told[0] == [0xF0, 0x00, 0x20, 0x29, 0x02, 0x11, 0x77, 0x08, 0xF7]
            for value in range(70, 110, 2):
                pads.send(0xB8, 77, value)
            pads.send(0x98, 41, 127)
            until(lambda: desk.get(MUTE))
            assert desk.get("stem/vocals/gain") == desk.parameter("stem/vocals/gain").from_normalised(
                108 / 127
            )
            until(lambda: [0x98, 41, 15] in pads.told())
            desk.everything()
            until(lambda: [0x98, 41, 12] in pads.told())
            assert surface.controllers[0].file.name == "launch-control-xl"


def test_a_controller_is_found_again_by_its_name_when_it_comes_back(desk: Desk) -> None:
    said: list[str] = []
    hold = 'note = 36\naddress = "stem/drums/mute"\nmode = "momentary"'
    file = mapping('note = 37\naddress = "stem/vocals/mute"\nlamp = { on = 5, off = 4 }', hold)
    with Surface(desk, [Wanted("stage", file)], said.append, "jack"):
        assert said == ["MIDI port 'stage' is not there yet; waiting for it"]
        for turn in range(2):
            with Pads("My Stage Pads") as pads:
                until(lambda turn=turn: len(said) == 2 + 2 * turn)
                assert "is here" in said[-1]
                pads.send(0x90, 37, 1)
                until(lambda turn=turn: desk.get(MUTE) is (turn == 0))
                until(lambda turn=turn: [0x90, 37, 5 - turn] in pads.told())
                pads.send(0x90, 36, 1)
                until(lambda: desk.get("stem/drums/mute"))
            until(lambda turn=turn: len(said) == 3 + 2 * turn)
            assert "has gone; waiting for it" in said[-1]
            # The pad that was held when the plug was pulled is let go.
            until(lambda: not desk.get("stem/drums/mute"))


def test_several_controllers_and_a_port_of_our_own(server: JackServer, desk: Desk) -> None:
    first = mapping(f'note = 1\naddress = "{MUTE}"')
    second = mapping('note = 1\naddress = "stem/drums/mute"')
    third = mapping('note = 1\naddress = "stem/bass/mute"')
    wanted = [Wanted("one", first), Wanted("two", second), Wanted("stage in", third, virtual=True)]
    with Pads("one") as one, Pads("two") as two, Pads("elsewhere") as other:
        with Surface(desk, wanted, api="jack"):
            ours = next(
                p for p in server.run("jack_lsp").splitlines() if "stage in" in p and p.endswith(" in")
            )
            server.run("jack_connect", "pads-02:elsewhere", ours)
            two.send(0x90, 1, 1)
            until(lambda: desk.get("stem/drums/mute"))
            assert not desk.get(MUTE) and not desk.get("stem/bass/mute")
            one.send(0x90, 1, 1)
            other.send(0x90, 1, 1)
            until(lambda: desk.get(MUTE) and desk.get("stem/bass/mute"))


def test_mute_the_vocals_for_eight_beats_from_the_next_bar_by_a_clock_on_the_wire(desk: Desk) -> None:
    seen: list[int] = []
    file = mapping(f'note = 36\naddress = "{MUTE}"\nquantise = "bar"\nfor = "8 beats"')
    with Pads("drum machine") as pads, Surface(desk, [Wanted("drum", file)], api="jack") as surface:
        until(lambda: surface.controllers[0].input.is_open)
        pads.send(0xFA)
        for tick in range(96 * 3 + 10):
            send_until(pads, [0xF8], lambda tick=tick: surface.clock.tick == tick)
            if desk.get(MUTE):
                seen.append(tick)
            if tick == 40:
                send_until(pads, [0x90, 36, 100], lambda: surface.scheduler._waiting)
    # Muted from the tick of the bar on, and not one tick longer than two bars.
    assert seen == list(range(96, 96 + 192))


def test_a_control_is_learned_and_written_and_works_at_once(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("# mine\nformat = 1\n")
    with (
        Pads("desk") as pads,
        Surface(desk, [Wanted("desk", read_mapping(str(file)))], api="jack") as surface,
    ):
        until(lambda: surface.controllers[0].input.is_open)
        with pytest.raises(UsageError, match="nothing has the address"):
            surface.learn("stem/kazoo/mute")
        learning = surface.learn(MUTE)
        pads.send(0xB0, 48, 127)
        pads.send(0xB0, 48, 0)
        assert learning.over.wait(30.0) and learning.error is None
        assert (str(learning.learned), learning.file) == ("cc 48 on channel 1", file)
        assert surface.learning is None and not desk.get(MUTE)
        pads.send(0xB0, 48, 127)
        until(lambda: desk.get(MUTE))
        cancelled = surface.learn("reset")
        surface.cancel_learning()
        assert cancelled.over.is_set() and cancelled.learned is None
    (entry,) = read_mapping(str(file)).mapping.map
    assert (entry.cc, entry.mode, entry.address) == (48, "toggle", MUTE)
    assert file.read_text().startswith("# mine\n")


def test_what_cannot_be_done_is_told_and_the_show_goes_on(desk: Desk) -> None:
    said: list[str] = []
    file = mapping('program = 1\naddress = "snapshot/recall/none"', f'note = 1\naddress = "{MUTE}"')
    with Pads("desk") as pads, Surface(desk, [Wanted("desk", file)], said.append, "jack"):
        pads.send(0xC0, 1)
        until(lambda: said)
        assert said == ["no snapshot 'none': there are none"]
        pads.send(0x90, 1, 1)
        until(lambda: desk.get(MUTE))


def test_the_engine_is_heard_to_change(
    server: JackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times are told, not asserted. A busy machine may spoil turns: there are many, and ample allowance."""
    model = build_tiny_model(tmp_path)
    responses = measure(server, tmp_path, model, turns=12, pause=0.22, allowance=4096)
    heard = np.array([response.to_middle for response in responses])
    assert np.isfinite(heard).sum() >= 1
    assert (heard[np.isfinite(heard)] > 0.0).all()
    desk_ms = 1000.0 * np.median([response.to_desk for response in responses])
    sound_ms = 1000.0 * np.nanmedian(heard)
    with capsys.disabled():
        print(" [93 ms of allowance, periods of 23 ms;", end="")
        print(f" MIDI to desk: {desk_ms:.1f} ms, to sound: {sound_ms:.1f} ms] ", end="")


def test_ports_are_listed_without_our_own(server: JackServer, desk: Desk) -> None:
    with Pads("listed") as pads, Surface(desk, [Wanted("x", mapping(), virtual=True)], api="jack"):
        assert pads.name in list_ports("input", ["jack"])[0][1]
        assert len(list_ports("input", ["jack"])) == len(list_ports("output", ["jack"])) == 1


def test_names_are_matched_exactly_first_and_then_by_a_part() -> None:
    names = ["rtsep:LPD8 in", "LPD8 mk2:LPD8 mk2 28:0", "LPD8"]
    assert find_port(names, "LPD8") == "LPD8"
    assert find_port(names, "lpd8") == "LPD8 mk2:LPD8 mk2 28:0"
    assert find_port(names, "APC40") is None


def test_no_midi_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "rtsep-there-is-none")
    with pytest.raises(DeviceError, match=r"no MIDI.*\(tried jack\)"):
        usable_apis("jack")
    with pytest.raises(DeviceError, match="no MIDI system 'fax'"):
        usable_apis("fax")


@pytest.mark.parametrize("text", ["", "=lpd8", "LPD8="])
def test_what_names_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="PORT=MAPPING"):
        parse_wanted(text)
