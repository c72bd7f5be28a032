"""Which audio devices there are, and PortAudio's own starting and stopping."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtsep.io.patience import TooLateError, within
from rtsep.io.quiet import quiet
from rtsep.spec import DeviceError

_SEE = "see `rtsep devices`"

_PATIENCE_SECONDS = 10.0
"""PortAudio asks every host for its devices when it starts; a Bluetooth headset may take some seconds."""

_JACK_METADATA = Path(f"/dev/shm/jack_db-{os.getuid() if hasattr(os, 'getuid') else 0}")
"""JACK 2's database of its ports' properties, of all servers of a user."""

_lock = threading.Lock()
_users = 0


@dataclass(frozen=True, slots=True)
class Device:
    """An audio device as PortAudio lists it.

    Attributes:
        index: by which it can be chosen, until devices come or go.
        name: of the device.
        host: the system's audio interface by which it is reached, such as "ALSA".
        in_channels, out_channels: at most; 0 if it has no such side.
        sample_rate: Hz, its default.
        default_input, default_output: it is what the host uses when none is named.
    """

    index: int
    name: str
    host: str
    in_channels: int
    out_channels: int
    sample_rate: int
    default_input: bool
    default_output: bool


@functools.cache
def load_portaudio() -> Any:
    """sounddevice, which loads the PortAudio library. Raises DeviceError without one."""
    try:
        with quiet():
            return _answered(_import_sounddevice)
    except (OSError, ImportError) as failure:
        raise DeviceError(
            "the PortAudio library is missing (on Debian: apt-get install libportaudio2)"
        ) from failure
    except DeviceError:
        raise
    except Exception as failure:  # PortAudioError, which cannot be named before the import
        raise DeviceError(f"the audio system does not start: {reason(failure)}") from failure


def _import_sounddevice() -> Any:
    ours = "sounddevice" not in sys.modules
    import sounddevice

    # Importing it starts PortAudio, and only stopping it makes it look again. Where the program
    # itself uses sounddevice, its PortAudio is left running.
    if ours:
        sounddevice._terminate()
    return sounddevice


def _answered(action: Callable[[], Any]) -> Any:
    """What `action` returns, which starts PortAudio. Raises DeviceError when that does not come back.

    Only Linux has a sound server that can be stuck; on Windows, COM wants what it began on one thread to
    end on the same.
    """
    if sys.platform != "linux":
        return action()
    try:
        return within(_PATIENCE_SECONDS, action, "starting the audio system")
    except TooLateError:
        silence = f"the audio system has not answered for {_PATIENCE_SECONDS:g} s"
        if _JACK_METADATA.exists():
            silence += (
                f"; a JACK program that was killed may have left JACK's database locked: end all JACK "
                f"programs and remove {_JACK_METADATA}"
            )
        raise DeviceError(silence) from None


def start_portaudio() -> Any:
    """Start PortAudio unless it runs already; returns sounddevice. Raises DeviceError."""
    global _users
    sounddevice = load_portaudio()
    with _lock:
        if _users == 0:
            try:
                with quiet():
                    _answered(sounddevice._initialize)
            except sounddevice.PortAudioError as failure:
                raise DeviceError(f"the audio system does not start: {reason(failure)}") from failure
        _users += 1
    return sounddevice


def stop_portaudio() -> None:
    """Undo one `start_portaudio`."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            with quiet():
                load_portaudio()._terminate()


@contextlib.contextmanager
def running_portaudio() -> Iterator[Any]:
    """sounddevice with PortAudio running, for as long as the block lasts. Raises DeviceError.

    PortAudio looks for devices and for a JACK server when it starts, never again; and it takes the
    process down with it if it is stopped after that server has gone. So it runs while it is needed
    and no longer. Blocks nest; the outermost looks.
    """
    library = start_portaudio()
    try:
        yield library
    finally:
        stop_portaudio()


def list_devices() -> list[Device]:
    """All devices there are now; an empty list if there are none. Raises DeviceError."""
    with running_portaudio() as sounddevice:
        return _list(sounddevice)


def _list(sounddevice: Any) -> list[Device]:
    try:
        hosts = sounddevice.query_hostapis()
        found = sounddevice.query_devices()
    except sounddevice.PortAudioError as failure:
        raise DeviceError(f"the audio system does not answer: {reason(failure)}") from failure
    default_in, default_out = sounddevice.default.device
    if default_in < 0:
        default_in = sounddevice._lib.Pa_GetDefaultInputDevice()
    if default_out < 0:
        default_out = sounddevice._lib.Pa_GetDefaultOutputDevice()
    return [
        Device(
            index=entry["index"],
            name=entry["name"],
            host=hosts[entry["hostapi"]]["name"],
            in_channels=entry["max_input_channels"],
            out_channels=entry["max_output_channels"],
            sample_rate=round(entry["default_samplerate"]),
            default_input=entry["index"] == default_in,
            default_output=entry["index"] == default_out,
        )
        for entry in found
    ]


def find_device(devices: list[Device], wanted: str | int | None, side: str) -> Device:
    """The device that `wanted` names, for `side` "input" or "output".

    wanted: an index, also as text; a name or part of one, in any case, also as "name, host"; None for
    the default. Raises DeviceError if there is none, or more than one.
    """
    able = [d for d in devices if (d.in_channels if side == "input" else d.out_channels) > 0]
    if not able:
        raise DeviceError(
            f"there is no audio {side} device on this machine: plug one in, or start JACK or PipeWire; {_SEE}"
        )
    if wanted is None:
        for device in able:
            if device.default_input if side == "input" else device.default_output:
                return device
        return able[0]
    if isinstance(wanted, int) or wanted.strip().isdigit():
        for device in able:
            if device.index == int(wanted):
                return device
        raise DeviceError(f"there is no {side} device {wanted}; {_SEE}")
    text = ", ".join(part.strip() for part in wanted.casefold().split(","))
    names = [(d, d.name.casefold(), f"{d.name}, {d.host}".casefold()) for d in able]
    matches = [d for d, name, full in names if text in (name, full)]
    matches = matches or [d for d, _, full in names if text in full]
    if not matches:
        there = ", ".join(f"{d.index} {d.name!r}" for d in able[:6])
        raise DeviceError(f"no {side} device matches {wanted!r} (there is {there}); {_SEE}")
    if len(matches) > 1:
        choices = ", ".join(f"{d.index} {d.name!r}" for d in matches)
        raise DeviceError(f"{wanted!r} could be any of {choices}; give the number")
    return matches[0]


def reason(failure: BaseException) -> str:
    """What `failure` says, in one line."""
    text = str(failure.args[0] if failure.args else failure)
    return " ".join(text.split()) or type(failure).__name__
