"""One step for many decks: buffers, batching, resets and keeping alive, with a recorder and without.

`Eager` stands in for a GPU's recorder: the copies in and out, the state's place and the replay are those of
the CUDA path, and what a CUDA graph demands of them (nothing may move) is checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rtsep.backends import batched
from rtsep.backends.batched import BatchedStep, load_network
from rtsep.backends.recorders import WARM_UPS, CudaGraphs, Eager, Recorder
from rtsep.backends.stream import HopStream
from rtsep.backends.torch import TorchBackend
from rtsep.separators.mask_network import MaskNetwork
from rtsep.separators.network import CausalNetwork, batch_axes
from rtsep.separators.registry import ModelPackage
from tests.models import ARCHITECTURES, IMPORTED, build_tiny_model, build_tiny_network

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
RECORDERS: list[object] = [
    pytest.param(lambda: None, id="none"),
    pytest.param(Eager, id="eager"),
    pytest.param(CudaGraphs, id="cuda", marks=gpu),
]


class Counting(Eager):
    """Counts what a recorder is asked for."""

    def __init__(self) -> None:
        self.recorded = self.replayed = self.waits = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        replay = super().record(work)

        def counted() -> None:
            self.replayed += 1
            replay()

        return counted

    def wait(self) -> None:
        self.waits += 1


def place(network: CausalNetwork, recorder: Recorder | None) -> CausalNetwork:
    return network.to(recorder.device if recorder else "cpu").requires_grad_(False)


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
@pytest.mark.parametrize("make", RECORDERS)
def test_every_deck_is_a_stream_of_its_own(architecture: str, make: Callable[[], Recorder | None]) -> None:
    reference, recorder = build_tiny_network(architecture), make()
    step = BatchedStep(place(build_tiny_network(architecture), recorder), 3, recorder)
    states = [reference.init_state(1) for _ in range(3)]
    generator = torch.Generator().manual_seed(0)
    for hop in range(8):
        if hop == 4:
            step.reset(1)
            states[1] = reference.init_state(1)
        x = torch.randn(step.inputs.shape, generator=generator)
        step.inputs[...] = x.numpy()
        step.run()
        for deck in range(3):
            with torch.no_grad():
                expected, states[deck] = reference.step(x[deck : deck + 1], states[deck])
            np.testing.assert_allclose(step.outputs[deck], expected[0], rtol=0.0, atol=1e-4)
    step.reset()
    assert not any(tensor.any() for tensor in step._state.values())


@pytest.mark.parametrize("make", RECORDERS)
def test_nothing_moves(make: Callable[[], Recorder | None]) -> None:
    """What a recorded graph reads and writes stays where it was when it was recorded."""
    recorder = make()
    step = BatchedStep(place(build_tiny_network("band-split"), recorder), 2, recorder)

    def places() -> list[int]:
        tensors = [step._host_input, step._host_output, step._input, *step._state.values()]
        return [step.inputs.ctypes.data, step.outputs.ctypes.data, *(t.data_ptr() for t in tensors)]

    before = places()
    for _ in range(3):
        step.inputs[...] = 0.3
        step.run()
        step.keep_alive()
        step.reset(0)
        step.reset()
    assert places() == before


def test_a_step_is_one_replay_and_one_wait() -> None:
    recorder = Counting()
    step = BatchedStep(build_tiny_network("causal-lstm").requires_grad_(False), 2, recorder)
    assert recorder.recorded == 2  # a step, and one that keeps the device awake
    recorder.waits = recorder.replayed = 0
    for _ in range(5):
        step.run()
    assert (recorder.replayed, recorder.waits) == (5, 5)
    assert WARM_UPS >= 2


@pytest.mark.parametrize("make", RECORDERS)
def test_recording_leaves_no_trace(make: Callable[[], Recorder | None]) -> None:
    recorder = make()
    step = BatchedStep(place(build_tiny_network("hs-tasnet"), recorder), 2, recorder)
    assert not step.outputs.any() and not any(tensor.any() for tensor in step._state.values())


@pytest.mark.parametrize("make", RECORDERS)
def test_keeping_alive_changes_nothing(make: Callable[[], Recorder | None]) -> None:
    recorder = make()
    step = BatchedStep(place(build_tiny_network("conv-tasnet"), recorder), 1, recorder)
    step.inputs[...] = 0.5
    step.run()
    kept = step.inputs.copy(), step.outputs.copy(), [t.clone() for t in step._state.values()]
    for _ in range(3):
        step.keep_alive()
    assert np.array_equal(step.inputs, kept[0]) and np.array_equal(step.outputs, kept[1])
    assert all(torch.equal(now, then) for now, then in zip(step._state.values(), kept[2], strict=True))


def test_buffers_outlive_it() -> None:
    step = BatchedStep(build_tiny_network("causal-lstm").requires_grad_(False), 1, Eager())
    step.inputs[...] = 0.3
    step.run()
    kept = step.outputs.copy()
    step.close()
    step.run()
    assert np.array_equal(step.outputs, kept)


def test_the_axis_of_the_streams_is_found() -> None:
    assert batch_axes(build_tiny_network("band-split")) == {"h": 2, "c": 2}
    assert batch_axes(build_tiny_network("causal-lstm")) == {"h": 1, "c": 1}
    assert set(batch_axes(build_tiny_network("conv-tasnet")).values()) == {0}


# Half precision


@pytest.mark.parametrize("architecture", ["band-split", "causal-lstm"])
def test_half_precision_is_near_and_sums_to_the_mixture(architecture: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    single, half = TorchBackend(package), TorchBackend(package, precision="fp16")
    assert (single.precision, half.precision) == ("fp32", "fp16")
    generator = np.random.default_rng(0)
    energy = error = 0.0
    for _ in range(40):
        x = 5.0 * generator.standard_normal(single.inputs.shape).astype(np.float32)
        for backend in (single, half):
            backend.inputs[...] = x
            backend.run()
        np.testing.assert_allclose(half.outputs.sum(axis=1), x, rtol=0.0, atol=1e-4)
        energy += float(np.square(single.outputs).sum())
        error += float(np.square(half.outputs - single.outputs).sum())
    assert 0.0 < error < 1e-4 * energy


def test_what_overflows_float16_does_not_reach_it(tmp_path: Path) -> None:
    """A full-scale tone's power in one bin is millions."""
    with HopStream(
        package := ModelPackage.read(build_tiny_model(tmp_path)), TorchBackend(package, precision="fp16")
    ) as stream:
        hop = stream.spec.hop
        for k in range(20):
            time = np.arange(k * hop, (k + 1) * hop) / stream.spec.sample_rate
            stream.input[...] = 8.0 * np.sin(2 * np.pi * 1000.0 * time)
            stream.step()
            assert np.isfinite(stream.stems).all()


def test_networks_without_half_precision_fall_back_and_say_so(tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, "conv-tasnet"))
    assert TorchBackend(package, precision="fp16").precision == "fp32"


def test_half_precision_that_spoils_the_sound_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    halve = MaskNetwork.halve

    def spoil(self: MaskNetwork) -> None:
        halve(self)
        with torch.no_grad():
            next(m for m in self.modules() if isinstance(m, nn.Linear)).weight.fill_(torch.nan)

    monkeypatch.setattr(MaskNetwork, "halve", spoil)
    network, precision = load_network(package, "cpu", "fp16")
    assert precision == "fp32"
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert batched.HELD_DB < 0.0
