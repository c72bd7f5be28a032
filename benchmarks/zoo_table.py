"""Every system of the zoo on a minute of the validation song: trained here, shipped, or built in.

    python -m benchmarks.zoo_table [configs/zoo/demucs.toml ...] [--start 165] [--seconds 60]

Runs are those that `benchmarks.zoo` has left in `--runs`, or else those that `rtsep train` has left where the
file says; models that ship are those of `models/`. A system that has no runs yet is said and left out. Stems
of methods that know no instruments are scored as what they are taken for: percussive as drums, centre and
foreground as vocals. Written to `benchmarks/results/zoo.json`, and as the table of docs/zoo.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import stempeg
import torch
from numpy.typing import NDArray

import rtsep
from benchmarks.machine import RESULTS, write
from benchmarks.pareto import read_models
from benchmarks.zoo import cut, losses
from rtsep.bench.machine import describe
from rtsep.evaluation.bsseval import RATIOS, bsseval, on_16_bits
from rtsep.evaluation.oracles import irm
from rtsep.separators.network import CausalNetwork
from rtsep.separators.registry import ModelPackage, available, find_any
from rtsep.spec import STEMS
from rtsep.training.checkpoints import CHECKPOINT
from rtsep.training.config import TrainConfig, load_config
from rtsep.training.corpus import Track, load_training
from rtsep.training.loop import Trainer
from rtsep.training.networks import separate
from rtsep.training.scores import score_tracks

ROOT = Path(__file__).parents[1]
TAKEN_FOR = {"percussive": "drums", "centre": "vocals", "foreground": "vocals"}
RATE = 44100

Audio = NDArray[np.float32]
Separate = Callable[[Audio], Audio]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    zoo = sorted((ROOT / "configs" / "zoo").glob("*.toml"))
    parser.add_argument("configs", type=Path, nargs="*", default=zoo, help="of the runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo"), help="where benchmarks.zoo left them")
    parser.add_argument("--start", type=float, default=165.0, help="of the excerpt, in seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the excerpt")
    parser.add_argument(
        "--bss", action="store_true", help="SDR, ISR, SIR and SAR of the runs, by museval: slow"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "zoo.json")
    arguments = parser.parse_args()
    machine = describe()
    torch.set_num_threads(1)
    _, tracks = load_training(load_config(arguments.configs[0]).data, RATE)
    excerpt = cut(tracks[0], round(arguments.start * RATE), round(arguments.seconds * RATE))
    rows = [bound(excerpt)]
    built_in = [package.name for package in available() if package.built_in]
    shipped = [package.name for package in read_models(ROOT / "models")]
    for name in (*shipped, *built_in):
        rows.append(score_model(name, excerpt))
        print(line(rows[-1]), flush=True)
    for file in arguments.configs:
        config = load_config(file)
        if (arguments.runs / config.name / CHECKPOINT).exists():
            config = config.model_copy(update={"output": arguments.runs})
        if not (config.output / config.name / CHECKPOINT).exists():
            print(f"{file}: not trained yet (python -m benchmarks.zoo {file})")
            continue
        rows.append(score_run(config, excerpt, arguments.bss))
        print(line(rows[-1]), flush=True)
    settings = {"start": arguments.start, "seconds": arguments.seconds}
    write(arguments.json, machine, {**settings, "rows": rows})
    print(*table(rows), sep="\n")
    if arguments.bss:
        print("", *bss_table(rows), sep="\n")


def bound(track: Track) -> dict[str, Any]:
    """What an ideal ratio mask reaches."""

    def masked(mix: Audio) -> Audio:
        truth = np.stack([track.stems[s].T / np.float32(32768.0) for s in STEMS])
        return irm(truth).astype(np.float32)

    return {"system": "ideal ratio mask", "status": "bound", "learnt": 0.0, **score(masked, [track], STEMS)}


def score_model(name: str, track: Track) -> dict[str, Any]:
    """A model that ships, or a method that is built in."""
    package = find_any(name)
    manifest = package.manifest
    known = {TAKEN_FOR.get(stem, stem): stem for stem in manifest.stems}
    training = manifest.training or {}
    with rtsep.load(name) as separator:

        def stream(mix: Audio) -> Audio:
            stems = separator.separate(mix, RATE)
            return np.stack([stems[known[s]] if s in known else np.zeros_like(mix) for s in STEMS])

        scores = score(stream, [track], [s for s in STEMS if s in known])
    return {
        "system": name,
        "status": "live" if isinstance(package, ModelPackage) else "files",
        "parameters": None,
        "learnt": float(training.get("steps", 0) * training.get("batch", 0) * training.get("seconds", 0)),
        **scores,
    }


def score_run(config: TrainConfig, track: Track, bss: bool = False) -> dict[str, Any]:
    """What a training run has come to."""
    trainer = Trainer(config, lambda line: None)
    trainer.load()
    network = trainer.averaged()

    def run(mix: Audio) -> Audio:
        with torch.no_grad():
            return np.asarray(separate(network, torch.from_numpy(mix)).numpy(), dtype=np.float32)

    ratios = {"bss": bss_ratios(run)} if bss else {}
    return {
        "system": config.name,
        **ratios,
        "status": "live" if isinstance(network, CausalNetwork) else "files",
        "parameters": sum(p.numel() for p in network.parameters()),
        "learnt": trainer.step * config.optimiser.batch * config.optimiser.seconds,
        "loss": losses(trainer.folder),
        **score(run, [track], STEMS),
    }


def score(system: Separate, tracks: list[Track], known: Any) -> dict[str, Any]:
    """Figures of the stems that a system has, and its time for a second of audio."""
    began = time.process_time()
    scores = score_tracks(system, tracks, RATE)
    spent = time.process_time() - began
    left_out = {f"{stem}_sdr" for stem in STEMS if stem not in known}
    if "vocals" not in known:
        left_out |= {"vocals_sdr_gain", "vocal_attenuation", "damage"}
    kept = {name: round(value, 2) for name, value in scores.items() if name not in left_out}
    audio = sum(track.samples for track in tracks) / RATE
    return {**kept, "seconds_per_second": round(spent / audio, 3)}


def bss_ratios(system: Separate) -> dict[str, float]:
    """BSSEval v4 on stempeg's rock excerpt: of each ratio, the mean over stems of the median over seconds.

    museval leaves out seconds in which any stem is silent; of the validation song that is all of them.
    """
    stems, _ = stempeg.read_stems(stempeg.example_stem_path(), dtype=np.float32)
    truth = dict(zip(("drums", "bass", "other", "vocals"), (on_16_bits(s.T) for s in stems[1:]), strict=True))
    estimates = system(np.sum(list(truth.values()), axis=0).astype(np.float32))
    found = bsseval(truth, dict(zip(STEMS, estimates, strict=True)), RATE)
    return {
        ratio: round(float(np.mean([np.nanmedian(found.frames(stem)[ratio]) for stem in STEMS])), 2)
        for ratio in RATIOS
    }


def mean(row: dict[str, Any]) -> float:
    """Of the four stems' SDR; lowest of all where a system has not all of them."""
    scores = [row.get(f"{stem}_sdr") for stem in STEMS]
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else float("-inf")


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    figures = [*(f"{stem}_sdr" for stem in STEMS)]
    cells = [f"{row[name]:.1f}" if name in row else "" for name in figures]
    cells.append(f"{mean(row):.1f}" if np.isfinite(mean(row)) else "")
    cells += [f"{row[name]:.1f}" if name in row else "" for name in ("vocal_attenuation", "damage")]
    return f"| `{row['system']}` | {row['status']} | {heard(row['learnt'])} | {' | '.join(cells)} |"


def heard(seconds: float) -> str:
    """How much audio a system has learnt from."""
    if not seconds:
        return "–"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """In Markdown, the best mean first, systems without all stems by their vocals or drums."""
    yield "| system | runs | heard | vocals | drums | bass | other | mean | quieter by | damage |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: (-mean(row), row["system"])):
        yield line(row)


def bss_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Of the rows that have them, the columns of SCSU 2021's tables."""
    yield "| system | parameters | SDR | SAR | SIR | ISR |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        if "bss" in row:
            cells = " | ".join(f"{row['bss'][ratio]:.2f}" for ratio in ("sdr", "sar", "sir", "isr"))
            yield f"| `{row['system']}` | {row['parameters'] / 1e6:.2f} M | {cells} |"


if __name__ == "__main__":
    main()
