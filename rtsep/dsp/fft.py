"""A complex FFT that can be called from other compiled kernels, allocates nothing and holds no lock.

numpy's FFT allocates its result and needs the interpreter; a real-time hop can afford neither. This
one is Stockham's self-sorting radix-4 algorithm (with one radix-2 pass where the size is an odd power
of two), described in C. Van Loan, "Computational Frameworks for the Fast Fourier Transform", SIAM
1992, section 1.7. Self-sorting means that the passes go back and forth between two buffers and need
no bit reversal, whose scattered reads would cost more than the second buffer does.

Real and imaginary parts live in separate arrays, so that the inner loops run over contiguous floats
and the compiler can vectorise them; swapping the two arrays turns the forward transform into the
(unscaled) inverse, so one kernel serves both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.kernel import Complexes, Floats, kernel
from rtsep.spec import UsageError

LINE = 16
"""Floats of a cache line."""
LINES_APART = 5


def twiddle_tables(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Twiddle factors of every radix-4 pass over `n` points, in the order in which they are used.

    Computed in float64 and rounded once, so that errors do not accumulate along the table.

    Returns:
        Real and imaginary parts, float32, flat: for each pass over m = n, n/4, n/16, ... points the
        powers w^p, then w^2p, then w^3p with w = exp(-2 pi i / m) and p in [0, m/4).
    """
    parts = [np.empty(0, dtype=np.complex128)]
    m = n
    while m >= 4:
        p = np.arange(m // 4)
        parts.extend(np.exp(-2j * np.pi * power * p / m) for power in (1, 2, 3))
        m //= 4
    table = np.concatenate(parts)
    return table.real.astype(np.float32), table.imag.astype(np.float32)


@kernel("void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64)")
def _first_pass(xr: Floats, xi: Floats, yr: Floats, yi: Floats, wr: Floats, wi: Floats, n: int) -> None:
    """The radix-4 pass of stride one: here the loop over twiddles is the contiguous one."""
    m = n // 4
    for p in range(m):
        ar, ai = xr[p], xi[p]
        br, bi = xr[p + m], xi[p + m]
        cr, ci = xr[p + 2 * m], xi[p + 2 * m]
        dr, di = xr[p + 3 * m], xi[p + 3 * m]
        sr, si = ar + cr, ai + ci
        tr, ti = ar - cr, ai - ci
        ur, ui = br + dr, bi + di
        # v = -i (b - d), the quarter turn of the forward transform
        vr, vi = bi - di, dr - br
        w1r, w1i = wr[p], wi[p]
        w2r, w2i = wr[p + m], wi[p + m]
        w3r, w3i = wr[p + 2 * m], wi[p + 2 * m]
        yr[4 * p], yi[4 * p] = sr + ur, si + ui
        er, ei = tr + vr, ti + vi
        yr[4 * p + 1], yi[4 * p + 1] = er * w1r - ei * w1i, er * w1i + ei * w1r
        er, ei = sr - ur, si - ui
        yr[4 * p + 2], yi[4 * p + 2] = er * w2r - ei * w2i, er * w2i + ei * w2r
        er, ei = tr - vr, ti - vi
        yr[4 * p + 3], yi[4 * p + 3] = er * w3r - ei * w3i, er * w3i + ei * w3r


@kernel(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1],"
    " int64, int64, int64)"
)
def _narrow_pass(
    xr: Floats, xi: Floats, yr: Floats, yi: Floats, wr: Floats, wi: Floats, offset: int, m: int, s: int
) -> None:
    """`_pass4` where `s` is too short to be worth slices."""
    ms = m * s
    for p in range(m):
        w1r, w1i = wr[offset + p], wi[offset + p]
        w2r, w2i = wr[offset + m + p], wi[offset + m + p]
        w3r, w3i = wr[offset + 2 * m + p], wi[offset + 2 * m + p]
        i = p * s
        o = 4 * p * s
        for q in range(s):
            ar, ai = xr[i + q], xi[i + q]
            br, bi = xr[i + ms + q], xi[i + ms + q]
            cr, ci = xr[i + 2 * ms + q], xi[i + 2 * ms + q]
            dr, di = xr[i + 3 * ms + q], xi[i + 3 * ms + q]
            sr, si = ar + cr, ai + ci
            tr, ti = ar - cr, ai - ci
            ur, ui = br + dr, bi + di
            vr, vi = bi - di, dr - br
            yr[o + q], yi[o + q] = sr + ur, si + ui
            er, ei = tr + vr, ti + vi
            yr[o + s + q], yi[o + s + q] = er * w1r - ei * w1i, er * w1i + ei * w1r
            er, ei = sr - ur, si - ui
            yr[o + 2 * s + q], yi[o + 2 * s + q] = er * w2r - ei * w2i, er * w2i + ei * w2r
            er, ei = tr - vr, ti - vi
            yr[o + 3 * s + q], yi[o + 3 * s + q] = er * w3r - ei * w3i, er * w3i + ei * w3r


@kernel(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1],"
    " int64, int64, int64)"
)
def _pass4(
    xr: Floats, xi: Floats, yr: Floats, yi: Floats, wr: Floats, wi: Floats, offset: int, m: int, s: int
) -> None:
    """A radix-4 pass of stride `s` over `4 m` points; its twiddles start at `offset`.

    In slices: an index that is a sum might be negative, for all that the compiler knows, and would then count
    from the end; the test for that keeps loops from being vectorised. Slices take a third of the time.
    """
    ms = m * s
    for p in range(m):
        w1r, w1i = wr[offset + p], wi[offset + p]
        w2r, w2i = wr[offset + m + p], wi[offset + m + p]
        w3r, w3i = wr[offset + 2 * m + p], wi[offset + 2 * m + p]
        i = p * s
        o = 4 * i
        xar, xai = xr[i : i + s], xi[i : i + s]
        xbr, xbi = xr[i + ms : i + ms + s], xi[i + ms : i + ms + s]
        xcr, xci = xr[i + 2 * ms : i + 2 * ms + s], xi[i + 2 * ms : i + 2 * ms + s]
        xdr, xdi = xr[i + 3 * ms : i + 3 * ms + s], xi[i + 3 * ms : i + 3 * ms + s]
        yar, yai = yr[o : o + s], yi[o : o + s]
        ybr, ybi = yr[o + s : o + 2 * s], yi[o + s : o + 2 * s]
        ycr, yci = yr[o + 2 * s : o + 3 * s], yi[o + 2 * s : o + 3 * s]
        ydr, ydi = yr[o + 3 * s : o + 4 * s], yi[o + 3 * s : o + 4 * s]
        for q in range(s):
            sr, si = xar[q] + xcr[q], xai[q] + xci[q]
            tr, ti = xar[q] - xcr[q], xai[q] - xci[q]
            ur, ui = xbr[q] + xdr[q], xbi[q] + xdi[q]
            vr, vi = xbi[q] - xdi[q], xdr[q] - xbr[q]
            yar[q], yai[q] = sr + ur, si + ui
            er, ei = tr + vr, ti + vi
            ybr[q], ybi[q] = er * w1r - ei * w1i, er * w1i + ei * w1r
            er, ei = sr - ur, si - ui
            ycr[q], yci[q] = er * w2r - ei * w2i, er * w2i + ei * w2r
            er, ei = tr - vr, ti - vi
            ydr[q], ydi[q] = er * w3r - ei * w3i, er * w3i + ei * w3r


@kernel("void(float32[::1], float32[::1], float32[::1], float32[::1], int64)")
def _pass2(xr: Floats, xi: Floats, yr: Floats, yi: Floats, s: int) -> None:
    """The last pass where log2(n) is odd: radix two, whose twiddles are all one."""
    xbr, xbi, ybr, ybi = xr[s:], xi[s:], yr[s:], yi[s:]
    for q in range(s):
        ar, ai = xr[q], xi[q]
        br, bi = xbr[q], xbi[q]
        yr[q], yi[q] = ar + br, ai + bi
        ybr[q], ybi[q] = ar - br, ai - bi


@kernel("void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1])")
def transform(
    re: Floats, im: Floats, work_re: Floats, work_im: Floats, twiddle_re: Floats, twiddle_im: Floats
) -> None:
    """Forward DFT of `re + i im`, in place, unscaled; with `re` and `im` swapped, the inverse.

    Args:
        re, im: (n,) float32, n a power of two; overwritten with the result.
        work_re, work_im: (n,) float32 scratch, contents undefined before and after.
        twiddle_re, twiddle_im: `twiddle_tables(n)`.
    """
    n = re.shape[0]
    xr, xi, yr, yi = re, im, work_re, work_im
    swapped = False
    m = n
    s = 1
    offset = 0
    while m >= 4:
        if s == 1:
            _first_pass(xr, xi, yr, yi, twiddle_re, twiddle_im, n)
        elif s == 4:
            _narrow_pass(xr, xi, yr, yi, twiddle_re, twiddle_im, offset, m // 4, s)
        else:
            _pass4(xr, xi, yr, yi, twiddle_re, twiddle_im, offset, m // 4, s)
        offset += 3 * (m // 4)
        m //= 4
        s *= 4
        xr, yr = yr, xr
        xi, yi = yi, xi
        swapped = not swapped
    if m == 2:
        _pass2(xr, xi, yr, yi, s)
        swapped = not swapped
    if swapped:
        for k in range(n):
            re[k] = work_re[k]
            im[k] = work_im[k]


@kernel(
    "void(complex64[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1],"
    " float32[::1], boolean)"
)
def _transform_complex(
    x: Complexes,
    re: Floats,
    im: Floats,
    work_re: Floats,
    work_im: Floats,
    twiddle_re: Floats,
    twiddle_im: Floats,
    inverse: bool,
) -> None:
    n = x.shape[0]
    for k in range(n):
        re[k] = x[k].real
        im[k] = x[k].imag
    if inverse:
        transform(im, re, work_re, work_im, twiddle_re, twiddle_im)
    else:
        transform(re, im, work_re, work_im, twiddle_re, twiddle_im)
    scale = np.float32(1.0 / n) if inverse else np.float32(1.0)
    for k in range(n):
        x[k] = complex(re[k] * scale, im[k] * scale)


def _apart(n: int, count: int) -> list[NDArray[np.float32]]:
    """So many vectors of `n` zeros, each at the start of a cache line and none a whole page from another.

    A processor tells addresses apart by their last twelve bits at first: a load from one vector would wait
    for a store to the same place in the next, which lies a power of two further on.
    """
    step = n + LINES_APART * LINE
    memory = np.zeros(count * step + LINE, np.float32)
    start = -(memory.ctypes.data // memory.itemsize) % LINE
    return [memory[start + k * step : start + k * step + n] for k in range(count)]


class FFTPlan:
    """Tables and scratch for complex FFTs of one power-of-two size.

    One plan serves one thread: `re`, `im` and the scratch are overwritten by every call.

    Attributes:
        n: the size.
        re, im: (n,) float32, planar buffers for kernels that fill and read them in place.
        work_re, work_im: (n,) float32 scratch of `transform`.
        twiddle_re, twiddle_im: tables for `transform`.
    """

    def __init__(self, n: int) -> None:
        """Args:
            n: points, a power of two, 2 at least.

        Raises:
            UsageError: when `n` is not.
        """
        if n < 2 or n & (n - 1):
            raise UsageError(f"FFT size must be a power of two, 2 or more: {n}")
        self.n = n
        self.twiddle_re, self.twiddle_im = twiddle_tables(n)
        self.re, self.im, self.work_re, self.work_im = _apart(n, 4)

    def forward(self, x: NDArray[np.complex64]) -> None:
        """DFT of `x` (n,) complex64 in place, unscaled, as `numpy.fft.fft`.

        Raises:
            ValueError: when `x` has another length; TypeError when it is not contiguous complex64.
        """
        self._run(x, False)

    def inverse(self, x: NDArray[np.complex64]) -> None:
        """Inverse DFT of `x` (n,) complex64 in place, scaled by 1/n, as `numpy.fft.ifft`.

        Raises:
            ValueError: when `x` has another length; TypeError when it is not contiguous complex64.
        """
        self._run(x, True)

    def _run(self, x: NDArray[np.complex64], inverse: bool) -> None:
        if x.shape[0] != self.n:
            raise ValueError(f"expected {self.n} points, got {x.shape[0]}")
        _transform_complex(
            x, self.re, self.im, self.work_re, self.work_im, self.twiddle_re, self.twiddle_im, inverse
        )
