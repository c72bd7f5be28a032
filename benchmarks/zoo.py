"""Short training runs of systems of the zoo: how far each comes with the same little, as a table.

    python -m benchmarks.zoo configs/zoo/demucs.toml ... [--seconds 30] [--start 165] [--output runs/zoo]

Each file is trained as `rtsep train` would, but validated only before its first step and after its last, on
an excerpt of the validation's first track. Loss is the mean over the first twentieth of the steps, and over
the last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtsep.separators.network import CausalNetwork
from rtsep.spec import STEMS
from rtsep.training.config import TrainConfig, load_config
from rtsep.training.corpus import Track, load_training
from rtsep.training.loop import LOG, Trainer, validate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--start", type=float, default=165.0, help="of the excerpt, in seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the excerpt")
    parser.add_argument("--output", type=Path, default=Path("runs/zoo"), help="runs and results go here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for file in arguments.configs:
        rows.append(measure(file, arguments.start, arguments.seconds, arguments.output))
        (arguments.output / f"{file.stem}.json").write_text(json.dumps(rows[-1], indent=2) + "\n")
        print(line(rows[-1]), flush=True)


def measure(file: Path, start: float, seconds: float, output: Path) -> dict[str, Any]:
    """Train one system and score it before and after."""
    return train(load_config(file), start, seconds, output)


def train(config: TrainConfig, start: float, seconds: float, output: Path) -> dict[str, Any]:
    """The same of a configuration."""
    began, worked = time.monotonic(), time.process_time()
    trainer = Trainer(config.model_copy(update={"output": output}), print)
    rate = trainer.network.spec.sample_rate
    _, tracks = load_training(config.data, rate)
    excerpt = [cut(tracks[0], round(start * rate), round(seconds * rate))]
    before = validate(trainer.network.eval(), excerpt)
    trainer.network.train()
    data = config.data.model_copy(update={"validation": None})
    trainer.config = trainer.config.model_copy(update={"data": data})
    trainer.run()
    after = validate(trainer.averaged(), excerpt)
    o = config.optimiser
    return {
        "system": config.name,
        "streams": isinstance(trainer.network, CausalNetwork),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "steps": o.steps,
        "seconds": o.steps * o.batch * o.seconds,
        "wall": time.monotonic() - began,
        "cpu": time.process_time() - worked,
        "loss": losses(trainer.folder),
        "before": before,
        "after": after,
    }


def losses(run: Path) -> list[float]:
    """Of a run: the mean over the first twentieth of its steps, and over the last."""
    rows = map(json.loads, (run / LOG).read_text(encoding="utf-8").splitlines())
    values = [row["loss"] for row in rows if "loss" in row]
    few = max(1, len(values) // 20)
    return [float(np.mean(values[:few])), float(np.mean(values[-few:]))]


def cut(track: Track, start: int, samples: int) -> Track:
    """An excerpt of a track."""
    stems = {name: audio[start : start + samples] for name, audio in track.stems.items()}
    return dataclasses.replace(track, stems=stems)


def line(row: dict[str, Any]) -> str:
    """A row of the table in docs/zoo-networks.md."""
    pairs = [(row["before"].get(f"{stem}_sdr"), row["after"].get(f"{stem}_sdr")) for stem in STEMS]
    scores = ["silent" if None in pair else "{:.1f} → {:.1f}".format(*pair) for pair in pairs]
    status = "causal" if row["streams"] else "offline"
    cells = [
        f"`{row['system']}`", status, f"{row['parameters'] / 1e6:.2f} M", str(row["steps"]),
        f"{row['seconds']:.0f}", f"{row['loss'][0]:.4g} → {row['loss'][1]:.4g}", *scores,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
