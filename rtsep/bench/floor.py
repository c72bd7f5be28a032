"""How near a model's step is to what one core could do at best.

A step must read the weights once, and do its products. The floor is the longer of the two times: weight bytes
over the bandwidth that a core has for that many bytes (a cache's, if they fit into one), and multiply-
accumulates over the rate of a product of matrices. Both rates are measured in the same run. Transforms count
as products, (5/2) n log2 n multiply-accumulates for a complex FFT of two channels at once.

Rates and the step are compared by their fastest tenth, which other programs disturb least. The processor's
own time for a step stands beside the wall's: under load caches are cold, but waiting is no part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rtsep.backends.threads import physical_cores
from rtsep.bench import counting, pictures
from rtsep.bench.machine import describe
from rtsep.bench.probe import ask
from rtsep.bench.record import Result, Tracked
from rtsep.separators.registry import ModelPackage, available, find
from rtsep.spec import UsageError

HOPS, SHORT_HOPS = 2000, 60
BAR = 2.0
"""Times the floor: as near as a step should be."""
Say = Callable[[str], None]


def run(
    models: Sequence[str], hops: int = HOPS, *, short: bool = False, say: Say = lambda line: None
) -> Result:
    """Measure the step of every model, and the machine.

    Args:
        models: names or folders of streaming models; if none is given, all that have learnt.
        hops: steps to time.
        short: whether this is the short form.
        say: told what is being measured.

    Returns:
        With `held` True if every step was within `BAR` times its floor.

    Raises:
        UsageError: when onnx is missing, or there is no model.
        ModelError: for a model that is not there, or does not stream.
    """
    packages, machine = [find(model) for model in models] or streaming(), describe()
    if not packages:
        raise UsageError("there are no models that stream: see 'rtsep models'")
    rows = []
    for package in packages:
        say(package.name)
        rows.append(of(package, hops))
    settings = {"models": [package.name for package in packages], "hops": hops}
    held = all(row["ratio"] <= BAR for row in rows)
    result = Result("floor", short, settings, {"rows": rows}, machine, held=held)
    cells = []
    for row in rows:
        parts = ", ".join(f"{name} {value:.3f}" for name, value in row["parts_ms"].items())
        threads = ", ".join(f"{t['threads']}: {t['p50_ms']:.3f}" for t in row["threads"])
        cells.append(
            (
                row["model"],
                f"{row['weight_bytes'] / 1e6:.2f}",
                f"{row['gb_per_s']:.1f}",
                f"{row['macs'] / 1e6:.2f}",
                f"{row['gmac_per_s']:.1f}",
                f"{row['floor_ms']:.3f}",
                f"{row['p10_ms']:.3f}",
                f"{row['p50_ms']:.3f}",
                f"{row['p99_ms']:.3f}",
                f"{row['cpu_p50_ms']:.3f}",
                f"{row['cpu_p99_ms']:.3f}",
                f"{row['ratio']:.1f}",
                f"{100.0 * row['cpu_p99_ms'] / row['hop_ms']:.0f} %",
                parts,
                threads,
            )
        )
        result.tracked.append(Tracked(f"{row['model']}: step to floor", row["ratio"], "ratio"))
        result.tracked.append(Tracked(f"{row['model']}: step p50", row["p50_ms"], "ms"))
        result.tracked.append(Tracked(f"{row['model']}: step p99, CPU", row["cpu_p99_ms"], "ms"))
        result.notes.append(_verdict(row))
    columns = (
        "model",
        "weights MB",
        "GB/s",
        "MMAC",
        "GMAC/s",
        "floor ms",
        "p10 ms",
        "p50 ms",
        "p99 ms",
        "CPU p50",
        "CPU p99",
    )
    more = ("p10 to floor", "CPU p99 of the hop", "parts, ms", "p50 by threads")
    result.tables.append(("A step on one core, against its floor", (*columns, *more), cells))
    result.figure = pictures.bars(
        [(row["model"], row["ratio"]) for row in rows], "Step against its floor", "times the floor", BAR
    )
    return result


def streaming() -> list[ModelPackage]:
    """Causal models that are shipped, trained or imported."""
    return [one for one in available() if isinstance(one, ModelPackage) and not one.built_in]


def of(package: ModelPackage, hops: int) -> dict[str, Any]:
    """One model: counts, rates, the floor, the step, and the step on more threads."""
    counted = counting.graph(package)
    weights = counting.parameters(package)
    size = counted["weight_bytes"] if weights is None else min(4 * weights, counted["weight_bytes"])
    step = ask("causal", model=str(package.root), hops=hops)
    rates = ask("peaks", weight_bytes=size, repeats=max(20, hops // 10))
    frames = step["transform"]
    pairs = -(-step["rows"] // 2) + -(-step["channels"] // 2)
    transforms = round(2.5 * frames * math.log2(frames)) * pairs if frames else 0
    # A graph's products with zeros are no part of the floor of a step that leaves them out.
    macs = (step["multiplications"] or counted["macs"]) + transforms
    reading, multiplying = size / (rates["gb_per_s"] * 1e6), macs / (rates["gmac_per_s"] * 1e6)
    floor = max(reading, multiplying)
    threads = [{"threads": 1, "p50_ms": step["p50_ms"]}]
    # The compiled step has one thread: to give it more would be to measure noise.
    most = 1 if step["backend"] == "fused" else physical_cores()
    for count in range(2, most + 1):
        found = ask("causal", model=str(package.root), hops=max(20, hops // 4), threads=count)
        threads.append({"threads": count, "p50_ms": found["p50_ms"]})
        if count >= 4:  # what helps a step this small shows by then
            break
    return {
        "model": package.name,
        "weight_bytes": size,
        "macs": macs,
        **rates,
        "reading_ms": reading,
        "multiplying_ms": multiplying,
        "floor_ms": floor,
        "ratio": step["p10_ms"] / floor,
        "threads": threads,
        **{key: value for key, value in step.items() if key not in ("threads", "multiplications")},
    }


def _verdict(row: dict[str, Any]) -> str:
    near = "within" if row["ratio"] <= BAR else "beyond"
    limit = "weights" if row["reading_ms"] >= row["multiplying_ms"] else "products"
    words = f"{row['model']}, {row['backend']}: {row['ratio']:.1f} times its floor ({limit}), {near} {BAR:g}"
    if len(row["threads"]) == 1:
        return words
    best = min(row["threads"], key=lambda entry: entry["p50_ms"])["threads"]
    return f"{words}; fastest with {best} thread{'s' if best > 1 else ''}"
