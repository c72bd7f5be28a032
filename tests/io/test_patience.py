"""Audio systems that do not come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtsep.io import devices
from rtsep.io.patience import TooLateError, within
from rtsep.io.portaudio import _bounded
from rtsep.spec import DeviceError


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """What a call waits for; set at the end, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


def test_what_comes_back_in_time_is_returned() -> None:
    assert within(10, lambda: 3, "counting") == 3


def test_nothing_is_an_answer_too() -> None:
    assert within(10, lambda: None, "doing") is None  # type: ignore[func-returns-value]


def test_what_it_raises_is_raised_to_the_caller() -> None:
    def fail() -> None:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        within(10, fail, "failing")


def test_what_does_not_come_back_is_left(stuck: threading.Event) -> None:
    with pytest.raises(TooLateError, match="waiting has not come back after 0.05 s"):
        within(0.05, stuck.wait, "waiting")


def test_a_device_that_refuses_to_close_has_come_back() -> None:
    def refuse() -> None:
        raise devices.load_portaudio().PortAudioError("Internal PortAudio error")

    assert _bounded(refuse)


def test_a_device_that_never_closes_is_said(stuck: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtsep.io.portaudio._PATIENCE_SECONDS", 0.05)
    assert not _bounded(stuck.wait)


@pytest.fixture
def silent_system(stuck: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Importing sounddevice, which starts PortAudio, hangs."""
    monkeypatch.setattr(devices, "_import_sounddevice", stuck.wait)
    monkeypatch.setattr(devices, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("sys.platform", "linux")
    devices.load_portaudio.cache_clear()
    yield
    devices.load_portaudio.cache_clear()


@pytest.mark.usefixtures("silent_system")
def test_a_stuck_jack_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_JACK_METADATA", tmp_path)
    with pytest.raises(DeviceError) as failure:
        devices.list_devices()
    assert str(failure.value) == (
        "the audio system has not answered for 0.05 s; a JACK program that was killed may have left JACK's "
        f"database locked: end all JACK programs and remove {tmp_path}"
    )


@pytest.mark.usefixtures("silent_system")
def test_where_jack_never_ran_it_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_JACK_METADATA", tmp_path / "none")
    with pytest.raises(DeviceError, match=r"^the audio system has not answered for 0.05 s$"):
        devices.list_devices()
