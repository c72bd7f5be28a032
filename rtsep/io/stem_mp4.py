"""Native Instruments' stems: one MP4 with the mix and four stems, for Traktor, Mixxx and any player.

Five stereo AAC tracks, of which only the first, the mix, is enabled: a player that knows nothing of stems
plays that. What makes it a stems file is the atom `moov/udta/stem`, JSON with each stem's name and colour.
ffmpeg encodes and muxes; the atom, which it does not know, is added here, at the end of `moov`, which ffmpeg
puts behind the audio: nothing that has an offset moves.

Source: the files themselves (Native Instruments' own, as in the stempeg package), and Mixxx's reader
(`src/track/steminfoimporter.cpp` and `src/sources/soundsourcestem.cpp`), which asks for five stereo streams
and for that atom with a version above zero.
"""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rtsep.spec import AudioFileError, UsageError

SUFFIX = "stem.mp4"
ORDER = ("drums", "bass", "other", "vocals")
"""As DJ programs expect the stems on their four faders."""

COLOURS = {"drums": "#009E73", "bass": "#D55E00", "other": "#CC79A7", "vocals": "#56B4E9"}
"""As Native Instruments' own tool gives them; told apart by the colour-blind too (Okabe and Ito)."""

BITRATE = "256k"
RATES = (44100, 48000)
"""Hz that DJ programs play; what has another rate becomes the first."""


def check(stems: Sequence[str]) -> None:
    """Raise what writing would raise before there is anything to write.

    Raises:
        UsageError: when the stems are not the format's four.
        AudioFileError: when ffmpeg is not installed.
    """
    if sorted(stems) != sorted(ORDER):
        raise UsageError(
            f"a {SUFFIX} holds {', '.join(ORDER)}; this model has {', '.join(stems)}: choose wav, flac or mp3"
        )
    if shutil.which("ffmpeg") is None:
        raise AudioFileError(
            f"a {SUFFIX} is made with ffmpeg, which is not installed (on Debian: apt-get install ffmpeg)"
        )


def manifest() -> bytes:
    """What the `stem` atom says; the format's compressor and limiter are off."""
    return json.dumps(
        {
            "version": 1,
            "mastering_dsp": {
                "compressor": {
                    "enabled": False, "input_gain": 0.5, "output_gain": 0.5, "threshold": 0, "dry_wet": 50,
                    "attack": 0.003, "release": 0.3, "ratio": 3, "hp_cutoff": 300,
                },
                "limiter": {"enabled": False, "threshold": 0, "ceiling": -0.35, "release": 0.05},
            },
            "stems": [{"name": name.capitalize(), "color": COLOURS[name]} for name in ORDER],
        },
        separators=(",", ":"),
    ).encode()  # fmt: skip


def write(path: Path, mix: Path, stems: dict[str, Path], sample_rate: int, channels: int) -> None:
    """Make a stems file of sound files of one length.

    Args:
        path: the file to write; replaced if it is there. Not atomic: give it a place that is.
        mix: of all stems.
        stems: by name; see `ORDER`.
        sample_rate: of the sound files, Hz.
        channels: of each, 1 or 2.

    Raises:
        UsageError, AudioFileError: as `check`, and when ffmpeg fails, with what it says.
    """
    check(tuple(stems))
    sources = [mix, *(stems[name] for name in ORDER)]
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-y"]
    for source in sources:
        command += ["-i", f"file:{source}"]
    for track, title in enumerate(("Mix", *(name.capitalize() for name in ORDER))):
        command += ["-map", f"{track}:a", f"-disposition:a:{track}", "default" if track == 0 else "0"]
        command += [
            f"-metadata:s:a:{track}",
            f"title={title}",
            f"-metadata:s:a:{track}",
            f"handler_name={title}",
        ]
    if channels == 1:
        # Left to itself ffmpeg makes a mono signal quieter when it puts it on two channels.
        for track in range(len(sources)):
            command += [f"-filter:a:{track}", "pan=stereo|c0=c0|c1=c0"]
    rate = sample_rate if sample_rate in RATES else RATES[0]
    # "ipod" is ffmpeg's name for MP4 with Apple's brand, which Native Instruments' files have.
    command += ["-c:a", "aac", "-b:a", BITRATE, "-ac", "2", "-ar", str(rate), "-f", "ipod", f"file:{path}"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
        raise AudioFileError(
            f"{path}: ffmpeg cannot write it: {lines[-1] if lines else 'it gives no reason'}"
        )
    try:
        add_manifest(path)
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be written: {error.strerror}") from None


def add_manifest(path: Path) -> None:
    """Put the `stem` atom into an MP4 whose `moov` is its last atom.

    Raises:
        AudioFileError: when it is not such a file.
    """
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        found = {name: (start, size) for name, start, size in atoms(file, 0, end)}
        start, size = found.get(b"moov", (0, 0))
        if size == 0 or start + size != end or size >= 1 << 31:
            raise AudioFileError(f"{path}: is no MP4 that a stem manifest can be added to")
        file.seek(start)
        moov = file.read(size)
        content = manifest()
        atom = struct.pack(">I4s", 8 + len(content), b"stem") + content
        parts = []
        had_place = False
        for name, at, length in atoms(io.BytesIO(moov), 8, size):
            part = moov[at : at + length]
            if name == b"udta":
                part = struct.pack(">I4s", length + len(atom), name) + part[8:] + atom
                had_place = True
            parts.append(part)
        if not had_place:
            parts.append(struct.pack(">I4s", 8 + len(atom), b"udta") + atom)
        body = b"".join(parts)
        file.seek(start)
        file.write(struct.pack(">I4s", 8 + len(body), b"moov") + body)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What the `stem` atom of an MP4 says; None where there is none."""
    with path.open("rb") as file:
        begin, end = 0, file.seek(0, 2)
        for wanted in (b"moov", b"udta", b"stem"):
            for name, at, length in atoms(file, begin, end):
                if name == wanted:
                    begin, end = at + 8, at + length
                    break
            else:
                return None
        file.seek(begin)
        found: dict[str, Any] = json.loads(file.read(end - begin).rstrip(b"\0"))
        return found


def atoms(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, position and length of the atoms between two positions of a file (ISO/IEC 14496-12, 4.2)."""
    while begin + 8 <= end:
        file.seek(begin)
        size, name = struct.unpack(">I4s", file.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        elif size == 0:
            size = end - begin
        if size < 8:
            return
        yield name, begin, size
        begin += size
