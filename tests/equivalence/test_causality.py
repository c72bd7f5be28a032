"""Changing the future changes nothing that has come out already; changing the present does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.backends.stream import open_stream
from rtsep.separators.cadenza_tasnet import CadenzaTasNet
from rtsep.separators.conv_tasnet import ConvTasNet
from tests.equivalence.streaming import noise
from tests.models import ARCHITECTURES, IMPORTED, build_tiny_model, build_tiny_network

SAMPLES = 4000


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
@pytest.mark.parametrize("changed", [1, 777, 2048, 3001])
def test_forward_does_not_see_the_future(architecture: str, changed: int) -> None:
    network = build_tiny_network(architecture)
    # Waveform networks decide once a frame, which may be finer than a hop.
    grain = network.config.stride if isinstance(network, ConvTasNet | CadenzaTasNet) else network.spec.hop
    mix = torch.from_numpy(noise(2, SAMPLES))[None]
    other = mix.clone()
    other[..., changed:] = 0.3 * torch.randn(
        other[..., changed:].shape, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        before, after = network(mix), network(other)
    settled = max(0, changed // grain * grain - network.spec.delay)
    assert torch.equal(before[..., :settled], after[..., :settled])
    # Not because nothing ever changes: the sample itself, and all behind it, do.
    assert (before - after)[..., changed : changed + grain].abs().max() > 1e-3


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_stream_reacts_within_its_hop_and_not_before(
    architecture: str, backend: str, tmp_path: Path
) -> None:
    with open_stream(build_tiny_model(tmp_path, architecture), backend=backend) as stream:
        hop, hops, changed_hop = stream.spec.hop, 20, 11
        mix = 0.2 * np.random.default_rng(0).standard_normal((2, hop * hops)).astype(np.float32)
        other = mix.copy()
        other[:, changed_hop * hop :] *= -0.5
        outputs = []
        for signal in (mix, other):
            stream.reset()
            steps = []
            for start in range(0, hop * hops, hop):
                stream.input[:] = signal[:, start : start + hop]
                stream.step()
                steps.append(stream.stems.copy())
            outputs.append(np.stack(steps))
    before, after = outputs
    assert np.array_equal(before[:changed_hop], after[:changed_hop])
    assert np.abs(before[changed_hop] - after[changed_hop]).max() > 1e-3
