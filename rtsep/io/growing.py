"""A sound file that is whole at every moment while it grows: what a recording is written to.

A WAV says in its header how long it is. Most writers put that there at the end, so that a program which
dies leaves a file of no length; here the header follows the audio.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rtsep.spec import AudioFileError

HEADER_BYTES = 94
"""Length of the header of a file with at most two channels, and no names."""

_IEEE_FLOAT = 3
_EXTENSIBLE = 0xFFFE
_FLOAT_GUID = struct.pack("<H", _IEEE_FLOAT) + bytes.fromhex("000000001000800000aa00389b71")
_LIMIT = 0xFFFF_FFFF


def wav_header(sample_rate: int, channels: int, frames: int, names: Sequence[str] = ()) -> bytes:
    """Header of a WAV of 32-bit floats; of one length whatever the number of frames.

    Past 4 GiB it is an RF64's (EBU Tech 3306), whose 64-bit sizes take the place of a chunk that players
    skip, kept for that. With more than two channels it is a WAVE_FORMAT_EXTENSIBLE without loudspeakers:
    each channel is a track of its own.

    Args:
        sample_rate: Hz.
        channels: interleaved.
        frames: that follow.
        names: of the channels, in an iXML chunk (the iXML specification's TRACK_LIST), or none.
    """
    frame_bytes = 4 * channels
    data = frames * frame_bytes
    plain = struct.pack("<HIIHH", channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 32)
    if channels <= 2:
        form = struct.pack("<H", _IEEE_FLOAT) + plain + struct.pack("<H", 0)
    else:
        form = struct.pack("<H", _EXTENSIBLE) + plain + struct.pack("<HHI", 22, 32, 0) + _FLOAT_GUID
    chunks = _chunk(b"fmt ", form) + _chunk(b"fact", struct.pack("<I", min(frames, _LIMIT)))
    if names:
        chunks += _chunk(b"iXML", _track_list(names))
    # RIFF and WAVE, the room for the long sizes, the chunks, and the head of the data.
    riff = 4 + (8 + 28) + len(chunks) + 8 + data
    large = riff > _LIMIT
    sizes = struct.pack("<QQQI", riff, data, frames, 0) if large else bytes(28)
    return b"".join(
        (
            struct.pack("<4sI4s", b"RF64" if large else b"RIFF", min(riff, _LIMIT), b"WAVE"),
            _chunk(b"ds64" if large else b"JUNK", sizes),
            chunks,
            struct.pack("<4sI", b"data", _LIMIT if large else data),
        )
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk; what is of odd length is padded, and does not count the padding."""
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def _track_list(names: Sequence[str]) -> bytes:
    """Names of channels as field recorders write them, and DAWs read them."""
    root = ElementTree.Element("BWFXML")
    ElementTree.SubElement(root, "IXML_VERSION").text = "2.0"
    tracks = ElementTree.SubElement(root, "TRACK_LIST")
    ElementTree.SubElement(tracks, "TRACK_COUNT").text = str(len(names))
    for number, name in enumerate(names, 1):
        track = ElementTree.SubElement(tracks, "TRACK")
        ElementTree.SubElement(track, "CHANNEL_INDEX").text = str(number)
        ElementTree.SubElement(track, "INTERLEAVE_INDEX").text = str(number)
        ElementTree.SubElement(track, "NAME").text = name
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


class GrowingWav:
    """A WAV of 32-bit floats, unlimited in length, that survives its writer.

    `write` appends, `refresh` makes the header agree. If the process is killed in between, the file plays up
    to the last refresh. Nothing is buffered here.

    Args:
        path: a file that does not exist yet.
        sample_rate: Hz.
        channels: of each frame.
        names: of the channels, or none.

    Attributes:
        frames: written so far.

    Raises:
        AudioFileError: when the file exists or cannot be made.
        OSError: from the methods, when the disk is full or gone.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int, names: Sequence[str] = ()) -> None:
        if names and len(names) != channels:
            raise ValueError(f"{len(names)} names for {channels} channels")
        self.path = path
        self.sample_rate = sample_rate
        self.channels = channels
        self._names = tuple(names)
        self.frames = 0
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise AudioFileError(f"{path}: exists already") from None
        except OSError as error:
            raise AudioFileError(f"{path}: cannot be written: {error.strerror}") from None
        header = self._header()
        self._begin = len(header)
        self._put(memoryview(header))

    def write(self, block: NDArray[np.float32]) -> None:
        """Append frames, float32 (frames, channels)."""
        if block.dtype != np.float32 or block.ndim != 2 or block.shape[1] != self.channels:
            raise ValueError(f"expected float32 (frames, {self.channels}), got {block.dtype} {block.shape}")
        self._put(np.ascontiguousarray(block, "<f4").data.cast("B"))
        self.frames += block.shape[0]

    def refresh(self) -> None:
        """Let the header say how many frames there are."""
        self._file.seek(0)
        self._put(memoryview(self._header()))
        self._file.seek(0, os.SEEK_END)

    def truncate(self, frames: int) -> None:
        """Cut what lies beyond so many frames, also what a failed `write` left behind."""
        self._file.truncate(self._begin + frames * 4 * self.channels)
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

    def _header(self) -> bytes:
        return wav_header(self.sample_rate, self.channels, self.frames, self._names)

    def _put(self, data: memoryview) -> None:
        # A disk that fills up takes a part of a write first, and complains of the next.
        while len(data):
            data = data[self._file.write(data) :]
