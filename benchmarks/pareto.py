"""Latency against SDR: what others have published, and, apart from it, what the models here were measured at.

    python -m benchmarks.pareto [--models models] [--output docs/images/pareto.png]

The two do not share an axis of SDR. Published figures are means over four stems on MUSDB18, as their authors
state them; those of the models here are from their manifests, where `rtsep train --export` puts what it
measured on a validation song. `rtsep bench pareto` measures them anew, with their speed, on any root.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from rtsep.bench.labels import Mark, write
from rtsep.bench.published import PUBLISHED
from rtsep.separators.registry import AnyPackage, OfflinePackage, read_package
from rtsep.spec import STEMS, ModelError

ROOT = Path(__file__).parents[1]

COLOURS = {"vocals": "#d1495b", "drums": "#2e4057", "bass": "#66a182", "other": "#edae49"}
GREY = "#666666"
OFFLINE_MS = 1300.0
"""Where models for files stand on the axis of latency, which has no place for them."""
APART = 2.2
"""How far beyond the one before each further one of ours stands."""


def read_models(root: Path) -> list[AnyPackage]:
    """Every model in a folder that says how it scored, by latency, those for files last."""
    packages = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            package = read_package(folder)
        except ModelError:
            continue
        if any(f"{stem}_sdr" in package.manifest.scores for stem in STEMS):
            packages.append(package)
    return sorted(packages, key=lambda package: latency(package) or OFFLINE_MS)


def latency(package: AnyPackage) -> float | None:
    """Algorithmic latency in ms; none of a model that needs the whole song."""
    if isinstance(package, OfflinePackage):
        return None
    return 1000.0 * package.spec.algorithmic_latency / package.spec.sample_rate


def draw(packages: list[AnyPackage]) -> Figure:
    """The figure: a panel of published systems, and one of the models here if there are any."""
    figure = Figure(figsize=(8.0, 4.6 + (3.4 if packages else 0.0)), layout="constrained")
    ratios = [3.0, 2.2] if packages else [1.0]
    axes = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    top = axes[0]
    top.set_title("published by their authors: MUSDB18, mean SDR over four stems", loc="left", fontsize=10)
    marks = []
    for system in PUBLISHED:
        # Whole-song models, which know the future, stand beside those that play along.
        at = OFFLINE_MS if system.latency is None else system.latency
        top.plot(at, system.sdr, "x" if system.latency is None else "o", color=GREY, markerfacecolor="white")
        marks.append(Mark(at, system.sdr, system.name, 7.5, GREY))
    top.set_ylim(2.9, 10.3)
    top.set_ylabel("SDR, dB")
    if packages:
        _draw_measured(axes[1], packages)
    axes[-1].set_xscale("log")
    axes[-1].set_xlim(1.5, 6000.0)
    places = [2, 5, 10, 20, 50, 100, 200, 500]
    axes[-1].set_xticks([*places, OFFLINE_MS], [*map(str, places), "whole\nsong"])
    axes[-1].xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes[-1].set_xlabel("algorithmic latency, ms")
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    write(top, marks)
    return figure


LABEL_DB = 0.55
"""Height of a figure in the lower panel."""


def _draw_measured(axis: matplotlib.axes.Axes, packages: list[AnyPackage]) -> None:
    axis.set_title(
        "measured here: one song, median SDR over seconds (not comparable with the above)",
        loc="left",
        fontsize=10,
    )
    top = max(score for package in packages for score in _scores(package).values())
    offline = 0
    for k, package in enumerate(packages):
        at = latency(package) or OFFLINE_MS * APART**offline
        offline += latency(package) is None
        # Figures of the fastest model stand to the left, or they would lie on the next one's points.
        left = k == 0 and len(packages) > 1
        lowest = float("-inf")
        for stem, score in sorted(_scores(package).items(), key=lambda entry: entry[1]):
            axis.plot(at, score, "D" if latency(package) else "s", color=COLOURS[stem], markersize=5)
            # Figures that lie close together are pushed apart.
            lowest = max(score, lowest + LABEL_DB)
            axis.annotate(
                f"{score:.1f}",
                (at, lowest),
                (-7 if left else 7, -3),
                ha="right" if left else "left",
                textcoords="offset points",
                fontsize=8,
                color=COLOURS[stem],
            )
        # Names of neighbours stand on two lines in turn.
        axis.annotate(
            package.name,
            (at, top),
            (0, 12 + 13 * (k % 2)),
            ha="center",
            textcoords="offset points",
            fontsize=9,
        )
    marks = [matplotlib.lines.Line2D([], [], marker="D", linestyle="", color=COLOURS[stem]) for stem in STEMS]
    axis.legend(marks, STEMS, loc="center", fontsize=8, frameon=False, bbox_to_anchor=(0.66, 0.5))
    axis.margins(y=0.12)
    axis.set_ylim(top=top + 2.2)
    axis.set_ylabel("SDR, dB")


def _scores(package: AnyPackage) -> dict[str, float]:
    scores = package.manifest.scores
    return {stem: scores[f"{stem}_sdr"] for stem in STEMS if f"{stem}_sdr" in scores}


def main() -> None:
    """Read the manifests and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "pareto.png")
    arguments = parser.parse_args()
    packages = read_models(arguments.models)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    draw(packages).savefig(arguments.output, dpi=110, metadata={"Software": None})
    names = ", ".join(p.name for p in packages) or "no model here: published systems only"
    print(f"{arguments.output}: {names}")


if __name__ == "__main__":
    main()
