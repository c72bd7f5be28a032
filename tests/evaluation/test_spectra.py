"""The transform of whole recordings: it reconstructs, and it is the stream's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.dsp.stft import StreamingSTFT
from rtsep.dsp.windows import asymmetric_pair
from rtsep.evaluation.spectra import BLOCK, Transform
from rtsep.spec import UsageError

SIZES = [(1024, 1024, 256), (512, 512, 256), (1024, 128, 64), (256, 64, 16)]


@settings(deadline=None, max_examples=40)
@given(sizes=st.sampled_from(SIZES), samples=st.integers(1, 6000), seed=st.integers(0, 100))
def test_reconstructs_every_sample(sizes: tuple[int, int, int], samples: int, seed: int) -> None:
    transform = Transform(*sizes)
    audio = np.random.default_rng(seed).standard_normal((2, samples))
    padded = transform.pad(audio)
    out = np.zeros_like(padded)
    for block in transform.blocks(samples):
        spectra = transform.spectra(padded, block)
        assert spectra.shape == (2, block.stop - block.start, transform.bins)
        transform.add(spectra, block, out)
    np.testing.assert_allclose(transform.crop(out, samples), audio, atol=1e-6)


def test_blocks_cover_all_frames_once() -> None:
    transform = Transform(256, 64, 16)
    samples = 16 * (3 * BLOCK + 5)
    frames = [frame for block in transform.blocks(samples) for frame in range(block.start, block.stop)]
    assert frames == list(range(transform.frames(samples)))


def test_frames_are_the_streams() -> None:
    analysis, synthesis, hop, hops = 512, 128, 64, 20
    audio = np.random.default_rng(0).standard_normal((2, hops * hop)).astype(np.float32)
    stream = StreamingSTFT(asymmetric_pair(analysis, synthesis, hop)[0], hop, 2)
    transform = Transform(analysis, synthesis, hop)
    whole = transform.spectra(transform.pad(audio), slice(0, hops))
    spectrum = np.zeros((2, stream.bins), np.complex64)
    for k in range(hops):
        stream.push(audio[:, k * hop : (k + 1) * hop], spectrum)
        np.testing.assert_allclose(spectrum, whole[:, k], atol=1e-4)


def test_windows_that_cannot_reconstruct_are_refused() -> None:
    with pytest.raises(UsageError, match="hop"):
        Transform(1024, 1024, 1000)
