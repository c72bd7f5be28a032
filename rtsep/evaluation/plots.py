"""Figures over time, as pictures."""

from __future__ import annotations

import io

import numpy as np

from rtsep.evaluation.campaign import TrackResult

_LOWEST, _HIGHEST = -20.0, 40.0
"""dB that a plot shows at most: a stem that fades out takes the SDR anywhere."""


def draw_track(track: TrackResult, chunk_seconds: float) -> bytes:
    """A PNG of one track: the SDR of every target, chunk by chunk, one line a system.

    Lines have gaps where the target is silent.

    Args:
        track: its results.
        chunk_seconds: length of a chunk.
    """
    # Not pyplot, which keeps figures alive and wants a screen; and not before there is something to draw.
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(name for score in track.scores.values() for name in score.targets))
    figure = Figure(figsize=(10.0, 1.7 * len(targets) + 0.8), layout="constrained")
    axes = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    for axis, target in zip(axes, targets, strict=True):
        for index, (system, score) in enumerate(track.scores.items()):
            if target not in score.targets:
                continue
            sdr = score.targets[target].chunks["sdr"]
            # A short song is one chunk, shorter than the others.
            seconds = (np.arange(len(sdr)) + 0.5) * min(chunk_seconds, track.seconds)
            axis.plot(
                seconds,
                np.clip(sdr, _LOWEST, _HIGHEST),
                label=system,
                marker=".",
                linewidth=1.2,
                color="0.6" if index == 0 else f"C{(index - 1) % 10}",
            )
        axis.set_title(target, loc="left", fontsize=10)
        axis.set_ylabel("SDR, dB")
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("seconds")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, fontsize=9, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
