"""`rtsep live` as a musician runs it: on JACK servers, on a clock, in a terminal, and when it goes wrong."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from numpy.typing import NDArray
from rich.console import Console

from rtsep.cli import main, meters
from rtsep.cli.meters import LineDisplay
from rtsep.control.desk import Desk
from rtsep.engine import process
from rtsep.engine.board import Board
from rtsep.io.growing import HEADER_BYTES
from tests.cli.command import PROGRAM, environment, one_line, rtsep_here, snapshot
from tests.io.test_growing import named
from tests.jack_server import JackServer
from tests.waiting import until

pytestmark = pytest.mark.realtime

STEMS = ("vocals", "drums", "bass", "other")
NO_SERVER = {"JACK_DEFAULT_SERVER": "rtsep-there-is-none", "JACK_NO_START_SERVER": "1"}


@pytest.fixture(scope="module")
def server(models: str) -> Iterator[JackServer]:
    with JackServer("live", rate=44100, period=128) as running:
        yield running


class Live:
    """`rtsep live ARGUMENTS`, running; killed at the end if it still does.

    What it prints goes to files, so that it can be read while it runs and never waits for who reads it.
    """

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*PROGRAM, "live", *map(str, arguments)],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        """Printed so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """Complained of so far."""
        return self._err.read_text()

    @property
    def engine(self) -> psutil.Process:
        """The process in which the engine runs."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def await_ports(self, server: JackServer) -> list[str]:
        """Wait until it plays on a server; the names of its ports."""
        # It tries the device first, says how late it will be, and only then opens it for good.
        until(lambda: "total" in self.out)
        until(lambda: "PortAudio:in_1" in server.run("jack_lsp"))
        return [port for port in server.run("jack_lsp").splitlines() if port.startswith("PortAudio:")]

    def finish(self, send: signal.Signals | None = None) -> int:
        """Wait for its end; returns its exit code."""
        if send is not None:
            self.process.send_signal(send)
        return self.process.wait(60)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def clicks(server: JackServer) -> Iterator[str]:
    """A metronome on the server, as a source of sound; its port."""
    if shutil.which("jack_metro") is None:
        pytest.skip("jack_metro is not installed")
    metronome = ["jack_metro", "-b", "600", "-f", "700", "-D", "80", "-n", "clicks"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(metronome, stdout=quiet, stderr=quiet) as running:
        try:
            until(lambda: "clicks:" in server.run("jack_lsp"))
            yield next(port for port in server.run("jack_lsp").splitlines() if port.startswith("clicks:"))
        finally:
            running.terminate()


def until_recorded(folder: Path, more: int = 4410) -> None:
    """Wait for so many more frames of a recording: a tenth of a second."""
    part = folder / "mix.part.wav"

    def frames() -> int:
        return soundfile.info(part).frames if part.exists() and part.stat().st_size > HEADER_BYTES else 0

    before = frames()
    until(lambda: frames() > before + more)


def recorded(folder: Path) -> dict[str, NDArray[np.float32]]:
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{n}.wav" for n in (*STEMS, "mix"))
    return {file.stem: soundfile.read(file, dtype="float32")[0] for file in folder.iterdir()}


def test_it_plays_a_source_on_a_server_and_records_it(server: JackServer, tmp_path: Path) -> None:
    options = ("--gain", "drums=-6", "--mute", "bass", "--record", tmp_path / "set")
    with (
        clicks(server) as source,
        Live(tmp_path, "--input", "system", "--output", "system", *options) as live,
    ):
        live.await_ports(server)
        server.run("jack_connect", source, "PortAudio:in_0")
        server.run("jack_connect", source, "PortAudio:in_1")
        until_recorded(tmp_path / "set", more=66_150)
        assert (live.finish(signal.SIGINT), live.err) == (0, "")
    # How late it is comes before everything; then how it went.
    assert live.out.startswith("Latency at 44100 Hz")
    places = [
        live.out.index(w) for w in ("algorithmic", "pipeline", "total", "recorded", "played", "hop times")
    ]
    assert places == sorted(places)
    tracks = recorded(tmp_path / "set")
    assert len({track.shape for track in tracks.values()}) == 1
    assert len(tracks["mix"]) > 44100
    # What was heard is the stems at their gains, and there was something to hear.
    gains = {"vocals": 1.0, "drums": 10 ** (-6 / 20), "bass": 0.0, "other": 1.0}
    mix = sum(gains[stem] * tracks[stem] for stem in STEMS)
    assert np.abs(tracks["mix"]).max() > 0.05
    assert np.abs(mix - tracks["mix"]).max() < 1e-5
    assert np.abs(tracks["bass"]).max() > 0


def test_at_48_khz_stems_go_to_channels_of_their_own(models: str, tmp_path: Path) -> None:
    if shutil.which("jack_rec") is None:
        pytest.skip("jack_rec is not installed")
    # Silence where the machine is too slow: it is the same on all channels.
    options = ("--solo", "vocals", "--out-map", "vocals=3,4", "--out-map", "drums=5", "--fallback", "silence")
    with (
        JackServer("live-48", rate=48000, period=256, outputs=6) as server,
        clicks(server) as source,
        Live(tmp_path, "--output", "system", *options) as live,
    ):
        ports = [port for port in live.await_ports(server) if ":out_" in port]
        # As many channels as are needed, no more.
        assert ports == [f"PortAudio:out_{n}" for n in range(5)]
        server.run("jack_connect", source, "PortAudio:in_0")
        server.run("jack_connect", source, "PortAudio:in_1")
        heard = tmp_path / "heard.wav"
        server.run("jack_rec", "-f", str(heard), "-d", "1", "-b", "32", *ports, timeout=60)
        assert (live.finish(signal.SIGINT), live.err) == (0, "")
    assert live.out.startswith("Latency at 48000 Hz") and "48000 Hz to 44100 Hz and back" in live.out
    sound = soundfile.read(heard, dtype="float32")[0]
    # With the vocals alone, the mix is what their own pair has.
    assert np.abs(sound[:, 2:4]).max() > 0.01
    np.testing.assert_array_equal(sound[:, :2], sound[:, 2:4])
    assert np.abs(sound[:, 4]).max() < 1e-6


def test_a_server_that_dies_is_one_line_and_the_recording_is_kept(models: str, tmp_path: Path) -> None:
    with JackServer("live-dies") as server:
        with Live(tmp_path, "--output", "system", "--record", tmp_path / "set") as live:
            until_recorded(tmp_path / "set")
            server.stop()
            assert live.finish() == 6
    assert len(live.err.splitlines()) == 1 and live.err.startswith("rtsep: the audio device 'system' has ")
    assert "recorded" in live.out and "hop times" in live.out
    assert len(recorded(tmp_path / "set")["mix"]) > 4410


def test_a_server_that_goes_over_to_longer_blocks_is_followed(models: str, tmp_path: Path) -> None:
    with JackServer("live-grows", period=64) as server:
        with Live(tmp_path, "--output", "system", "--mute", "vocals", "--allowance", "128") as live:
            live.await_ports(server)
            server.run("jack_bufsize", "512")
            until(lambda: "plays again" in live.out, "the stream opened anew")
            until(lambda: "PortAudio:in_1" in server.run("jack_lsp"))
            assert live.finish(signal.SIGINT) == 0
    assert live.err == (
        "rtsep: warning: the audio server went from blocks of 64 to 512: the stream is opened anew\n"
    )
    assert "blocks of 64 frames, which the audio server chooses, not of 128" in live.out
    assert "frames at once" not in live.out, "it is all right again"


def test_while_it_records_longer_blocks_are_told_and_no_more(models: str, tmp_path: Path) -> None:
    with JackServer("live-grows", period=64) as server:
        with Live(tmp_path, "--output", "system", "--record", tmp_path / "set") as live:
            until_recorded(tmp_path / "set")
            server.run("jack_bufsize", "512")
            until(lambda: "blocks of 64 to 512" in live.err)
            until_recorded(tmp_path / "set")
            assert live.finish(signal.SIGINT) == 0
    assert len(live.err.splitlines()) == 1 and "set it back (what plays is being recorded" in live.err
    assert "hands over 512 frames at once, not the 64" in live.out
    assert len(recorded(tmp_path / "set")["mix"]) > 8820


def test_shorter_blocks_are_told_and_change_nothing(models: str, tmp_path: Path) -> None:
    with JackServer("live-shrinks", period=128) as server:
        with Live(tmp_path, "--output", "system") as live:
            live.await_ports(server)
            server.run("jack_bufsize", "64")
            until(lambda: live.err.endswith("\n"), "the shorter blocks")
            assert live.finish(signal.SIGINT) == 0
    assert live.err == (
        "rtsep: warning: the audio server went from blocks of 128 to 64: the stream stays as late as it was;"
        " start it again for less latency\n"
    )
    assert "plays again" not in live.out and "frames at once" not in live.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--output", "no such device"], 6, "device"),
        (["--model", "no-such-model"], 4, "no model is called 'no-such-model'; there are: "),
        (["--gain", "vocals=loud"], 2, "'loud' is not a number of dB"),
        (["--null", "--gain", "vocals=13"], 2, "13.0 dB is not between -inf and +12"),
        (["--mute", "choir"], 2, "--mute choir: this model has vocals, drums, bass, other"),
        (["--solo", "choir"], 2, "--solo choir"),
        (["--out-map", "vocals=2,3"], 2, "vocals cannot go to channel 2: the mix goes there"),
        (["--null", "--input", "system"], 2, "without a device"),
        (["--null", "--out-map", "vocals=65,66"], 2, "vocals cannot go to channel 65: 64 are the most"),
        (["--null", "--block", "99999999"], 2, "a block of 99999999 frames is not possible: 1 to 32768 are"),
        (["--null", "--allowance", "64"], 2, "allowance of 64 samples is shorter than the block of 128"),
        (["--null", "--backend", "abacus"], 5, "unknown backend 'abacus'"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    models: str, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = rtsep_here("live", *arguments, "--record", tmp_path / "a" / "set", **NO_SERVER)
    assert message in one_line(result)
    assert result.returncode == code
    assert snapshot(tmp_path) == {}


def test_more_channels_than_the_device_has_are_refused(server: JackServer, tmp_path: Path) -> None:
    result = rtsep_here("live", "--out-map", "vocals=3,4", "--record", tmp_path / "set")
    assert "'system' has 2 output channels, not 4" in one_line(result)
    assert result.returncode == 6 and snapshot(tmp_path) == {}


def test_an_earlier_recording_is_not_replaced(models: str, tmp_path: Path) -> None:
    (tmp_path / "drums.wav").write_text("an evening")
    before = snapshot(tmp_path)
    result = rtsep_here("live", "--null", "--record", tmp_path)
    assert "drums.wav: exists already" in one_line(result)
    assert result.returncode == 3 and snapshot(tmp_path) == before


def test_in_a_terminal_there_are_meters_and_ctrl_c_ends_it(models: str) -> None:
    """Through a terminal of its own, so that Ctrl-C reaches both processes as it does on a stage."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(environment(TERM="xterm-256color"))
        os.execv(PROGRAM[0], [*PROGRAM, "live", "--null", "--mute", "vocals"])
    text = ""
    pressed = False
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                text += os.read(terminal, 65536).decode("utf-8", "replace")
            except OSError:
                break  # both ends of the terminal are closed: it has ended
            if not pressed and "underruns" in text:
                os.write(terminal, b"\x03")
                pressed = True
    finally:
        with contextlib.suppress(ProcessLookupError):
            if not pressed:
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, text
    meters, _, end = text.rpartition("Ctrl-C stops")
    assert re.search(r"vocals.*muted", meters) and "underruns" in meters
    assert "hop times" in end and "Traceback" not in text


def test_a_snapshot_is_where_it_begins_and_options_are_stronger(models: str, tmp_path: Path) -> None:
    file = tmp_path / "set.toml"
    desk = Desk(Board(STEMS), snapshots=file)
    desk.set_gain("drums", -6.0)
    desk.set_mute("bass")
    desk.capture("verse")
    seen: dict[str, str] = {}

    def keep(console: object, notes: dict[str, str], title: str) -> LineDisplay:
        seen.update(notes)
        return LineDisplay(Console())

    options = ["--snapshot", str(file), "--gain", "drums=3", "--pan", "other=-0.5", "--fade", "50"]
    options += ["--master", "-3", "--dry-wet", "0.9", "--no-limiter"]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meters, "open_display", keep)
        try:
            with pytest.raises(SystemExit) as left:
                main.main(["live", "--null", "--seconds", "0.3", *options])
        finally:
            signal.signal(signal.SIGTERM, before)
    assert not left.value.code
    assert seen == {"vocals": "", "drums": "+3 dB", "bass": "muted", "other": "pan -0.5"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--snapshot", "absent.toml"), "no such file"),
        (("--snapshot", "two.toml"), "there are: a, b"),
        (("--snapshot", "two.toml#c"), "no snapshot 'c'"),
        (("--snapshot", "bad.toml"), "no TOML"),
        (("--pan", "vocals=2"), "between -1"),
        (("--master", "20"), "not between -inf and +12"),
        (("--dry-wet", "1.5"), "between 0 (dry) and 1 (wet)"),
        (("--fade", "1e9"), "fade"),
        (("--record-format", "multichannel"), "--record"),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    models: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    words: str,
) -> None:
    (tmp_path / "two.toml").write_text("format = 1\n[snapshots.a]\n[snapshots.b]\n")
    (tmp_path / "bad.toml").write_text("so it goes")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main.main(["live", "--null", "--seconds", "0.2", *options])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.code == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("rtsep: ") and words in line


def test_a_request_to_terminate_ends_it_too(models: str, tmp_path: Path) -> None:
    with Live(tmp_path, "--null", "--record", tmp_path / "set") as live:
        until_recorded(tmp_path / "set")
        engine = live.engine
        assert live.finish(signal.SIGTERM) == 143
    assert len(recorded(tmp_path / "set")["mix"]) > 4410
    until(lambda: not engine.is_running())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is seen in /proc")
def test_with_onnx_neither_process_ever_loads_torch(models: str, tmp_path: Path) -> None:
    def loaded(pid: int, library: str) -> bool:
        return library in Path(f"/proc/{pid}/maps").read_text()

    seen = {}
    for backend in ("onnx", "torch"):
        with Live(tmp_path, "--null", "--backend", backend) as live:
            # The engine's process has loaded all it ever loads when the latency is printed.
            until(lambda: "total" in live.out)
            seen[backend] = {
                library: (loaded(live.process.pid, library), loaded(live.engine.pid, library))
                for library in ("libtorch", "onnxruntime")
            }
    assert seen["onnx"] == {"libtorch": (False, False), "onnxruntime": (False, True)}
    # The test can fail: where torch runs, it is seen.
    assert seen["torch"]["libtorch"] == (False, True)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of other processes are Linux's")
def test_a_full_disk_ends_the_recording_and_not_the_sound(models: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with Live(tmp_path, "--null", "--record", folder) as live:
        until_recorded(folder)
        # To the process whose limit it is, a disk with no room for longer files.
        size = (folder / "mix.part.wav").stat().st_size
        resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (size + 1000,) * 2)
        until(lambda: "recording ended" in live.err)
        with pytest.raises(subprocess.TimeoutExpired):
            live.process.wait(0.5)
        assert live.finish(signal.SIGINT) == 3
    assert len(live.err.splitlines()) == 1
    assert "File too large" in live.err and "*.part.wav" in live.err
    assert "played" in live.out
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{n}.part.wav" for n in (*STEMS, "mix"))
    lengths = {soundfile.info(file).frames for file in folder.iterdir()}
    assert len(lengths) == 1 and lengths.pop() > 4410


def test_frames_that_the_recorder_missed_are_told(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A ring far shorter than the recorder's pause between two looks at it.
    monkeypatch.setattr(process, "RECORD_SECONDS", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main.main(["live", "--null", "--seconds", "1", "--record", str(tmp_path)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"\d+ frames \(\d\.\d\d s\) are missing from the recording", line)
    assert len({track.shape for track in recorded(tmp_path).values()}) == 1


def test_a_set_is_recorded_as_one_file_for_a_daw(
    models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    options = ["--record", str(tmp_path / "set"), "--record-format", "multichannel"]
    try:
        with pytest.raises(SystemExit) as left:
            main.main(["live", "--null", "--seconds", "0.5", *options])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not left.value.code
    (file,) = (tmp_path / "set").iterdir()
    assert file.name == "multichannel.wav" and "multichannel.wav" in capsys.readouterr().out
    info = soundfile.info(file)
    assert info.channels == 10 and info.frames > 4410
    assert named(file)[0] == "vocals L" and named(file)[-1] == "mix R"


# -- effects -------------------------------------------------------------------------------------------


def test_effects_are_heard_of_and_counted_in(models: str, tmp_path: Path) -> None:
    chain = tmp_path / "chain.toml"
    chain.write_text("[[plugin]]\ntype = 'BrickwallLimiter'\n")
    done = rtsep_here(
        "live", "--null", "--seconds", "0.3", "--fx", f"vocals={chain}", "--fx", f"master={chain}"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"effects\W+440\W", done.stdout), done.stdout


def test_a_chain_that_is_wrong_is_told_before_anything_starts(models: str, tmp_path: Path) -> None:
    chain = tmp_path / "chain.toml"
    chain.write_text("[[plugin]]\ntype = 'Reverb'\nparameters = {room_size = 2}\n")
    failed = rtsep_here("live", "--null", "--fx", f"vocals={chain}")
    assert failed.returncode == 2 and f"{chain}: plugin 1: Reverb: room_size = 2 is not" in one_line(failed)
    assert "--fx piano: this model has vocals, drums, bass, other, bus, master" in one_line(
        rtsep_here("live", "--fx", "piano=x.toml")
    )
