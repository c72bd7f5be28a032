"""A catalogue through several processes: one song each, one model each, all cores busy.

Threads would share one interpreter, and what lies between the calls into a network would wait for it. A
process that dies takes nothing with it but its song, which a new one does again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Literal

from rtsep.engine.catalogue import Outcome, Settings, Task, Watch, load, longest_first, separate_one
from rtsep.io.staging import new_token, remove_attempt
from rtsep.spec import RtsepError

ATTEMPTS = 2
"""How often a song is begun whose process dies, before it counts as the song's fault."""

PROGRESS_SECONDS = 0.25

EXIT_DIED = 70
"""The exit code of a song whose process died: no error of the user's."""

_TERMINATED = 143


class CannotStart(RtsepError):
    """A process could not load the model; what it said, and its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_processes(tasks: Sequence[Task], settings: Settings, jobs: int, watch: Watch) -> None:
    """Separate songs, `jobs` at a time.

    Each song is done once: a process that dies is replaced, and its song done again, up to `ATTEMPTS` times.
    On any error here, Ctrl-C among them, all processes end and remove what they were writing.

    Args:
        tasks: what to do; long ones are begun first.
        settings: how.
        jobs: processes.
        watch: told of everything.

    Raises:
        CannotStart: when the model cannot be loaded.
    """
    waiting = deque((task, 1) for task in longest_first(tasks))
    workers = [_Worker(settings) for _ in range(min(jobs, len(waiting)))]
    try:
        while waiting or any(worker.task for worker in workers):
            for worker in workers:
                if worker.task is None and waiting:
                    worker.give(*waiting.popleft())
            busy = {worker.pipe: worker for worker in workers if worker.task is not None}
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                try:
                    worker.hear(watch)
                except (EOFError, OSError):
                    again = worker.bury(watch)
                    if again is not None:
                        waiting.append(again)
                    workers[workers.index(worker)] = _Worker(settings)
    finally:
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.join()


class _Worker:
    """A process, seen from outside.

    Attributes:
        pipe: what it says comes from here; its end means that the process has ended.
        task: that it is at.
    """

    def __init__(self, settings: Settings) -> None:
        # Spawned: a copy of a process that has loaded numerical libraries may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.task: Task | None = None
        self._attempt = 0
        self._token = ""
        self._process: BaseProcess = context.Process(
            target=_main, args=(far, settings), name="rtsep separate", daemon=True
        )
        self._process.start()
        far.close()

    def give(self, task: Task, attempt: int) -> None:
        """Begin a task. If the process is dead, that is noticed when it should answer."""
        self.task, self._attempt, self._token = task, attempt, new_token()
        with contextlib.suppress(OSError):
            # One that died may have put its results in place just before.
            self.pipe.send((task, self._token, attempt > 1))

    def hear(self, watch: Watch) -> None:
        """Take one message.

        Raises:
            CannotStart: when that is what it says.
            EOFError, OSError: when the process is dead.
        """
        kind: Literal["progress", "finished", "cannot start"]
        kind, content = self.pipe.recv()
        assert self.task is not None
        if kind == "cannot start":
            raise CannotStart(*content)
        if kind == "progress":
            watch.progress(self.task, *content)
        else:
            self.task = None
            watch.finished(content)

    def bury(self, watch: Watch) -> tuple[Task, int] | None:
        """After its death: clean up, and give the task back, unless it has been tried often enough."""
        self.pipe.close()
        self._process.join()
        assert self.task is not None
        remove_attempt(self.task.folder, self._token)
        if self._attempt < ATTEMPTS:
            return self.task, self._attempt + 1
        code = self._process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        error = f"{self.task.source}: the process that separated it died {ATTEMPTS} times ({how})"
        watch.finished(Outcome(self.task, None, error, EXIT_DIED))
        return None

    def end(self) -> None:
        """Ask it to stop, whatever it is at."""
        if self._process.is_alive():
            self._process.terminate()
        self.pipe.close()

    def join(self) -> None:
        """Wait until it has gone, and remove what it could not."""
        self._process.join()
        if self.task is not None:
            remove_attempt(self.task.folder, self._token)


def _main(pipe: Connection, settings: Settings) -> None:
    """What a process does: songs, until nobody gives it any more."""
    # Ctrl-C reaches every process of a terminal; the one that was asked for tells the others to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        task, token, again = pipe.recv()
        try:
            model = load(settings)
        except RtsepError as error:
            pipe.send(("cannot start", (str(error), error.exit_code)))
            return
        while True:
            how = replace(settings, overwrite=True) if again else settings
            pipe.send(("finished", _separate(pipe, model, task, how, token)))
            task, token, again = pipe.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody is there any more


def _separate(pipe: Connection, model: object, task: Task, settings: Settings, token: str) -> Outcome:
    said = 0.0

    def told(done: float, total: float | None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= PROGRESS_SECONDS:
            said = now
            pipe.send(("progress", (done, total)))

    try:
        return separate_one(model, task, settings, told, token)  # type: ignore[arg-type]
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        return Outcome(task, None, f"{task.source}: {type(error).__name__}: {error}", EXIT_DIED)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)
