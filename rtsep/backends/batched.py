"""torch: one step of a network for several decks at once, over buffers that never move.

On a GPU a step is a recording (`rtsep.backends.recorders`) of the copy in, the network with the update of its
state, and the copy out; a run replays it and waits once. The batch axis holds the decks: a GPU that is hardly
used by one computes many in about the same time, and one replay serves all of them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtsep.backends.recorders import Recorder, Replay
from rtsep.separators.catalogue import load_weights
from rtsep.separators.mask_network import MaskNetwork
from rtsep.separators.network import CausalNetwork, State, batch_axes
from rtsep.separators.registry import ModelPackage

Precision = Literal["fp32", "fp16"]

HELD_DB = -30.0
"""Half precision is kept where the difference that it makes to noise is this far below the output."""

_REHEARSAL_STEPS = 16


class BatchedStep:
    """Runs one step of a network for several decks.

    Args:
        network: on the recorder's device; see `load_network`.
        decks: streams side by side, each with its own state.
        recorder: what a run replays; None for a network on the CPU that is simply called, and reads and
            writes the host's buffers themselves.

    Attributes:
        inputs: (decks, ...) float32, the caller's to fill before each run: a network step's input.
        outputs: (decks, stems, ...) float32, overwritten by each run.
    """

    def __init__(self, network: CausalNetwork, decks: int = 1, recorder: Recorder | None = None) -> None:
        self._network = network
        self._axes = batch_axes(network)
        pinned = recorder is not None and recorder.pinned
        with torch.inference_mode():
            shape = step_shape(network, decks)
            self._host_input = torch.zeros(shape, pin_memory=pinned)
            output_shape = (decks, len(network.spec.stems), *shape[1:])
            self._host_output = torch.zeros(output_shape, pin_memory=pinned)
            self._state: State = network.init_state(decks)
            self._input = self._host_input
            if recorder is not None:
                self._input = torch.zeros(shape, device=recorder.device)
        self.inputs: NDArray[np.float32] = self._host_input.numpy()
        self.outputs: NDArray[np.float32] = self._host_output.numpy()
        self._recorder = recorder
        self._replay: Replay = self._step
        self._idle: Replay = _nothing
        if recorder is not None:
            self._replay = recorder.record(self._transfer_and_step)
            self._idle = recorder.record(self._step_on_silence())
            recorder.wait()
            # Recording may run nothing, but the runs before it did, on whatever the buffers held.
            self.reset()
            self.outputs.fill(0.0)

    def run(self) -> None:
        """One step of every deck: `inputs` and states in, `outputs` and next states out."""
        self._replay()
        if self._recorder is not None:
            self._recorder.wait()

    def keep_alive(self) -> None:
        """The same work on silence and a state of its own: inputs, outputs and states stay as they are.

        A device with nothing to do saves power, and is slow when it is needed again. Nothing on a CPU that
        is simply called.
        """
        self._idle()
        if self._recorder is not None:
            self._recorder.wait()

    @torch.inference_mode()
    def reset(self, deck: int | None = None) -> None:
        """Set the state of one deck, or of all, to zero. `inputs` and `outputs` are left as they are."""
        for name, tensor in self._state.items():
            (tensor if deck is None else tensor.select(self._axes[name], deck)).zero_()
        if self._input.is_cuda:
            # On another stream than a replay: it must not overtake.
            torch.cuda.current_stream().synchronize()

    def close(self) -> None:
        """Let go of the network and its device memory; `inputs` and `outputs` stay readable."""
        self._replay = self._idle = _nothing
        self._recorder = None
        self._state = {}
        self._network = None  # type: ignore[assignment]

    @torch.inference_mode()
    def _step(self) -> None:
        stems, state = self._network.step(self._input, self._state)
        self._host_output.copy_(stems, non_blocking=True)
        # The network returns its next state in new tensors; a stream keeps it at one place, which a
        # recording must have and an eager step loses nothing by.
        for name, tensor in self._state.items():
            tensor.copy_(state[name])

    @torch.inference_mode()
    def _transfer_and_step(self) -> None:
        self._input.copy_(self._host_input, non_blocking=True)
        self._step()

    def _step_on_silence(self) -> Replay:
        with torch.inference_mode():
            silence = torch.zeros_like(self._input)
            state = {name: torch.zeros_like(tensor) for name, tensor in self._state.items()}

        @torch.inference_mode()
        def step() -> None:
            self._network.step(silence, state)

        return step


def load_network(
    package: ModelPackage, device: str, precision: Precision = "fp32"
) -> tuple[CausalNetwork, Precision]:
    """The network of a model on a device, and the precision that it really has.

    Half precision falls back to single precision where the network has none (only masking networks do), or
    where it changes what comes out by more than `HELD_DB`, or to what is not finite.

    Raises:
        ModelError: when the weights cannot be loaded or do not fit.
    """
    network = load_weights(package).to(device).requires_grad_(False)
    if precision == "fp32" or not isinstance(network, MaskNetwork):
        return network, "fp32"
    expected = _rehearse(network)
    network.halve()
    error = (_rehearse(network) - expected).square().sum() / expected.square().sum().clamp(min=1e-20)
    if bool(error < 10.0 ** (HELD_DB / 10.0)):  # NaN is not
        return network, "fp16"
    return load_weights(package).to(device).requires_grad_(False), "fp32"


def step_shape(network: CausalNetwork, batch: int) -> tuple[int, ...]:
    """The shape of a step's input."""
    spec = network.spec
    if network.domain == "waveform":
        return (batch, spec.channels, spec.hop)
    return (batch, spec.channels, network.config.analysis // 2 + 1, 2)


@torch.inference_mode()
def _rehearse(network: CausalNetwork) -> Tensor:
    """Outputs of some steps of noise as loud as music's spectra, then a hundred times softer."""
    state = network.init_state(1)
    generator = torch.Generator().manual_seed(0)
    outputs = []
    for step in range(_REHEARSAL_STEPS):
        level = 10.0 if step < _REHEARSAL_STEPS // 2 else 0.1
        x = level * torch.randn(step_shape(network, 1), generator=generator)
        stems, state = network.step(x.to(network.input_mean.device), state)  # type: ignore[arg-type]
        outputs.append(stems.float() / level)
    return torch.stack(outputs)


def _nothing() -> None:
    """Done."""
