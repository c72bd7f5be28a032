"""What is already recorded: arrays and files in, aligned stems out.

With a causal model the separation is the live one, hop by hop through the same stream; only its delay is
taken out at the end, so that sample n of every stem belongs to sample n of the input. An offline model is
given the song in long chunks; see `rtsep.engine.chunks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from rtsep.backends.base import OfflineModel
from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.backends.open import open_offline
from rtsep.backends.stream import HopStream, open_stream
from rtsep.engine.chunks import ChunkedFeed
from rtsep.engine.lost_band import LostBand
from rtsep.io import stem_mp4
from rtsep.io.soundfiles import (
    QUALITY,
    Format,
    SoundReader,
    SoundWriter,
    resampled_length,
    writable_rate,
)
from rtsep.io.staging import StagedFolder
from rtsep.separators.registry import DEFAULT_MODEL, AnyPackage, ModelPackage, OfflinePackage, find_any
from rtsep.spec import AudioSpec, ModelError, StreamSpec, UsageError

Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio that are done and, where known, the seconds in all."""

ResultFormat = Format | Literal["stem.mp4"]

_BLOCK = 16384


class StemStream(Protocol):
    """What is needed of a stream; `rtsep.backends.stream.HopStream` is one."""

    spec: StreamSpec
    input: NDArray[np.float32]
    stems: NDArray[np.float32]

    def step(self) -> None:
        """Separate the hop in `input` into `stems`."""

    def reset(self) -> None:
        """Back to the start."""


AnyModel = StemStream | OfflineModel
"""A loaded model of either kind."""


def open_model(
    model: str | Path | AnyPackage = DEFAULT_MODEL,
    *,
    backend: str = DEFAULT_BACKEND,
    device: str = "cpu",
    threads: int = 1,
) -> HopStream | OfflineModel:
    """Find a model of either kind, check its files and load it.

    Args:
        model: a name, a folder, or a package that was found already; see `registry.find_any`.
        backend: of a causal model; see `open_backend`. Offline models run on torch, whatever this says.
        device: "cpu" or "cuda"; never replaced by the other.
        threads: CPU threads.

    Raises:
        ModelError: when there is no such model, or its files are damaged or do not fit its manifest.
        BackendError: when backend or device are unknown or not there.
    """
    package = model if isinstance(model, ModelPackage | OfflinePackage) else find_any(model)
    if isinstance(package, OfflinePackage):
        return open_offline(package, device, threads)
    return open_stream(package, backend=backend, device=device, threads=threads)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What `separate_file` did.

    Attributes:
        source: the file that was separated.
        folder: where the results lie.
        files: the results, stems first, then the remix if there is one.
        seconds: length of the audio.
        bad_samples: NaN and infinite samples of the source, taken as zero.
        clipped_samples: samples beyond full scale, in formats that end there.
        source_rate: of the source, Hz.
        sample_rate: of the results, Hz; another one only where the format does not have the source's.
    """

    source: Path
    folder: Path
    files: tuple[Path, ...]
    seconds: float
    bad_samples: int
    clipped_samples: int
    source_rate: int
    sample_rate: int


class AlignedFeed:
    """Feeds a stream with blocks of any length and gives back its stems without the delay.

    Resets the stream. What `push` has returned so far, plus `finish`, is exactly as long as what was pushed.
    """

    def __init__(self, stream: StemStream) -> None:
        self._stream = stream
        self._shape = (len(stream.spec.stems), stream.spec.channels)
        self._held = 0  # samples of `stream.input` that are filled
        self._taken = 0
        self._given = -stream.spec.delay  # what comes out at negative times is the stream filling up
        stream.reset()

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Feed the next samples.

        Args:
            block: (channels, samples), any length.

        Returns:
            (stems, channels, n): those that are now complete.

        Raises:
            ModelError: when the model's output is not finite.
        """
        self._taken += block.shape[1]
        return self._feed(block)

    def finish(self) -> NDArray[np.float32]:
        """The rest, (stems, channels, n): silence is fed until all that was pushed has come out."""
        missing = self._taken - self._given - self._held
        silence = np.zeros((self._shape[1], missing + self._stream.spec.hop), np.float32)
        due = self._taken - max(self._given, 0)
        return self._feed(silence)[..., :due]

    def _feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        hop = self._stream.spec.hop
        steps = (self._held + block.shape[1]) // hop
        out = np.empty((*self._shape, steps * hop), np.float32)
        position = 0
        for step in range(steps):
            count = hop - self._held
            self._stream.input[:, self._held :] = block[:, position : position + count]
            position += count
            self._held = 0
            self._stream.step()
            out[..., step * hop : (step + 1) * hop] = self._stream.stems
        rest = block.shape[1] - position
        self._stream.input[:, self._held : self._held + rest] = block[:, position:]
        self._held += rest
        if not np.isfinite(out).all():
            seconds = max(self._given, 0) / self._stream.spec.sample_rate
            raise ModelError(f"the model gave samples that are not numbers, near {seconds:.1f} s")
        early = min(max(-self._given, 0), out.shape[-1])
        self._given += out.shape[-1]
        return out[..., early:]


def open_feed(model: AnyModel) -> AlignedFeed | ChunkedFeed:
    """What a model is fed a song through: blocks of any length in, aligned stems out. Resets a stream."""
    return ChunkedFeed(model) if isinstance(model, OfflineModel) else AlignedFeed(model)


def separate_array(stream: AnyModel, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Separate a whole signal: with a causal model as it would be separated live.

    Args:
        stream: an open stream, which is reset, or an offline model.
        audio: (channels, samples) at the model's rate.

    Returns:
        (stems, channels, samples) float32, aligned with `audio` to the sample.

    Raises:
        UsageError: when the channels are not the model's.
        ModelError: when the model's output is not finite.
    """
    if audio.ndim != 2 or audio.shape[0] != stream.spec.channels:
        raise UsageError(f"expected ({stream.spec.channels}, samples) of audio, not {audio.shape}")
    feed = open_feed(stream)
    return np.concatenate([feed.push(np.asarray(audio, np.float32)), feed.finish()], axis=-1)


def result_names(
    spec: AudioSpec, muted: Iterable[str] = (), format: ResultFormat = "wav", song: str = "mix"
) -> tuple[str, ...]:
    """The files that `separate_file` writes: one a stem and, with `muted`, the remix.

    As "stem.mp4" it is one file that is called like the song.

    Raises:
        UsageError: when a muted stem is not the model's, or none is left; or the format is not for the stems.
        AudioFileError: when the format needs a program that is not installed.
    """
    silent = frozenset(muted)
    if format == "stem.mp4":
        if silent:
            raise UsageError("a stem.mp4 holds every stem: leave --mute to who plays it")
        stem_mp4.check(spec.stems)
        return (f"{song}.{stem_mp4.SUFFIX}",)
    if unknown := sorted(silent - set(spec.stems)):
        raise UsageError(f"the model has no stem '{unknown[0]}'; there are: {', '.join(spec.stems)}")
    names = [f"{stem}.{format}" for stem in spec.stems]
    if silent:
        if silent == set(spec.stems):
            raise UsageError("muting every stem leaves nothing to hear")
        without = "-".join(stem for stem in spec.stems if stem in silent)
        names.append(f"mix-without-{without}.{format}")
    return tuple(names)


def separate_file(
    stream: AnyModel,
    source: str | Path,
    folder: str | Path,
    *,
    muted: Sequence[str] = (),
    format: ResultFormat = "wav",
    overwrite: bool = False,
    progress: Progress | None = None,
    token: str | None = None,
) -> FileReport:
    """Separate a file into a folder of stems.

    Stems have the source's sample rate, channels and length, and line up with it to the sample. What the
    model's sample rate cannot hold of the source goes to the stem "other", or else the last one, so that
    stems which sum to what the model hears sum to the source. They appear together when all are complete;
    after an error or Ctrl-C there is nothing. Memory does not depend on the length.

    Args:
        stream: an open stream, which is reset, or an offline model.
        source: any file that `SoundReader` reads.
        folder: where the results go; see `result_names`.
        muted: stems to leave out of an additional remix, the sum of the others; none: no remix.
        format: of the results; see `SoundWriter`, and for "stem.mp4" `rtsep.io.stem_mp4`.
        overwrite: replace results that exist.
        progress: told after every block.
        token: of this attempt; see `StagedFolder`.

    Raises:
        AudioFileError: when the source cannot be read, or the results cannot be written.
        ModelError: when the model's output is not finite, or it is not for mono or stereo.
        UsageError: when `muted` does not fit the model.
    """
    spec = stream.spec
    if spec.channels not in (1, 2):
        raise ModelError(f"the model is for {spec.channels} channels; files are mono or stereo")
    folder = Path(folder)
    names = result_names(spec, muted, format, folder.name)
    # Of a stem.mp4 the parts are written first, where they will not be left.
    coded: Format = "wav" if format == "stem.mp4" else format
    parts = (*(f"{stem}.wav" for stem in spec.stems), "mix.wav") if format == "stem.mp4" else names
    with ExitStack() as open_files:
        reader = open_files.enter_context(
            SoundReader(source, spec.sample_rate, spec.channels, keep_source=True)
        )
        channels = min(reader.source_channels, spec.channels)
        rate = writable_rate(coded, reader.source_rate)
        total = None if reader.frames is None else reader.frames / spec.sample_rate
        staged = open_files.enter_context(StagedFolder(folder, names, overwrite, token))
        expected = None if total is None else round(total * rate)
        written = open_files.enter_context(ExitStack())
        writers = [
            written.enter_context(
                SoundWriter(staged.path / name, rate, channels, coded, expected_frames=expected)
            )
            for name in parts
        ]
        results = _Results(spec, reader, channels, rate, writers, muted)
        feed = open_feed(stream)
        try:
            for block in reader.blocks(_BLOCK):
                results.hear(block)
                results.write(feed.push(block))
                if progress is not None:
                    progress(results.frames / rate, total)
            results.write(feed.finish(), last=True)
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from None
        written.close()
        if format == "stem.mp4":
            files = {stem: staged.path / f"{stem}.wav" for stem in spec.stems}
            stem_mp4.write(
                staged.path / names[0], staged.path / "mix.wav", files, reader.source_rate, channels
            )
            for name in parts:
                (staged.path / name).unlink()
        if progress is not None:
            progress(results.frames / rate, total)
    return FileReport(
        source=Path(source),
        folder=folder,
        files=tuple(folder / name for name in names),
        seconds=results.frames / rate,
        bad_samples=reader.bad_samples,
        clipped_samples=sum(writer.clipped_samples for writer in writers),
        source_rate=reader.source_rate,
        sample_rate=rate,
    )


class _Results:
    """The way of stems into files: back to the source's channels, rate and length, with nothing lost."""

    def __init__(
        self,
        spec: AudioSpec,
        reader: SoundReader,
        channels: int,
        rate: int,
        writers: Sequence[SoundWriter],
        muted: Iterable[str],
    ) -> None:
        self._reader = reader
        self._channels = channels
        self._rate = rate
        self._stems = len(spec.stems)
        self._writers = writers
        self._heard = [i for i, stem in enumerate(spec.stems) if stem not in set(muted)]
        # Where the rate is not the source's, the format has no room for what was lost.
        self._lost = LostBand(channels) if spec.sample_rate != rate == reader.source_rate else None
        if self._lost is None:
            reader.forget_source()
        self._rest = spec.stems.index(spec.rest)
        self._resampler = (
            None
            if rate == spec.sample_rate
            else soxr.ResampleStream(
                spec.sample_rate,
                rate,
                (self._stems + (self._lost is not None)) * channels,
                dtype="float32",
                quality=QUALITY,
            )
        )
        self.frames = 0

    def hear(self, mix: NDArray[np.float32]) -> None:
        """Take the next (channels, samples) at the model's rate, before their stems are written."""
        if self._lost is not None:
            self._lost.hear_mix(self._folded(mix))

    def write(self, stems: NDArray[np.float32], last: bool = False) -> None:
        """Write the next (stems, channels, samples) at the model's rate."""
        stems = self._folded(stems)
        if self._lost is not None:
            self._lost.hear_song(self._folded(self._reader.take_source()))
            stems = np.concatenate([stems, self._lost.mix(stems.shape[-1])[np.newaxis]])
        if self._resampler is not None:
            flat = np.ascontiguousarray(stems.reshape(len(stems) * self._channels, -1).T)
            flat = self._resampler.resample_chunk(flat, last=last)
            stems = flat.T.reshape(len(stems), self._channels, -1)
        if last:
            # There and back again rounds the length twice; the source's is the right one.
            due = resampled_length(self._reader.source_frames, self._reader.source_rate, self._rate)
            due -= self.frames
            short = max(due - stems.shape[-1], 0)
            stems = np.pad(stems[..., :due], ((0, 0), (0, 0), (0, short)))
        if self._lost is not None:
            stems, returned = stems[:-1].copy(), stems[-1]
            stems[self._rest] += self._lost.lost(returned)
        for writer, stem in zip(self._writers, stems, strict=False):
            writer.write(stem)
        if len(self._writers) > self._stems:
            self._writers[-1].write(stems[self._heard].sum(axis=0))
        self.frames += stems.shape[-1]

    def _folded(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., channels, samples) with the results' channels: one by the mean of all."""
        if self._channels < audio.shape[-2]:
            return audio.mean(axis=-2, keepdims=True, dtype=np.float32)
        return audio
