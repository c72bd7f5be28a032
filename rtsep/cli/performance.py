"""What `rtsep live` does from the first sound on: meters, other models, Ctrl-C, the end of the recording."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from rtsep.cli import meters
from rtsep.cli.errors import warn
from rtsep.cli.midi_options import PageLearning
from rtsep.cli.surfaces import OscOptions, PageOptions, attached
from rtsep.control.desk import Desk
from rtsep.control.parameters import strip_path
from rtsep.control.session import Session
from rtsep.engine.recorder import Recorder
from rtsep.engine.telemetry import Telemetry
from rtsep.spec import AudioFileError, UsageError

TICK_SECONDS = 0.1
SETTLED_TICKS = 10
"""For how long blocks must have been shorter before that is said."""


@dataclass(frozen=True)
class Surfaces:
    """What else may move the desk while it plays; None is absent.

    Attributes:
        page: the control page.
        osc: Open Sound Control.
        learning: MIDI controllers that the page can teach.
    """

    page: PageOptions | None
    osc: OscOptions | None
    learning: PageLearning | None


def perform(
    session: Session,
    console: Console,
    surfaces: Surfaces,
    recorder: Recorder | None = None,
    seconds: float | None = None,
    fade: float | None = None,
) -> int:
    """Play until Ctrl-C, the device's end, or so many seconds of sound; ends the session.

    Args:
        session: its engine is open, but silent.
        console: for the meters, and what is said at the end.
        surfaces: kept while it plays.
        recorder: writes what is played.
        seconds: of sound; None for no end.
        fade: milliseconds in which the desk gets from its defaults to how it is set.

    Returns:
        The command's exit code.

    Raises:
        DeviceError: when the device disappears or the engine's process dies. What was played has been told
            by then, and what was recorded kept.
    """
    desk = session.desk
    wanted = desk.snapshot()
    if fade:
        # The limiter is on from the first sound; nothing else is.
        guarded = {address: wanted[address] for address in ("master/limiter", "master/ceiling")}
        desk.apply({**desk.defaults(), **guarded})
    if recorder is not None:
        recorder.start()
    try:
        with (
            _interruptible() as stopping,
            attached(session, console, surfaces.page, surfaces.osc, surfaces.learning),
        ):
            session.engine.start()
            if fade:
                desk.apply(wanted, fade)
            playing = True
            while playing:
                notes = {stem: _note(desk, stem) for stem in desk.strips}
                with meters.open_display(console, notes, _title(session)) as display:
                    playing = _watch(session, display, recorder, stopping, seconds)
                if playing:
                    _change(session, console)
            session.engine.stop()
    finally:
        session.close()
        telemetry = session.engine.telemetry()
        code = _close_recording(console, recorder, telemetry.record_lost)
        if telemetry.hops:
            for line in meters.summary(telemetry):
                console.print(line, markup=False, soft_wrap=True)
    return code


def _title(session: Session) -> str:
    report = session.engine.latency
    late = report.milliseconds(report.total)
    return f"{Path(session.options.model).name}   {report.sample_rate} Hz   {late:.0f} ms late"


def _watch(
    session: Session,
    display: meters.Display,
    recorder: Recorder | None,
    stopping: threading.Event,
    seconds: float | None,
) -> bool:
    """Show how it goes until it is over (False), or another engine is wanted (True)."""
    told, blocks = False, _Blocks(session)
    while not stopping.is_set():
        if session.pending:
            return True
        telemetry = session.engine.telemetry()
        display.show(telemetry)
        blocks.follow(telemetry)
        if recorder is not None and recorder.failure is not None and not told:
            told = True
            warn(recorder.failure)
        played = session.played + telemetry.seconds
        left = TICK_SECONDS if seconds is None else min(TICK_SECONDS, seconds - played)
        if left <= 0.0 or session.engine.wait(left):
            return False
    return False


class _Blocks:
    """Follows an audio server to other blocks, and says each once.

    Longer ones take a stream that is laid out for them. With shorter ones all goes on as it is: they are said
    once they have stayed, as some drivers' blocks change all the time.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._grew = False
        self._shorter = 0

    def follow(self, telemetry: Telemetry) -> None:
        """Look once a tick."""
        changed = f"the audio server went from blocks of {telemetry.planned_block} to {telemetry.block}"
        if telemetry.outgrown and not self._grew:
            self._grew = True
            self._renew(changed, telemetry.block)
        if self._shorter < SETTLED_TICKS:
            self._shorter = self._shorter + 1 if telemetry.shrunk else 0
            if self._shorter == SETTLED_TICKS:
                warn(f"{changed}: the stream stays as late as it was; start it again for less latency")

    def _renew(self, changed: str, block: int) -> None:
        try:
            self._session.renew(block)
        except UsageError as refusal:
            warn(f"{changed}, too long for the latency that was opened: set it back ({refusal})")
        else:
            warn(f"{changed}: the stream is opened anew")


def _change(session: Session, console: Console) -> None:
    """Another model or device, as a page has asked for, or the same with other blocks."""
    changed = session.carry_out()
    if not changed:
        warn(f"not changed: {session.failure}")
    console.print(f"plays {'again' if changed else 'on'}: {_title(session)}", markup=False, soft_wrap=True)


def _close_recording(console: Console, recorder: Recorder | None, lost: int) -> int:
    """Complete the recording and say what it is; returns the exit code."""
    if recorder is None:
        return 0
    known = recorder.failure
    made = recorder.stop()
    if made.failure is not None:
        if known is None:
            warn(made.failure)
        return AudioFileError.exit_code
    if made.files:
        names = ", ".join(file.name for file in made.files)
        console.print(
            f"recorded {made.seconds:.1f} s to {recorder.folder}: {names}", markup=False, soft_wrap=True
        )
    if lost:
        warn(
            f"{recorder.folder}: {lost} frames ({lost / made.sample_rate:.2f} s) are missing from the"
            " recording: the disk did not keep up"
        )
        return AudioFileError.exit_code
    return 0


def _note(desk: Desk, stem: str) -> str:
    """What is set for a stem, in words."""
    path = strip_path(stem)
    gain, pan = float(desk.get(f"{path}/gain")), float(desk.get(f"{path}/pan"))
    words = [f"{gain:+g} dB"] if gain else []
    words += [f"pan {pan:+g}"] if pan else []
    words += ["turned over"] if desk.get(f"{path}/polarity") else []
    muted, soloed = desk.get(f"{path}/mute"), desk.get(f"{path}/solo")
    words += ["muted"] if muted else ["solo"] if soloed else []
    return "  ".join(words)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """While it lasts, Ctrl-C sets the event, which is how one ends a set; the second one means it."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
