"""`rtsep midi` and `rtsep live --midi` as they are typed."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtsep.cli import main
from rtsep.midi.mapping import read_mapping, shipped_mappings
from tests.cli.command import PROGRAM, environment, rtsep, snapshot
from tests.jack_server import JackServer
from tests.midi.pads import Pads
from tests.waiting import PATIENCE

pytestmark = pytest.mark.realtime

NO_SERVER = {"JACK_DEFAULT_SERVER": "rtsep-there-is-none", "JACK_NO_START_SERVER": "1"}


@pytest.fixture(scope="module")
def server(models: str) -> Iterator[JackServer]:
    with JackServer("midi-cli", rate=44100, period=1024) as running:
        yield running


class Pressing:
    """Keeps pressing a button until it is told to stop, as somebody does who waits for an answer."""

    def __init__(self, pads: Pads, *messages: list[int]) -> None:
        self._pads, self._messages = pads, messages
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._press)

    def _press(self) -> None:
        while not self._over.wait(0.2):
            for message in self._messages:
                self._pads.send(*message)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_mappings_are_listed_and_one_is_printed_as_a_beginning(tmp_path: Path) -> None:
    listed = rtsep("midi", "mappings").stdout.splitlines()
    assert [line.split()[0] for line in listed] == shipped_mappings()
    file = tmp_path / "mine.toml"
    file.write_text(rtsep("midi", "mappings", "--show", "lpd8").stdout)
    assert file.read_text() == read_mapping("lpd8").text


def test_ports_are_listed_with_the_mapping_that_they_would_get(server: JackServer) -> None:
    with Pads("nanoKONTROL2"):
        listed = rtsep("midi", "list", "--api", "jack").stdout.splitlines()
    assert any("to be heard" in line and line.endswith("mapping: nanokontrol2") for line in listed)
    assert "There are no MIDI ports" in rtsep("midi", "list", "--api", "jack").stdout


def test_a_control_is_learned_into_a_file(server: JackServer, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    with Pads("pads") as pads, Pressing(pads, [0x90, 36, 99], [0x80, 36, 0]):
        result = rtsep("midi", "learn", "stem/drums/mute", "--port", "pads", "--file", file, "--api", "jack")
    assert (result.returncode, result.stderr) == (0, "")
    assert "note 36 on channel 1" in result.stdout
    (entry,) = read_mapping(str(file)).mapping.map
    assert (entry.note, entry.channel, entry.address) == (36, 1, "stem/drums/mute")


def test_what_comes_in_is_printed_with_what_it_sets(server: JackServer) -> None:
    with Pads("LPD8") as pads, Pressing(pads, [0x90, 36, 99], [0x80, 36, 0]):
        result = rtsep("midi", "monitor", "LPD8", "--api", "jack", "--seconds", "2")
    assert (result.returncode, result.stderr) == (0, "")
    assert "LPD8: note 36 on channel 1: 99" in result.stdout
    assert "    stem/vocals/mute = True" in result.stdout


def test_live_is_moved_by_a_controller_that_comes_later(server: JackServer, tmp_path: Path) -> None:
    command = [*PROGRAM, "live", "--null", "--midi", "My Pads=lpd8"]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as live:
        assert live.stderr is not None
        assert "'My Pads' is not there yet" in live.stderr.readline()
        with Pads("My Pads") as pads:
            assert "is here" in live.stderr.readline()
            # The controller's knob is heard: an address that is wrong would be told, and nothing is.
            pads.send(0x90, 36, 99)
            time.sleep(0.5)
            live.send_signal(signal.SIGINT)
            out, err = live.communicate(timeout=PATIENCE)
    assert live.returncode == 0 and "hop times" in out
    assert all("has gone" in line for line in err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["midi", "mappings", "--show", "lpd9"], 2, "no mapping of that name: there are generic"),
        (["midi", "list", "--api", "jack"], 6, "no MIDI"),
        (["midi", "list", "--api", "fax"], 6, "no MIDI system 'fax'"),
        (["midi", "learn", "stem/kazoo/gain", "--port", "x", "--file", "y"], 2, "nothing has the address"),
        (["midi", "learn", "reset", "--port", "x", "--file", "no/y"], 2, "there is no folder no"),
        (
            ["midi", "learn", "reset", "--port", "x", "--file", "y", "--mode", "flip"],
            2,
            "toggle or momentary",
        ),
        (["live", "--null", "--midi", "LPD8=absent.toml"], 2, "no such file, and no mapping"),
        (["live", "--null", "--midi", "=lpd8"], 2, "PORT=MAPPING"),
    ],
)
def test_what_cannot_be_is_one_line(
    models: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in NO_SERVER.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main.main(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("rtsep: ") and words in line
    assert left.value.code == code and snapshot(tmp_path) == {}
