"""What compiled steps compute with: exponentials that vectorise, and products of matrices with a few rows.

Sums may be reordered by the compiler (see `rtsep.dsp.kernel`), the same way at every call. Inner loops run
over slices from their start, for the reason that `rtsep.dsp.fft` gives.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rtsep.dsp.kernel import Floats, kernel

ROWS = 4
"""Rows that a product takes together: each weight is then read once for all of them."""

_LOG2_E = np.float32(math.log2(math.e))
# ln 2 in two parts: the first has few enough digits that a whole multiple of it is exact.
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(math.log(2.0) - 0.693359375)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
ONE, TWO, HALF = np.float32(1.0), np.float32(2.0), np.float32(0.5)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1.0 / math.factorial(n)) for n in range(2, 7))
_SQRT_TWO = np.float32(2.0**0.5)
_LN2 = np.float32(math.log(2.0))
_L3, _L5, _L7, _L9 = (np.float32(2.0 / n) for n in (3, 5, 7, 9))
# A float32: eight bits of exponent above 23 of mantissa.
_MANTISSA = 1 << 23
_BIAS = 127


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def exp(x: np.float32) -> np.float32:
    """e^x to 3e-7 of it, without a call, so that loops vectorise: 2^n by its bits, the rest a series."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(x * _LOG2_E + HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    series = ((((_C6 * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r + ONE
    return series * np.int32((np.int32(n) + _BIAS) * _MANTISSA).view(np.float32)


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def log(x: np.float32) -> np.float32:
    """ln x for normal positive numbers: 2^n m is n ln 2 + 2 artanh((m - 1) / (m + 1)), with m about one."""
    bits = np.float32(x).view(np.int32)
    n = np.float32((bits >> 23) - _BIAS)
    m = np.int32((bits & (_MANTISSA - 1)) | (_BIAS << 23)).view(np.float32)
    large = m > _SQRT_TWO
    m = m * HALF if large else m
    n = n + ONE if large else n
    z = (m - ONE) / (m + ONE)
    y = z * z
    return n * _LN2 + z * (TWO + y * (_L3 + y * (_L5 + y * (_L7 + y * _L9))))


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + e^-x), to 2e-7."""
    return ONE / (ONE + exp(-x))


@njit(fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def tanh(x: np.float32) -> np.float32:
    """To 3e-7."""
    return ONE - TWO / (ONE + exp(x + x))


@kernel("void(float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1])", reorder=True)
def product(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
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
def add_product(heard: Floats, weight: Floats, bias: Floats, added: Floats, x: Floats) -> None:
    """x += heard @ weight + bias, which is left in `added`; as `product`."""
    product(heard, weight, bias, added)
    rows, width = x.shape
    for m in range(rows):
        for n in range(width):
            x[m, n] += added[m, n]


@kernel("void(float32[::1], float32[:, ::1], float32[::1])", reorder=True)
def add_row(x: Floats, weight: Floats, out: Floats) -> None:
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


@kernel(
    "void(float32[::1], float32[::1], float32[:, ::1], float32[::1], float32[::1], float32[::1])",
    reorder=True,
)
def product_of_two(x: Floats, y: Floats, weight: Floats, bias: Floats, out: Floats, other: Floats) -> None:
    """Two rows through one matrix: (k,) twice, (k, columns), (columns,) three times."""
    inner, columns = weight.shape
    whole = inner // 4 * 4
    for n in range(columns):
        out[n] = bias[n]
        other[n] = bias[n]
    for k in range(0, whole, 4):
        a0, a1, a2, a3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        b0, b1, b2, b3 = y[k], y[k + 1], y[k + 2], y[k + 3]
        for n in range(columns):
            w0, w1, w2, w3 = weight[k, n], weight[k + 1, n], weight[k + 2, n], weight[k + 3, n]
            out[n] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
            other[n] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
    for k in range(whole, inner):
        a0, b0 = x[k], y[k]
        for n in range(columns):
            w0 = weight[k, n]
            out[n] += a0 * w0
            other[n] += b0 * w0


@kernel("void(float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1])", reorder=True)
def product_of_any(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """`product` for any number of rows: those that are left over go by two and by one."""
    rows, columns = out.shape
    whole, paired = rows // 4 * 4, rows // 2 * 2
    if whole:
        product(x[:whole], weight, bias, out[:whole])
    if paired > whole:
        product_of_two(x[whole], x[whole + 1], weight, bias, out[whole], out[whole + 1])
    for m in range(paired, rows):
        row = out[m]
        for n in range(columns):
            row[n] = bias[n]
        add_row(x[m], weight, row)
