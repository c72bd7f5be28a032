"""The batches of a run, mixed beside it: the n-th is a function of its number and of the run's seed alone."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from rtsep.spec import UsageError
from rtsep.training.config import TrainConfig
from rtsep.training.mixing import Example, Mixer
from rtsep.training.objective import Objective

KILLED = (
    "a process that mixes examples was killed, as happens when memory runs out: run it again with"
    " fewer ([data] workers); it goes on from its last checkpoint"
)
ECHO_BLOCK = 8
"""Batches that are kept for their repeats."""


@dataclass
class Batches(Dataset[list[Any]]):
    """Item n is this process' share of the n-th batch, one batch of the objective's for each pass over it.

    Attributes:
        mixer: draws the examples.
        objective: makes a batch of them.
        config: the run.
        shares: numbers, within a batch, of the examples of each pass.
    """

    mixer: Mixer
    objective: Objective[Any]
    config: TrainConfig
    shares: list[range]

    def __len__(self) -> int:
        o = self.config.optimiser
        return -(-o.steps // (o.repeats * ECHO_BLOCK)) * ECHO_BLOCK if o.repeats > 1 else o.steps

    def __getitem__(self, index: int) -> list[Any]:
        return [self._batch(index, share) for share in self.shares]

    def whole(self, index: int) -> Any:
        """The n-th batch, all processes' shares of it."""
        return self._batch(index, range(self.config.optimiser.batch))

    def from_step(self, step: int) -> Iterator[list[Any]]:
        """What each step takes, from this one to the last. Repeats come a block later, not at once.

        Raises:
            UsageError: when a process that mixes is killed.
        """
        o = self.config.optimiser
        if o.repeats == 1:
            yield from self._mixed(step)
            return
        # A run resumed within a block needs all its batches again.
        fresh = self._mixed(step // (o.repeats * ECHO_BLOCK) * ECHO_BLOCK)
        kept: list[list[Any]] = []
        block = -1
        for number in range(step, o.steps):
            if number // (o.repeats * ECHO_BLOCK) != block:
                block = number // (o.repeats * ECHO_BLOCK)
                kept = []
            within = number % (o.repeats * ECHO_BLOCK) % ECHO_BLOCK
            while len(kept) <= within:
                kept.append(next(fresh))
            yield kept[within]

    def _mixed(self, first: int) -> Iterator[list[Any]]:
        workers = self.config.data.processes
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, len(self)),
            num_workers=workers,
            prefetch_factor=self.config.data.prefetch if workers else None,
            worker_init_fn=one_thread,
        )
        before = set(multiprocessing.active_children())
        with _signals_left_alone():
            mixed = iter(loader)
        started = [each for each in multiprocessing.active_children() if each not in before]
        try:
            yield from mixed
        except (RuntimeError, OSError, EOFError):
            # Whatever it was that broke first: a pipe, a socket, a batch that was being handed over.
            if any(_was_killed(worker) for worker in started):
                raise UsageError(KILLED) from None
            raise

    def _batch(self, index: int, numbers: range) -> Any:
        seed = self.config.optimiser.seed
        examples: list[Example] = [self.mixer.draw(np.random.default_rng((seed, index, k))) for k in numbers]
        first = index * self.config.optimiser.batch
        return self.objective.prepare(examples, [first + k for k in numbers])


def _was_killed(worker: BaseProcess) -> bool:
    worker.join(1.0)
    return worker.exitcode not in (None, 0)


@contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Undo what torch does to hear at once of a worker that dies.

    Its handler raises wherever the main thread happens to be: while a checkpoint is written, or later, for as
    long as anything keeps the loader alive. Without it the next batch says so, within seconds.
    """
    child = getattr(signal, "SIGCHLD", None)
    before = None if child is None else signal.getsignal(child)
    try:
        yield
    finally:
        # None is a handler that is not Python's, and cannot be put back.
        if child is not None and before is not None and signal.getsignal(child) is not before:
            signal.signal(child, before)


def one_thread(_: int) -> None:
    """How a process that mixes computes."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
