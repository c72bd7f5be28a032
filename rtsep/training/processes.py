"""One run in many processes: who this one is, and what they tell each other.

Processes are started by torchrun, on one machine or many, and find each other by its environment:

    torchrun --nproc-per-node 2 -m rtsep train run.toml

Every step's batch is the same whatever their number: each takes its share of it, and gradients are averaged
by what the shares weigh. Started without torchrun there is one process, and nothing is communicated.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import numpy as np
import torch
from torch import distributed

from rtsep.spec import UsageError

T = TypeVar("T")
PATIENCE = timedelta(hours=4)
"""How long processes wait for each other: the first one may be decoding a corpus, or validating."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: number of this one, from 0; 0 is the one that writes.
        world: how many there are.
        local: number of this one on its machine, from 0; the first there fills the machine's cache.
        device: where its network is.
    """

    rank: int
    world: int
    local: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this one writes files and tells how it goes."""
        return self.rank == 0

    def share(self, batch: int, passes: int) -> list[range]:
        """The examples that this process takes in each pass, of a batch's 0 to `batch` - 1.

        Raises:
            UsageError: when there are fewer examples than shares.
        """
        shares = self.world * passes
        if batch < shares:
            raise UsageError(
                f"[optimiser] batch: {batch} examples cannot be shared by {self.world} processes"
                f" in {passes} passes each"
            )
        edges = np.linspace(0, batch, shares + 1).round().astype(int)
        first = self.rank * passes
        return [range(edges[k], edges[k + 1]) for k in range(first, first + passes)]

    def total(self, value: float) -> float:
        """The sum of every process' value, in every process."""
        if self.world == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return float(tensor)

    def told(self, value: T) -> T:
        """What the first process has for a value, in every process. It must be picklable."""
        if self.world == 1:
            return value
        carrier = [value if self.leads else None]
        distributed.broadcast_object_list(carrier, src=0, device=self.device)
        return cast(T, carrier[0])

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.world > 1:
            # More than a barrier: one that has failed is noticed.
            self.total(0.0)


def choose_device(wanted: str, local: int = 0) -> torch.device:
    """The device that a file's `device` means for the process with this number on its machine.

    Raises:
        UsageError: when CUDA is asked for and torch finds none, or not one for this process.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError(
            "[compute] device: torch finds no CUDA device here: it needs a GPU, its driver and a CUDA build"
        )
    if local >= torch.cuda.device_count():
        raise UsageError(
            f"[compute] device: there are {torch.cuda.device_count()} GPUs here for {local + 1} processes"
        )
    # Without it cuBLAS adds up in whatever order, read when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda", local)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """This process among the run's, connected while the block runs.

    Args:
        device: as in a training file.

    Raises:
        UsageError: when the device is not there, or torchrun's environment is not whole.
    """
    try:
        rank, world, local = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        )
    except ValueError as error:
        raise UsageError(f"the environment is not as torchrun sets it: {error}") from None
    place = choose_device(device, local)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world == 1:
        yield Processes(0, 1, 0, place)
        return
    try:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        why = (str(error).splitlines() or ["unknown"])[0]
        raise UsageError(f"the {world} processes do not find each other: {why}") from None
    try:
        processes = Processes(rank, world, local, place)
        yield processes
        # One that left early would tear down connections on which the others still work.
        processes.wait()
    finally:
        # What averages gradients has threads of its own, which must end before the connections do.
        gc.collect()
        distributed.destroy_process_group()
