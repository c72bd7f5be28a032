"""`rtsep live` with a rig, the control page and OSC: as a phone and a controller meet it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder
from websockets.sync.client import ClientConnection, connect

from rtsep.cli import main
from tests.cli.command import PROGRAM, environment

pytestmark = [pytest.mark.realtime, pytest.mark.usefixtures("models")]

RIG = """\
format = 1
[audio]
null = true
[engine]
model = "live"
[stems.drums]
gain = -6.0
mute = true
[snapshots]
file = "set.toml"
[page]
port = 0
token_file = "club.token"
[osc]
port = 0
"""


def await_text(file: Path, pattern: str) -> re.Match[str]:
    deadline = time.monotonic() + 60
    while (found := re.search(pattern, file.read_text())) is None:
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.05)
    return found


def until(page: ClientConnection, **wanted: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message: dict[str, Any] = json.loads(page.recv(timeout=10))
        if wanted.items() <= message.items():
            return message
    raise AssertionError(wanted)


def test_a_set_with_page_and_osc(tmp_path: Path) -> None:
    rig, out, err = tmp_path / "club.toml", tmp_path / "out", tmp_path / "err"
    rig.write_text(RIG)
    with out.open("w") as stdout, err.open("w") as stderr:
        running = subprocess.Popen(
            # What is given here is stronger than the rig.
            [*PROGRAM, "live", "--rig", str(rig), "--gain", "vocals=-2"],
            env=environment(PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        port, token = await_text(out, r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)").groups()
        osc = int(await_text(out, r"UDP port (\d+)")[1])
        assert (tmp_path / "club.token").read_text().strip() == token
        here = f"127.0.0.1:{port}"
        with connect(f"ws://{here}/live?token={token}", origin=f"http://{here}", compression=None) as page:
            hello = until(page, **{"is": "hello"})
            assert hello["values"]["stem/vocals/gain"][0] == -2.0
            # --gain replaces the rig's gains; its mutes stay.
            assert hello["values"]["stem/drums/mute"][0] is True
            assert hello["latency"]["total"] > 0
            until(page, **{"is": "meters", "state": "running"})
            message = OscMessageBuilder("/rtsep/stem/bass/solo")
            message.add_arg(1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as controller:
                controller.sendto(message.build().dgram, ("127.0.0.1", osc))
            while "stem/bass/solo" not in until(page, **{"is": "now"})["values"]:
                pass
            page.send('{"do":"engine","model":"other"}')
            while True:
                hello = until(page, **{"is": "hello"})
                if hello["engine"]["model"] == "other" and not hello["engine"]["changing"]:
                    break
            assert hello["values"]["stem/bass/solo"][0] is True
            until(page, **{"is": "meters", "state": "running"})
        await_text(out, "plays again: other")
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
        assert err.read_text() == ""
    finally:
        running.kill()
        running.wait()


def test_a_rig_that_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = tmp_path / "club.toml"
    rig.write_text(RIG.replace("mute = true", "mute = 1"))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main.main(["live", "--rig", str(rig)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.code == 2
    assert capsys.readouterr().err == f"rtsep: {rig}, line 8: stems.drums.mute: must be true or false\n"
