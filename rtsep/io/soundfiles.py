"""Sound files as streams: any file in, at any rate; WAV, FLAC and MP3 out, whole or not at all.

Nothing here holds more than a few blocks, however long the file. Samples are planar float32,
(channels, samples), as in the rest of rtsep.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from rtsep.io.decoding import Decoder, open_decoder
from rtsep.spec import AudioFileError

Format = Literal["wav", "flac", "mp3"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What `SoundWriter` writes; also the names' suffixes."""

QUALITY = "VHQ"
"""soxr's quality for files, where its delay does not matter: flat to 0.95 of the band, noise at -170 dB."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Hz of what rtsep takes; every converter and recorder lies between."""

_CHUNK = 16384
_SUBTYPES: dict[Format, str] = {"wav": "FLOAT", "flac": "PCM_24", "mp3": "MPEG_LAYER_III"}
_RIFF_LIMIT = 0xFFFF_0000  # a WAV counts its bytes in 32 bits; the header takes some


MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Hz that an MP3 can have."""


def writable_rate(format: Format, sample_rate: int) -> int:
    """The rate at which a format holds audio of `sample_rate`: MP3s have few, and at most 48 kHz."""
    if format != "mp3" or sample_rate in MP3_RATES:
        return sample_rate
    if sample_rate > MP3_RATES[-1]:
        return 44100 if sample_rate % 44100 == 0 else MP3_RATES[-1]
    return next(rate for rate in MP3_RATES if rate > sample_rate)


class SoundReader:
    """Reads a file at the rate and channel count that are wanted.

    Resampling is linear-phase with its delay taken out: sample 0 stays at time 0, block by block gives
    bit for bit what resampling the whole file would. Mono is copied to every channel wanted; stereo is
    averaged where mono is wanted. NaN and infinite samples are read as zero and counted.

    Args:
        path: any file that libsndfile or, where installed, ffmpeg reads; mono or stereo.
        sample_rate: Hz of what `read` gives; None for the file's own.
        channels: of what `read` gives, 1 or 2; None for the file's own.
        keep_source: hold what is read as it was before it was resampled, too, for `take_source`.

    Attributes:
        source_rate: Hz of the file.
        source_channels: of the file.
        source_frames: frames taken from the file so far; after the last read, its length.
        frames: length at `sample_rate` that the file announces, None when it does not.
        bad_samples: NaN and infinite samples met so far.

    Raises:
        AudioFileError: when the file is missing, empty, cut short, not audio, or has more than two channels.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int | None = None,
        channels: int | None = None,
        *,
        keep_source: bool = False,
    ) -> None:
        self.path = Path(path)
        self._source: list[NDArray[np.float32]] | None = [] if keep_source else None
        self._decoder: Decoder = open_decoder(self.path)
        try:
            self._prepare(sample_rate, channels)
            # The first chunk at once: a file that cannot be decoded or holds nothing is refused here, before
            # anyone has made ready to write.
            self._advance()
            if not self.source_frames:
                raise AudioFileError(f"{self.path}: holds no audio")
        except BaseException:
            self._decoder.close()
            raise

    def _prepare(self, sample_rate: int | None, channels: int | None) -> None:
        self.source_rate = self._decoder.sample_rate
        self.source_channels = self._decoder.channels
        if self.source_channels not in (1, 2):
            raise AudioFileError(
                f"{self.path}: has {self.source_channels} channels; rtsep takes mono and stereo"
            )
        if not LOWEST_RATE <= self.source_rate <= HIGHEST_RATE:
            raise AudioFileError(
                f"{self.path}: has a sample rate of {self.source_rate} Hz;"
                f" rtsep takes {LOWEST_RATE} to {HIGHEST_RATE} Hz"
            )
        self.sample_rate = sample_rate or self.source_rate
        self.channels = channels or self.source_channels
        if self.channels not in (1, 2):
            raise ValueError(f"channels must be 1 or 2, not {self.channels}")
        announced = self._decoder.frames
        self.frames = (
            None if announced is None else resampled_length(announced, self.source_rate, self.sample_rate)
        )
        self.source_frames = 0
        self.bad_samples = 0
        self._resampler = (
            None
            if self.sample_rate == self.source_rate
            else soxr.ResampleStream(
                self.source_rate, self.sample_rate, self.channels, dtype="float32", quality=QUALITY
            )
        )
        self._ready: list[NDArray[np.float32]] = []
        self._ready_frames = 0
        self._ended = False

    def read(self, frames: int) -> NDArray[np.float32]:
        """The next (channels, up to `frames`) samples: fewer only at the end, none after it.

        Raises:
            AudioFileError: when the file turns out to be damaged or cut short.
        """
        while self._ready_frames < frames and not self._ended:
            self._advance()
        joined = np.concatenate(self._ready) if self._ready else np.zeros((0, self.channels), np.float32)
        block, rest = joined[:frames], joined[frames:]
        self._ready = [rest] if len(rest) else []
        self._ready_frames = len(rest)
        return np.ascontiguousarray(block.T)

    def forget_source(self) -> None:
        """Hold none of what is decoded, from here on: nobody will take it."""
        self._source = None

    def take_source(self) -> NDArray[np.float32]:
        """What has been decoded since the last call, (channels, samples) at the source's rate.

        It is never behind what `read` has given, in time.
        """
        assert self._source is not None, "only with keep_source"
        blocks, self._source = self._source, []
        joined = np.concatenate(blocks) if blocks else np.zeros((0, self.channels), np.float32)
        return np.ascontiguousarray(joined.T)

    def blocks(self, frames: int = _CHUNK) -> Iterator[NDArray[np.float32]]:
        """What is left, in blocks of (channels, `frames`); the last may be shorter."""
        while (block := self.read(frames)).shape[1]:
            yield block

    def close(self) -> None:
        """Release the file; what was decoded and not read is lost."""
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self) -> None:
        """Decode one chunk and put it, at the wanted rate and channels, with what is ready."""
        block = self._decoder.read(_CHUNK)
        self._ended = len(block) < _CHUNK
        self.source_frames += len(block)
        finite = np.isfinite(block)
        if not finite.all():
            self.bad_samples += int(block.size - np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        if self.channels > self.source_channels:
            block = np.repeat(block, self.channels, axis=1)
        elif self.channels < self.source_channels:
            block = block.mean(axis=1, keepdims=True, dtype=np.float32)
        if self._source is not None:
            self._source.append(block)
        if self._resampler is not None:
            block = self._resampler.resample_chunk(np.ascontiguousarray(block), last=self._ended)
        if len(block):
            self._ready.append(block)
            self._ready_frames += len(block)


class SoundWriter:
    """Writes a file that appears under its name only when it is complete.

    Samples go to a hidden file in the same folder; `commit` brings them safely to disk and gives the file
    its name, in one step that replaces what was there. Used with `with`, an error or Ctrl-C removes the
    hidden file and leaves the folder as it was.

    Args:
        path: the name that it will have; the folder must exist.
        sample_rate: Hz.
        channels: of each block.
        format: "wav" (32-bit float: nothing clips), "flac" (24-bit) or "mp3" (variable rate, best quality).
        subtype: libsndfile's name of another sample format, such as "PCM_16".
        expected_frames: lets a WAV of more than 4 GiB be written as RF64, the extension made for that.

    Attributes:
        frames: written so far.
        clipped_samples: samples beyond full scale in a format that cannot hold them.

    Raises:
        AudioFileError: when the file cannot be created, or the format does not know the rate.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        format: Format = "wav",
        subtype: str | None = None,
        *,
        expected_frames: int | None = None,
    ) -> None:
        if format not in FORMATS:
            raise AudioFileError(f"unknown format '{format}'; there are: {', '.join(FORMATS)}")
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.channels = channels
        self.subtype = subtype or _SUBTYPES[format]
        self.frames = 0
        self.clipped_samples = 0
        self._clips = self.subtype not in ("FLOAT", "DOUBLE")
        container = format.upper()
        self._frame_limit: int | None = None
        if format == "wav":
            frame_bytes = channels * {"PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}.get(self.subtype, 4)
            self._frame_limit = _RIFF_LIMIT // frame_bytes
            if expected_frames is not None and expected_frames > self._frame_limit:
                container, self._frame_limit = "RF64", None
        self._hidden = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        self._file: soundfile.SoundFile | None = None
        try:
            # Created here and not by libsndfile, which would say only "System error" where this says why.
            os.close(os.open(self._hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            best = {"bitrate_mode": "VARIABLE", "compression_level": 0.0} if format == "mp3" else {}
            self._file = soundfile.SoundFile(
                str(self._hidden), "w", sample_rate, channels, self.subtype, format=container, **best
            )
        except OSError as error:
            self.discard()
            raise AudioFileError(f"{self.path}: cannot be written: {error.strerror}") from None
        except (soundfile.SoundFileError, ValueError):
            refusal = _system_refusal(self._hidden)
            self.discard()
            if refusal:
                raise AudioFileError(f"{self.path}: cannot be written: {refusal}") from None
            raise AudioFileError(
                f"{self.path}: {format} cannot hold {channels} channels of {self.subtype} at {sample_rate} Hz"
            ) from None
        except BaseException:
            self.discard()
            raise

    def write(self, block: NDArray[np.float32]) -> None:
        """Append a block.

        Args:
            block: (channels, samples).

        Raises:
            AudioFileError: when the disk is full or gone, or a WAV grows past 4 GiB unannounced.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected ({self.channels}, samples), not {block.shape}")
        if self._frame_limit is not None and self.frames + block.shape[1] > self._frame_limit:
            raise AudioFileError(f"{self.path}: a WAV file ends at 4 GiB; flac takes less room")
        if self._clips:
            over = np.count_nonzero(np.abs(block) > 1.0)
            if over:
                self.clipped_samples += int(over)
                block = np.clip(block, -1.0, 1.0)
        try:
            self._file.write(block.T)
        except soundfile.SoundFileError as error:
            raise AudioFileError(f"{self.path}: cannot be written: {_reason(error, self._hidden)}") from None
        self.frames += block.shape[1]

    def commit(self) -> None:
        """Complete the file and give it its name, replacing what had it. Once; `write` fails afterwards.

        Raises:
            AudioFileError: when the disk is full or gone; nothing is left behind then.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
            with self._hidden.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(self._hidden, self.path)
        except (OSError, soundfile.SoundFileError) as error:
            why = _reason(error, self._hidden)
            self.discard()
            raise AudioFileError(f"{self.path}: cannot be written: {why}") from None
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written, unless it was committed."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(soundfile.SoundFileError):
                file.close()
        with contextlib.suppress(OSError):
            self._hidden.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def resampled_length(frames: int, source_rate: int, target_rate: int) -> int:
    """How many frames soxr makes of `frames`: the nearest whole number, halves upwards."""
    return (2 * frames * target_rate + source_rate) // (2 * source_rate)


def _reason(error: Exception, file: Path) -> str:
    """Why `file` could not be written, as the system says it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = str(error).strip().rstrip(".:")
    # Room may have been made since, by another song that failed for want of it.
    unsaid = "the system gave no reason; is the disk full?" if said in ("", "System error") else said
    return _system_refusal(file) or unsaid


def _system_refusal(file: Path) -> str | None:
    """Why nothing more can be written to a file that is to be thrown away; None if it can.

    libsndfile keeps the system's reason to itself, so that the system is asked again, with more than one
    block: a disk that has just become full may still take a few bytes.
    """
    try:
        with file.open("ab") as stream:
            stream.write(bytes(1 << 16))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return error.strerror
    return None
