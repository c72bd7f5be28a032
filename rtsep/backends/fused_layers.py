"""The layers of a band-split step, compiled: products of matrices with a few rows, norms, gates, masks.

A runtime that knows nothing of the network calls some 160 operators a step, most of which take less time than
being called. Here a step is six functions, and what lies between two of them stays in the fastest cache.

Rows are groups of bands throughout; there are a multiple of `ROWS` of them, the last ones perhaps unused.
Sums may be reordered by the compiler (see `rtsep.dsp.kernel`), the same way at every call. Inner loops run
over slices from their start, for the reason that `rtsep.dsp.fft` gives.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rtsep.dsp.kernel import Floats, Integers, kernel
from rtsep.dsp.loudness import QUIET as QUIET_POWER
from rtsep.dsp.loudness import SOUNDING as SOUNDING_POWER

ROWS = 4
"""Rows that a product takes together: each weight is then read once for all of them."""
LAYER_NORM_EPSILON = np.float32(1e-5)
QUIET, SOUNDING = np.float32(QUIET_POWER), np.float32(SOUNDING_POWER)

_LOG2_E = np.float32(math.log2(math.e))
# ln 2 in two parts: the first has few enough digits that a whole multiple of it is exact.
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(math.log(2.0) - 0.693359375)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_ONE, _TWO, _HALF = np.float32(1.0), np.float32(2.0), np.float32(0.5)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1.0 / math.factorial(n)) for n in range(2, 7))
_SQRT_TWO = np.float32(2.0**0.5)
_LN2 = np.float32(math.log(2.0))
_L3, _L5, _L7, _L9 = (np.float32(2.0 / n) for n in (3, 5, 7, 9))
# A float32: eight bits of exponent above 23 of mantissa.
_MANTISSA = 1 << 23
_BIAS = 127


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _exp(x: np.float32) -> np.float32:
    """e^x to 3e-7 of it, without a call, so that loops vectorise: 2^n by its bits, the rest a series."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(x * _LOG2_E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    series = ((((_C6 * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r + _ONE
    return series * np.int32((np.int32(n) + _BIAS) * _MANTISSA).view(np.float32)


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _log(x: np.float32) -> np.float32:
    """ln x for normal positive numbers: 2^n m is n ln 2 + 2 artanh((m - 1) / (m + 1)), with m about one."""
    bits = np.float32(x).view(np.int32)
    n = np.float32((bits >> 23) - _BIAS)
    m = np.int32((bits & (_MANTISSA - 1)) | (_BIAS << 23)).view(np.float32)
    large = m > _SQRT_TWO
    m = m * _HALF if large else m
    n = n + _ONE if large else n
    z = (m - _ONE) / (m + _ONE)
    y = z * z
    return n * _LN2 + z * (_TWO + y * (_L3 + y * (_L5 + y * (_L7 + y * _L9))))


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _sigmoid(x: np.float32) -> np.float32:
    return _ONE / (_ONE + _exp(-x))


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _tanh(x: np.float32) -> np.float32:
    return _ONE - _TWO / (_ONE + _exp(x + x))


@kernel("void(float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1])", reorder=True)
def _product(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """out = x @ weight + bias: (rows, k), (k, columns), (columns,), (rows, columns); rows by `ROWS`."""
    rows, inner = x.shape
    columns = weight.shape[1]
    whole = inner // 4 * 4
    for m in range(0, rows, 4):
        for n in range(columns):
            start = bias[n]
            out[m, n] = start
            out[m + 1, n] = start
            out[m + 2, n] = start
            out[m + 3, n] = start
        # Four weights for four rows: sixteen products for eight loads and four stores.
        for k in range(0, whole, 4):
            a0, a1, a2, a3 = x[m, k], x[m, k + 1], x[m, k + 2], x[m, k + 3]
            b0, b1, b2, b3 = x[m + 1, k], x[m + 1, k + 1], x[m + 1, k + 2], x[m + 1, k + 3]
            c0, c1, c2, c3 = x[m + 2, k], x[m + 2, k + 1], x[m + 2, k + 2], x[m + 2, k + 3]
            d0, d1, d2, d3 = x[m + 3, k], x[m + 3, k + 1], x[m + 3, k + 2], x[m + 3, k + 3]
            for n in range(columns):
                w0, w1, w2, w3 = weight[k, n], weight[k + 1, n], weight[k + 2, n], weight[k + 3, n]
                out[m, n] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                out[m + 1, n] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                out[m + 2, n] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                out[m + 3, n] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
        for k in range(whole, inner):
            a0, b0, c0, d0 = x[m, k], x[m + 1, k], x[m + 2, k], x[m + 3, k]
            for n in range(columns):
                w0 = weight[k, n]
                out[m, n] += a0 * w0
                out[m + 1, n] += b0 * w0
                out[m + 2, n] += c0 * w0
                out[m + 3, n] += d0 * w0


@kernel(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1], float32[:, ::1])", reorder=True
)
def _add_product(heard: Floats, weight: Floats, bias: Floats, added: Floats, x: Floats) -> None:
    """x += heard @ weight + bias, which is left in `added`; as `_product`."""
    _product(heard, weight, bias, added)
    rows, width = x.shape
    for m in range(rows):
        for n in range(width):
            x[m, n] += added[m, n]


@kernel("void(float32[::1], float32[:, ::1], float32[::1])", reorder=True)
def _add_row(x: Floats, weight: Floats, out: Floats) -> None:
    """out += x @ weight for one row: (k,), (k, columns), (columns,)."""
    inner, columns = weight.shape
    whole = inner // 8 * 8
    for k in range(0, whole, 8):
        a0, a1, a2, a3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        a4, a5, a6, a7 = x[k + 4], x[k + 5], x[k + 6], x[k + 7]
        for n in range(columns):
            out[n] += (
                a0 * weight[k, n]
                + a1 * weight[k + 1, n]
                + a2 * weight[k + 2, n]
                + a3 * weight[k + 3, n]
                + a4 * weight[k + 4, n]
                + a5 * weight[k + 5, n]
                + a6 * weight[k + 6, n]
                + a7 * weight[k + 7, n]
            )
    for k in range(whole, inner):
        for n in range(columns):
            out[n] += x[k] * weight[k, n]


@kernel("void(float32[:, ::1], float32[::1], float32[::1], float32[:, ::1])", reorder=True)
def _normalise(x: Floats, gain: Floats, bias: Floats, out: Floats) -> None:
    """Layer norm of each row into the first columns of `out`: (rows, width)."""
    rows, width = x.shape
    share = _ONE / np.float32(width)
    for m in range(rows):
        total = np.float32(0.0)
        for n in range(width):
            total += x[m, n]
        mean = total * share
        total = np.float32(0.0)
        for n in range(width):
            total += (x[m, n] - mean) * (x[m, n] - mean)
        scale = _ONE / np.sqrt(total * share + LAYER_NORM_EPSILON)
        for n in range(width):
            out[m, n] = (x[m, n] - mean) * scale * gain[n] + bias[n]


@kernel("void(float32[::1], float32[::1], float32[::1])", reorder=True)
def _remember(gates: Floats, c: Floats, h: Floats) -> None:
    """An LSTM's cell, from its four gates (in, forget, new, out), and what it lets out; in place."""
    units = len(c)
    into, forget = gates[:units], gates[units : 2 * units]
    new, out = gates[2 * units : 3 * units], gates[3 * units :]
    for n in range(units):
        cell = _sigmoid(forget[n]) * c[n] + _sigmoid(into[n]) * _tanh(new[n])
        c[n] = cell
        h[n] = _sigmoid(out[n]) * _tanh(cell)


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
            power[2, b] = _HALF * (re * re + im * im)
            re, im = left_re - right_re, left_im - right_im
            power[3, b] = _HALF * (re * re + im * im)
    gain = _ONE
    if target > 0.0:
        energy = np.float32(0.0)
        for c in range(channels):
            for b in range(size):
                energy += power[c, b]
        energy *= mean_square / np.float32(channels)
        if energy > SOUNDING:
            loudness[0] = loudness[0] * keep + energy
            loudness[1] = loudness[1] * keep + _ONE
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
        levels[feature] = (_log(levels[feature]) - mean[feature]) * scale[feature]
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
        _add_row(features[g], weight[g], x[g])
        for n in range(width):
            x[g, n] = _tanh(x[g, n])


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
    _product(joined, weight, bias, gates)
    for m in range(rows):
        _remember(gates[m], c[m], h[m])
    _add_product(h, out_weight, out_bias, added, x)


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
    _product(normal, weight, bias, gates)
    for direction in range(2):
        own = direction * units
        for n in range(units):
            cells[n] = 0.0
        for place in range(groups):
            g = place if direction == 0 else groups - 1 - place
            gate = gates[g, 4 * own : 4 * (own + units)]
            if place > 0:
                before = g - 1 if direction == 0 else g + 1
                _add_row(heard[before, own : own + units], recurrent[direction], gate)
            _remember(gate, cells, heard[g, own : own + units])
    _add_product(heard, out_weight, out_bias, added, x)


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
        _add_row(normal[g], hidden_weight[g], hidden)
        for n in range(wide):
            hidden[n] = max(hidden[n], np.float32(0.0))
        for n in range(decisions):
            logits[n] = mask_bias[g, n]
        _add_row(hidden, mask_weight[g], logits)
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
                stem[i] = _exp(stem[i] - highest[i])
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
            below_it, above_it = _HALF * low[b], _HALF * high[b]
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
