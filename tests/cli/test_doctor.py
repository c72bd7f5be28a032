"""`rtsep doctor`: every finding has a remedy, no check can stop the page, the exit code tells scripts."""

from __future__ import annotations

import builtins
import json
import socket
import sys
from collections.abc import Iterable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from rtsep.cli.live import live
from rtsep.engine import checkup
from rtsep.engine.checkup import Finding
from rtsep.io import devices
from rtsep.osc.server import OscServer
from rtsep.page.server import PageServer
from rtsep.rig.config import Osc, Page
from rtsep.spec import DeviceError
from tests.cli.command import rtsep
from tests.models import build_tiny_model


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A folder of models that a test may damage."""
    build_tiny_model(tmp_path / "models", name="tiny")
    return str(tmp_path / "models")


def levels(findings: Iterable[Finding]) -> list[str]:
    found = list(findings)
    for finding in found:
        assert bool(finding.remedy) == (finding.level != "ok"), finding
        assert finding.found and "\n" not in finding.found + finding.remedy
    return [finding.level for finding in found]


def device(inputs: int, outputs: int) -> devices.Device:
    return devices.Device(0, "Box", "JACK", inputs, outputs, 44100, bool(inputs), bool(outputs))


@pytest.mark.realtime
def test_the_page_and_the_object_say_the_same(tiny: str) -> None:
    page = rtsep("doctor", "-m", "tiny", "--seconds", "0.5", RTSEP_MODELS=tiny)
    told = rtsep("doctor", "-m", "tiny", "--seconds", "0.5", "--json", RTSEP_MODELS=tiny)
    assert page.returncode in (0, 9)
    assert ("Not ready" in page.stdout) == (page.returncode == 9)
    assert "what to do" in page.stdout and "hop time" in page.stdout
    found = json.loads(told.stdout)
    assert told.returncode == (9 if found["verdict"] == "failure" else 0)
    assert {"audio", "processor", "compute", "ports", "models", "hop time"} <= {
        finding["area"] for finding in found["findings"]
    }
    for finding in found["findings"]:
        assert bool(finding["remedy"]) == (finding["level"] != "ok")
    timed = next(finding for finding in found["findings"] if finding["area"] == "hop time")
    assert "tiny: p50" in timed["found"]


def test_a_model_that_is_missing_or_damaged_is_a_failure(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTSEP_MODELS", tiny)
    assert "failure" not in levels(checkup.models("tiny"))
    (Path(tiny) / "tiny" / "model.onnx").write_bytes(b"cut short")
    assert "failure" in levels(checkup.models("tiny"))
    assert levels(checkup.models("live")).count("failure") == 0
    assert levels(checkup.hop_times("tiny", 128, 0.5)) == ["failure"]
    assert "failure" in levels(checkup.models("no-such-model"))
    (Path(tiny) / "tiny" / "manifest.json").write_text("{")
    assert any("manifest" in finding.found for finding in checkup.models("live"))


def test_audio_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in (
        ([device(2, 2)], ["ok", "ok", "ok"]),
        ([device(0, 2)], ["failure", "ok", "ok"]),
        ([], ["failure", "failure"]),
    ):
        monkeypatch.setattr(devices, "list_devices", lambda found=found: found)
        assert levels(checkup.audio_devices()) == expected

    def gone() -> None:
        raise DeviceError("the PortAudio library is missing")

    monkeypatch.setattr(devices, "list_devices", gone)
    assert levels(checkup.audio_devices()) == ["failure"]


def test_a_port_that_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        assert levels(checkup.ports([("OSC", number, socket.SOCK_DGRAM)])) == ["warning"]
    assert levels(checkup.ports([("OSC", number, socket.SOCK_DGRAM)])) == ["ok"]


def test_the_ports_are_those_that_are_listened_on() -> None:
    known = {(number, kind) for _, number, kind in checkup.PORTS}
    assert known == {(Osc().port, socket.SOCK_DGRAM), (Page().port, socket.SOCK_STREAM)}
    of_servers = {signature(server).parameters["port"].default for server in (OscServer, PageServer)}
    of_options = {signature(live).parameters[name].default for name in ("osc_port", "ui_port")}
    assert of_servers == of_options == {number for number, _ in known}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_every_system_has_its_page(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    if platform == "win32":
        # What Python lacks there.
        true = builtins.__import__

        def without(name: str, *rest: Any, **more: Any) -> Any:
            if name == "resource":
                raise ImportError(name)
            return true(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)
        for missing in ("getloadavg", "geteuid", "getuid"):
            monkeypatch.delattr(checkup.os, missing)
    for check in (checkup.audio_servers, checkup.limits, checkup.processor, checkup.midi, checkup.extras):
        assert levels(check())


def test_limits_and_governors(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(checkup, "_is_root", lambda: False)
    for most, expected in ((0, "warning"), (95, "ok"), (resource.RLIM_INFINITY, "ok")):
        limit = {resource.RLIMIT_RTPRIO: most, resource.RLIMIT_MEMLOCK: resource.RLIM_INFINITY}
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit[which],) * 2)
        assert levels(checkup.limits()) == [expected, "ok"]


def test_a_check_that_breaks_is_a_finding_among_others() -> None:
    def ill() -> Iterable[Finding]:
        yield Finding("a", "ok", "well")
        raise OSError("the disk\nis gone")

    findings = checkup.look([("a", ill), ("b", lambda: [Finding("b", "ok", "well")])])
    assert [finding.area for finding in findings] == ["a", "a", "b"]
    assert levels(findings) == ["ok", "warning", "ok"]
    assert findings[1].found == "could not be looked at: OSError: the disk is gone"
    assert checkup.worst(findings) == "warning"
    assert checkup.worst([*findings, Finding("c", "failure", "bad", "mend it")]) == "failure"
    assert checkup.worst([]) == "ok"
