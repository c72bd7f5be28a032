"""Which MP3s say how long they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rtsep.io.mp3 import tells_its_length


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [("-q:a", "2"), ("-b:a", "64k")])
@pytest.mark.parametrize("id3", ["0", "4"])
def test_a_tag_is_found_where_there_is_one(
    tmp_path: Path, rate: int, channels: int, bits: tuple[str, str], id3: str
) -> None:
    for xing in (0, 1):
        path = tmp_path / f"{xing}.mp3"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"anoisesrc=d=1:r={rate}"]
        options = ["-id3v2_version", id3, "-metadata", f"title={'long ' * 100}", "-write_xing", str(xing)]
        if id3 == "0":
            options += ["-map_metadata", "-1"]
        subprocess.run([*command, "-ac", str(channels), *bits, *options, str(path)], check=True)
        assert tells_its_length(path) == bool(xing)


def test_a_vbri_tag_counts_and_a_xing_tag_without_a_count_does_not(tmp_path: Path) -> None:
    header = b"\xff\xfb\x90\x00"  # 128 kbit/s at 44.1 kHz, joint stereo: 417 bytes
    audio = header + bytes(413)
    path = tmp_path / "a.mp3"
    for tag, said in (
        (b"VBRI", True),
        (b"Xing\0\0\0\x01", True),
        (b"Info\0\0\0\x0f", True),
        (b"Xing\0\0\0\x02", False),
    ):
        path.write_bytes((header + bytes(32) + tag).ljust(417, b"\0") + audio)
        assert tells_its_length(path) is said, tag
    for other in (b"", b"ID3", b"no audio here at all", audio):
        path.write_bytes(other)
        assert not tells_its_length(path)
