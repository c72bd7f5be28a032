"""The hop stream: samples in, stems out, a hop at a time, whatever the network's domain and backend."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.base import Backend
from rtsep.backends.open import open_backend
from rtsep.dsp.stft import StreamingISTFT, StreamingSTFT
from rtsep.dsp.windows import asymmetric_pair
from rtsep.separators.registry import DEFAULT_MODEL, ModelPackage, find
from rtsep.spec import StreamSpec

WARM_UP_STEPS = 4
"""Steps run before the stream is handed over: two on each set of state buffers, so that every kernel,
plan and compiled function has been through its first and its second call."""


class HopStream:
    """A model that separates a stream, ready to run.

    Fill `input`, call `step`, read `stems`: three arrays of fixed address, no allocation. What `step`
    leaves in `stems` belongs to the input `spec.delay` samples before the hop just given: sample i of the
    stream's output is the stems of sample i - `spec.delay` of its input, zero where there is none.

    Not safe for use from two threads at once.

    Attributes:
        spec: the stream's shape.
        package: the model.
        backend: what runs the network.
        input: (channels, hop) float32, the caller's to fill before each step.
        stems: (stems, channels, hop) float32, overwritten by each step.
    """

    def __init__(self, package: ModelPackage, backend: Backend) -> None:
        self.package = package
        self.backend = backend
        self.spec: StreamSpec = package.spec
        self._stft: StreamingSTFT | None = None
        self._istft: StreamingISTFT | None = None
        self.input: NDArray[np.float32]
        self.stems: NDArray[np.float32]

        spec, window = self.spec, package.manifest.window
        if window is None:
            self.input = backend.inputs[0]
            self.stems = backend.outputs[0]
        else:
            stems = len(spec.stems)
            analysis, synthesis = asymmetric_pair(window.analysis, window.synthesis, spec.hop)
            self._stft = StreamingSTFT(analysis, spec.hop, spec.channels)
            self._istft = StreamingISTFT(synthesis, window.analysis, spec.hop, stems, spec.channels)
            self.input = np.zeros((spec.channels, spec.hop), np.float32)
            self.stems = np.zeros((stems, spec.channels, spec.hop), np.float32)
            # Real and imaginary parts side by side are complex numbers: the same memory, another view.
            self._mix_spectrum = backend.inputs[0].view(np.complex64)[..., 0]
            self._stem_spectra = backend.outputs[0].view(np.complex64)[..., 0]
        self._warm_up()

    def step(self) -> None:
        """Separate the hop in `input` into `stems`."""
        if self._stft is None or self._istft is None:
            self.backend.run()
            return
        self._stft.push(self.input, self._mix_spectrum)
        self.backend.run()
        self._istft.push(self._stem_spectra, self.stems)

    def keep_alive(self) -> None:
        """While no hop comes, to be called now and then: a GPU that sleeps is slow to wake up."""
        self.backend.keep_alive()

    def reset(self) -> None:
        """Back to the start: state, overlap and `stems` to zero, as if just opened.

        `input` is left alone: it is the caller's.
        """
        self.backend.reset()
        if self._stft is not None and self._istft is not None:
            self._stft.reset()
            self._istft.reset()
        self.stems.fill(0.0)

    def close(self) -> None:
        """Release the backend. `input` and `stems` stay readable."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warm_up(self) -> None:
        # Noise rather than silence: a network's time must not depend on zeros being cheap to multiply.
        noise = np.random.default_rng(0)
        for _ in range(WARM_UP_STEPS):
            self.input[:] = 0.1 * noise.standard_normal(self.input.shape)
            self.step()
        self.input.fill(0.0)
        self.reset()


def open_stream(
    model: str | Path | ModelPackage = DEFAULT_MODEL,
    *,
    backend: str = "onnx",
    device: str = "cpu",
    threads: int = 1,
    precision: str = "fp32",
) -> HopStream:
    """Find a model, check its files, load it and warm it up: after this every hop takes its usual time.

    Args:
        model: a name, a folder, or a package that was found already; see `registry.find`.
        backend: "onnx", or "torch", which alone imports torch.
        device: "cpu" or "cuda"; never replaced by the other.
        threads: CPU threads of one step.
        precision: see `open_backend`.

    Raises:
        ModelError: when there is no such model, or its files are damaged or do not fit its manifest.
        BackendError: when backend or device are unknown or not there.
    """
    package = model if isinstance(model, ModelPackage) else find(model)
    package.verify()
    return HopStream(package, open_backend(package, backend, device, threads, precision))
