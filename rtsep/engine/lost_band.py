"""What a song loses on its way to a model's sample rate and back, for a stem to have it after all.

A model at 44.1 kHz never hears what a song at 96 kHz has above 22 kHz, and the filters of a resampler take a
little below that. Stems that have been through both would sum to the song without its top. So the mixture
goes back beside the stems, through the same resampler, and what it lacks of the song is what was lost.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class LostBand:
    """Holds the song and its mixture at the model's rate until the stems of that time have come.

    What is held is as long as the model's and the resampler's delays, however long the song.
    """

    def __init__(self, channels: int) -> None:
        self._songs, self._mixes = _Held(channels), _Held(channels)

    def hear_song(self, song: Samples) -> None:
        """Take what was read, (channels, samples) at the song's own rate; never behind the mixture."""
        self._songs.put(song)

    def hear_mix(self, mix: Samples) -> None:
        """Take what the model hears of it, (channels, samples) at the model's rate."""
        self._mixes.put(mix)

    def mix(self, samples: int) -> Samples:
        """The next (channels, samples) of the mixture, to be resampled beside the stems."""
        return self._mixes.take(samples)

    def lost(self, returned: Samples) -> Samples:
        """What the mixture that has been resampled back, (channels, samples), lacks of the song."""
        return self._songs.take(returned.shape[-1]) - returned


class _Held:
    """Blocks in, other blocks out."""

    def __init__(self, channels: int) -> None:
        self._blocks: deque[Samples] = deque()
        self._nothing: Samples = np.zeros((channels, 0), np.float32)

    def put(self, block: Samples) -> None:
        self._blocks.append(block)

    def take(self, samples: int) -> Samples:
        taken = [self._nothing]
        while samples:
            block = self._blocks.popleft()
            taken.append(block[:, :samples])
            if block.shape[1] > samples:
                self._blocks.appendleft(block[:, samples:])
            samples -= taken[-1].shape[1]
        return np.concatenate(taken, axis=1)
