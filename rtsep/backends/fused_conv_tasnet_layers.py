"""The layers of a Conv-TasNet's step, compiled: encoder, all its blocks, and decoder, in three functions.

Rows are frames throughout: a hop holds a few. What a block's convolution looks back on lies in a ring of its
own, so that a frame is written once and never moved.
"""

from __future__ import annotations

import numpy as np

from rtsep.backends.fused_arithmetic import ONE, product_of_any, sigmoid
from rtsep.dsp.cumulative import FLOOR
from rtsep.dsp.kernel import Floats, Integers, kernel

_FLOOR = np.float32(FLOOR)
_ZERO = np.float32(0.0)


@kernel("void(float32[:, ::1], float32)", reorder=True)
def _prelu(x: Floats, slope: np.float32) -> None:
    for m in range(x.shape[0]):
        row = x[m]
        for n in range(len(row)):
            row[n] = max(row[n], _ZERO) + slope * min(row[n], _ZERO)


@kernel("void(float32[:, ::1], float32[::1], float32, float32)", reorder=True)
def _normalise(x: Floats, statistics: Floats, seen: np.float32, horizon: np.float32) -> None:
    """Cumulative norm of frames, in place, by the recurrence of `rtsep.separators.cumulative_norm`.

    Args:
        x: (frames, features).
        statistics: (2,), mean and variance of what came before, changed in place.
        seen: frames that came before, at most `horizon`.
        horizon: frames from which on the past fades.
    """
    frames, width = x.shape
    each = ONE / np.float32(width)
    for m in range(frames):
        row = x[m]
        total = _ZERO
        for n in range(width):
            total += row[n]
        mean = total * each
        total = _ZERO
        for n in range(width):
            total += (row[n] - mean) * (row[n] - mean)
        share = ONE / min(seen + np.float32(m + 1), horizon)
        drift = mean - statistics[0]
        statistics[0] += drift * share
        statistics[1] = (ONE - share) * (statistics[1] + drift * drift * share) + total * each * share
        centre, scale = statistics[0], ONE / np.sqrt(max(statistics[1], _FLOOR))
        for n in range(width):
            row[n] = (row[n] - centre) * scale


@kernel(
    "void(float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1], float32[::1],"
    " float32[::1], float32, float32, float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1])",
    reorder=True,
)
def encode(
    hop: Floats,
    mix: Floats,
    encoder: Floats,
    nothing: Floats,
    bottleneck: Floats,
    bias: Floats,
    statistics: Floats,
    seen: np.float32,
    horizon: np.float32,
    frames: Floats,
    features: Floats,
    normal: Floats,
    x: Floats,
) -> None:
    """A hop to the features of its frames, and what the first block takes.

    Args:
        hop: (channels, rows * stride).
        mix: (channels, (rows + 1) * stride), the last hop's, changed to this one's with a stride before it.
        encoder, nothing: (channels * 2 stride, filters), and as many zeros.
        bottleneck, bias: (filters, width), (width,).
        statistics, seen, horizon: of the norm; see `_normalise`.
        frames, normal: (rows, channels * 2 stride), (rows, filters), to work in.
        features, x: (rows, filters), (rows, width), written.
    """
    channels, length = hop.shape
    rows = frames.shape[0]
    stride = length // rows
    window = 2 * stride
    for c in range(channels):
        before, line = mix[c], hop[c]
        for i in range(stride):
            before[i] = before[length + i]
        after = before[stride:]
        for i in range(length):
            after[i] = line[i]
        for m in range(rows):
            frame, heard = frames[m, c * window : (c + 1) * window], before[m * stride :]
            for i in range(window):
                frame[i] = heard[i]
    product_of_any(frames, encoder, nothing, features)
    for m in range(rows):
        row, copy = features[m], normal[m]
        for n in range(len(row)):
            row[n] = max(row[n], _ZERO)
            copy[n] = row[n]
    _normalise(normal, statistics, seen, horizon)
    product_of_any(normal, bottleneck, bias, x)


@kernel(
    "void(float32[:, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, ::1], float32[:, :, ::1],"
    " float32[:, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, :, ::1], float32, float32,"
    " float32[:, ::1], int64[::1], int64[::1], int64[::1], float32[:, ::1], float32[:, ::1],"
    " float32[:, ::1], float32[:, ::1])",
    reorder=True,
)
def remember(
    x: Floats,
    expand: Floats,
    expand_bias: Floats,
    slopes: Floats,
    taps: Floats,
    taps_bias: Floats,
    project: Floats,
    project_bias: Floats,
    statistics: Floats,
    seen: np.float32,
    horizon: np.float32,
    past: Floats,
    starts: Integers,
    dilations: Integers,
    heads: Integers,
    wide: Floats,
    convolved: Floats,
    both: Floats,
    skips: Floats,
) -> None:
    """All blocks, one after the other.

    Args:
        x: (rows, width), changed in place.
        expand, expand_bias: (blocks, width, hidden), (blocks, hidden).
        slopes: (blocks, 2), of the two PReLUs.
        taps, taps_bias: (blocks, taps, hidden), the oldest first, and (blocks, hidden).
        project, project_bias: (blocks, hidden, width + skip), (blocks, width + skip).
        statistics: (blocks, 2, 2), of the two norms; see `_normalise`, also for `seen` and `horizon`.
        past: rings of (taps - 1) * dilation + 1 frames of hidden, one block's after the other's.
        starts, dilations: (blocks + 1,), where each ring starts and where the last one ends, and (blocks,).
        heads: (blocks,), where in its ring the next frame goes, changed in place.
        wide, convolved, both: (rows, hidden) twice and (rows, width + skip), to work in.
        skips: (rows, skip), written.
    """
    rows, width = x.shape
    hidden, last = wide.shape[1], taps.shape[1] - 1
    for m in range(rows):
        for n in range(skips.shape[1]):
            skips[m, n] = _ZERO
    for b in range(expand.shape[0]):
        product_of_any(x, expand[b], expand_bias[b], wide)
        _prelu(wide, slopes[b, 0])
        _normalise(wide, statistics[b, 0], seen, horizon)
        ring = past[starts[b] : starts[b + 1]]
        length = ring.shape[0]
        newest, bias = taps[b, last], taps_bias[b]
        for m in range(rows):
            place = heads[b]
            row, kept, out = wide[m], ring[place], convolved[m]
            for n in range(hidden):
                kept[n] = row[n]
                out[n] = bias[n] + newest[n] * row[n]
            for tap in range(last):
                back = place - (last - tap) * dilations[b]
                older, weight = ring[back + length if back < 0 else back], taps[b, tap]
                for n in range(hidden):
                    out[n] += weight[n] * older[n]
            heads[b] = place + 1 if place + 1 < length else 0
        _prelu(convolved, slopes[b, 1])
        _normalise(convolved, statistics[b, 1], seen, horizon)
        product_of_any(convolved, project[b], project_bias[b], both)
        for m in range(rows):
            onward, share, given, total = x[m], both[m, :width], both[m, width:], skips[m]
            for n in range(width):
                onward[n] += share[n]
            for n in range(len(total)):
                total[n] += given[n]


@kernel(
    "void(float32[:, ::1], float32[:, ::1], float32[:, ::1], float32, float32[:, ::1], float32[::1],"
    " float32[:, ::1], float32[::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1],"
    " float32[:, ::1], float32[:, ::1], float32[:, :, ::1])",
    reorder=True,
)
def decode(
    mix: Floats,
    features: Floats,
    skips: Floats,
    slope: np.float32,
    masks: Floats,
    masks_bias: Floats,
    decoder: Floats,
    nothing: Floats,
    balance: Floats,
    overlap: Floats,
    logits: Floats,
    masked: Floats,
    pieces: Floats,
    laid: Floats,
    out: Floats,
) -> None:
    """Masks on the features, back to samples, laid end to end; what lacks of the mixture is shared out.

    Args:
        mix: (channels, (rows + 1) * stride), of `encode`.
        features, skips: (rows, filters), (rows, skip); the latter changed in place.
        slope: of the PReLU before the masks.
        masks, masks_bias: (skip, stems * filters), (stems * filters,).
        decoder, nothing: (filters, channels * 2 stride), and as many zeros.
        balance: (stems, stems), what the stems are made of those told apart.
        overlap: (stems, channels * stride), the last frame's second half, changed in place.
        logits: (rows, stems * filters), to work in.
        masked, pieces: (rows * stems, filters), (rows * stems, channels * 2 stride), to work in.
        laid: (stems + 1, stride), to work in.
        out: (stems, channels, rows * stride), written.
    """
    stems, channels, length = out.shape
    rows, filters = features.shape
    stride = length // rows
    each = ONE / np.float32(stems)
    _prelu(skips, slope)
    product_of_any(skips, masks, masks_bias, logits)
    for m in range(rows):
        heard = features[m]
        for s in range(stems):
            decided, kept = logits[m, s * filters : (s + 1) * filters], masked[m * stems + s]
            for n in range(filters):
                kept[n] = sigmoid(decided[n]) * heard[n]
    product_of_any(masked, decoder, nothing, pieces)
    for m in range(rows):
        for c in range(channels):
            lacking, heard_now = laid[stems], mix[c, m * stride : (m + 1) * stride]
            for i in range(stride):
                lacking[i] = heard_now[i]
            for s in range(stems):
                piece = pieces[m * stems + s, 2 * c * stride : 2 * (c + 1) * stride]
                before, line, tail = overlap[s, c * stride : (c + 1) * stride], laid[s], piece[stride:]
                for i in range(stride):
                    line[i] = piece[i] + before[i]
                    before[i] = tail[i]
                    lacking[i] -= line[i]
            for s in range(stems):
                done = out[s, c, m * stride : (m + 1) * stride]
                for i in range(stride):
                    done[i] = _ZERO
                for k in range(stems):
                    told, weight = laid[k], balance[s, k]
                    for i in range(stride):
                        done[i] += weight * (told[i] + each * lacking[i])
