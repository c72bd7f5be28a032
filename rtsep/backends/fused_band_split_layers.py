"""The layers of a band-split step, compiled: norms, gates, masks, and the products between them.

A runtime that knows nothing of the network calls some 160 operators a step, most of which take less time than
being called. Here a step is six functions, or seven, and what lies between two of them stays in the fastest
cache.

Rows are groups of bands throughout; there are a multiple of `fused_arithmetic.ROWS` of them, the last ones
perhaps unused.
"""

from __future__ import annotations

import numpy as np

from rtsep.backends.fused_arithmetic import (
    HALF,
    ONE,
    add_product,
    add_row,
    exp,
    log,
    product,
    sigmoid,
    tanh,
)
from rtsep.dsp.kernel import Floats, Integers, kernel
from rtsep.dsp.loudness import QUIET as QUIET_POWER
from rtsep.dsp.loudness import SOUNDING as SOUNDING_POWER
from rtsep.dsp.presence import FAINT as FAINT_ENERGY
from rtsep.dsp.presence import LEAST_SHARE as LEAST

LAYER_NORM_EPSILON = np.float32(1e-5)
QUIET, SOUNDING = np.float32(QUIET_POWER), np.float32(SOUNDING_POWER)
FAINT, LEAST_SHARE = np.float32(FAINT_ENERGY), np.float32(LEAST)
DECIBELS = np.float32(10.0 / np.log(10.0))


@kernel("void(float32[:, ::1], float32[::1], float32[::1], float32[:, ::1])", reorder=True)
def _normalise(x: Floats, gain: Floats, bias: Floats, out: Floats) -> None:
    """Layer norm of each row into the first columns of `out`: (rows, width)."""
    rows, width = x.shape
    share = ONE / np.float32(width)
    for m in range(rows):
        total = np.float32(0.0)
        for n in range(width):
            total += x[m, n]
        mean = total * share
        total = np.float32(0.0)
        for n in range(width):
            total += (x[m, n] - mean) * (x[m, n] - mean)
        scale = ONE / np.sqrt(total * share + LAYER_NORM_EPSILON)
        for n in range(width):
            out[m, n] = (x[m, n] - mean) * scale * gain[n] + bias[n]


@kernel("void(float32[::1], float32[::1], float32[::1])", reorder=True)
def _remember(gates: Floats, c: Floats, h: Floats) -> None:
    """An LSTM's cell, from its four gates (in, forget, new, out), and what it lets out; in place."""
    units = len(c)
    into, forget = gates[:units], gates[units : 2 * units]
    new, out = gates[2 * units : 3 * units], gates[3 * units :]
    for n in range(units):
        cell = sigmoid(forget[n]) * c[n] + sigmoid(into[n]) * tanh(new[n])
        c[n] = cell
        h[n] = sigmoid(out[n]) * tanh(cell)


@kernel(
    "void(float32[:, ::1], int64[::1], int64[::1], float32[::1], float32[::1], float32[::1], float32,"
    " float32, float32, float32[::1], float32[:, ::1], float32[::1], float32[:, ::1])",
    reorder=True,
)
def listen(
    bins: Floats,
    first: Integers,
    count: Integers,
    shares: Floats,
    mean: Floats,
    scale: Floats,
    mean_square: np.float32,
    target: np.float32,
    keep: np.float32,
    loudness: Floats,
    power: Floats,
    levels: Floats,
    features: Floats,
) -> None:
    """Log power of each view in each band, normalised, as rows of groups.

    Args:
        bins: (channels, bins x 2).
        first, count: (bands,), which bins a band averages.
        shares: their weights, one band's after the other's.
        mean, scale: (views * bands,).
        mean_square: what a frame's energy is multiplied by to be its samples' mean square.
        target: mean square at which the network hears the music; 0: as it is.
        keep: of the sums in `loudness`, from one frame to the next.
        loudness: (2,), sums of energy and of weights, changed in place; see `MaskNetwork.hear`.
        power, levels: (views, bins), (views * bands,), to work in.
        features: (rows, views * group), written; what lies beyond the bands is left alone.
    """
    channels = bins.shape[0]
    views, size = power.shape
    bands = first.shape[0]
    group = features.shape[1] // views
    for c in range(channels):
        for b in range(size):
            re, im = bins[c, np.uintp(2 * b)], bins[c, np.uintp(2 * b + 1)]
            power[c, b] = re * re + im * im
    if channels == 2:
        for b in range(size):
            left_re, left_im = bins[0, np.uintp(2 * b)], bins[0, np.uintp(2 * b + 1)]
            right_re, right_im = bins[1, np.uintp(2 * b)], bins[1, np.uintp(2 * b + 1)]
            re, im = left_re + right_re, left_im + right_im
            power[2, b] = HALF * (re * re + im * im)
            re, im = left_re - right_re, left_im - right_im
            power[3, b] = HALF * (re * re + im * im)
    gain = ONE
    if target > 0.0:
        energy = np.float32(0.0)
        for c in range(channels):
            for b in range(size):
                energy += power[c, b]
        energy *= mean_square / np.float32(channels)
        if energy > SOUNDING:
            loudness[0] = loudness[0] * keep + energy
            loudness[1] = loudness[1] * keep + ONE
        if loudness[1] > 0.0:
            gain = target / max(loudness[0] / loudness[1], SOUNDING)
    for view in range(views):
        at = 0
        for band in range(bands):
            level = np.float32(0.0)
            own, its_shares = power[view, first[band] :], shares[at:]
            for i in range(count[band]):
                level += its_shares[i] * own[i]
            at += count[band]
            levels[view * bands + band] = level * gain + QUIET
    for feature in range(views * bands):
        levels[feature] = (log(levels[feature]) - mean[feature]) * scale[feature]
    for view in range(views):
        for band in range(bands):
            features[band // group, view * group + band % group] = levels[view * bands + band]


@kernel(
    "void(float32[:, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, ::1])",
    reorder=True,
)
def encode(features: Floats, weight: Floats, bias: Floats, x: Floats) -> None:
    """Each group through its own matrix: (rows, k), (groups, k, width), (groups, width), (rows, width)."""
    groups, _, width = weight.shape
    for g in range(groups):
        for n in range(width):
            x[g, n] = bias[g, n]
        add_row(features[g], weight[g], x[g])
        for n in range(width):
            x[g, n] = tanh(x[g, n])


@kernel(
    "void(float32[:, ::1], float32[::1], float32[::1], float32[:, ::1], float32[::1], float32[:, ::1],"
    " float32[::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1])",
    reorder=True,
)
def along_time(
    x: Floats,
    gain: Floats,
    shift: Floats,
    weight: Floats,
    bias: Floats,
    out_weight: Floats,
    out_bias: Floats,
    h: Floats,
    c: Floats,
    joined: Floats,
    gates: Floats,
    added: Floats,
) -> None:
    """One step of the LSTM that all groups share, added to what it was given.

    Args:
        x: (rows, width), changed in place.
        gain, shift: (width,), of the norm before it.
        weight, bias: (width + memory, 4 memory), both of the layer's matrices, and (4 memory,).
        out_weight, out_bias: (memory, width), (width,).
        h, c: (rows, memory), the state, changed in place.
        joined, gates, added: (rows, width + memory), (rows, 4 memory), (rows, width), to work in.
    """
    rows, width = x.shape
    memory = h.shape[1]
    _normalise(x, gain, shift, joined)
    for m in range(rows):
        before = joined[m, width:]
        for n in range(memory):
            before[n] = h[m, n]
    product(joined, weight, bias, gates)
    for m in range(rows):
        _remember(gates[m], c[m], h[m])
    add_product(h, out_weight, out_bias, added, x)


@kernel(
    "void(float32[:, ::1], int64, float32[::1], float32[::1], float32[:, ::1], float32[::1],"
    " float32[:, :, ::1], float32[:, ::1], float32[::1], float32[:, ::1], float32[:, ::1], float32[:, ::1],"
    " float32[::1], float32[:, ::1])",
    reorder=True,
)
def along_groups(
    x: Floats,
    groups: int,
    gain: Floats,
    shift: Floats,
    weight: Floats,
    bias: Floats,
    recurrent: Floats,
    out_weight: Floats,
    out_bias: Floats,
    normal: Floats,
    gates: Floats,
    heard: Floats,
    cells: Floats,
    added: Floats,
) -> None:
    """The LSTM from group to group, up and down, from nothing at each frame, added to what it was given.

    Args:
        x: (rows, width), changed in place.
        groups: rows that are used.
        gain, shift: (width,), of the norm before it.
        weight, bias: (width, 2 x 4 units), (2 x 4 units,), upwards and then downwards.
        recurrent: (2, units, 4 units).
        out_weight, out_bias: (2 units, width), (width,).
        normal, gates, heard: (rows, width), (rows, 8 units), (rows, 2 units), to work in.
        cells, added: (units,), (rows, width), to work in.
    """
    units = recurrent.shape[1]
    _normalise(x, gain, shift, normal)
    product(normal, weight, bias, gates)
    for direction in range(2):
        own = direction * units
        for n in range(units):
            cells[n] = 0.0
        for place in range(groups):
            g = place if direction == 0 else groups - 1 - place
            gate = gates[g, 4 * own : 4 * (own + units)]
            if place > 0:
                before = g - 1 if direction == 0 else g + 1
                add_row(heard[before, own : own + units], recurrent[direction], gate)
            _remember(gate, cells, heard[g, own : own + units])
    add_product(heard, out_weight, out_bias, added, x)


@kernel(
    "void(float32[:, ::1], float32[::1], float32[::1], float32[:, :, ::1], float32[:, ::1],"
    " float32[:, :, ::1], float32[:, ::1], float32[:, ::1], float32[::1], float32[::1], float32[:, ::1],"
    " float32[:, ::1])",
    reorder=True,
)
def decide(
    x: Floats,
    gain: Floats,
    shift: Floats,
    hidden_weight: Floats,
    hidden_bias: Floats,
    mask_weight: Floats,
    mask_bias: Floats,
    normal: Floats,
    hidden: Floats,
    logits: Floats,
    spread: Floats,
    masks: Floats,
) -> None:
    """From groups to masks, which sum to one over the stems.

    Args:
        x: (rows, width).
        gain, shift: (width,), of the norm before it.
        hidden_weight, hidden_bias: (groups, width, 2 width), (groups, 2 width).
        mask_weight, mask_bias: (groups, 2 width, decisions), (groups, decisions): stems * channels * group.
        normal, hidden, logits: (rows, width), (2 width,), (decisions,), to work in.
        spread: (2, channels * group), to work in.
        masks: (groups * group, stems * channels), written.
    """
    groups, _, wide = hidden_weight.shape
    group = masks.shape[0] // groups
    decisions = logits.shape[0]
    each = spread.shape[1]
    stems, channels = decisions // each, each // group
    highest, total = spread[0], spread[1]
    _normalise(x, gain, shift, normal)
    for g in range(groups):
        for n in range(wide):
            hidden[n] = hidden_bias[g, n]
        add_row(normal[g], hidden_weight[g], hidden)
        for n in range(wide):
            hidden[n] = max(hidden[n], np.float32(0.0))
        for n in range(decisions):
            logits[n] = mask_bias[g, n]
        add_row(hidden, mask_weight[g], logits)
        for i in range(each):
            highest[i] = logits[i]
            total[i] = 0.0
        for s in range(1, stems):
            stem = logits[s * each : (s + 1) * each]
            for i in range(each):
                highest[i] = max(highest[i], stem[i])
        for s in range(stems):
            stem = logits[s * each : (s + 1) * each]
            for i in range(each):
                stem[i] = exp(stem[i] - highest[i])
                total[i] += stem[i]
        for s in range(stems):
            for c in range(channels):
                start = c * group
                column = masks[g * group : (g + 1) * group, s * channels + c]
                shares, sums = (
                    logits[s * each + start : s * each + start + group],
                    total[start : start + group],
                )
                for j in range(group):
                    column[j] = shares[j] / sums[j]


@kernel(
    "void(float32[:, ::1], int64[::1], int64[::1], float32[::1], float32[::1], float32[::1], int64, int64,"
    " int64, float32, float32, float32, float32[:, ::1], float32[:, ::1])",
    reorder=True,
)
def favour_while_there(
    power: Floats,
    first: Integers,
    count: Integers,
    shares: Floats,
    weights: Floats,
    keep: Floats,
    channels: int,
    view: int,
    stem: int,
    logits: np.float32,
    from_db: np.float32,
    to_db: np.float32,
    sums: Floats,
    masks: Floats,
) -> None:
    """What is added to a stem's logits while it is there, as if it had been before the softmax.

    Args:
        power: (views, bins), of what was heard.
        first, count, shares: of the bands, as `listen` has them.
        weights: (bands,), how much a band's energy counts.
        keep: (memories,), of the sums, from one frame to the next.
        channels, view: how many views masks act on, and the first of them.
        stem: which one.
        logits, from_db, to_db: see `rtsep.separators.presence.Presence`.
        sums: (memories, 2), energy of the stem and of the mixture, changed in place.
        masks: (bands or more, stems * channels), changed in place.
    """
    bands, columns = first.shape[0], masks.shape[1]
    own, whole = np.float32(0.0), np.float32(0.0)
    at = 0
    for band in range(bands):
        if weights[band] > 0.0:
            for c in range(channels):
                heard, its_shares = power[view + c, first[band] :], shares[at:]
                level = np.float32(0.0)
                for i in range(count[band]):
                    level += its_shares[i] * heard[i]
                level *= weights[band]
                mask = masks[band, stem * channels + c]
                own += mask * mask * level
                whole += level
        at += count[band]
    share = LEAST_SHARE
    for memory in range(sums.shape[0]):
        sums[memory, 0] = sums[memory, 0] * keep[memory] + own
        sums[memory, 1] = sums[memory, 1] * keep[memory] + whole
        share = max(share, sums[memory, 0] / max(sums[memory, 1], FAINT))
    there = min(max((DECIBELS * log(share) - from_db) / (to_db - from_db), np.float32(0.0)), ONE)
    more = exp(logits * there)
    for band in range(masks.shape[0]):
        for c in range(channels):
            total = ONE / (ONE + masks[band, stem * channels + c] * (more - ONE))
            masks[band, stem * channels + c] *= more
            for column in range(c, columns, channels):
                masks[band, column] *= total


@kernel(
    "void(float32[:, ::1], float32[:, ::1], int64[::1], float32[::1], float32[::1], boolean,"
    " float32[:, :, ::1])",
    reorder=True,
)
def apply_masks(
    bins: Floats,
    masks: Floats,
    below: Integers,
    low: Floats,
    high: Floats,
    mid_side: bool,
    out: Floats,
) -> None:
    """Masks interpolated over the bins, on what was heard.

    Args:
        bins: (channels, bins x 2).
        masks: (bands or more, stems * channels).
        below: (bins,), the lower of the two bands between which a bin lies.
        low, high: (bins,), their weights.
        mid_side: whether masks act on mid and side.
        out: (stems, channels, bins x 2), written.
    """
    stems, channels, _ = out.shape
    for b in range(below.shape[0]):
        at, re, im = below[b], np.uintp(2 * b), np.uintp(2 * b + 1)
        if mid_side:
            below_it, above_it = HALF * low[b], HALF * high[b]
            middle_re, aside_re = bins[0, re] + bins[1, re], bins[0, re] - bins[1, re]
            middle_im, aside_im = bins[0, im] + bins[1, im], bins[0, im] - bins[1, im]
            for s in range(stems):
                mid = below_it * masks[at, 2 * s] + above_it * masks[at + 1, 2 * s]
                side = below_it * masks[at, 2 * s + 1] + above_it * masks[at + 1, 2 * s + 1]
                out[s, 0, re], out[s, 0, im] = (
                    mid * middle_re + side * aside_re,
                    mid * middle_im + side * aside_im,
                )
                out[s, 1, re], out[s, 1, im] = (
                    mid * middle_re - side * aside_re,
                    mid * middle_im - side * aside_im,
                )
        else:
            for s in range(stems):
                for c in range(channels):
                    k = s * channels + c
                    mask = low[b] * masks[at, k] + high[b] * masks[at + 1, k]
                    out[s, c, re], out[s, c, im] = mask * bins[c, re], mask * bins[c, im]
