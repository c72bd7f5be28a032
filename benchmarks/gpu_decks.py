"""How many decks a GPU separates in time: hop times at 1 to 64 decks, by torch's CUDA graph and ONNX Runtime.

    python -m benchmarks.gpu_decks [--model live] [--device cuda] [--decks 1 2 4 16 64] [--hops 1000]

A hop is what one call takes: the input of all decks to the GPU, one step of the network, all stems back. The
transforms around it run on the CPU, a deck at a time; what they take is measured apart. Hops come back to
back, and again at the pace of a sound card, between which a GPU may save power. After that: the largest
number of decks whose p99 is under half the hop; the first hop after a silence, kept alive and not; and what
half precision costs in SDR, on the excerpt that the stempeg package carries.

The bar: in one backend p99 is under 1 ms for one deck and under half the hop for 64, back to back and paced.
Where it is not held on a GPU, the exit code is 9. `--device cpu` runs the same code with the GPU's recorder
replaced by one that records nothing; nothing is judged there.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.machine import RESULTS, write
from rtsep.backends.batched import BatchedStep, Precision, load_network
from rtsep.backends.onnx import OnnxStep
from rtsep.backends.recorders import CudaGraphs, Eager
from rtsep.backends.stream import HopStream
from rtsep.backends.torch import TorchBackend
from rtsep.bench.machine import describe
from rtsep.cli.bench import EXIT_NOT_HELD
from rtsep.engine.offline import separate_array
from rtsep.evaluation.metrics import median_sdr
from rtsep.separators.registry import ModelPackage, find
from rtsep.spec import BackendError, ModelError, RtsepError

PERCENTILES = (50.0, 99.0, 99.9)
WARM_UP_HOPS = 20
SILENCE_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 0.05
EXCERPT_ORDER = ("mixture", "drums", "bass", "other", "vocals")
EXIT_NO_GPU = 2
BAR_ONE_DECK_MS = 1.0
BAR_DECKS = 64
"""So many must keep p99 under half the hop."""


_WORDS = {True: "held", False: "NOT held", None: "not measured"}


class Decks(Protocol):
    """A step of several decks."""

    inputs: NDArray[np.float32]

    def run(self) -> None:
        """One step of all decks."""

    def keep_alive(self) -> None:
        """A step that changes nothing."""

    def close(self) -> None:
        """Let go of the device."""


Maker = Callable[[int], Decks]
"""Makes a step of so many decks."""


def torch_maker(package: ModelPackage, device: str, precision: Precision) -> tuple[Maker, Precision]:
    """Steps of torch, and the precision that they have."""
    network, held = load_network(package, device, precision)

    def make(decks: int) -> Decks:
        return BatchedStep(network, decks, CudaGraphs() if device == "cuda" else Eager())

    return make, held


def onnx_maker(package: ModelPackage, device: str) -> Maker:
    """Steps of ONNX Runtime."""
    manifest = package.manifest
    state = {entry.name: entry.shape for entry in manifest.state}

    def make(decks: int) -> Decks:
        shapes = manifest.input_shape, manifest.output_shape
        return OnnxStep(package.onnx, *shapes, state, device, batch=decks, staged=True)

    return make


def hop_times(step: Decks, hops: int, period: float | None) -> NDArray[np.float64]:
    """Milliseconds of each hop; back to back, or one every `period` seconds."""
    noise = np.random.default_rng(0)
    step.inputs[...] = noise.standard_normal(step.inputs.shape)
    times = np.zeros(hops + WARM_UP_HOPS)
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for hop in range(len(times)):
        if period is not None:
            while (early := start + hop * period - time.perf_counter()) > 0.0:
                time.sleep(early)
        began = time.perf_counter()
        step.run()
        times[hop] = time.perf_counter() - began
    gc.enable()
    return 1e3 * times[WARM_UP_HOPS:]


def summary(times: NDArray[np.float64]) -> dict[str, float]:
    row = {f"p{p:g}_ms": float(np.percentile(times, p)) for p in PERCENTILES}
    return row | {"max_ms": float(times.max())}


def measure(make: Maker, decks: list[int], hops: int, period: float) -> list[dict[str, Any]]:
    """A row for each number of decks and pace."""
    rows: list[dict[str, Any]] = []
    for count in decks:
        try:
            step = make(count)
        except (RtsepError, RuntimeError, ModuleNotFoundError) as error:
            rows.append({"decks": count, "error": str(error).partition("\n")[0]})
            continue
        for paced in (False, True):
            row = summary(hop_times(step, hops, period if paced else None))
            rows.append(
                {"decks": count, "paced": paced, **row, "p99_of_the_hop": row["p99_ms"] / period / 1e3}
            )
            captured = getattr(step, "captured", None)
            if captured is not None:
                rows[-1]["captured"] = captured
            print(f"  {count:5d} decks, {'paced' if paced else 'back to back'}: p99 {row['p99_ms']:.3f} ms")
        step.close()
    return rows


def largest(make: Maker, hops: int, period: float, most: int) -> int:
    """The largest number of decks, up to `most`, whose p99 back to back is under half the hop; 0 if none."""

    def fits(count: int) -> bool:
        try:
            step = make(count)
        except (RtsepError, RuntimeError):
            return False  # as when the memory is full
        p99 = float(np.percentile(hop_times(step, hops, None), 99.0))
        step.close()
        print(f"  {count} decks: p99 {p99:.3f} ms of {1e3 * period:.2f}")
        return p99 < 500.0 * period

    good, bad = 0, most + 1
    count = 1
    while count <= most and fits(count):
        good, count = count, 2 * count
    if count <= most:
        bad = count
    # A sixteenth is near enough.
    while bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def judge(rows: list[dict[str, Any]], hop_ms: float) -> dict[str, bool | None]:
    """Whether a backend's rows hold the two bars, at either pace; None where that was not measured."""

    def under(decks: int, limit: float) -> bool | None:
        found = [row for row in rows if row["decks"] == decks]
        return all(row.get("p99_ms", limit) < limit for row in found) if found else None

    return {
        "one_deck_under_1_ms": under(1, BAR_ONE_DECK_MS),
        "64_decks_under_half_the_hop": under(BAR_DECKS, hop_ms / 2.0),
    }


def held(verdicts: dict[str, dict[str, bool | None]]) -> bool:
    """Whether one backend holds all its bars."""
    return any(all(verdict.values()) for verdict in verdicts.values())


def after_silence(step: Decks, times: int) -> dict[str, float]:
    """Median milliseconds of the first hop after a second without one."""
    found: dict[str, float] = {}
    for name, alive in (("left_alone_ms", False), ("kept_alive_ms", True)):
        first = []
        for _ in range(times):
            end = time.perf_counter() + SILENCE_SECONDS
            while time.perf_counter() < end:
                time.sleep(KEEP_ALIVE_SECONDS)
                if alive:
                    step.keep_alive()
            began = time.perf_counter()
            step.run()
            first.append(1e3 * (time.perf_counter() - began))
        found[name] = float(np.median(first))
    return found


def transforms(package: ModelPackage, hops: int) -> float | None:
    """Median milliseconds that a deck's transforms take on the CPU, a hop; None for a waveform model."""
    if package.manifest.window is None:
        return None

    class Silent:
        """A network that does nothing."""

        name, device, batch = "none", "cpu", 1

        def __init__(self) -> None:
            self.inputs = np.zeros(package.manifest.input_shape, np.float32)
            self.outputs = np.zeros(package.manifest.output_shape, np.float32)

        def run(self) -> None: ...
        def keep_alive(self) -> None: ...
        def reset(self, row: int | None = None) -> None: ...
        def close(self) -> None: ...

    stream = HopStream(package, Silent())
    times = []
    for _ in range(hops):
        began = time.perf_counter()
        stream.step()
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))


def half_precision(package: ModelPackage, device: str, seconds: float | None) -> dict[str, Any]:
    """SDR of each stem of the stempeg excerpt, median over one-second chunks, in either precision."""
    try:
        import stempeg

        stems, rate = stempeg.read_stems(stempeg.example_stem_path())
    except (ModuleNotFoundError, RuntimeError, OSError) as error:
        return {"skipped": f"the excerpt needs stempeg and ffmpeg: {error}".partition("\n")[0]}
    length = len(stems[0]) if seconds is None else round(seconds * rate)
    planar = np.ascontiguousarray(stems.transpose(0, 2, 1)[..., :length], np.float32)
    song = dict(zip(EXCERPT_ORDER, planar, strict=True))
    found: dict[str, Any] = {}
    outputs = []
    for precision in ("fp32", "fp16"):
        backend = TorchBackend(package, device, precision=precision)  # type: ignore[arg-type]
        with HopStream(package, backend) as stream:
            estimates = separate_array(stream, song["mixture"])
        outputs.append(estimates)
        found[precision] = {
            "runs_in": backend.precision,
            "sdr_db": {
                stem: median_sdr(song[stem], estimates[k], rate)
                for k, stem in enumerate(package.spec.stems)
                if stem in song
            },
        }
    distance = np.square(outputs[1] - outputs[0], dtype=np.float64).sum()
    found["difference_db"] = float(
        10.0 * np.log10(max(distance, 1e-30) / np.square(outputs[0], dtype=np.float64).sum())
    )
    found["largest_loss_of_sdr_db"] = max(
        found["fp32"]["sdr_db"][stem] - found["fp16"]["sdr_db"][stem] for stem in found["fp32"]["sdr_db"]
    )
    return found


def run(arguments: argparse.Namespace, package: ModelPackage) -> dict[str, Any]:
    device, hops, period = arguments.device, arguments.hops, package.spec.hop_seconds
    makers: dict[str, tuple[Maker | None, dict[str, Any]]] = {}
    for precision in ("fp32", "fp16"):
        make, held = torch_maker(package, device, precision)  # type: ignore[arg-type]
        makers[f"torch {precision}"] = (make, {"runs_in": held})
    onnx = onnx_maker(package, device)
    try:
        onnx(1).close()
        makers["onnx"] = (onnx, {})
    except (BackendError, ModelError) as error:
        makers["onnx"] = (None, {"skipped": str(error)})
    figures: dict[str, Any] = {}
    for name, (maker, about) in makers.items():
        print(name)
        figures[name] = dict(about)
        if maker is not None:
            figures[name]["rows"] = measure(maker, arguments.decks, hops, period)
            figures[name]["most_decks_under_half_the_hop"] = largest(
                maker, max(hops // 4, 20), period, arguments.most
            )
            step = maker(1)
            figures[name]["first_hop_after_silence"] = after_silence(step, arguments.silences)
            step.close()
    return {
        "model": package.name,
        "device": device,
        "hop_ms": 1e3 * period,
        "hops": hops,
        "transforms_ms_a_deck": transforms(package, hops),
        "software": {
            "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "onnxruntime": onnxruntime.__version__,
        },
        "backends": figures,
        "half_precision": half_precision(package, device, arguments.excerpt),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="live", help="a shipped model or a folder (default live)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--decks", type=int, nargs="+", help="(default 1 2 4 16 64, on a CPU 1 2 4)")
    parser.add_argument("--hops", type=int, default=1000, help="of each measurement (default 1000)")
    parser.add_argument("--most", type=int, help="decks to try for the largest number (default 1024, CPU 4)")
    parser.add_argument(
        "--silences", type=int, default=10, help="to measure the first hop after (default 10)"
    )
    parser.add_argument("--excerpt", type=float, help="seconds of the excerpt for the SDR (default all)")
    parser.add_argument("--json", type=Path, default=RESULTS / "gpu_decks.json", help="where the figures go")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            "gpu_decks: torch finds no CUDA device here; --device cpu runs the same on a CPU", file=sys.stderr
        )
        return EXIT_NO_GPU
    on_gpu = arguments.device == "cuda"
    arguments.decks = arguments.decks or ([1, 2, 4, 16, 64] if on_gpu else [1, 2, 4])
    arguments.most = arguments.most or (1024 if on_gpu else 4)
    torch.set_num_threads(1)
    package = find(arguments.model)
    package.verify()
    machine = describe()
    figures = run(arguments, package)
    verdicts = {
        name: judge(backend["rows"], figures["hop_ms"])
        for name, backend in figures["backends"].items()
        if "rows" in backend
    }
    well = held(verdicts) if on_gpu else None
    write(arguments.json, machine, {**figures, "bars": verdicts, "held": well})
    for name, verdict in verdicts.items():
        words = (f"{bar.replace('_', ' ')}: {_WORDS[met]}" for bar, met in verdict.items())
        print(f"{name}: {', '.join(words)}")
    return EXIT_NOT_HELD if well is False else 0


if __name__ == "__main__":
    sys.exit(main())
