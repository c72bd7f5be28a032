"""Whether an MP3 says how long it is.

An MP3 is a row of frames without a header. What its length is stands, if anywhere, in a tag that takes the
place of the first frame's audio: Xing's (also called Info, where the bit rate is constant) behind the side
information, or Fraunhofer's VBRI 32 bytes behind the frame's header.

Source: ISO/IEC 11172-3, 2.4.1.3 (the header); the tags as LAME (`VbrTag.c`) and mpg123 (`parse.c`) have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SEARCH_BYTES = 1 << 16
"""How far behind ID3 tags a first frame is looked for; players give up sooner."""

_VBRI_OFFSET = 4 + 32
_XING_FRAMES = 1
"""The flag of a Xing tag that has the number of frames."""

_KBITS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_V1 = (44100, 48000, 32000)


def tells_its_length(path: Path) -> bool:
    """Whether the first frame of an MP3 holds a tag with the number of frames."""
    with path.open("rb") as stream:
        _skip_id3(stream)
        data = stream.read(_SEARCH_BYTES)
    for start in range(len(data) - 4):
        length = _frame_length(data[start : start + 4])
        # Two in a row: a single one may be chance in what lies before the audio.
        if length and _frame_length(data[start + length : start + length + 4]):
            return _has_tag(data[start : start + length])
    return False


def _skip_id3(stream: BinaryIO) -> None:
    """To behind the ID3v2 tags that a file begins with, of which there may be several."""
    begin = 0
    while (header := stream.read(10))[:3] == b"ID3" and len(header) == 10:
        size = 0
        for byte in header[6:]:
            size = size << 7 | byte & 0x7F
        footer = 10 if header[5] & 0x10 else 0
        begin += 10 + size + footer
        stream.seek(begin)
    stream.seek(begin)


def _frame_length(header: bytes) -> int:
    """Bytes of the layer III frame that begins so; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, kbits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return 0
    padding = header[2] >> 1 & 1
    if version == 3:
        return 144_000 * _KBITS_V1[kbits] // _RATES_V1[rate] + padding
    hertz = _RATES_V1[rate] // (2 if version == 2 else 4)
    return 72_000 * _KBITS_V2[kbits] // hertz + padding


def _has_tag(frame: bytes) -> bool:
    first_version, mono = frame[1] >> 3 & 3 == 3, frame[3] >> 6 == 3
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[first_version, mono]
    checksum = 0 if frame[1] & 1 else 2
    xing = frame[4 + checksum + side :]
    if xing[:4] in (b"Xing", b"Info"):
        return len(xing) >= 8 and bool(xing[7] & _XING_FRAMES)
    return frame[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI"
