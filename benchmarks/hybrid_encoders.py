"""Conv-TasNet trained on hybrid encodings, each with the same little, to see which of them serves it best.

    python -m benchmarks.hybrid_encoders [--steps 400] [--only NAME] [--output runs/hybrid]

The question of A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, figure 5.10: convolutions
beside other convolutions, sinc filters, gammatone filters, or a spectrogram. As there: 8 kHz, half of the
filters each, SI-SDR. `benchmarks.encoder_ranking` rates the same encodings without a separator. The network
is that of `configs/zoo/conv-tasnet-offline.toml`; the seed is one, so every encoding sees the same examples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import RESULTS, write
from benchmarks.zoo import train
from rtsep.bench.machine import describe
from rtsep.spec import STEMS
from rtsep.training.config import load_config

ROOT = Path(__file__).parents[1]
RATE = 8000
BANKS: dict[str, dict[str, Any]] = {
    "convolution": {"bank": "convolution"},
    "sinc": {"bank": "sinc"},
    "gammatone": {"bank": "gammatone"},
    "STFT": {"bank": "stft", "stft_frame": 1024},
    "linear STFT": {"bank": "stft", "stft_frame": 1024, "stft_scale": "linear"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", action="append", choices=list(BANKS))
    parser.add_argument("--start", type=float, default=165.0, help="of the scored excerpt, in seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the scored excerpt")
    parser.add_argument("--output", type=Path, default=Path("runs/hybrid"))
    parser.add_argument("--json", type=Path, default=RESULTS / "hybrid_encoders.json")
    arguments = parser.parse_args()
    machine = describe()
    torch.set_num_threads(1)
    base = load_config(ROOT / "configs" / "zoo" / "conv-tasnet-offline.toml")
    rows = {}
    for name in arguments.only or BANKS:
        config = base.model_copy(
            update={
                "name": name.replace(" ", "-").lower(),
                "network": {**base.network, **BANKS[name], "sample_rate": RATE},
                "optimiser": base.optimiser.model_copy(
                    update={"steps": arguments.steps, "validate_every": arguments.steps}
                ),
            }
        )
        rows[name] = train(config, arguments.start, arguments.seconds, arguments.output)
        # Anew with every row: the whole takes a while.
        write(arguments.json, machine, {"sample_rate": RATE, "steps": arguments.steps, "rows": rows})
        print(line(name, rows[name]), flush=True)


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table in docs/zoo-open-unmix.md."""
    scores = [row["after"][f"{stem}_sdr"] for stem in STEMS]
    cells = [f"{row['loss'][0]:.1f} → {row['loss'][1]:.1f}", *(f"{s:.1f}" for s in scores)]
    return f"| {name} | {' | '.join(cells)} | {np.mean(scores):.1f} | {row['parameters']} |"


if __name__ == "__main__":
    main()
