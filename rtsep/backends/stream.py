"""The hop stream: samples in, stems out, a hop at a time, whatever the network's domain and backend."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.base import Backend
from rtsep.backends.choices import DEFAULT_BACKEND
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

    Several decks are separated by one step of the network, each by itself: fill `inputs`, read `strips`.

    Not safe for use from two threads at once.

    Attributes:
        spec: the stream's shape.
        package: the model.
        backend: what runs the network.
        decks: how many inputs a step separates.
        inputs: (decks, channels, hop) float32, the caller's to fill before each step.
        strips: (decks x stems, channels, hop) float32, the first deck's stems first; overwritten by each
            step.
        transforms: of each deck, between samples and spectra; none for networks on samples.
        input, stems: the first deck's share of these: (channels, hop) and (stems, channels, hop).
    """

    def __init__(self, package: ModelPackage, backend: Backend) -> None:
        self.package = package
        self.backend = backend
        self.spec: StreamSpec = package.spec
        self.decks = backend.batch
        self.inputs: NDArray[np.float32]
        self.strips: NDArray[np.float32]
        self.transforms: list[Transforms] = []

        spec, stems = self.spec, len(self.spec.stems)
        if package.manifest.window is None:
            self.inputs = backend.inputs
            self.strips = backend.outputs.reshape(self.decks * stems, spec.channels, spec.hop)
        else:
            self.inputs = np.zeros((self.decks, spec.channels, spec.hop), np.float32)
            self.strips = np.zeros((self.decks * stems, spec.channels, spec.hop), np.float32)
            self.transforms = [
                Transforms(
                    package,
                    self.inputs[deck],
                    backend.inputs[deck],
                    backend.outputs[deck],
                    self.strips[deck * stems : (deck + 1) * stems],
                )
                for deck in range(self.decks)
            ]
        self.input = self.inputs[0]
        self.stems = self.strips[:stems]
        self._warm_up()

    def step(self) -> None:
        """Separate the hop in `inputs` into `strips`."""
        for transforms in self.transforms:
            transforms.analyse()
        self.backend.run()
        for transforms in self.transforms:
            transforms.synthesise()

    def keep_alive(self) -> None:
        """While no hop comes, to be called now and then: a GPU that sleeps is slow to wake up."""
        self.backend.keep_alive()

    def reset(self, deck: int | None = None) -> None:
        """Back to the start: state, overlap and `strips` to zero, as if just opened.

        `inputs` are left alone: they are the caller's.

        Args:
            deck: counted from 0, the one that is reset, and nothing of the others; all if None.
        """
        self.backend.reset(deck)
        stems = len(self.spec.stems)
        for number in range(self.decks) if deck is None else (deck,):
            if self.transforms:
                self.transforms[number].reset()
            self.strips[number * stems : (number + 1) * stems].fill(0.0)

    def close(self) -> None:
        """Release the backend. `inputs` and `strips` stay readable."""
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
            self.inputs[:] = 0.1 * noise.standard_normal(self.inputs.shape)
            self.step()
        self.inputs.fill(0.0)
        self.reset()


class Transforms:
    """One deck's way from samples to the network's spectrum, and back from its stems' spectra.

    Every deck has its own: nothing of one passes through the other's transforms, not even a NaN.
    """

    def __init__(
        self,
        package: ModelPackage,
        samples: NDArray[np.float32],
        spectrum: NDArray[np.float32],
        spectra: NDArray[np.float32],
        stems: NDArray[np.float32],
    ) -> None:
        spec, window = package.spec, package.manifest.window
        assert window is not None
        analysis, synthesis = asymmetric_pair(window.analysis, window.synthesis, spec.hop)
        self._stft = StreamingSTFT(analysis, spec.hop, spec.channels)
        self._istft = StreamingISTFT(synthesis, window.analysis, spec.hop, len(spec.stems), spec.channels)
        self._samples, self._stems = samples, stems
        # Real and imaginary parts side by side are complex numbers: the same memory, another view.
        self._spectrum = spectrum.view(np.complex64)[..., 0]
        self._spectra = spectra.view(np.complex64)[..., 0]

    def analyse(self) -> None:
        """The hop into the spectrum that the network reads."""
        self._stft.push(self._samples, self._spectrum)

    def synthesise(self) -> None:
        """The spectra that the network gave into the stems."""
        self._istft.push(self._spectra, self._stems)

    def reset(self) -> None:
        """Forget what was heard."""
        self._stft.reset()
        self._istft.reset()


def open_stream(
    model: str | Path | ModelPackage = DEFAULT_MODEL,
    *,
    backend: str = DEFAULT_BACKEND,
    device: str = "cpu",
    threads: int = 1,
    decks: int = 1,
    precision: str = "fp32",
) -> HopStream:
    """Find a model, check its files, load it and warm it up: after this every hop takes its usual time.

    Args:
        model: a name, a folder, or a package that was found already; see `registry.find`.
        backend: see `open_backend`; "torch" alone imports torch.
        device: "cpu" or "cuda"; never replaced by the other.
        threads: CPU threads of one step.
        decks: inputs that are separated at once.
        precision: see `open_backend`.

    Raises:
        ModelError: when there is no such model, or its files are damaged or do not fit its manifest.
        BackendError: when backend or device are unknown or not there.
    """
    package = model if isinstance(model, ModelPackage) else find(model)
    package.verify()
    opened = open_backend(package, backend, device, threads, decks, precision)
    return HopStream(package, opened)
