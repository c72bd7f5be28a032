"""A run on one page: how the loss fell, what the validation scored, and what it looks like by now."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsep.evaluation.page import image, page
from rtsep.training.config import TrainConfig
from rtsep.training.corpus import Track
from rtsep.training.scores import overall

REPORT = "report.html"
EXCERPT_SECONDS = 6.0
CONTEXT_SECONDS = 4.0
"""What is heard before the excerpt, so that a causal network has a past there."""

_FEW = 40
"""Points up to which each is marked."""

Audio = NDArray[np.float32]
Row = dict[str, float]


def read_log(path: Path) -> tuple[list[Row], list[Row]]:
    """The lines of a run's log: those of losses and those of validations, each step once, in order.

    Steps that were done twice, because a run was killed, count as they were done last. A line that was cut
    short by that is left out.
    """
    losses: dict[float, Row] = {}
    scores: dict[float, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        (losses if "loss" in row else scores)[row["step"]] = row
    return [losses[step] for step in sorted(losses)], [scores[step] for step in sorted(scores)]


def show_excerpt(
    separate: Callable[[Audio], Audio], track: Track, sample_rate: int
) -> tuple[str, dict[str, Audio]]:
    """What the picture shows: the track's loudest seconds of a stem (the vocals, if it has them).

    Args:
        separate: (2, samples) to (stems, 2, samples), in the order of the track's classes.
        track: of the validation.
        sample_rate: Hz.

    Returns:
        What it is, and mixture, estimate and truth by what to write above them, (2, samples) each.
    """
    stem = next((name for name in track.classes if name in track.stems), track.classes[0])
    truth = {name: audio.T / np.float32(32768.0) for name, audio in track.stems.items()}
    wanted = truth.get(stem, np.zeros((2, track.samples), np.float32))
    length = min(int(EXCERPT_SECONDS * sample_rate), track.samples)
    energy = np.concatenate([[0.0], np.cumsum(np.square(wanted, dtype=np.float64).sum(axis=0))])
    start = int(np.argmax(energy[length:] - energy[: len(energy) - length]))
    before = min(int(CONTEXT_SECONDS * sample_rate), start)
    heard = slice(start - before, start + length)
    mix: Audio = np.stack([audio[:, heard] for audio in truth.values()]).sum(axis=0)
    estimate = separate(mix)[track.classes.index(stem)]
    panels = {
        "mixture": mix[:, before:],
        f"{stem}, estimated": estimate[:, before:],
        f"{stem}, truth": wanted[:, start : start + length],
    }
    return f"{track.name} from {start / sample_rate:.1f} s", panels


def draw_progress(losses: list[Row], scores: list[Row], unit: str) -> bytes:
    """A PNG: the loss and the learning rate over steps, and below them each stem's SDR.

    Args:
        losses, scores: as `read_log` gives them.
        unit: of the loss.
    """
    # Not pyplot, which keeps figures alive and wants a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.0 if scores else 3.2), layout="constrained")
    axes = figure.subplots(2 if scores else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = [row["step"] for row in losses]
    # A line through few points hides where they are, and through a single one there is none.
    mark = "." if len(losses) <= _FEW else ""
    axes[0].plot(steps, [row["loss"] for row in losses], marker=mark, linewidth=1.2)
    axes[0].set_ylabel(f"loss{',' if unit else ''}{unit}")
    rates = axes[0].twinx()
    rates.plot(steps, [row["rate"] for row in losses], marker=mark, color="0.7", linewidth=1.0)
    rates.set_ylabel("learning rate", color="0.5")
    axes[0].grid(alpha=0.3)
    if scores:
        stems = dict.fromkeys(n.removesuffix("_sdr") for row in scores for n in row if n.endswith("_sdr"))
        for index, stem in enumerate(stems):
            points = [(row["step"], row[f"{stem}_sdr"]) for row in scores if f"{stem}_sdr" in row]
            if points:
                axes[1].plot(*zip(*points, strict=True), marker=".", label=stem, color=f"C{index}")
        best = max(reversed(scores), key=overall)
        axes[1].axvline(best["step"], color="0.6", linestyle="--", linewidth=1.0, label="best")
        axes[1].set_ylabel("SDR, dB")
        axes[1].grid(alpha=0.3)
        # Below, where it can hide no curve.
        figure.legend(loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    axes[-1].set_xlabel("steps")
    return _png(figure)


def draw_responses(responses: Mapping[str, NDArray[np.floating]], sample_rate: int) -> bytes:
    """A PNG: what a network has learnt to hear more or less of, one line each.

    Args:
        responses: gains at frequencies that are even from zero to half the rate, by name.
        sample_rate: Hz.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, gains in responses.items():
        frequencies = np.linspace(0.0, sample_rate / 2000.0, len(gains))
        axes.plot(frequencies, 20.0 * np.log10(np.abs(gains) + 1e-6), linewidth=1.2, label=name)
    axes.set_xlabel("kHz")
    axes.set_ylabel("gain, dB")
    axes.grid(alpha=0.3)
    axes.legend(ncols=4, fontsize=9, frameon=False)
    return _png(figure)


def write_report(
    folder: Path,
    config: TrainConfig,
    log: Path,
    unit: str,
    excerpt: tuple[str, bytes] | None,
    about: dict[str, str],
    responses: bytes | None = None,
) -> None:
    """Write `report.html` into the run's folder, aside and then renamed.

    Args:
        folder: the run's.
        config: the run's.
        log: its log.
        unit: of the loss.
        excerpt: what the picture of the validation shows, and that picture as PNG; none without validation.
        about: further lines, as what they are and what is to be told.
        responses: the picture of `draw_responses`, of a network that has learnt any.
    """
    losses, scores = read_log(log)
    facts = about | {"steps": f"{int(losses[-1]['step']) if losses else 0} of {config.optimiser.steps}"}
    if scores:
        best = max(reversed(scores), key=overall)
        facts["best checkpoint"] = (
            f"step {best['step']}: mean SDR {overall(best):.2f} dB, vocals counted twice"
        )
    body = _table([[escape(name), escape(told)] for name, told in facts.items()])
    if losses:
        body += "<h2>Progress</h2>" + image(draw_progress(losses, scores, unit), "loss and SDR over steps")
    if scores:
        names = [name for name in scores[-1] if name != "step"]
        titles = [name.replace("_", " ").replace("sdr", "SDR") for name in names]
        rows = [[title, f"{best.get(name, np.nan):.2f}", f"{scores[-1][name]:.2f}"]
                for title, name in zip(titles, names, strict=True)]  # fmt: skip
        now = f"step {scores[-1]['step']}"
        body += "<h2>Validation, dB</h2>" + _table(rows, ("", "best", now))
    if excerpt is not None:
        body += f"<h2>{escape(excerpt[0])}</h2>" + image(excerpt[1], "spectrograms")
    if responses is not None:
        body += "<h2>What the networks hear</h2>" + image(responses, "frequency responses")
    settings = json.dumps(config.model_dump(mode="json"), indent=1, ensure_ascii=False)
    body += "<h2>Configuration</h2>"
    body += f"<details><summary>every setting</summary><pre>{escape(settings)}</pre></details>"
    partial = folder / f"{REPORT}.partial"
    partial.write_text(page(f"Training of {config.name}", body), encoding="utf-8")
    partial.replace(folder / REPORT)


def _table(rows: list[list[str]], head: tuple[str, ...] = ()) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join(
        "<tr>" + "".join(f"<td{' class=number' if k and head else ''}>{c}</td>" for k, c in enumerate(row))
        + "</tr>"
        for row in rows
    )  # fmt: skip
    return f"<div class=wide><table>{f'<tr>{top}</tr>' if head else ''}{lines}</table></div>"


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
