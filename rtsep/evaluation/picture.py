"""Spectrograms side by side: what went in, what came out, what should have."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

# Not pyplot, which keeps figures alive and wants a screen.
from matplotlib.figure import Figure
from numpy.typing import NDArray

FRAME = 2048
HOP = 512
RANGE_DB = 80.0
_TICKS = {100: "100", 300: "300", 1000: "1k", 3000: "3k", 10000: "10k"}


def spectrogram(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level of (channels, samples) in dB of full scale: (bins, frames), all channels together."""
    window = np.hanning(FRAME)
    padded = np.pad(audio, ((0, 0), (0, max(FRAME - audio.shape[1], 0))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=1)[:, ::HOP] * window
    power = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0) / np.square(window.sum() / 2.0)
    level: NDArray[np.float64] = 10.0 * np.log10(power.T + 1e-12)
    return level


def draw_spectrograms(
    panels: dict[str, NDArray[np.float32]], sample_rate: int, path: Path | BinaryIO, title: str = ""
) -> None:
    """Draw one panel for each signal, (channels, samples), all on the same scale, and save it as a picture.

    The frequency axis is logarithmic, from 60 Hz to half the sample rate, as music is.

    Args:
        panels: signals, by what to write above each.
        sample_rate: Hz.
        path: file that the PNG goes to, or a stream.
        title: above them all.
    """
    figure = Figure(figsize=(10.0, 2.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    levels = {name: spectrogram(audio) for name, audio in panels.items()}
    top = max(float(level.max()) for level in levels.values())
    for axis, (name, level) in zip(axes[:, 0], levels.items(), strict=True):
        seconds = np.arange(level.shape[1]) * HOP / sample_rate
        hertz = np.fft.rfftfreq(FRAME, 1.0 / sample_rate)
        image = axis.pcolormesh(
            seconds,
            hertz,
            level,
            vmin=top - RANGE_DB,
            vmax=top,
            cmap="magma",
            shading="nearest",
            rasterized=True,
        )
        axis.set_yscale("log")
        # A tick beyond the highest frequency would make room for itself.
        ticks = {hz: name for hz, name in _TICKS.items() if hz <= sample_rate / 2.0}
        axis.set_yticks(list(ticks), list(ticks.values()))
        axis.set_ylim(60.0, sample_rate / 2.0)
        axis.set_ylabel("Hz")
        axis.set_title(name, loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("seconds")
    figure.colorbar(image, ax=axes[:, 0].tolist(), label="dB of full scale", pad=0.01)
    if title:
        figure.suptitle(title)
    figure.savefig(path, format="png", dpi=110)
