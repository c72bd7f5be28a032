"""Blocks of hops give what the stream gives hop by hop, for one song and for several side by side."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from rtsep.backends.blocks import BlockRunner, BlockStream
from rtsep.backends.stream import open_stream
from rtsep.engine.offline import separate_array, separate_file
from rtsep.separators.registry import ModelPackage
from rtsep.spec import BackendError
from tests.equivalence.streaming import noise
from tests.models import ARCHITECTURES, IMPORTED, build_tiny_model, build_tiny_network

SAMPLES = 9001  # a prime: no block divides it
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
@pytest.mark.parametrize("device", DEVICES)
def test_blocks_equal_the_stream(architecture: str, device: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    mix = noise(2, SAMPLES)
    with open_stream(package) as stream:
        expected = separate_array(stream, mix)
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    for hops in (1, 3, 16):
        with BlockStream(BlockRunner(package, device, hops=hops)) as blocks:
            assert blocks.spec.delay == package.spec.delay
            found = separate_array(blocks, mix)
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5, err_msg=f"{hops} hops")


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *IMPORTED))
def test_networks_take_many_hops_as_one_after_the_other(architecture: str) -> None:
    network = build_tiny_network(architecture)
    generator = torch.Generator().manual_seed(0)
    if network.domain == "waveform":
        x = torch.randn((2, 2, 5 * network.spec.hop), generator=generator)
        hops = x.split(network.spec.hop, dim=-1)
    else:
        x = torch.randn((2, 5, 2, network.config.analysis // 2 + 1, 2), generator=generator)
        hops = x.unbind(dim=1)
    state = network.init_state(2)
    one_by_one = []
    with torch.no_grad():
        at_once, after = network.steps(x, network.init_state(2))
        for hop in hops:
            stems, state = network.step(hop, state)
            one_by_one.append(stems)
    expected = torch.cat(one_by_one, dim=-1) if network.domain == "waveform" else torch.stack(one_by_one, 1)
    torch.testing.assert_close(at_once, expected, rtol=0.0, atol=1e-4)
    assert list(after) == list(state)
    for name in state:
        torch.testing.assert_close(after[name], state[name], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["band-split", "conv-tasnet"])
@pytest.mark.parametrize("device", DEVICES)
def test_lanes_do_not_hear_each_other(architecture: str, device: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path, architecture))
    runner = BlockRunner(package, device, hops=4, lanes=3)
    block = runner.spec.hop
    mixes = 0.1 * np.random.default_rng(0).standard_normal((3, 2, 6 * block)).astype(np.float32)
    found = np.zeros((3, len(runner.spec.stems), 2, 6 * block), np.float32)
    for step in range(6):
        if step == 2:  # a new song begins in the middle lane
            runner.reset(1)
            assert not runner.stems[1].any() and runner.stems[2].any()
        span = slice(step * block, (step + 1) * block)
        runner.inputs[...] = mixes[..., span]
        runner.run()
        found[..., span] = runner.stems
    with BlockStream(BlockRunner(package, device, hops=4)) as stream:
        for lane, first in ((0, 0), (1, 2), (2, 0)):
            stream.reset()
            for step in range(first, 6):
                span = slice(step * block, (step + 1) * block)
                stream.input[...] = mixes[lane][:, span]
                stream.step()
                np.testing.assert_allclose(found[lane][..., span], stream.stems, rtol=0.0, atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_missing_gpu_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="torch finds no CUDA device here"):
        BlockRunner(ModelPackage.read(build_tiny_model(tmp_path)), "cuda")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    process = psutil.Process()
    package = ModelPackage.read(build_tiny_model(tmp_path))
    with BlockStream(BlockRunner(package)) as stream:

        def growth(seconds: int) -> int:
            source = tmp_path / f"{seconds}.flac"
            command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"anoisesrc=r=44100:d={seconds}:a=0.1"]
            subprocess.run([*command, "-ac", "2", str(source)], check=True)
            peak = 0

            def watch(done: float, total: float | None) -> None:
                nonlocal peak
                peak = max(peak, process.memory_info().rss)

            before = process.memory_info().rss
            separate_file(stream, source, tmp_path / str(seconds), format="flac", progress=watch)
            return peak - before

        growth(5)  # whatever is loaded on first use
        # One copy of one stem of the long file would take 21 MB.
        assert growth(60) < growth(10) + 12e6
