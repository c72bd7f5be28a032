"""torch: many hops of recorded songs in one call, with the state carried from call to call.

What a stream computes hop by hop, this computes for a block of hops at once: all frames' transforms and
layers side by side, and only what remembers in turn. That asks for less memory traffic and fewer calls, and
gives the same stems up to float32 rounding. Several songs can run as lanes of one batch, each with its own
state, which is what keeps a GPU busy.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rtsep.backends.torch import check_device
from rtsep.dsp.windows import asymmetric_pair
from rtsep.separators.catalogue import load_weights
from rtsep.separators.manifest import Window
from rtsep.separators.network import State, batch_axes
from rtsep.separators.registry import ModelPackage
from rtsep.spec import StreamSpec

HOPS = {"cpu": 48, "cuda": 512}
"""Hops of a block. On a CPU more of them no longer fit its caches; see docs/architecture.md."""


class BlockRunner:
    """Runs a causal model over blocks of hops, for one song or several side by side.

    Args:
        package: the model; its weights are checked against its network.
        device: "cpu" or "cuda".
        threads: CPU threads. torch keeps this number for the whole process.
        hops: of a block; by default what `HOPS` says for the device.
        lanes: songs side by side.

    Attributes:
        spec: the model's stream, except that `hop` is a whole block's.
        inputs: (lanes, channels, block) float32, the caller's to fill before each run.
        stems: (lanes, stems, channels, block) float32, overwritten by each run; sample i belongs to input
            sample i - `spec.delay` of its lane.

    Raises:
        BackendError: when the device is not there.
        ModelError: when the weights cannot be loaded or do not fit.
    """

    def __init__(
        self,
        package: ModelPackage,
        device: str = "cpu",
        threads: int = 1,
        *,
        hops: int | None = None,
        lanes: int = 1,
    ) -> None:
        check_device(device)
        torch.set_num_threads(threads)
        on_gpu = device == "cuda"
        hops = HOPS[device] if hops is None else hops
        manifest, spec = package.manifest, package.spec
        self.spec = StreamSpec(spec.sample_rate, spec.channels, spec.stems, hops * spec.hop, spec.delay)
        self._network = load_weights(package).to(device).requires_grad_(False)
        stems = len(spec.stems)
        with torch.inference_mode():
            block = self.spec.hop
            self._host_input = torch.zeros((lanes, spec.channels, block), pin_memory=on_gpu)
            self._host_output = torch.zeros((lanes, stems, spec.channels, block), pin_memory=on_gpu)
            self._state = self._network.init_state(lanes)
            axes = batch_axes(self._network)
            self._frames: _Frames | None = None
            if manifest.window is not None:
                self._frames = _Frames(manifest.window, spec, device)
                self._state |= self._frames.init_state(lanes)
                axes |= dict.fromkeys(_Frames.STATE, 0)
        self._axes = axes
        self._device = device
        self.inputs: NDArray[np.float32] = self._host_input.numpy()
        self.stems: NDArray[np.float32] = self._host_output.numpy()

    @torch.inference_mode()
    def run(self) -> None:
        """Separate the block in `inputs` into `stems`, every lane going on from where it was."""
        samples = self._host_input.to(self._device, non_blocking=True)
        if self._frames is None:
            stems, self._state = self._network.steps(samples, self._state)
        else:
            spectra, history = self._frames.analyse(samples, self._state["frames.history"])
            before = {name: self._state[name] for name in self._state if name not in _Frames.STATE}
            masked, after = self._network.steps(spectra, before)
            stems, overlap = self._frames.synthesise(masked, self._state["frames.overlap"])
            self._state = after | {"frames.history": history, "frames.overlap": overlap}
        self._host_output.copy_(stems, non_blocking=True)
        if self._device == "cuda":
            torch.cuda.current_stream().synchronize()

    @torch.inference_mode()
    def reset(self, lane: int) -> None:
        """Back to the start, for one lane: the others do not notice."""
        # What a call gave as state may be a view of something else: zeroes go into a copy.
        for name, tensor in self._state.items():
            fresh = tensor.clone()
            fresh.select(self._axes[name], lane).zero_()
            self._state[name] = fresh
        self._host_output[lane].zero_()

    def close(self) -> None:
        """Let go of the network and its memory; `inputs` and `stems` stay readable."""
        self._network = None  # type: ignore[assignment]
        self._state = {}


class BlockStream:
    """A `BlockRunner` of one lane as a stream whose hop is a block; see `rtsep.backends.stream.HopStream`.

    Attributes:
        spec: `hop` is a whole block's; `delay` is the model's own.
        input: (channels, block).
        stems: (stems, channels, block).
    """

    def __init__(self, runner: BlockRunner) -> None:
        self._runner = runner
        self.spec: StreamSpec = runner.spec
        self.input: NDArray[np.float32] = runner.inputs[0]
        self.stems: NDArray[np.float32] = runner.stems[0]

    def step(self) -> None:
        """Separate the block in `input` into `stems`."""
        self._runner.run()

    def reset(self) -> None:
        """Back to the start."""
        self._runner.reset(0)

    def close(self) -> None:
        """Let go of the network; `input` and `stems` stay readable."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Frames:
    """The transforms of `rtsep.dsp.stft` for blocks of hops: samples to spectra and back.

    Axes: lanes, stems, channels, hops, bins.
    """

    STATE = ("frames.history", "frames.overlap")

    def __init__(self, window: Window, spec: StreamSpec, device: str) -> None:
        analysis, synthesis = asymmetric_pair(window.analysis, window.synthesis, spec.hop)
        self._hop, self._analysis_size, self._synthesis_size = spec.hop, window.analysis, window.synthesis
        self._channels, self._stems = spec.channels, len(spec.stems)
        self._analysis = torch.from_numpy(analysis).to(device)
        self._synthesis = torch.from_numpy(synthesis).to(device)

    def init_state(self, lanes: int) -> State:
        """Silence: the samples before the first hop, and hops to which frames have yet to be added."""
        past, waiting = self._analysis_size - self._hop, self._synthesis_size // self._hop - 1
        zeros = self._analysis.new_zeros
        return {
            "frames.history": zeros(lanes, self._channels, past),
            "frames.overlap": zeros(lanes, self._stems, self._channels, waiting, self._hop),
        }

    def analyse(self, samples: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """(lanes, channels, hops * hop) to (lanes, hops, channels, bins, 2), and the next history."""
        heard = torch.cat((history, samples), dim=-1)
        frames = heard.unfold(-1, self._analysis_size, self._hop) * self._analysis
        spectra = torch.view_as_real(torch.fft.rfft(frames).transpose(1, 2))
        return spectra, heard[..., heard.shape[-1] - history.shape[-1] :]

    def synthesise(self, spectra: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
        """(lanes, hops, stems, channels, bins, 2) to (lanes, stems, channels, hops * hop), and the rest."""
        frames = torch.fft.irfft(torch.view_as_complex(spectra.contiguous()), n=self._analysis_size)
        frames = frames[..., -self._synthesis_size :] * self._synthesis
        # Hop k of frame t is added to the k-th hop after the t-th.
        parts = frames.permute(0, 2, 3, 1, 4).unflatten(-1, (-1, self._hop))
        hops, waiting = parts.shape[3], overlap.shape[3]
        summed = functional.pad(overlap, (0, 0, 0, hops))
        for k in range(waiting + 1):
            summed[..., k : k + hops, :] += parts[..., k, :]
        return summed[..., :hops, :].flatten(-2), summed[..., hops:, :]
