"""A catalogue over several machines, with Ray: every song once, whatever dies.

Songs, results and models that are given by path must lie on a folder that all machines share, under the same
path; that is checked on every machine before anything is begun. Each song is a task of its own, which Ray
gives to a free core (or a share of a GPU) anywhere. Results appear when they are whole, so what a dying
machine was at is simply done again elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtsep.engine.catalogue import Outcome, Settings, Task, Watch, load, longest_first, separate_one
from rtsep.io.staging import new_token, remove_attempt
from rtsep.separators.registry import find_any
from rtsep.spec import AudioFileError, BackendError, ModelError, RtsepError

ATTEMPTS = 3
"""How often a song is begun whose process or machine dies, before it counts as the song's fault."""

GPU_SHARE = 0.25
"""Of a GPU, for a song."""

CHECK_SECONDS = 240.0
"""A machine must have answered by then; starting a process there is part of it."""

EXIT_DIED = 70
"""The exit code of a song whose process died: no error of the user's."""

_AHEAD = 2
"""Songs handed to Ray for each core of the cluster: a core that is free need not wait for us."""

_CANCEL_SECONDS = 10.0

# Its types know no options that are put together at run time.
_remote: Any = ray.remote


def run_cluster(address: str, tasks: Sequence[Task], settings: Settings, watch: Watch) -> None:
    """Separate songs on a Ray cluster.

    A song whose process or machine dies is begun again elsewhere, up to `ATTEMPTS` times; machines may come
    and go. Ctrl-C cancels what is under way.

    Args:
        address: of the cluster: "HOST:PORT", or "auto" on one of its machines.
        tasks: what to do, with absolute paths on a folder that all machines share.
        settings: how.
        watch: told when songs are handed out and when they are done; not of what lies between.

    Raises:
        BackendError: when there is no cluster there, a machine has no rtsep or another version of it, or no
            machine has what the device needs.
        AudioFileError: when a machine does not see the folders.
        ModelError: when a machine does not have the model, or has another one of its name.
    """
    with _connected(address):
        check_machines(tasks, settings)
        _run(tasks, settings, watch)


def _run(tasks: Sequence[Task], settings: Settings, watch: Watch) -> None:
    # Ray would let a process that has used a GPU end after one call, and its model with it.
    separate = _remote(max_retries=0, max_calls=0, **_needs(settings))(_separate)
    waiting = deque((task, 1) for task in longest_first(tasks))
    running: dict[Any, tuple[Task, int, str]] = {}
    try:
        while waiting or running:
            room = max(4, _AHEAD * int(ray.cluster_resources().get("CPU", 0)))
            while waiting and len(running) < room:
                task, attempt = waiting.popleft()
                token = new_token()
                # One that died may have put its results in place just before.
                how = settings if attempt == 1 else replace(settings, overwrite=True)
                watch.progress(task, 0.0, None)
                running[separate.remote(task, how, token)] = (task, attempt, token)
            done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for reference in done:
                task, attempt, token = running.pop(reference)
                outcome = _outcome(reference, task)
                if outcome is None:
                    remove_attempt(task.folder, token)
                    if attempt < ATTEMPTS:
                        waiting.append((task, attempt + 1))
                        continue
                    error = f"{task.source}: what separated it died {ATTEMPTS} times; Ray's logs say more"
                    outcome = Outcome(task, None, error, EXIT_DIED)
                watch.finished(outcome)
    finally:
        _cancel(running)


def _cancel(running: dict[Any, tuple[Task, int, str]]) -> None:
    """Ray raises KeyboardInterrupt in the tasks, which remove what they were writing."""
    if not running:
        return
    for reference in running:
        with contextlib.suppress(RayError):
            ray.cancel(reference)
    with contextlib.suppress(RayError):
        ray.wait(list(running), num_returns=len(running), timeout=_CANCEL_SECONDS)
    for task, _, token in running.values():
        remove_attempt(task.folder, token)


def _outcome(reference: Any, task: Task) -> Outcome | None:
    """What a task gave; None when it died."""
    try:
        outcome: Outcome = ray.get(reference)
    except RayTaskError as error:
        cause = error.cause or error
        return Outcome(task, None, f"{task.source}: {type(cause).__name__}: {cause}", EXIT_DIED)
    except RayError:
        return None
    return outcome


def _needs(settings: Settings) -> dict[str, float]:
    """What a song takes of a machine."""
    if settings.device == "cuda":
        return {"num_cpus": 1, "num_gpus": GPU_SHARE}
    return {"num_cpus": settings.threads}


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    if ray.is_initialized():  # whoever did that will undo it
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as error:
        line = str(error).strip().partition("\n")[0]
        raise BackendError(f"there is no Ray cluster at {address}: {line}") from None
    try:
        yield
    finally:
        ray.shutdown()


# -- what every machine must have ------------------------------------------------------------------------


def check_machines(tasks: Sequence[Task], settings: Settings) -> None:
    """See that every machine that may get a song sees the folders and has the same rtsep and model.

    Raises:
        BackendError, AudioFileError, ModelError: as `run_cluster` does.
    """
    resource = "GPU" if settings.device == "cuda" else "CPU"
    least = _needs(settings)["num_gpus" if resource == "GPU" else "num_cpus"]
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0.0) >= least]
    if not nodes:
        raise BackendError(f"no machine of the Ray cluster has {least:g} {resource} for a song")
    sources = [str(task.source) for task in tasks]
    manifest = find_any(settings.model).manifest.model_dump_json()
    with _probe([task.folder for task in tasks]) as (probe, content):
        answers = []
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            inspect = _remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_inspect)
            asked = inspect.remote(str(probe), content, sources, settings.model, manifest, _release())
            answers.append((node["NodeManagerAddress"], asked))
        for machine, reference in answers:
            try:
                complaint = ray.get(reference, timeout=CHECK_SECONDS)
            except GetTimeoutError:
                raise BackendError(f"{machine}: did not answer within {CHECK_SECONDS:.0f} s") from None
            except RayError as error:
                line = str(error).strip().splitlines()[-1]
                raise BackendError(f"{machine}: cannot run rtsep; is it installed there? {line}") from None
            if complaint is not None:
                kind, text = complaint
                raise {"folder": AudioFileError, "model": ModelError}.get(kind, BackendError)(
                    f"{machine}: {text}"
                )


@contextlib.contextmanager
def _probe(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """A file with something that nobody can guess in it, where the results will lie; gone afterwards."""
    place = Path(os.path.commonpath([folder.parent for folder in folders]))
    while not place.is_dir():
        place = place.parent
    probe, content = place / f".rtsep-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        probe.write_text(content, encoding="utf-8")
    except OSError as error:
        raise AudioFileError(f"{place}: cannot be written: {error.strerror}") from None
    try:
        yield probe, content
    finally:
        probe.unlink(missing_ok=True)


def _inspect(
    probe: str, content: str, sources: Sequence[str], model: str, manifest: str, release: str
) -> tuple[str, str] | None:
    """What is wrong with the machine that this runs on: of what kind, and a line of text."""
    if _release() != release:
        return "rtsep", f"has rtsep {_release()}, and here is {release}"
    shared = "with --ray, songs and results must lie on a folder that all machines share, under one path"
    try:
        same = Path(probe).read_text(encoding="utf-8") == content
    except OSError:
        same = False
    if not same:
        return "folder", f"does not see {Path(probe).parent}: {shared}"
    for source in sources:
        if not Path(source).is_file():
            return "folder", f"does not see {source}: {shared}"
    try:
        found = find_any(model).manifest.model_dump_json()
    except RtsepError as error:
        return "model", str(error)
    return None if found == manifest else ("model", f"has another model called {Path(model).name}")


def _release() -> str:
    try:
        return version("rtsep")
    except PackageNotFoundError:
        return "from a checkout that is not installed"


# -- what runs there ---------------------------------------------------------------------------------------


def _separate(task: Task, settings: Settings, token: str) -> Outcome:
    """One song; the process stays, and its model with it."""
    try:
        model = _model(replace(settings, overwrite=False))
    except RtsepError as error:
        return Outcome(task, None, str(error), error.exit_code)
    return separate_one(model, task, settings, token=token)


@functools.lru_cache(maxsize=1)
def _model(settings: Settings) -> Any:
    return load(settings)
