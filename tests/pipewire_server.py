"""A PipeWire server without a sound card, of its own, for one test; its clients see it as JACK."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests import audio_server

# The sink is timed by the driver, and what is played into it comes out of its monitor ports. A session
# manager would give it ports; without one it has to do so itself.
_CONFIGURATION = """
context.properties = {{
    core.daemon = true
    core.name = pipewire-0
    default.clock.rate = {rate}
    default.clock.allowed-rates = [ {rate} ]
    default.clock.quantum = {period}
    default.clock.min-quantum = 32
}}
context.spa-libs = {{
    audio.convert.* = audioconvert/libspa-audioconvert
    support.* = support/libspa-support
}}
context.modules = [
    {{ name = libpipewire-module-protocol-native }}
    {{ name = libpipewire-module-metadata }}
    {{ name = libpipewire-module-spa-node-factory }}
    {{ name = libpipewire-module-client-node }}
    {{ name = libpipewire-module-access }}
    {{ name = libpipewire-module-adapter }}
    {{ name = libpipewire-module-link-factory }}
]
context.objects = [
    {{ factory = metadata args = {{ metadata.name = default }} }}
    {{ factory = spa-node-factory
       args = {{
           factory.name = support.node.driver
           node.name = Driver
           node.group = pipewire.dummy
           priority.driver = 20000
       }}
    }}
    {{ factory = adapter
       args = {{
           factory.name = support.null-audio-sink
           node.name = card
           media.class = Audio/Sink
           audio.position = "FL,FR"
           adapter.auto-port-config = {{ mode = dsp monitor = true position = preserve }}
       }}
    }}
]
"""
_LIBRARIES = "/usr/${LIB}/pipewire-0.3/jack"
"""Where PipeWire's JACK library lies, as `pw-jack` tells the loader, which knows what LIB is."""


class PipeWireServer:
    """`pipewire` with a null sink "card" and no session manager; skips the test where it is not installed.

    While the block lasts, children of this process find it, with PipeWire's JACK library in place of JACK's.

    Args:
        rate: Hz.
        period: PipeWire's quantum, frames.
    """

    def __init__(self, rate: int = 44100, period: int = 128) -> None:
        self.rate = rate
        self.period = period
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if any(shutil.which(tool) is None for tool in ("pipewire", "pw-jack", "pw-metadata", "jack_lsp")):
            pytest.skip("PipeWire is not installed")
        with contextlib.ExitStack() as leaving:
            leaving.enter_context(audio_server.place())
            folder = leaving.enter_context(tempfile.TemporaryDirectory(prefix="rtsep-pipewire-"))
            configuration = Path(folder, "server.conf")
            configuration.write_text(_CONFIGURATION.format(rate=self.rate, period=self.period))
            patch = leaving.enter_context(pytest.MonkeyPatch.context())
            for name in ("XDG_RUNTIME_DIR", "PIPEWIRE_RUNTIME_DIR"):
                patch.setenv(name, folder)
            patch.setenv("LD_LIBRARY_PATH", _LIBRARIES)
            self._process = audio_server.begin(["pipewire", "-c", str(configuration)])
            leaving.callback(audio_server.end, self._process)
            self._await()
            self._leaving = leaving.pop_all()
        return self

    def _await(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"pipewire ended with {self._process.returncode}")
            ports = subprocess.run(
                ["jack_lsp"], capture_output=True, text=True, check=False, timeout=20
            ).stdout
            if {"card:playback_FL", "card:monitor_FR"} <= set(ports.split()):
                return
            time.sleep(0.05)
        raise RuntimeError("pipewire did not come up within 20 s")

    def run(self, *command: str, timeout: float = 10) -> str:
        """Run a tool of JACK's or PipeWire's against this server; returns what it printed."""
        return audio_server.tell(command, timeout)

    def change_period(self, frames: int) -> None:
        """Go on in blocks of another length, as when another program asks for it."""
        self.run("pw-metadata", "-n", "settings", "0", "clock.force-quantum", str(frames))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()
