"""SDR of oracle magnitudes with the mixture's phase, and with Griffin-Lim's.

    python -m benchmarks.griffin_lim [--track FILE.stem.mp4] [--seconds 6] [--rounds 8 --rounds 32]

The magnitudes are the stems' own, with Open-Unmix's frames, so that the phase is all that is wrong. It begins
as the mixture's or at random; the track is the excerpt that the stempeg package carries unless another is
named. Beside SDR stands what the magnitudes are off by after the inverse transform, in dB: that is what
Griffin-Lim works at, and the waveform is none of its business.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import RESULTS, write
from rtsep.bench.machine import describe
from rtsep.evaluation.scorer import song_sdr
from rtsep.evaluation.tracks import EXCERPT, find_tracks
from rtsep.separators.griffin_lim import griffin_lim

FRAME, HOP = 4096, 1024


def spectra(signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """(..., samples) to (..., bins, frames)."""
    flat = signal.flatten(0, -2)
    bins = torch.stft(flat, FRAME, HOP, window=window, pad_mode="reflect", return_complex=True)
    return bins.unflatten(0, signal.shape[:-1])


def measure(stems: dict[str, torch.Tensor], rounds: list[int]) -> list[dict[str, Any]]:
    """Every stem by every phase."""
    window = torch.hann_window(FRAME)
    mix = spectra(torch.stack(list(stems.values())).sum(dim=0), window)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(mix.shape, generator=generator) * 2.0 * torch.pi
    phases = {"mixture": torch.sgn(mix), "random": torch.polar(torch.ones_like(noise), noise)}
    rows = []
    for start, phase in phases.items():
        for count in [0, *rounds]:
            row: dict[str, Any] = {"start": start, "rounds": count, "sdr": {}, "inconsistency": {}}
            for name, stem in stems.items():
                magnitudes = spectra(stem, window).abs()
                wave = griffin_lim(magnitudes * phase, HOP, window, stem.shape[-1], count)
                off = (spectra(wave, window).abs() - magnitudes).norm() / magnitudes.norm()
                row["sdr"][name] = round(song_sdr(stem.numpy(), wave.numpy()), 2)
                row["inconsistency"][name] = round(20.0 * float(off.log10()), 1)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--track", default=EXCERPT, help="a stem file or a folder of stems")
    parser.add_argument("--seconds", type=float, help="no more than these from its beginning")
    parser.add_argument("--rounds", type=int, action="append")
    parser.add_argument("--json", type=Path, default=RESULTS / "griffin_lim.json")
    arguments = parser.parse_args()
    machine = describe()
    torch.set_num_threads(1)
    track = find_tracks(arguments.track)[0].read(arguments.seconds)
    stems = {name: torch.from_numpy(part) for name, part in track.parts.items()}
    rows = measure(stems, arguments.rounds or [8, 32])
    table = Table(title=f"SDR (and error of the magnitudes), dB: {track.name}")
    for column in ("phase begins as", "rounds", *stems):
        table.add_column(column)
    for row in rows:
        cells = [f"{row['sdr'][stem]:.2f} ({row['inconsistency'][stem]:.1f})" for stem in stems]
        table.add_row(row["start"], str(row["rounds"]), *cells)
    Console().print(table)
    write(arguments.json, machine, {"track": track.name, "seconds": round(track.seconds, 2), "rows": rows})


if __name__ == "__main__":
    main()
