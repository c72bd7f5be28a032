"""Control to audio: how long after a MIDI message the sound changes, on a real JACK server.

    python -m benchmarks.midi_response [--model live] [--period 128] [--turns 100]

The server has no sound card (dummy driver, 44.1 kHz). The engine runs in its process; a steady level goes in,
and a controller, which is a JACK MIDI port, turns the master down and up. Told are the times from sending the
message to the value in the engine's shared memory, to the first sample that is different, and to the middle
of the ramp, as another JACK client hears it. Turns in which the engine was late just then, so that its
fallback was heard, are counted apart.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.machine import RESULTS, write
from benchmarks.models import add_model_argument, open_model
from rtsep.bench.machine import describe
from tests.jack_server import JackServer
from tests.midi.response import measure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_model_argument(parser)
    parser.add_argument("--period", type=int, default=128, help="of the server, frames")
    parser.add_argument("--turns", type=int, default=100, help="messages")
    parser.add_argument("--json", type=Path, default=RESULTS / "midi_response.json")
    arguments = parser.parse_args(argv)
    machine = describe()
    with (
        open_model(arguments.model) as package,
        JackServer("midi-response", rate=44100, period=arguments.period) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        responses = measure(server, Path(folder), package.root, arguments.turns)
    rows = {
        name: 1000.0 * np.array([getattr(response, name) for response in responses])
        for name in ("to_desk", "to_sound", "to_middle")
    }
    spoiled = int(np.isnan(rows["to_sound"]).sum())
    print(f"{package.name}, period {arguments.period} ({1000 * arguments.period / 44100:.1f} ms)")
    figures = {}
    for name, values in rows.items():
        p50, p95 = np.nanpercentile(values, [50, 95])
        figures[name] = {"p50_ms": float(p50), "p95_ms": float(p95), "least_ms": float(np.nanmin(values))}
        print(f"{name:<10} p50 {p50:6.2f} ms   p95 {p95:6.2f} ms   least {np.nanmin(values):6.2f} ms")
    print(f"{len(responses)} turns, {spoiled} of them spoiled by the engine's fallback")
    document = {
        "model": package.name,
        "period": arguments.period,
        "spoiled": spoiled,
        "figures": figures,
        "responses": [asdict(response) for response in responses],
    }
    write(arguments.json, machine, document)


if __name__ == "__main__":
    main()
