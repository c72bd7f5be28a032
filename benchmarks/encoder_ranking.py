"""FB-IRM of every kind of encoding after the same short training, to rank them without a separator.

    python -m benchmarks.encoder_ranking [--songs DIR] [--validation DIR] [--steps 300] [--only NAME]

The question of A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, section 5.3.1: which
encoder lets ideal ratio masks separate best? As there: one channel at 8 kHz, windows of 20 samples that do
not overlap, loss is negative SI-SDR. Every encoding sees the same examples, in the same order: half a second
each of a song of `--songs`, four a step. They are few, so Adam's rate is 0.005, five times the thesis'.
Measured are 30 s of the song in `--validation`. Silent stems count neither in the loss nor in the figures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.machine import RESULTS, write
from rtsep.bench.machine import describe
from rtsep.evaluation.scale_invariant import si_sdr
from rtsep.separators.encoders import EncodingConfig, ideal_ratio_stems, make_codec
from rtsep.training.losses import Scene
from rtsep.training.losses import si_sdr as si_sdr_loss

RATE = 8000
FIRST, LENGTH = 30.0, 60.0
"""Seconds of a training song: where it is heard from, and for how long."""
BATCH, SECONDS = 4, 0.5
HELD_FIRST, HELD_LENGTH = 172.0, 30.0
"""The same of the validation song: where bass, drums, other and vocals all sound, if not all at once."""

ENCODINGS: dict[str, dict[str, Any]] = {
    "convolution": {"encoding": "convolution"},
    "sinc, free": {"encoding": "filterbank", "bank": "sinc"},
    "sinc, pseudo-inverse decoder": {"encoding": "filterbank", "bank": "sinc", "inverse": "decoder"},
    "sinc, pseudo-inverse decoder, uniform": {
        "encoding": "filterbank", "bank": "sinc", "inverse": "decoder", "spacing": "uniform",
    },
    "paired sinc, free": {"encoding": "filterbank", "bank": "sinc", "paired": True},
    "paired sinc, pseudo-inverse decoder": {
        "encoding": "filterbank", "bank": "sinc", "paired": True, "inverse": "decoder",
    },
    "gammatone, free": {"encoding": "filterbank"},
    "gammatone, pseudo-inverse decoder": {"encoding": "filterbank", "inverse": "decoder"},
    "gammatone, pseudo-inverse encoder": {"encoding": "filterbank", "inverse": "encoder"},
    "gammatone, pseudo-inverse decoder, uniform": {
        "encoding": "filterbank", "inverse": "decoder", "spacing": "uniform",
    },
    "hybrid, convolution": {"bank": "convolution"},
    "hybrid, sinc": {"bank": "sinc"},
    "hybrid, gammatone": {"bank": "gammatone"},
    "hybrid, STFT": {"bank": "stft"},
    "hybrid, linear STFT": {"bank": "stft", "stft_scale": "linear"},
    "deep, two gammatone banks": {"encoding": "deep", "layers": 2},
}  # fmt: skip


def read_song(folder: Path, first: float, length: float) -> dict[str, NDArray[np.float32]]:
    """Stems of a song by name, one channel at 8 kHz."""
    stems = {}
    for file in sorted(folder.glob("*.*")):
        with soundfile.SoundFile(file) as sound:
            sound.seek(int(first * sound.samplerate))
            audio = sound.read(int(length * sound.samplerate), dtype="float32", always_2d=True)
            stems[file.stem] = soxr.resample(audio.mean(axis=1), sound.samplerate, RATE).astype(np.float32)
    return stems


def measure(
    changes: dict[str, Any], songs: list[torch.Tensor], held: dict[str, NDArray[np.float32]], steps: int,
    filters: int, learning_rate: float,
) -> dict[str, Any]:  # fmt: skip
    """Train one encoding and rate it before and after."""
    torch.manual_seed(0)
    sizes = {"sample_rate": RATE, "filters": filters, "stft_frame": 1024}
    codec = make_codec(EncodingConfig.model_validate(sizes | changes))
    codec.begin(torch.stack([song.sum(dim=0)[: 20 * RATE] for song in songs]))
    optimiser = torch.optim.Adam(codec.parameters(), lr=learning_rate)
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(np.stack(list(held.values())))
    began = time.process_time()
    before = rate(codec, truth, held)
    for _ in range(steps):
        batch = []
        for _ in range(BATCH):
            song = songs[rng.integers(len(songs))]
            start = rng.integers(song.shape[1] - int(SECONDS * RATE))
            batch.append(song[:, start : start + int(SECONDS * RATE)])
        stems = torch.stack(batch)
        optimiser.zero_grad()
        estimates = ideal_ratio_stems(codec, stems)
        scene = Scene(estimates.unsqueeze(2), stems.unsqueeze(2), stems.sum(dim=1).unsqueeze(1), RATE)
        loss = si_sdr_loss(scene).sum() / scene.active.sum().clamp_min(1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 5.0)
        optimiser.step()
    after = rate(codec, truth, held)
    return {
        "parameters": sum(p.numel() for p in codec.parameters()),
        "before": before,
        "after": after,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


@torch.no_grad()
def rate(codec: Any, truth: torch.Tensor, held: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    """SI-SDR of each stem's ideal mask, dB, and their mean."""
    estimates = ideal_ratio_stems(codec, truth[None])[0].numpy()
    scores = {
        name: round(si_sdr(stem[None], estimate[None]), 2)
        for (name, stem), estimate in zip(held.items(), estimates, strict=True)
    }
    return scores | {"mean": round(float(np.nanmean(list(scores.values()))), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--songs", type=Path, default=Path("corpus/songs/train"))
    parser.add_argument("--validation", type=Path, default=Path("corpus/songs/valid"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--filters", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--only", action="append", choices=list(ENCODINGS))
    parser.add_argument("--json", type=Path, default=RESULTS / "encoder_ranking.json")
    arguments = parser.parse_args()
    machine = describe()
    torch.set_num_threads(1)
    folders = sorted(arguments.songs.iterdir())
    songs = [
        torch.from_numpy(np.stack(list(read_song(folder, FIRST, LENGTH).values()))) for folder in folders
    ]
    held = read_song(sorted(arguments.validation.iterdir())[0], HELD_FIRST, HELD_LENGTH)
    console = Console()
    rows = {}
    for name in arguments.only or ENCODINGS:
        rows[name] = measure(
            ENCODINGS[name], songs, held, arguments.steps, arguments.filters, arguments.learning_rate
        )
        console.print(f"{name}: {rows[name]['before']['mean']} -> {rows[name]['after']}", highlight=False)
        # Anew with every row: the whole takes a while.
        settings = {name: getattr(arguments, name) for name in ("steps", "filters", "learning_rate")}
        write(arguments.json, machine, {"sample_rate": RATE, **settings, "rows": rows})
    table = Table(title=f"FB-IRM, SI-SDR in dB after {arguments.steps} steps, {arguments.filters} filters")
    for column in ("encoding", *held, "mean", "untrained", "parameters"):
        table.add_column(column, justify="left" if column == "encoding" else "right")
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["after"]["mean"]):
        figures = [f"{value:.2f}" for value in row["after"].values()]
        table.add_row(name, *figures, f"{row['before']['mean']:.2f}", str(row["parameters"]))
    console.print(table)


if __name__ == "__main__":
    main()
