"""Decoders behind `SoundReader`: libsndfile where it knows the format, else an ffmpeg process.

Both give interleaved float32 at the file's own rate and channel count, block by block, and both say so
when a file ends before its header promised: half a song must not pass for a whole one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from rtsep.io.mp3 import tells_its_length
from rtsep.io.quiet import quiet
from rtsep.spec import AudioFileError

# ffmpeg knows the length of these from an index, and what it promises it must deliver; for a raw stream of
# packets (ADTS, say) it only guesses from the bit rate.
_INDEXED = ("mov", "matroska")

_MISSING_SECONDS = 0.5
"""How much of an indexed file may be absent before it counts as cut short: codecs pad and trim."""


class Decoder(Protocol):
    """A file that is being read.

    Attributes:
        sample_rate: Hz.
        channels: as stored.
        frames: how many there should be, None when the file does not say.
    """

    sample_rate: int
    channels: int
    frames: int | None

    def read(self, frames: int) -> NDArray[np.float32]:
        """The next (up to `frames`, channels) samples; none at the end.

        Raises:
            AudioFileError: when the file is damaged or ends too early.
        """

    def close(self) -> None:
        """Release the file."""


def open_decoder(path: Path) -> Decoder:
    """Open whatever libsndfile or ffmpeg can read.

    Raises:
        AudioFileError: when the file is missing, empty, unreadable, cut short or not audio.
    """
    try:
        if path.is_dir():
            raise AudioFileError(f"{path}: is a folder, not an audio file")
        if not path.exists():
            raise AudioFileError(f"{path}: there is no such file")
        if not path.is_file():
            raise AudioFileError(f"{path}: is not a regular file")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise AudioFileError(f"{path}: is empty")
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        decoder = SoundfileDecoder(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: .raw, which has no header to tell the rate
        return FfmpegDecoder(path)
    if not decoder.guesses_length:
        return decoder
    decoder.close()
    if not _has_ffmpeg():
        raise AudioFileError(
            f"{path}: does not say how long it is (an MP3 without a Xing or VBRI tag);"
            " ffmpeg, which reads it to its end, is not installed"
        )
    return FfmpegDecoder(path)


class SoundfileDecoder:
    """A file that libsndfile reads: WAV, FLAC, Ogg, MP3, AIFF and more.

    Attributes:
        guesses_length: `frames` is extrapolated from the file's size, and libsndfile reads no further.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _unheard():
            self._file = soundfile.SoundFile(str(path))
        self._talks = self._file.format == "MP3"
        self.guesses_length = self._talks and not tells_its_length(path)
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        # Streams without a length report one near the largest integer.
        self.frames: int | None = self._file.frames if self._file.frames < 1 << 60 else None
        self._taken = 0
        if _data_chunk_is_cut(path):
            self.close()
            raise AudioFileError(f"{path}: is cut short: its header promises more audio than there is")

    def read(self, frames: int) -> NDArray[np.float32]:
        """See `Decoder.read`."""
        try:
            with _unheard() if self._talks else contextlib.nullcontext():
                block: NDArray[np.float32] = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            seconds = self._taken / self.sample_rate
            raise AudioFileError(f"{self._path}: is damaged or cut short after {seconds:.2f} s") from None
        self._taken += len(block)
        if len(block) < frames and self.frames is not None and self._taken < self.frames:
            raise AudioFileError(
                f"{self._path}: is cut short: {self._taken} of {self.frames} frames could be read"
            )
        return block

    def close(self) -> None:
        """See `Decoder.close`."""
        self._file.close()


class FfmpegDecoder:
    """Anything else, through an ffmpeg process that writes raw float32 into a pipe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not _has_ffmpeg():
            raise AudioFileError(
                f"{path}: is not audio that libsndfile reads, and ffmpeg, which may read it, is not installed"
            )
        stream, container = _probe(path)
        self.sample_rate = int(stream["sample_rate"])
        self.channels = int(stream["channels"])
        duration = stream.get("duration") or container.get("duration")
        self.frames: int | None = round(float(duration) * self.sample_rate) if duration else None
        self._must_be_whole = any(name in container.get("format_name", "").split(",") for name in _INDEXED)
        self._taken = 0
        # A file, not a pipe: nobody reads complaints while samples flow, and a full pipe would stall ffmpeg.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [*_ffmpeg("ffmpeg", path), "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            # Out of the terminal's reach: on Ctrl-C this process decides when the decoder ends.
            start_new_session=True,
        )

    def read(self, frames: int) -> NDArray[np.float32]:
        """See `Decoder.read`."""
        assert self._process.stdout is not None
        frame_bytes = 4 * self.channels
        data = self._process.stdout.read(frames * frame_bytes)
        count = len(data) // frame_bytes
        self._taken += count
        if count < frames:
            self._check_end()
        samples = np.frombuffer(data, "<f4", count * self.channels)
        return samples.reshape(count, self.channels).astype(np.float32)

    def close(self) -> None:
        """See `Decoder.close`."""
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()
        self._complaints.close()

    def _check_end(self) -> None:
        if self._process.wait() != 0:
            self._complaints.seek(0)
            reason = _last_line(self._complaints.read())
            raise AudioFileError(f"{self._path}: ffmpeg cannot decode it: {reason}")
        if self._must_be_whole and self.frames is not None:
            missing = (self.frames - self._taken) / self.sample_rate
            if missing > _MISSING_SECONDS:
                raise AudioFileError(f"{self._path}: is cut short: the last {missing:.1f} s are missing")


def _unheard() -> contextlib.AbstractContextManager[None]:
    """Keeps to itself what libmpg123 prints of a damaged MP3, which is said in one line here.

    On the main thread only: what songs that are read side by side complain of is less harm than a warning
    that is lost because another thread was reading.
    """
    alone = threading.current_thread() is threading.main_thread()
    return quiet() if alone else contextlib.nullcontext()


def _has_ffmpeg() -> bool:
    return shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


def _ffmpeg(program: str, path: Path) -> list[str]:
    # "file:" keeps a name that starts with a dash or looks like an address from being taken for one, and the
    # whitelist keeps a playlist from opening anything but local files.
    quiet = ["-hide_banner", "-v", "error", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    return [program, "-nostdin", *quiet] if program == "ffmpeg" else [program, *quiet]


def _probe(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first audio stream and the container, as ffprobe describes them."""
    entries = "stream=sample_rate,channels,duration:format=duration,format_name"
    command = [*_ffmpeg("ffprobe", path), "-select_streams", "a:0", "-show_entries", entries, "-of", "json"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode != 0:
        raise AudioFileError(f"{path}: is not audio that libsndfile or ffmpeg reads")
    found = json.loads(result.stdout)
    streams = found.get("streams", [])
    if not streams or not int(streams[0].get("channels", 0)) or not int(streams[0].get("sample_rate", 0)):
        raise AudioFileError(f"{path}: has no audio in it")
    return streams[0], found.get("format", {})


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it gives no reason"


def _data_chunk_is_cut(path: Path) -> bool:
    """Whether a WAV's or AIFF's audio chunk claims to reach past the end of the file.

    libsndfile mends such a header in silence. Sizes of zero and near the largest are what programs leave
    that stream into a pipe and cannot go back to fill them in: they promise nothing.
    """
    with path.open("rb") as stream:
        header = stream.read(12)
        if header[:4] == b"RIFF" and header[8:12] == b"WAVE":
            order, wanted = "little", b"data"
        elif header[:4] == b"FORM" and header[8:12] in (b"AIFF", b"AIFC"):
            order, wanted = "big", b"SSND"
        else:
            return False
        end = path.stat().st_size
        while len(chunk := stream.read(8)) == 8:
            size = int.from_bytes(chunk[4:], order)  # type: ignore[arg-type]
            if chunk[:4] == wanted:
                return 0 < size < 0x7FFF0000 and stream.tell() + size > end
            stream.seek(size + size % 2, 1)
    return False
