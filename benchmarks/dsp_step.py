"""Time of the signal processing around the network, hop by hop: how much of the deadline it takes.

    python -m benchmarks.dsp_step [--hops 5000] [--json FILE]

One hop is taken at a time, as the engine does, with the whole of a hop's data between two readings of
the clock; the caches are as warm as such a loop makes them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtsep.dsp.resampling import StreamingResampler
from rtsep.dsp.stft import StreamingISTFT, StreamingSTFT
from rtsep.dsp.windows import asymmetric_pair
from rtsep.mixer.mixer import Mixer

PERCENTILES = (50.0, 99.0, 99.9)


def measure(step: Callable[[], object], hops: int) -> dict[str, float]:
    """Microseconds of `step`: percentiles, largest and mean of `hops` calls after a warm-up."""
    for _ in range(min(hops, 200)):
        step()
    times = np.empty(hops)
    for k in range(hops):
        begin = time.perf_counter_ns()
        step()
        times[k] = time.perf_counter_ns() - begin
    times /= 1000.0
    result = {f"p{p:g}": float(np.percentile(times, p)) for p in PERCENTILES}
    return {**result, "max": float(times.max()), "mean": float(times.mean())}


def parts(
    analysis: int, synthesis: int, hop: int, stems: int, channels: int, rate: int
) -> dict[str, Callable[[], object]]:
    """What one hop consists of, by name, each ready to be called."""
    rng = np.random.default_rng(0)
    window, dual = asymmetric_pair(analysis, synthesis, hop)
    forward = StreamingSTFT(window, hop, channels)
    back = StreamingISTFT(dual, analysis, hop, stems, channels)
    mixer = Mixer(stems, channels, hop, rate // 50)
    resampler = StreamingResampler(48000, rate, channels)
    block = rng.standard_normal((channels, hop)).astype(np.float32) * np.float32(0.1)
    device_block = rng.standard_normal((channels, resampler.frames_in(hop))).astype(np.float32)
    resampled = np.empty((channels, hop + 1), np.float32)
    spectrum = np.empty((channels, forward.bins), np.complex64)
    spectra = np.empty((stems, channels, forward.bins), np.complex64)
    audio = np.empty((stems, channels, hop), np.float32)
    out = np.empty((channels, hop), np.float32)
    forward.push(block, spectrum)
    spectra[:] = spectrum / stems
    goals = np.ones(stems)

    def mix() -> None:
        # The gains are kept moving, which is the dearer case.
        goals[0] = 1.0 - goals[0]
        mixer.set_targets(goals)
        mixer.sanitise(audio, block)
        mixer.mix(audio, out)

    def whole() -> None:
        forward.push(block, spectrum)
        back.push(spectra, audio)
        mix()

    return {
        "STFT": lambda: forward.push(block, spectrum),
        "ISTFT": lambda: back.push(spectra, audio),
        "guard, gains, sum, meters": mix,
        "one hop of these": whole,
        f"resampling 48000 to {rate}": lambda: resampler.push(device_block, resampled),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--analysis", type=int, default=2048, help="samples in a frame")
    parser.add_argument("--synthesis", type=int, default=1024, help="samples of the synthesis window")
    parser.add_argument("--hop", type=int, default=512, help="samples a hop")
    parser.add_argument("--stems", type=int, default=4)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--rate", type=int, default=44100, help="sample rate in Hz")
    parser.add_argument("--hops", type=int, default=5000, help="how many to time")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    if options.hops < 1:
        parser.error("--hops must be 1 or more")
    steps = parts(
        options.analysis, options.synthesis, options.hop, options.stems, options.channels, options.rate
    )
    results = {name: measure(step, options.hops) for name, step in steps.items()}
    deadline = 1e6 * options.hop / options.rate
    columns = list(next(iter(results.values())))
    print(
        f"{options.stems} stems of {options.channels} channels, frame {options.analysis},"
        f" synthesis {options.synthesis}, hop {options.hop}: deadline {deadline:.0f} us"
    )
    print(f"{'microseconds':28}" + "".join(f"{c:>9}" for c in columns) + f"{'p99.9 of deadline':>20}")
    for name, row in results.items():
        figures = "".join(f"{row[c]:9.1f}" for c in columns)
        print(f"{name:28}{figures}{100 * row['p99.9'] / deadline:19.2f}%")
    if options.json:
        settings = {k: v for k, v in vars(options).items() if k != "json"}
        document = {"settings": settings, "deadline_us": deadline, "microseconds": results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
