"""The stream is the parallel forward pass, for every model, backend, block size and hop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtsep.backends.stream import open_stream
from rtsep.separators.network import CausalNetwork
from tests.equivalence.streaming import equal_sizes, noise, random_sizes, run_decks, run_in_blocks
from tests.models import ARCHITECTURES, IMPORTED, STEPPED, build_tiny_model, build_tiny_network

SAMPLES = 6007  # a prime: no hop and no block divides it
BACKENDS = [("onnx", "cpu"), ("torch", "cpu")]
if torch.cuda.is_available():
    BACKENDS.append(("torch", "cuda"))


def offline(network: CausalNetwork, mix: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(mix)[None])[0].numpy()


@pytest.mark.parametrize(
    "architecture,backend,device",
    [
        *((architecture, *backend) for architecture in (*ARCHITECTURES, *IMPORTED) for backend in BACKENDS),
        ("band-split", "fused", "cpu"),
    ],
)
def test_stream_in_blocks_equals_forward(
    architecture: str, backend: str, device: str, tmp_path: Path
) -> None:
    mix = noise(2, SAMPLES)
    expected = offline(build_tiny_network(architecture), mix)
    # Stems that hardly differ would hide most mistakes.
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    with open_stream(build_tiny_model(tmp_path, architecture), backend=backend, device=device) as stream:
        runs = {str(size): list(equal_sizes(SAMPLES, size)) for size in (1, 17, 64, 128, 480, 1024)}
        runs |= {f"random {seed}": list(random_sizes(SAMPLES, seed)) for seed in range(3)}
        for label, sizes in runs.items():
            stream.reset()
            found = run_in_blocks(stream, mix, sizes)
            np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-4, err_msg=f"blocks of {label}")


@pytest.mark.parametrize("hop", [8, 16, 64, 256])
def test_conv_tasnet_gives_the_same_at_any_hop(hop: int, tmp_path: Path) -> None:
    mix = noise(2, SAMPLES, seed=1)
    expected = offline(build_tiny_network("conv-tasnet"), mix)
    with open_stream(build_tiny_model(tmp_path, "conv-tasnet", hop=hop)) as stream:
        found = run_in_blocks(stream, mix, [SAMPLES])
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("analysis,synthesis,hop", [(256, 256, 128), (512, 256, 64), (1024, 128, 64)])
def test_causal_lstm_streams_with_any_windows(
    analysis: int, synthesis: int, hop: int, tmp_path: Path
) -> None:
    sizes: dict[str, Any] = {"analysis": analysis, "synthesis": synthesis, "hop": hop, "wide_bands": 4}
    mix = noise(2, SAMPLES, seed=2)
    expected = offline(build_tiny_network("causal-lstm", **sizes), mix)
    with open_stream(build_tiny_model(tmp_path, "causal-lstm", **sizes)) as stream:
        found = run_in_blocks(stream, mix, [SAMPLES])
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
def test_mono_models_stream_as_well(architecture: str, tmp_path: Path) -> None:
    mix = noise(1, SAMPLES, seed=3)
    expected = offline(build_tiny_network(architecture, channels=1), mix)
    with open_stream(build_tiny_model(tmp_path, architecture, channels=1)) as stream:
        found = run_in_blocks(stream, mix, [SAMPLES])
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize(
    "architecture,backend,device",
    [
        *((architecture, *backend) for architecture in ARCHITECTURES for backend in BACKENDS),
        ("band-split", "fused", "cpu"),
    ],
)
def test_stems_sum_to_the_mixture(architecture: str, backend: str, device: str, tmp_path: Path) -> None:
    mix = noise(2, SAMPLES, seed=4)
    with open_stream(build_tiny_model(tmp_path, architecture), backend=backend, device=device) as stream:
        stems = run_in_blocks(stream, mix, [SAMPLES])
    # -120 dB below a full scale of one.
    np.testing.assert_allclose(stems.sum(axis=0), mix, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_impulse_comes_out_after_the_reported_delay(architecture: str, tmp_path: Path) -> None:
    with open_stream(build_tiny_model(tmp_path, architecture, passthrough=True)) as stream:
        spec = stream.spec
        for position in (0, 1, spec.hop - 1, spec.hop, 3 * spec.hop + 5):
            stream.reset()
            total = 8 * spec.hop + spec.delay
            hops = []
            for start in range(0, total, spec.hop):
                stream.input.fill(0.0)
                if start <= position < start + spec.hop:
                    stream.input[:, position - start] = 1.0
                stream.step()
                hops.append(stream.stems.copy())
            output = np.concatenate(hops, axis=2)
            expected = np.zeros_like(output)
            expected[:, :, position + spec.delay] = 1.0 / len(spec.stems)
            np.testing.assert_allclose(output, expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("architecture", "backend"), STEPPED)
def test_each_deck_equals_forward(architecture: str, backend: str, tmp_path: Path) -> None:
    """Two songs through one stream, in one step of the network: each as if it were alone."""
    songs = [noise(2, SAMPLES, seed) for seed in (3, 4)]
    network = build_tiny_network(architecture)
    with open_stream(build_tiny_model(tmp_path, architecture), backend=backend, decks=2) as stream:
        found = run_decks(stream, songs)
        again_of_one = run_decks(stream, [songs[0], 50.0 * songs[1]])
    for song, stems in zip(songs, found, strict=True):
        np.testing.assert_allclose(stems, offline(network, song), rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(again_of_one[0], found[0], rtol=0.0, atol=1e-5)
