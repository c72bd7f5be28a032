"""Runs whole signals through hop streams, in blocks of any size, as a device would bring them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream


def noise(channels: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Bursts of noise between loud, soft and silent; planar float32."""
    generator = np.random.default_rng(seed)
    levels = np.repeat(generator.choice([0.5, 0.05, 0.0005, 0.0], size=-(-samples // 700)), 700)[:samples]
    return (levels * generator.standard_normal((channels, samples))).astype(np.float32)


def random_sizes(total: int, seed: int) -> Iterator[int]:
    """Block sizes between 1 and 1500, up to `total` samples."""
    generator = np.random.default_rng(seed)
    while total > 0:
        size = min(total, int(generator.integers(1, 1500)))
        total -= size
        yield size


def equal_sizes(total: int, size: int) -> Iterator[int]:
    """Blocks of `size`, the last one shorter, up to `total` samples."""
    for start in range(0, total, size):
        yield min(size, total - start)


def run_in_blocks(stream: HopStream, mix: NDArray[np.float32], sizes: Iterable[int]) -> NDArray[np.float32]:
    """Gather blocks into hops, step for every full one; then flush.

    Args:
        stream: reset or fresh.
        mix: (channels, samples).
        sizes: block sizes, summing to samples.

    Returns:
        (stems, channels, samples), aligned with `mix`.
    """
    spec = stream.spec
    samples = mix.shape[1]
    pending = np.zeros((spec.channels, 0), np.float32)
    hops: list[NDArray[np.float32]] = []

    def take(block: NDArray[np.float32]) -> None:
        nonlocal pending
        pending = np.concatenate([pending, block], axis=1)
        while pending.shape[1] >= spec.hop:
            stream.input[:] = pending[:, : spec.hop]
            pending = pending[:, spec.hop :]
            stream.step()
            hops.append(stream.stems.copy())

    start = 0
    for size in sizes:
        take(mix[:, start : start + size])
        start += size
    assert start == samples, "the sizes must cover the signal"
    take(np.zeros((spec.channels, spec.delay + spec.hop), np.float32))
    return np.concatenate(hops, axis=2)[:, :, spec.delay : spec.delay + samples]


def run_decks(stream: HopStream, songs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Run songs of one length, (channels, samples) each, side by side through a stream of as many decks.

    Returns:
        Their stems, (stems, channels, samples), aligned with them.
    """
    spec, samples = stream.spec, songs[0].shape[1]
    stems = len(spec.stems)
    stream.reset()
    hops = -(-(samples + spec.delay) // spec.hop)
    padded = [np.pad(song, ((0, 0), (0, hops * spec.hop - samples))) for song in songs]
    made: list[NDArray[np.float32]] = []
    for hop in range(hops):
        for deck, song in enumerate(padded):
            stream.inputs[deck] = song[:, hop * spec.hop : (hop + 1) * spec.hop]
        stream.step()
        made.append(stream.strips.copy())
    whole = np.concatenate(made, axis=2)[:, :, spec.delay : spec.delay + samples]
    return [whole[deck * stems : (deck + 1) * stems] for deck in range(stream.decks)]
