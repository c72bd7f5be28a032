"""The short-time Fourier transform of a stream, hop in and hop out, without an allocation.

The frame ends at the newest sample and reaches `analysis` samples into the past; synthesis uses only
its last `synthesis` samples. The convention is `numpy.fft.rfft` and `irfft`: no scaling forward, 1/n
back. Two real channels travel through one complex FFT, as its real and imaginary part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsep.dsp.fft import FFTPlan, transform
from rtsep.dsp.kernel import Complexes, Floats, kernel
from rtsep.spec import UsageError


@kernel("int64(float32[:, :], float32[:, ::1], int64)")
def _remember(block: Floats, history: Floats, position: int) -> int:
    """Write a block into a mirrored ring; the newest frame then starts at the returned position.

    Every sample is written twice, a frame's length apart, so that the newest frame is always
    contiguous and nothing ever has to be moved.
    """
    channels, hop = block.shape
    frame = history.shape[1] // 2
    head = min(hop, frame - position)
    for c in range(channels):
        first, again = history[c, position:], history[c, position + frame :]
        for i in range(head):
            first[i] = block[c, i]
            again[i] = block[c, i]
        rest, begin = block[c, head:], history[c]
        for i in range(hop - head):
            begin[i] = rest[i]
            begin[frame + i] = rest[i]
    return (position + hop) % frame


@kernel(
    "void(float32[:, ::1], int64, float32[::1], float32[::1], float32[::1], float32[::1],"
    " float32[::1], float32[::1], float32[::1], complex64[:, ::1])"
)
def _analyse(
    history: Floats,
    position: int,
    window: Floats,
    re: Floats,
    im: Floats,
    work_re: Floats,
    work_im: Floats,
    twiddle_re: Floats,
    twiddle_im: Floats,
    spectrum: Complexes,
) -> None:
    channels, bins = spectrum.shape
    n = window.shape[0]
    half = np.float32(0.5)
    for c in range(0, channels, 2):
        paired = c + 1 < channels
        heard = history[c, position : position + n]
        for i in range(n):
            re[i] = heard[i] * window[i]
        if paired:
            beside = history[c + 1, position : position + n]
            for i in range(n):
                im[i] = beside[i] * window[i]
        else:
            im[:] = np.float32(0.0)
        transform(re, im, work_re, work_im, twiddle_re, twiddle_im)
        # Z = X + i Y of real signals: X is the even (Hermitian) part of Z, Y the odd part over i.
        spectrum[c, 0] = complex(re[0], np.float32(0.0))
        spectrum[c, bins - 1] = complex(re[bins - 1], np.float32(0.0))
        for k in range(1, bins - 1):
            spectrum[c, k] = complex(half * (re[k] + re[n - k]), half * (im[k] - im[n - k]))
        if paired:
            spectrum[c + 1, 0] = complex(im[0], np.float32(0.0))
            spectrum[c + 1, bins - 1] = complex(im[bins - 1], np.float32(0.0))
            for k in range(1, bins - 1):
                spectrum[c + 1, k] = complex(half * (im[k] + im[n - k]), half * (re[n - k] - re[k]))


@kernel("void(float32[::1], float32[::1], float32[::1])")
def _add_windowed(frame: Floats, window: Floats, ring: Floats) -> None:
    for i in range(len(ring)):
        ring[i] += frame[i] * window[i]


@kernel(
    "int64(complex64[:, :, ::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1],"
    " float32[::1], float32[::1], float32[:, ::1], int64, float32[:, :, :])"
)
def _synthesise(
    spectra: Complexes,
    window: Floats,
    re: Floats,
    im: Floats,
    work_re: Floats,
    work_im: Floats,
    twiddle_re: Floats,
    twiddle_im: Floats,
    overlap: Floats,
    position: int,
    out: Floats,
) -> int:
    stems, channels, bins = spectra.shape
    n = re.shape[0]
    size = window.shape[0]
    hop = out.shape[2]
    tail = n - size
    fresh = size - hop
    for row in range(0, stems * channels, 2):
        # Rows run over stems and channels alike: an odd channel pairs with the next stem's first.
        paired = row + 1 < stems * channels
        a = spectra[row // channels, row % channels]
        # The imaginary parts of DC and Nyquist are dropped, as irfft does: no real signal has them.
        re[0], re[bins - 1] = a[0].real, a[bins - 1].real
        if paired:
            b = spectra[(row + 1) // channels, (row + 1) % channels]
            im[0], im[bins - 1] = b[0].real, b[bins - 1].real
            for k in range(1, bins - 1):
                re[k], im[k] = a[k].real - b[k].imag, a[k].imag + b[k].real
            for k in range(1, bins - 1):
                re[n - k], im[n - k] = a[k].real + b[k].imag, b[k].real - a[k].imag
        else:
            im[0], im[bins - 1] = np.float32(0.0), np.float32(0.0)
            for k in range(1, bins - 1):
                re[k], im[k] = a[k].real, a[k].imag
            for k in range(1, bins - 1):
                re[n - k], im[n - k] = a[k].real, -a[k].imag
        transform(im, re, work_re, work_im, twiddle_re, twiddle_im)
        for part in range(2 if paired else 1):
            frame = re if part == 0 else im
            ring = overlap[row + part]
            done = out[(row + part) // channels, (row + part) % channels]
            # The ring's slots are in stream order from `position`; the newest hop's slots hold
            # samples that have left already, so they are assigned and the others added to.
            head = min(fresh, size - position)
            _add_windowed(frame[tail : tail + head], window[:head], ring[position : position + head])
            _add_windowed(frame[tail + head : n - hop], window[head:fresh], ring[: fresh - head])
            last = (position + fresh) % size
            newest, its_window, its_place = frame[n - hop :], window[fresh:], ring[last : last + hop]
            for i in range(hop):
                its_place[i] = newest[i] * its_window[i]
            whole = ring[position : position + hop]
            for i in range(hop):
                done[i] = whole[i]
    return (position + hop) % size


class StreamingSTFT:
    """Spectra of the newest `len(window)` samples of a stream, one for every hop pushed.

    Before the first push the past is silence.

    Attributes:
        hop, channels: as given.
        analysis: samples in a frame.
        bins: analysis / 2 + 1.
    """

    def __init__(self, window: NDArray[np.float32], hop: int, channels: int) -> None:
        """Args:
            window: (analysis,) analysis window; its length a power of two.
            hop: samples a push, at most `analysis`.
            channels: any number.

        Raises:
            UsageError: for sizes that cannot work.
        """
        analysis = len(window)
        self._plan = FFTPlan(analysis)
        if channels < 1 or not 1 <= hop <= analysis:
            raise UsageError(f"STFT: {channels} channels, hop {hop} of a frame of {analysis}")
        self.hop = hop
        self.channels = channels
        self.analysis = analysis
        self.bins = analysis // 2 + 1
        # The kernels take writable arrays only, and the caller's may be read-only or change later.
        self._window = np.array(window, dtype=np.float32, order="C")
        self._history = np.zeros((channels, 2 * analysis), np.float32)
        self._position = 0
        self._block_shape = (channels, hop)
        self._spectrum_shape = (channels, self.bins)

    def reset(self) -> None:
        """Forget the past, as if newly made."""
        self._history.fill(0.0)
        self._position = 0

    def push(self, block: NDArray[np.float32], spectrum: NDArray[np.complex64]) -> None:
        """Take in one hop and write the spectrum of the frame that ends with it.

        Args:
            block: (channels, hop) float32, any strides.
            spectrum: (channels, bins) complex64, C-contiguous; overwritten. A float32 array
                (channels, bins, 2) serves as `array.view(np.complex64)[..., 0]`.

        Raises:
            ValueError: for other shapes; TypeError for other types.
        """
        if block.shape != self._block_shape or spectrum.shape != self._spectrum_shape:
            raise ValueError(
                f"expected {self._block_shape} in and {self._spectrum_shape} out,"
                f" got {block.shape} and {spectrum.shape}"
            )
        plan = self._plan
        self._position = _remember(block, self._history, self._position)
        _analyse(
            self._history, self._position, self._window, plan.re, plan.im, plan.work_re, plan.work_im,
            plan.twiddle_re, plan.twiddle_im, spectrum,
        )  # fmt: skip


class StreamingISTFT:
    """Overlap-add of the last `len(window)` samples of inverse-transformed frames.

    Attributes:
        hop, stems, channels, analysis: as given.
        bins: analysis / 2 + 1.
        delay: samples by which the output trails the newest sample of the frame's hop:
            `len(window) - hop`.
    """

    def __init__(
        self, window: NDArray[np.float32], analysis: int, hop: int, stems: int, channels: int
    ) -> None:
        """Args:
            window: (synthesis,) window that the frame's last `synthesis` samples are multiplied by;
                its product with the analysis window must overlap-add to one for reconstruction.
            analysis: samples in a frame, a power of two, at least `synthesis`.
            hop: samples a push; divides `synthesis`.
            stems, channels: any numbers.

        Raises:
            UsageError: for sizes that cannot work.
        """
        synthesis = len(window)
        self._plan = FFTPlan(analysis)
        if stems < 1 or channels < 1:
            raise UsageError(f"ISTFT: {stems} stems of {channels} channels")
        if synthesis > analysis or hop < 1 or synthesis < hop or synthesis % hop:
            raise UsageError(f"ISTFT: frame {analysis}, synthesis window {synthesis}, hop {hop}")
        self.hop = hop
        self.stems = stems
        self.channels = channels
        self.analysis = analysis
        self.bins = analysis // 2 + 1
        self.delay = synthesis - hop
        # The 1/n of the inverse transform costs nothing inside the window.
        self._window = (np.asarray(window, dtype=np.float64) / analysis).astype(np.float32)
        self._overlap = np.zeros((stems * channels, synthesis), np.float32)
        self._position = 0
        self._spectra_shape = (stems, channels, self.bins)
        self._out_shape = (stems, channels, hop)

    def reset(self) -> None:
        """Forget the past, as if newly made."""
        self._overlap.fill(0.0)
        self._position = 0

    def push(self, spectra: NDArray[np.complex64], out: NDArray[np.float32]) -> None:
        """Take in one frame of every stem and write the hop that it completes.

        Args:
            spectra: (stems, channels, bins) complex64, C-contiguous; unchanged.
            out: (stems, channels, hop) float32, any strides; overwritten.

        Raises:
            ValueError: for other shapes; TypeError for other types.
        """
        if spectra.shape != self._spectra_shape or out.shape != self._out_shape:
            raise ValueError(
                f"expected {self._spectra_shape} in and {self._out_shape} out,"
                f" got {spectra.shape} and {out.shape}"
            )
        plan = self._plan
        self._position = _synthesise(
            spectra, self._window, plan.re, plan.im, plan.work_re, plan.work_im,
            plan.twiddle_re, plan.twiddle_im, self._overlap, self._position, out,
        )  # fmt: skip
