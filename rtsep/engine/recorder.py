"""The recorder: empties the engine's ring of stems and mix onto the disk, out of the audio's way.

It runs in the process that controls the engine, on a thread of its own. The engine drops what does not fit
into the ring and counts it; it never waits. So the worst that a slow disk can do is a gap in the recording,
which is reported.

It writes one file a stem and one for the mix, or all of them as pairs of channels of a single file. While it
records, each file is called `<name>.part.wav`, and is whole and playable up to a moment ago: if the
machine's owner pulls the plug on this process, a whole evening is not lost. When the recording has ended as
it should, the files lose their `.part`.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsep.io.growing import GrowingWav
from rtsep.rt.ring import RingBuffer
from rtsep.spec import AudioFileError

MIX = "mix"
"""Name of the recorded sum, as it was heard: stems behind their gains."""

MULTICHANNEL = "multichannel"
"""Name of the file that has all of them."""

_SIDES = {1: ("",), 2: (" L", " R")}

POLL_SECONDS = 0.1
_CHUNK_FRAMES = 8192


@dataclass(frozen=True)
class Recording:
    """What a recording came to.

    Attributes:
        files: what there is now, stems first, then the mix; none if nothing was recorded.
        frames: in each of them: they line up to the sample.
        sample_rate: Hz.
        failure: why it ended early, in one line; None if it did not.
    """

    files: tuple[Path, ...]
    frames: int
    sample_rate: int
    failure: str | None

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.frames / self.sample_rate


class Recorder:
    """Writes what a `Worker` pushes into its recorder ring.

    Stems are recorded before their gains, the mix behind them, all at the model's rate: the stems add up
    to the engine's input, and to the mix while every gain is at 0 dB.

    Args:
        ring: of (stems + 1) x channels; its consumer is this.
        folder: where the files go; made, with its parents, by `start`.
        stems: names, in the ring's order.
        sample_rate: of the ring, Hz.
        channels: of each stem.
        multichannel: write one file, with the stems and then the mix on channels of their own, named in it.

    Raises:
        AudioFileError: when the folder already holds a recording, finished or not; nothing is touched.
    """

    def __init__(
        self,
        ring: RingBuffer,
        folder: Path,
        stems: tuple[str, ...],
        sample_rate: int,
        channels: int,
        multichannel: bool = False,
    ) -> None:
        if ring.channels != (len(stems) + 1) * channels:
            raise ValueError(f"a ring {ring.channels} wide is not {len(stems)} stems and a mix of {channels}")
        self.folder = folder
        self._ring = ring
        tracks = (*stems, MIX)
        self._names = (MULTICHANNEL,) if multichannel else tracks
        self._width = ring.channels if multichannel else channels
        """Channels of each file."""
        sides = _SIDES.get(channels) or tuple(f" {side + 1}" for side in range(channels))
        self._titles = tuple(f"{track}{side}" for track in tracks for side in sides) if multichannel else ()
        self._sample_rate = sample_rate
        self._files: list[GrowingWav] = []
        self._made: list[Path] = []
        self._taken: NDArray[np.float32] = np.zeros((_CHUNK_FRAMES, ring.channels), np.float32)
        self._frames = 0
        self._failure: str | None = None
        self._result: Recording | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtsep recorder", daemon=True)
        self._check()

    @property
    def frames(self) -> int:
        """Recorded so far."""
        return self._frames

    @property
    def failure(self) -> str | None:
        """Why nothing is recorded any more, in one line; None while all is well."""
        return self._failure

    def start(self) -> None:
        """Make the folder and the files, and begin. Raises AudioFileError; then nothing is left behind."""
        self._check()
        try:
            self._make_folder()
            for name in self._names:
                self._files.append(GrowingWav(self._part(name), self._sample_rate, self._width, self._titles))
        except OSError as error:
            self._remove()
            raise AudioFileError(f"{self.folder}: cannot be recorded to: {error.strerror}") from None
        except BaseException:
            self._remove()
            raise
        self._thread.start()

    def stop(self) -> Recording:
        """Take what is still in the ring, complete the files and give them their names.

        Call it when the engine has stopped. If nothing was ever recorded, no file and no folder is left.
        Safe to call twice, and without `start`.
        """
        if self._result is not None:
            return self._result
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._frames == 0:
            self._remove()
            files: tuple[Path, ...] = ()
        else:
            files = self._complete() if self._failure is None else ()
            files = files or tuple(file.path for file in self._files)
        self._result = Recording(files, self._frames, self._sample_rate, self._failure)
        return self._result

    # -- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            last = False
            while not last:
                # Looked at before the ring is emptied: what came until then is taken along.
                last = self._stopping.wait(POLL_SECONDS)
                self._drain()
        except OSError as error:
            self._fail(error)

    def _drain(self) -> None:
        taken, width = self._taken, self._width
        fresh = False
        while count := self._ring.pop(taken):
            for k, file in enumerate(self._files):
                file.write(taken[:count, k * width : (k + 1) * width])
            self._frames += count
            fresh = True
        if fresh:
            for file in self._files:
                file.refresh()

    def _fail(self, error: OSError) -> None:
        """The disk takes no more: keep what every file has, and leave the files marked as unfinished."""
        for file in self._files:
            # Shortening and rewriting the header take no new room, but the whole disk may have gone.
            with contextlib.suppress(OSError):
                file.truncate(self._frames)
                file.finish()
            file.close()
        self._failure = (
            f"{self.folder}: recording ended after {self._frames / self._sample_rate:.1f} s: "
            f"{error.strerror or error}; what there is, is in {self._unfinished()}"
        )

    # -- files -----------------------------------------------------------------------------------------

    def _part(self, name: str) -> Path:
        return self.folder / f"{name}.part.wav"

    def _final(self, name: str) -> Path:
        return self.folder / f"{name}.wav"

    def _unfinished(self) -> str:
        return str(self.folder / "*.part.wav")

    def _check(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise AudioFileError(f"{self.folder}: is in the way: a file, where a folder is to be")
        for name in self._names:
            if self._final(name).exists():
                raise AudioFileError(f"{self._final(name)}: exists already; record into another folder")
            if self._part(name).exists():
                raise AudioFileError(
                    f"{self._part(name)}: is left of a recording that was cut off, and plays as it is;"
                    " move it, or record into another folder"
                )

    def _make_folder(self) -> None:
        missing = []
        place = self.folder
        while not place.exists():
            missing.append(place)
            place = place.parent
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            self._made.append(place)

    def _complete(self) -> tuple[Path, ...]:
        """Finish all, then rename all. On failure nothing, and what was renamed so far keeps its name."""
        try:
            for file in self._files:
                file.finish()
            for name in self._names:
                if self._final(name).exists():
                    raise FileExistsError(0, f"{self._final(name)} has appeared meanwhile")
            for name in self._names:
                self._part(name).rename(self._final(name))
        except OSError as error:
            for file in self._files:
                file.close()
            self._failure = (
                f"{self.folder}: the recording could not be completed: {error.strerror or error}; "
                f"what there is, is in {self._unfinished()}"
            )
            return ()
        return tuple(self._final(name) for name in self._names)

    def _remove(self) -> None:
        """Take away the files, and the folders that were made for them."""
        for file in self._files:
            file.close()
            with contextlib.suppress(OSError):
                file.path.unlink()
        for folder in reversed(self._made):
            # Not empty: someone else has begun to use it.
            with contextlib.suppress(OSError):
                folder.rmdir()
