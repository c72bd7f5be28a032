"""What `rtsep doctor` looks at: each thing by itself, none able to stop the others, on any system."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rtsep.engine.ports import OSC_PORT, PAGE_PORT
from rtsep.spec import RtsepError

Level = Literal["ok", "warning", "failure"]

RTPRIO_WANTED = 70
"""What audio groups are given is 95; JACK's own threads take 10 to 20 below what they are allowed."""

MEMLOCK_WANTED = 256 << 20
"""Bytes: what a JACK client and a model have in memory."""

BUSY = 0.7
"""Load average, as a share of the cores, from which on others are in the way."""

PORTS = (("OSC", OSC_PORT, socket.SOCK_DGRAM), ("control page", PAGE_PORT, socket.SOCK_STREAM))
"""What rtsep and its remote controls listen on, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: what it belongs to.
        level: "ok"; "warning": it can go wrong, or something cannot be used; "failure": not on stage.
        found: what there is, in one line.
        remedy: what to do about it; "" if nothing.
    """

    area: str
    level: Level
    found: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]


def look(checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    """All findings, in order. A check that fails itself is a finding too."""
    findings: list[Finding] = []
    for area, check in checks:
        try:
            findings += check()
        except Exception as error:
            # A page that breaks off would say nothing of the rest.
            why = f"could not be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
            findings.append(Finding(area, "warning", why, "report it, with what RTSEP_DEBUG=1 shows"))
    return findings


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level among them."""
    levels = {finding.level for finding in findings}
    return "failure" if "failure" in levels else "warning" if "warning" in levels else "ok"


# -- the checks ----------------------------------------------------------------------------------------


def audio_devices() -> Iterable[Finding]:
    """What there is to hear with and to play on."""
    from rtsep.io.devices import list_devices

    try:
        found = list_devices()
    except RtsepError as error:
        yield Finding("audio", "failure", str(error), "install PortAudio, or start the audio server")
        return
    inputs = [device for device in found if device.in_channels]
    outputs = [device for device in found if device.out_channels]
    plug_in = "plug in an audio interface, or start JACK or PipeWire; see 'rtsep devices'"
    for side, there in (("input", inputs), ("output", outputs)):
        if not there:
            yield Finding("audio", "failure", f"no {side} device", plug_in)
        else:
            chosen = [d for d in there if (d.default_input if side == "input" else d.default_output)]
            default = f", by default {chosen[0].name!r} at {chosen[0].sample_rate} Hz" if chosen else ""
            yield Finding("audio", "ok", f"{len(there)} {side} devices{default}")
    hosts = list(dict.fromkeys(device.host for device in found))
    if hosts:
        yield Finding("audio", "ok", f"reached through {', '.join(hosts)}")


def audio_servers() -> Iterable[Finding]:
    """JACK and PipeWire, where such things run."""
    if sys.platform != "linux":
        yield Finding("audio server", "ok", "the system's own; none is needed")
        return
    running = []
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if _is_socket(Path(runtime) / "pipewire-0"):
        running.append("PipeWire")
    if any(_is_jack(folder) for folder in _listed(Path("/dev/shm"))):
        running.append("JACK")
    if running:
        yield Finding("audio server", "ok", f"{' and '.join(running)} in use")
    else:
        yield Finding(
            "audio server",
            "warning",
            "neither JACK nor PipeWire runs for this user",
            "start one (docs/live-linux.md), or use an ALSA 'hw' device, for one program at a time",
        )


def limits() -> Iterable[Finding]:
    """Whether the audio thread may run in real time and keep its memory."""
    try:
        import resource
    except ImportError:  # Windows
        yield Finding("limits", "ok", "real-time threads and memory are the system's business here")
        return
    remedy = (
        "put '@audio - rtprio 95' and '@audio - memlock unlimited' into /etc/security/limits.d/audio.conf,"
        " join the group audio, log in again"
    )
    free = resource.RLIM_INFINITY
    if hasattr(resource, "RLIMIT_RTPRIO"):
        highest = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        enough = highest == free or highest >= RTPRIO_WANTED or _is_root()
        who = " (root needs no permission)" if _is_root() else ""
        found = f"real-time priority: {'any' if highest == free else highest}{who}"
        yield Finding("limits", "ok", found) if enough else Finding("limits", "warning", found, remedy)
    if hasattr(resource, "RLIMIT_MEMLOCK"):
        most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        enough = most == free or most >= MEMLOCK_WANTED
        found = f"locked memory: {'unlimited' if most == free else f'{most / (1 << 20):.0f} MiB'}"
        yield Finding("limits", "ok", found) if enough else Finding("limits", "warning", found, remedy)


def processor() -> Iterable[Finding]:
    """Whether the processor is at full speed, and free."""
    cores = os.cpu_count() or 1
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = load > BUSY * cores
        yield Finding(
            "processor",
            "warning" if busy else "ok",
            f"{cores} cores, {load:.1f} of them busy over the last minute",
            "end what else runs" if busy else "",
        )
    else:
        yield Finding("processor", "ok", f"{cores} cores")
    governors = {
        text
        for file in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
        if (text := _text(file))
    }
    if governors:
        steady = governors == {"performance"}
        yield Finding(
            "processor",
            "ok" if steady else "warning",
            f"frequency governor: {', '.join(sorted(governors))}",
            "" if steady else "sudo cpupower frequency-set -g performance",
        )
    elif sys.platform == "linux":
        yield Finding("processor", "ok", "no frequency governor to be set here")
    discharging = [
        file for file in Path("/sys/class/power_supply").glob("*/status") if _text(file) == "Discharging"
    ]
    if discharging:
        yield Finding("power", "warning", "running on battery", "plug in the mains: batteries slow it down")


def compute() -> Iterable[Finding]:
    """What can run a network."""
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    if "CPU" not in providers:
        yield Finding("compute", "failure", "ONNX Runtime has no CPU provider", "pip install onnxruntime")
        return
    yield Finding("compute", "ok", f"ONNX Runtime {onnxruntime.__version__} with {', '.join(providers)}")
    card = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
    if card and "CUDA" not in providers:
        yield Finding(
            "compute",
            "warning",
            "there is an NVIDIA card that ONNX Runtime cannot use",
            "only if a model needs it: pip uninstall onnxruntime, then pip install 'rtsep[gpu]'",
        )


def midi() -> Iterable[Finding]:
    """Whether controllers can be heard."""
    from rtsep.io.devices import quiet

    try:
        rtmidi = importlib.import_module("rtmidi")
    except ImportError:
        yield Finding("MIDI", "warning", "python-rtmidi is not installed", "pip install python-rtmidi")
        return
    apis = [rtmidi.get_api_display_name(api) for api in rtmidi.get_compiled_api()]
    if not apis:
        yield Finding("MIDI", "warning", "python-rtmidi knows no MIDI system", "install another build of it")
        return
    ports = []
    for api in rtmidi.get_compiled_api():
        try:
            with quiet():
                opened = rtmidi.MidiIn(api)
                ports += opened.get_ports()
                opened.delete()
        except Exception:  # the system behind this one does not run, which is no fault
            continue
    there = f"{len(ports)} inputs: {', '.join(ports)}" if ports else "no inputs"
    yield Finding(
        "MIDI", "ok" if ports else "warning", f"{', '.join(apis)}; {there}",
        "" if ports else "plug in the controller; on Linux: modprobe snd-seq",
    )  # fmt: skip


def ports(wanted: Iterable[tuple[str, int, int]] = PORTS) -> Iterable[Finding]:
    """Whether what remote controls talk to is free."""
    for what, number, kind in wanted:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", number))
            except OSError as error:
                why = f"port {number} for {what}: {error.strerror or error}"
                yield Finding("ports", "warning", why, "end the program that has it, or choose another port")
            else:
                yield Finding("ports", "ok", f"port {number} for {what} is free")


def extras() -> Iterable[Finding]:
    """What is not needed for sound, but for more of it."""
    import importlib.util

    if importlib.util.find_spec("pedalboard") is None:
        yield Finding("extras", "warning", "no pedalboard: no effects", "pip install 'rtsep[effects]'")
    else:
        yield Finding("extras", "ok", "pedalboard, for effects")
    if shutil.which("ffmpeg") is None:
        why = "no ffmpeg: no stem.mp4, and fewer formats to read"
        yield Finding("extras", "warning", why, "on Debian: apt-get install ffmpeg")
    else:
        yield Finding("extras", "ok", "ffmpeg, for stem.mp4 and formats such as .m4a")


def models(played: str) -> Iterable[Finding]:
    """Whether the models are whole; `played` is the one to go on stage with."""
    from rtsep.separators import registry

    again = "add or download it again: see 'rtsep models'"
    whole = []
    for package in registry.available():
        if package.built_in:
            continue
        try:
            package.verify()
        except RtsepError as error:
            yield Finding("models", "failure" if package.name == played else "warning", str(error), again)
        else:
            whole.append(package.name)
    for line in registry.broken():
        yield Finding("models", "warning", line, again)
    if whole:
        yield Finding("models", "ok", f"whole: {', '.join(whole)}")
    try:
        registry.find(played)
    except RtsepError as error:
        yield Finding("models", "failure", str(error), "choose one of 'rtsep models' that can be played live")


def hop_times(
    played: str, block: int, seconds: float, progress: Callable[[float], None] | None = None
) -> Iterable[Finding]:
    """Whether the computer keeps up, by letting it."""
    from rtsep.backends.stream import open_stream
    from rtsep.engine.measurement import measure_hops
    from rtsep.engine.rates import plan
    from rtsep.io.driver import StreamFormat

    try:
        stream = open_stream(played)
    except RtsepError as error:
        yield Finding("hop time", "failure", str(error), "without a model there is nothing to measure")
        return
    with stream:
        fmt = StreamFormat(stream.spec.sample_rate, block, 2, 2)
        allowance = plan(stream.spec, fmt).allowance / fmt.sample_rate
        times = measure_hops(stream, fmt, seconds, None, progress)
    took = (
        f"{played}: p50 {1000 * times.hop_p50:.1f}, p99 {1000 * times.hop_p99:.1f},"
        f" longest {1000 * times.hop_max:.1f} ms of the {1000 * allowance:.1f} ms that a hop is given"
    )
    faster = "end other programs, choose a lighter model ('rtsep models'), or a longer --allowance"
    if not times.hop_p99 <= allowance:
        yield Finding("hop time", "failure", took, faster)
    elif times.late_hops or times.underruns or times.hop_max > allowance:
        late = f"{took}; {times.late_hops} of {times.hops} came late"
        yield Finding("hop time", "warning", late, faster)
    else:
        yield Finding("hop time", "ok", took)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _is_jack(path: Path) -> bool:
    return path.name.startswith(("jack_", "jack-")) and f"_{os.getuid()}_" in f"{path.name}_"


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
