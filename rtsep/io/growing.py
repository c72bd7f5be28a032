"""A sound file that is whole at every moment while it grows: what a recording is written to.

A WAV says in its header how long it is. Most writers put that there at the end, so that a program which
dies leaves a file of no length; here the header follows the audio.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import AudioFileError

HEADER_BYTES = 94
_IEEE_FLOAT = 3
_LIMIT = 0xFFFF_FFFF


def wav_header(sample_rate: int, channels: int, frames: int) -> bytes:
    """Header of a WAV of 32-bit floats, always `HEADER_BYTES` long.

    Past 4 GiB it is an RF64's (EBU Tech 3306), whose 64-bit sizes take the place of a chunk that players
    skip, kept for that.

    Args:
        sample_rate: Hz.
        channels: interleaved.
        frames: that follow.
    """
    frame_bytes = 4 * channels
    data = frames * frame_bytes
    riff = HEADER_BYTES - 8 + data
    large = riff > _LIMIT
    sizes = struct.pack("<QQQI", riff, data, frames, 0) if large else bytes(28)
    return b"".join(
        (
            struct.pack("<4sI4s", b"RF64" if large else b"RIFF", min(riff, _LIMIT), b"WAVE"),
            struct.pack("<4sI28s", b"ds64" if large else b"JUNK", 28, sizes),
            struct.pack("<4sIHHIIHHH", b"fmt ", 18, _IEEE_FLOAT, channels, sample_rate,
                        sample_rate * frame_bytes, frame_bytes, 32, 0),
            struct.pack("<4sII", b"fact", 4, min(frames, _LIMIT)),
            struct.pack("<4sI", b"data", _LIMIT if large else data),
        )
    )  # fmt: skip


class GrowingWav:
    """A WAV of 32-bit floats, unlimited in length, that survives its writer.

    `write` appends, `refresh` makes the header agree. If the process is killed in between, the file plays up
    to the last refresh. Nothing is buffered here.

    Args:
        path: a file that does not exist yet.
        sample_rate: Hz.
        channels: of each frame.

    Attributes:
        frames: written so far.

    Raises:
        AudioFileError: when the file exists or cannot be made.
        OSError: from the methods, when the disk is full or gone.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.channels = channels
        self.frames = 0
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise AudioFileError(f"{path}: exists already") from None
        except OSError as error:
            raise AudioFileError(f"{path}: cannot be written: {error.strerror}") from None
        self._put(memoryview(wav_header(sample_rate, channels, 0)))

    def write(self, block: NDArray[np.float32]) -> None:
        """Append frames, float32 (frames, channels)."""
        if block.dtype != np.float32 or block.ndim != 2 or block.shape[1] != self.channels:
            raise ValueError(f"expected float32 (frames, {self.channels}), got {block.dtype} {block.shape}")
        self._put(np.ascontiguousarray(block, "<f4").data.cast("B"))
        self.frames += block.shape[0]

    def refresh(self) -> None:
        """Let the header say how many frames there are."""
        self._file.seek(0)
        self._put(memoryview(wav_header(self.sample_rate, self.channels, self.frames)))
        self._file.seek(0, os.SEEK_END)

    def truncate(self, frames: int) -> None:
        """Cut what lies beyond so many frames, also what a failed `write` left behind."""
        self._file.truncate(HEADER_BYTES + frames * 4 * self.channels)
        self.frames = frames
        self.refresh()

    def finish(self) -> None:
        """Bring everything safely to the disk and close."""
        self.refresh()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Close as it is."""
        self._file.close()

    def _put(self, data: memoryview) -> None:
        # A disk that fills up takes a part of a write first, and complains of the next.
        while len(data):
            data = data[self._file.write(data) :]
