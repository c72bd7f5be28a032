"""`rtsep devices`: what there is, what it is called, and what to do when there is nothing."""

from __future__ import annotations

import json

import pytest

from rtsep.cli import devices
from rtsep.io import devices as io_devices
from rtsep.io.devices import Device
from tests.cli.command import rtsep
from tests.jack_server import JackServer

FOUND = [
    Device(0, "HDA Intel: HDMI 0", "ALSA", 0, 8, 44100, False, False),
    Device(1, "Scarlett 2i2 USB: Audio (hw:1,0)", "ALSA", 2, 2, 44100, True, False),
    Device(11, "system", "JACK Audio Connection Kit", 2, 18, 192000, False, True),
    Device(12, "loop", "ALSA", 1, 1, 8000, False, False),
]


def test_devices_stand_under_their_hosts_in_columns() -> None:
    assert devices.listing(FOUND).splitlines() == [
        "  no.  name                              in  out       rate",
        "ALSA",
        "    0  HDA Intel: HDMI 0                  -    8   44100 Hz",
        "*   1  Scarlett 2i2 USB: Audio (hw:1,0)   2    2   44100 Hz  default input",
        "   12  loop                               1    1    8000 Hz",
        "JACK Audio Connection Kit",
        "*  11  system                             2   18  192000 Hz  default output",
    ]


def test_one_default_may_be_both() -> None:
    both = Device(0, "system", "JACK Audio Connection Kit", 2, 2, 48000, True, True)
    assert devices.listing([both]).endswith("default input and output")


@pytest.mark.parametrize("as_json", [False, True])
def test_none_is_no_failure_and_says_what_to_do(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(io_devices, "list_devices", list)
    devices.devices(as_json)
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out) == []
    else:
        assert len(out.splitlines()) == 1
        for remedy in ("audio interface", "JACK", "PipeWire", "--null"):
            assert remedy in out


@pytest.mark.realtime
def test_a_server_is_listed_for_people_and_for_programs() -> None:
    with JackServer("devices", rate=48000, outputs=4):
        plain, data = rtsep("devices"), rtsep("devices", "--json")
    assert (plain.returncode, data.returncode, plain.stderr, data.stderr) == (0, 0, "", "")
    (system,) = [entry for entry in json.loads(data.stdout) if entry["name"] == "system"]
    assert system["host"].startswith("JACK")
    assert (system["in_channels"], system["out_channels"], system["sample_rate"]) == (2, 4, 48000)
    (row,) = [line for line in plain.stdout.splitlines() if " system " in line]
    assert f"{system['index']}  system" in row and row.split()[-2] != "-" and "48000 Hz" in row


def test_without_the_audio_library_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtsep.spec import DeviceError

    def missing() -> list[Device]:
        raise DeviceError("the PortAudio library is missing")

    monkeypatch.setattr(io_devices, "list_devices", missing)
    with pytest.raises(DeviceError):
        devices.devices(False)
    assert DeviceError.exit_code == 6
