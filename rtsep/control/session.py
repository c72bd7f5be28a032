"""A set: one desk, and the engines that play behind it one after another.

Another model or device needs another engine. Clients may ask for one from any thread; the thread that runs
the set makes the change between two looks at its engine. The sound stops from where the one lets go of the
device to where the other has it.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from rtsep.control.desk import Desk
from rtsep.engine.latency import LatencyReport
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.spec import RtsepError, UsageError

CHANGEABLE = ("model", "input", "output", "block")
"""The options that a client may ask to change."""


class Session:
    """What plays now, and what is wanted in its place.

    Args:
        engine: the first; whoever made it opens and starts it. Later ones are the session's to close.
        desk: on that engine's board.
        locked: why nothing may be changed, such as a recording; "" if it may.
    """

    def __init__(self, engine: ProcessEngine, desk: Desk, locked: str = "") -> None:
        self.engine = engine
        self.desk = desk
        self.locked = locked
        self.generation = 0
        """Grows when a change begins, succeeds or fails."""
        self.changing = False
        self.failure = ""
        """Why the last change that was asked for did not come about, or ""."""
        self.played = 0.0
        """Seconds that earlier engines have played."""
        self._wanted: EngineOptions | None = None
        self._lock = threading.Lock()

    @property
    def options(self) -> EngineOptions:
        """What the engine of now was asked for."""
        return self.engine.options

    @property
    def latency(self) -> LatencyReport | None:
        """Of the engine of now; None while there is none that is open."""
        try:
            return self.engine.latency
        except RtsepError:
            return None

    def request(self, **wanted: str | int | None) -> None:
        """Ask for an engine with other options; returns at once.

        Args:
            wanted: any of `CHANGEABLE`.

        Raises:
            UsageError: when nothing may be changed, or a change is under way, or an option is not changeable.
        """
        for name in wanted:
            if name not in CHANGEABLE:
                raise UsageError(f"{name} cannot be changed while it plays: {', '.join(CHANGEABLE)} can")
        if self.locked:
            raise UsageError(self.locked)
        if self.options.audio == "null" and (wanted.get("input") or wanted.get("output")):
            raise UsageError("it runs on a clock, without a device: there is none to change")
        with self._lock:
            if self._wanted is not None or self.changing:
                raise UsageError("a change is under way already")
            changed = replace(self.options, **wanted)  # type: ignore[arg-type]
            if changed != self.options:
                self._wanted = changed

    def renew(self, block: int) -> None:
        """Ask for the same engine anew, since its audio server now hands over blocks of another length.

        Args:
            block: frames. An allowance shorter than that is left to the engine to choose.

        Raises:
            UsageError: when nothing may be changed.
        """
        if self.locked:
            raise UsageError(self.locked)
        allowance = self.options.allowance
        fits = allowance is None or allowance >= block
        with self._lock:
            if self._wanted is None and not self.changing:
                self._wanted = replace(self.options, block=block, allowance=allowance if fits else None)

    @property
    def pending(self) -> bool:
        """Whether a change waits to be carried out."""
        return self._wanted is not None

    def carry_out(self) -> bool:
        """Make the change that waits, for the thread that runs the set alone.

        What plays goes on while the other engine loads, and ends when that needs the device. Where the new
        one cannot be loaded, nothing is heard of it; where it does not come up then, the old options are
        played again. `failure` says why.

        Returns:
            Whether the change came about.

        Raises:
            RtsepError: when the old options do not come up again either.
        """
        with self._lock:
            wanted, self._wanted = self._wanted, None
            if wanted is None:
                return False
            self.changing = True
        before = self.options
        self.generation += 1
        self.failure = ""
        try:
            try:
                engine = ProcessEngine(wanted)
                engine.prepare()
            except RtsepError as error:
                self.failure = str(error)
                return False
            self.played += self.engine.telemetry().seconds
            self.engine.close()
            try:
                self._begin(engine)
            except RtsepError as error:
                self.failure = str(error)
                self._begin(ProcessEngine(before))
        finally:
            self.changing = False
            self.generation += 1
        return not self.failure

    def close(self) -> None:
        """End the engine of now."""
        self.engine.close()

    def _begin(self, engine: ProcessEngine) -> None:
        try:
            self.desk.rebind(engine.board, engine.telemetry)
            self.engine = engine
            engine.open()
            self.desk.add_effects(engine.effects)
            engine.start()
        except BaseException:
            engine.close()
            raise
