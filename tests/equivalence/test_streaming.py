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
        ("conv-tasnet", "fused", "cpu"),
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
        ("conv-tasnet", "fused", "cpu"),
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


LOUDNESS = np.repeat(np.array([0.001, 1.0, 0.1, 0.0, 0.5, 0.02], np.float32), 1002)[:SAMPLES]
"""Louder and softer, and silent in between."""


@pytest.mark.parametrize(
    ("architecture", "backend"), [pair for pair in STEPPED if pair[0] in ("band-split", "causal-lstm")]
)
def test_a_stream_that_knows_its_level_equals_forward(
    architecture: str, backend: str, tmp_path: Path
) -> None:
    level: dict[str, Any] = {"level": -20.0, "level_seconds": 0.05}
    songs = [noise(2, SAMPLES, seed) * LOUDNESS for seed in (6, 7)]
    network = build_tiny_network(architecture, **level)
    plain = build_tiny_network(architecture)
    with open_stream(build_tiny_model(tmp_path, architecture, **level), backend=backend, decks=2) as stream:
        found = run_decks(stream, songs)
    for song, stems in zip(songs, found, strict=True):
        expected = offline(network, song)
        np.testing.assert_allclose(stems, expected, rtol=0.0, atol=1e-5)
        assert np.abs(expected - offline(plain, song)).max() > 1e-3
        with torch.no_grad():
            in_pieces = network.separate(torch.from_numpy(song)[None], 7)[0].numpy()
        np.testing.assert_allclose(in_pieces, expected, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "backend"), [pair for pair in STEPPED if pair[0] in ("band-split", "causal-lstm")]
)
def test_a_stream_that_favours_a_stem_while_it_is_there_equals_forward(
    architecture: str, backend: str, tmp_path: Path
) -> None:
    there = {"logits": 4.0, "from_db": -17.0, "to_db": -8.0, "seconds": (0.01, 0.05)}
    config: dict[str, Any] = {"presence": there, "level": -20.0, "level_seconds": 0.05}
    songs = [noise(2, SAMPLES, seed) * LOUDNESS for seed in (6, 7)]
    network = build_tiny_network(architecture, **config)
    plain = build_tiny_network(architecture, **config | {"presence": None})
    with open_stream(build_tiny_model(tmp_path, architecture, **config), backend=backend, decks=2) as stream:
        found = run_decks(stream, songs)
    for song, stems in zip(songs, found, strict=True):
        expected = offline(network, song)
        np.testing.assert_allclose(stems, expected, rtol=0.0, atol=1e-5)
        np.testing.assert_allclose(stems.sum(axis=0), song, rtol=0.0, atol=1e-4)
        louder = np.square(expected[0]).sum() / np.square(offline(plain, song)[0]).sum()
        assert louder > 1.5
        with torch.no_grad():
            in_pieces = network.separate(torch.from_numpy(song)[None], 7)[0].numpy()
        np.testing.assert_allclose(in_pieces, expected, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("gain", [0.1, 4.0])
def test_how_loud_a_song_is_changes_nothing_but_that(gain: float, tmp_path: Path) -> None:
    """Softer or louder, the same stems, as long as every frame is loud enough to count."""
    mix = 0.1 * np.random.default_rng(8).standard_normal((2, SAMPLES)).astype(np.float32)
    stems = {}
    for name, level in (("levelled", {"level": -22.0}), ("plain", {})):
        with open_stream(build_tiny_model(tmp_path, "band-split", name=name, **level)) as stream:
            once = run_in_blocks(stream, mix, [SAMPLES])
            stream.reset()
            stems[name] = once, run_in_blocks(stream, np.float32(gain) * mix, [SAMPLES]) / gain
    np.testing.assert_allclose(*stems["levelled"], rtol=0.0, atol=1e-5)
    assert np.abs(stems["plain"][0] - stems["plain"][1]).max() > 1e-3


def test_silence_before_a_song_is_no_part_of_its_level() -> None:
    """Nor does it turn the gain up: a second of nothing, or of hiss, and the song is heard as it would be."""
    network = build_tiny_network("band-split", level=-20.0, level_seconds=2.0)
    mix = noise(2, SAMPLES, seed=9)
    hop = network.spec.hop
    lead = 40 * hop
    for hiss in (0.0, 1e-4):
        before = hiss * noise(2, lead, seed=10)
        x = torch.view_as_real(network.analyse(torch.from_numpy(np.concatenate((before, mix), axis=1))[None]))
        _, after = network.hear(x[:, :40], network.init_state(1))
        assert not after["level"].any()
        late, _ = network.hear(x[:, 44:], network.init_state(1))
        whole, _ = network.hear(x, network.init_state(1))
        # The first frames of the song hold some of what was before it.
        torch.testing.assert_close(whole[:, 60:], late[:, 16:], rtol=0.0, atol=0.35)
