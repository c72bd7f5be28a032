"""One measurement in a process of its own, so that its memory, caches and thread pools are only its own.

`ask` starts `python -m rtsep.bench.probe TASK JSON` and reads the last line that it prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.bench.command import last_line
from rtsep.bench.memory import peak_megabytes
from rtsep.spec import RtsepError

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
BLOCK = 128
_TIMEOUT_SECONDS = 1800.0


def environment() -> dict[str, str]:
    """This process's, in which this very package is found."""
    package = str(Path(__file__).parents[2])
    paths = [package, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def ask(task: str, **request: Any) -> dict[str, Any]:
    """Run a task below in a fresh interpreter.

    Raises:
        RtsepError: with its last line, when it fails.
    """
    command = [sys.executable, "-m", "rtsep.bench.probe", task, json.dumps(request)]
    try:
        done = subprocess.run(
            command,
            env=environment() | ONE_THREAD,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise RtsepError(f"measuring {request} took longer than {_TIMEOUT_SECONDS:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RtsepError(f"measuring {request.get('model', task)} failed: {last_line(done.stderr)}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


# -- tasks ---------------------------------------------------------------------------------------------


def causal(model: str, hops: int, threads: int = 1, backend: str = DEFAULT_BACKEND) -> dict[str, Any]:
    """Steps of a stream, one after the other on one core: whole, and in their parts."""
    from rtsep.backends.stream import open_stream
    from rtsep.bench.timing import pin, repeat, summary
    from rtsep.engine.rates import plan
    from rtsep.io.driver import StreamFormat

    core = pin(threads)
    with open_stream(model, threads=threads, backend=backend) as stream:
        spec = stream.spec
        stream.input[:] = 0.1 * np.random.default_rng(0).standard_normal(stream.input.shape)
        steps = repeat(stream.step, hops)
        peak = peak_megabytes()
        own = repeat(stream.step, hops, clock=time.thread_time_ns)
        parts = {"network": float(np.median(repeat(stream.backend.run, hops)))}
        for transforms in stream.transforms:
            parts["STFT"] = float(np.median(repeat(transforms.analyse, hops)))
            parts["ISTFT"] = float(np.median(repeat(transforms.synthesise, hops)))
        window = stream.package.manifest.window
    report = plan(spec, StreamFormat(spec.sample_rate, BLOCK, spec.channels, spec.channels))
    return {
        "latency_ms": 1e3 * spec.algorithmic_latency / spec.sample_rate,
        "total_ms": report.milliseconds(report.total),
        "hop_ms": 1e3 * spec.hop_seconds,
        **summary(steps),
        "cpu_p50_ms": float(np.percentile(own, 50.0)),
        "cpu_p99_ms": float(np.percentile(own, 99.0)),
        "real_time_factor": float(np.mean(steps)) / (1e3 * spec.hop_seconds),
        "peak_mb": peak,
        "parts_ms": parts,
        "core": core,
        "backend": stream.backend.name,
        "multiplications": getattr(stream.backend, "multiplications", None),
        "threads": threads,
        "transform": 0 if window is None else window.analysis,
        "rows": len(spec.stems) * spec.channels,
        "channels": spec.channels,
    }


def offline(model: str, seconds: float, threads: int = 1) -> dict[str, Any]:
    """A model that takes the song whole: how long it takes for so many seconds of noise."""
    from rtsep.bench.timing import pin, repeat
    from rtsep.engine.separator import load

    pin(threads)
    with load(model, threads=threads) as separator:
        spec = separator.spec
        noise = np.random.default_rng(0).standard_normal((spec.channels, round(seconds * spec.sample_rate)))
        mix = (0.1 * noise).astype(np.float32)
        taken = repeat(lambda: separator.separate(mix, spec.sample_rate), 3, warm_up=1)
    return {"real_time_factor": float(np.median(taken)) / (1e3 * seconds), "peak_mb": peak_megabytes()}


def peaks(weight_bytes: int, repeats: int) -> dict[str, Any]:
    """What one core can do: GB/s reading so many bytes again and again, and 1e9 multiply-accumulates/s."""
    from rtsep.bench.peaks import bandwidth, multiplications
    from rtsep.bench.timing import pin

    pin()
    return {"gb_per_s": bandwidth(weight_bytes, repeats), "gmac_per_s": multiplications(repeats)}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"causal": causal, "offline": offline, "peaks": peaks}
PEER, FILES = "peer:", "files:"
"""Before the name of a task in `rtsep.bench.peer_tasks`: a peer's steps, and a peer on files."""


def _peer(task: str, request: dict[str, Any]) -> dict[str, Any]:
    from rtsep.bench import peer_tasks

    if task.startswith(FILES):
        return peer_tasks.run_files(task.removeprefix(FILES), **request)
    return peer_tasks.run(task.removeprefix(PEER), **request)


def main() -> None:
    """Run the task that the command line names and print what it found."""
    task, request = sys.argv[1], json.loads(sys.argv[2])
    try:
        found = _peer(task, request) if task.startswith((PEER, FILES)) else TASKS[task](**request)
    except RtsepError as error:
        sys.exit(str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
