"""A catalogue through one device: songs side by side, as lanes of one batch.

A GPU computes many songs in hardly more time than one. Each lane is a thread that reads, separates and writes
one song after the other; where a lane wants its block separated it waits for the others to want theirs, and
the last one to come runs the batch for all.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.open import open_lanes
from rtsep.engine.catalogue import Settings, Task, Watch, longest_first, separate_one
from rtsep.separators.registry import find
from rtsep.spec import RtsepError, StreamSpec

LANES = 16
"""Songs side by side, unless told otherwise."""


class Stopped(RtsepError):
    """What a lane is told when the work as a whole has ended."""


class Runner(Protocol):
    """What runs all lanes at once; `rtsep.backends.blocks.BlockRunner` is one.

    Attributes:
        spec: of each lane.
        inputs: (lanes, channels, hop).
        stems: (lanes, stems, channels, hop).
    """

    spec: StreamSpec
    inputs: NDArray[np.float32]
    stems: NDArray[np.float32]

    def run(self) -> None:
        """Separate what is in `inputs`."""

    def reset(self, lane: int) -> None:
        """Back to the start, for one lane."""

    def close(self) -> None:
        """Let go of the device."""


class Lane:
    """One lane of a batch, as the stream of one song at a time; see `rtsep.engine.offline.StemStream`."""

    def __init__(self, batch: Batch, number: int) -> None:
        self._batch, self._number = batch, number
        self.spec: StreamSpec = batch.runner.spec
        self.input: NDArray[np.float32] = batch.runner.inputs[number]
        self.stems: NDArray[np.float32] = batch.runner.stems[number]

    def step(self) -> None:
        """Wait for the other lanes, and have `input` separated into `stems`.

        Raises:
            Stopped: when the work has ended.
        """
        self._batch.step(self._number)

    def reset(self) -> None:
        """Back to the start."""
        self._batch.reset(self._number)

    def leave(self) -> None:
        """There is nothing more to do here: the others need not wait."""
        self._batch.leave(self._number)

    def close(self) -> None:
        """A lane holds nothing of its own."""


class Batch:
    """Where lanes meet.

    Args:
        runner: as many lanes as it has take part, until they leave.

    Attributes:
        failure: what stopped everything, if anything has.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.failure: BaseException | None = None
        self._present = set(range(len(runner.inputs)))
        self._ready: set[int] = set()
        self._runs = 0
        self._meeting = threading.Condition()

    def lanes(self) -> list[Lane]:
        """All of them."""
        return [Lane(self, number) for number in sorted(self._present)]

    def step(self, lane: int) -> None:
        """See `Lane.step`."""
        with self._meeting:
            self._check()
            self._ready.add(lane)
            if self._ready == self._present:
                self._run()
            else:
                run = self._runs
                self._meeting.wait_for(lambda: self._runs != run or self.failure is not None)
            self._check()

    def reset(self, lane: int) -> None:
        """See `Lane.reset`."""
        with self._meeting:
            self.runner.reset(lane)

    def leave(self, lane: int) -> None:
        """See `Lane.leave`."""
        with self._meeting:
            self._present.discard(lane)
            self.runner.inputs[lane] = 0.0
            if self._present and self._ready == self._present and self.failure is None:
                self._run()

    def stop(self, why: BaseException) -> None:
        """End all lanes at their next step."""
        with self._meeting:
            self.failure = self.failure or why
            self._meeting.notify_all()

    def _run(self) -> None:
        try:
            self.runner.run()
        except BaseException as error:
            self.failure = error
        self._ready.clear()
        self._runs += 1
        self._meeting.notify_all()

    def _check(self) -> None:
        if self.failure is not None:
            raise Stopped("stopped")


def run_lanes(tasks: Sequence[Task], settings: Settings, lanes: int, watch: Watch) -> None:
    """Separate songs, `lanes` at a time, with one model on one device.

    On any error here, Ctrl-C among them, all lanes end and remove what they were writing.

    Args:
        tasks: what to do; long ones are begun first.
        settings: how; the model is a causal one, and torch runs it.
        lanes: songs side by side.
        watch: told of everything.

    Raises:
        ModelError, BackendError: when the model cannot be loaded.
    """
    package = find(settings.model)
    runner = open_lanes(package, settings.device, settings.threads, lanes=min(lanes, len(tasks)))
    try:
        run_batch(Batch(runner), tasks, settings, watch)
    finally:
        runner.close()


def run_batch(batch: Batch, tasks: Sequence[Task], settings: Settings, watch: Watch) -> None:
    """The same, with what is given."""
    # Threads only put calls here; the watch is told from the thread that it belongs to.
    calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    waiting = deque(longest_first(tasks))

    def work(lane: Lane) -> None:
        try:
            while True:
                try:
                    task = waiting.popleft()
                except IndexError:
                    return

                def told(done: float, total: float | None, task: Task = task) -> None:
                    calls.put(lambda: watch.progress(task, done, total))

                outcome = separate_one(lane, task, settings, told)
                if batch.failure is not None:
                    return
                calls.put(lambda outcome=outcome: watch.finished(outcome))  # type: ignore[misc]
        except BaseException as error:
            batch.stop(error)
        finally:
            lane.leave()
            calls.put(None)

    threads = [
        threading.Thread(target=work, args=(lane,), name=f"rtsep lane {number}")
        for number, lane in enumerate(batch.lanes())
    ]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            call = calls.get()
            if call is None:
                running -= 1
            else:
                call()
    except BaseException as error:
        batch.stop(error)
        raise
    finally:
        for thread in threads:
            thread.join()
    if batch.failure is not None:
        raise batch.failure
