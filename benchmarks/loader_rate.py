"""Seconds of training audio that a second of mixing gives, by number of workers.

    python -m benchmarks.loader_rate [--config FILE.toml] [--workers 0 --workers 2] [--seconds 20]

The run's own loader: examples are drawn from the corpus and mixed, and then, unless `--mixing-only`, turned
into what the training step takes: for networks of masks, features and band statistics. Without `--config`
the corpus is a small one of noise and tones at 44.1 kHz, made in a temporary folder, with most kinds of
label, and the network is `live`'s. Nothing is trained. To tell whether the loader outruns a network, compare
with the seconds of audio that its step takes in a second: batch times seconds of an example, over the time
of a step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import RESULTS, write
from rtsep.bench.machine import describe
from rtsep.separators.registry import find
from rtsep.spec import STEMS
from rtsep.training.batches import Batches, one_thread
from rtsep.training.config import TrainConfig, load_config
from rtsep.training.corpus import load_training
from rtsep.training.mixing import Mixer
from rtsep.training.networks import make_network, make_objective

RATE = 44100
BATCHES = 1_000_000
"""More than any measurement takes."""


class Mixes(Dataset[int]):
    """Item n is the whole n-th batch, drawn and mixed; what comes back is only how many examples that was."""

    def __init__(self, mixer: Mixer, config: TrainConfig) -> None:
        self.mixer = mixer
        self.config = config

    def __getitem__(self, index: int) -> int:
        o = self.config.optimiser
        for k in range(o.batch):
            self.mixer.draw(np.random.default_rng((o.seed, index, k)))
        return o.batch


def own_corpus(root: Path) -> TrainConfig:
    """Songs, songs with the bass inside other, voices and accompaniments: two of each, 30 s long."""
    rng = np.random.default_rng(0)
    kinds: dict[str, tuple[str, ...]] = {
        "songs": STEMS,
        "inside": ("vocals", "drums", "other"),
        "voices": ("vocals",),
        "backings": ("accompaniment",),
    }
    seconds = np.arange(30 * RATE) / RATE
    for kind, stems in kinds.items():
        for number in range(2):
            folder = root / kind / f"track{number}"
            folder.mkdir(parents=True)
            for k, stem in enumerate(stems):
                tone = 0.2 * np.sin(2.0 * np.pi * 110.0 * (k + 1 + number) * seconds)
                audio = tone[:, None] + 0.05 * rng.standard_normal((len(seconds), 2))
                soundfile.write(folder / f"{stem}.flac", audio.astype(np.float32), RATE, subtype="PCM_16")
    network = find("live").manifest
    return TrainConfig.model_validate(
        {
            "name": "bench",
            "architecture": network.architecture,
            "network": network.config,
            "data": {
                "roots": [root / kind for kind in kinds],
                "cache": root / "cache",
                "bass_in_other": ["inside"],
            },
            "optimiser": {"steps": BATCHES, "batch": 8, "seconds": 4.0},
        }
    )


def measure(dataset: Dataset[Any], config: TrainConfig, workers: int, seconds: float) -> dict[str, float]:
    """Seconds of audio a second, and batches that were counted."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(BATCHES),
        num_workers=workers,
        prefetch_factor=config.data.prefetch if workers else None,
        worker_init_fn=one_thread,
    )
    batches = iter(loader)
    # The workers start, and code is compiled, before anything is counted.
    for _ in range(workers * (config.data.prefetch + 1) or 1):
        next(batches)
    began, cpu = time.perf_counter(), time.process_time()
    count = 0
    while time.perf_counter() - began < seconds:
        next(batches)
        count += 1
    wall = time.perf_counter() - began
    audio = count * config.optimiser.batch * config.optimiser.seconds
    figures = {"audio_seconds_per_second": audio / wall, "batches": float(count)}
    if not workers:
        # Where other programs share the cores, this says more.
        figures["audio_seconds_per_cpu_second"] = audio / (time.process_time() - cpu)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, help="a training file; by default a corpus of noise and tones")
    parser.add_argument("--workers", type=int, action="append", help="processes; may be given repeatedly")
    parser.add_argument("--seconds", type=float, default=20.0, help="to measure each for (default 20)")
    parser.add_argument("--batch", type=int, help="examples a batch, in place of the file's")
    parser.add_argument("--mixing-only", action="store_true", help="leave out features and statistics")
    parser.add_argument(
        "--json", type=Path, default=RESULTS / "loader_rate.json", help="where the figures go"
    )
    arguments = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(arguments.config) if arguments.config else own_corpus(Path(folder))
        if arguments.batch:
            optimiser = config.optimiser.model_copy(update={"batch": arguments.batch})
            config = config.model_copy(update={"optimiser": optimiser})
        figures = run(config, arguments.workers, arguments.seconds, arguments.mixing_only)
    write(arguments.json, machine, {"config": arguments.config.name if arguments.config else None, **figures})


def run(config: TrainConfig, workers: list[int] | None, seconds: float, mixing_only: bool) -> dict[str, Any]:
    """Measure mixing, then the whole, with each number of workers; show it as a table."""
    one_thread(0)
    network = make_network(config)
    rate, stems = network.spec.sample_rate, network.spec.stems
    tracks, _ = load_training(config.data, rate, stems)
    samples = int(config.optimiser.seconds * rate)
    mixer = Mixer(tracks, config.data, config.mix, samples, config.augment, rate, stems)
    datasets: dict[str, Dataset[Any]] = {"mixing": Mixes(mixer, config)}
    if not mixing_only:
        # What a loader makes does not depend on how the network computes.
        objective = make_objective(config, network, nullcontext)
        shares = [range(config.optimiser.batch)]
        datasets["mixing and what a step takes"] = Batches(mixer, objective, config, shares)
    auto = config.data.model_copy(update={"workers": "auto"}).processes
    rows = [
        {"what": what, "workers": count, **measure(dataset, config, count, seconds)}
        for what, dataset in datasets.items()
        for count in workers or sorted({0, auto})
    ]
    table = Table(title=f"{config.name}: {len(tracks)} tracks, batches of {config.optimiser.batch}")
    for column in ("what", "workers", "audio seconds a second"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(str(row["what"]), str(row["workers"]), f"{row['audio_seconds_per_second']:.0f}")
    Console().print(table)
    return {
        "sample_rate": rate,
        "tracks": len(tracks),
        "batch": config.optimiser.batch,
        "example_seconds": config.optimiser.seconds,
        "measured_seconds": seconds,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
