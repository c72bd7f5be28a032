"""Seconds of audio that training takes in a second, by precision, with the batches made beforehand.

    python -m benchmarks.training_speed [--config FILE.toml] [--device auto] [--seconds 20] [--batch 16]

The trainer's own step on batches that lie ready: features to loss, gradients, their clipping, the optimiser.
What mixing takes is `benchmarks.loader_rate`'s to say: where that is less, the loader is what training waits
for. Without `--config` the network is the shipped models' and the corpus is made of noise and tones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.loader_rate import own_corpus
from benchmarks.machine import RESULTS, write
from rtsep.bench.machine import describe
from rtsep.spec import UsageError
from rtsep.training.batches import Batches
from rtsep.training.config import TrainConfig, load_config
from rtsep.training.corpus import load_training
from rtsep.training.loop import Trainer, _Loss
from rtsep.training.mixing import Mixer

WARM_UP_STEPS = 5
BATCHES = 4
"""Different ones, taken in turn."""

_NETWORK = {"synthesis": 2048, "hop": 1024, "analysis": 4096, "linear_below": 2000.0, "group": 12}
_SIZES = {"depth": 2, "memory": 96}


def measure(config: TrainConfig, seconds: float, precision: str) -> dict[str, Any]:
    """Steps for so many seconds in one precision."""
    compute = config.compute.model_copy(update={"precision": precision})
    trainer = Trainer(config.model_copy(update={"compute": compute}), lambda line: None)
    rate = trainer.network.spec.sample_rate
    tracks, _ = load_training(config.data, rate)
    mixer = Mixer(tracks, config.data, config.mix, int(config.optimiser.seconds * rate), config.augment, rate)
    shares = [range(config.optimiser.batch)]
    steps = Batches(mixer, trainer.objective, config, shares)
    batches = [steps[index] for index in range(BATCHES)]
    module = _Loss(trainer.network, trainer.objective)
    trainer.network.train()

    def step(number: int) -> float:
        trainer.optimiser.zero_grad(set_to_none=True)
        loss = trainer._accumulate(module, batches[number % BATCHES])
        trainer.scaler.unscale_(trainer.optimiser)
        torch.nn.utils.clip_grad_norm_(trainer.network.parameters(), config.optimiser.clip)
        trainer.scaler.step(trainer.optimiser)
        trainer.scaler.update()
        return loss

    for number in range(WARM_UP_STEPS):
        step(number)
    _finish(trainer.device)
    began, count, losses = time.perf_counter(), 0, []
    while count == 0 or time.perf_counter() - began < seconds:
        losses.append(step(count))
        count += 1
    _finish(trainer.device)
    wall = time.perf_counter() - began
    return {
        "precision": precision,
        "steps": count,
        "steps_a_second": count / wall,
        "audio_seconds_per_second": count * config.optimiser.batch * config.optimiser.seconds / wall,
        "last_loss": float(np.mean(losses[-BATCHES:])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, help="a training file; by default a corpus of noise and tones")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seconds", type=float, default=20.0, help="to measure each for (default 20)")
    parser.add_argument("--batch", type=int, help="examples a batch, in place of the file's")
    parser.add_argument("--json", type=Path, default=RESULTS / "training_speed.json")
    arguments = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.config:
            config = load_config(arguments.config)
        else:
            config = own_corpus(Path(folder)).model_copy(
                update={"architecture": "band-split", "network": _NETWORK | _SIZES}
            )
        config = config.model_copy(
            update={
                "output": Path(folder) / "runs",
                "compute": config.compute.model_copy(update={"device": arguments.device}),
                "optimiser": config.optimiser.model_copy(
                    update={"batch": arguments.batch or config.optimiser.batch}
                ),
            }
        )
        rows = []
        for precision in ("fp32", "bf16", "fp16"):
            try:
                row = measure(config, arguments.seconds, precision)
            except UsageError as error:  # as fp16 is, on a CPU
                row = {"precision": precision, "skipped": str(error)}
            rows.append(row)
            print(row)
    write(
        arguments.json,
        machine,
        {
            "config": arguments.config.name if arguments.config else None,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "torch": torch.__version__,
            "batch": config.optimiser.batch,
            "example_seconds": config.optimiser.seconds,
            "rows": rows,
        },
    )


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
