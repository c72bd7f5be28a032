"""What every layer agrees on: stems, the stream's shape, and errors meant for people.

The lowest layer: standard library only, so that importing it costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

STEMS: tuple[str, ...] = ("vocals", "drums", "bass", "other")
"""The four stems of MUSDB18, in the order in which rtsep lays out every array."""


MAX_DECKS = 4
"""Inputs that one engine can separate at once."""


def strip_names(stems: tuple[str, ...], decks: int) -> tuple[str, ...]:
    """Names of all strips: the stems' own with one deck; "1/vocals" ... "2/other" with more, deck by deck."""
    if decks == 1:
        return stems
    return tuple(f"{deck}/{stem}" for deck in range(1, decks + 1) for stem in stems)


class RtsepError(Exception):
    """A mistake or a failure that is the user's to mend: one line, no traceback.

    `exit_code` is what the command line returns to the shell.
    """

    exit_code = 1


class UsageError(RtsepError):
    """An option or argument that cannot be honoured."""

    exit_code = 2


class AudioFileError(RtsepError):
    """A file that is missing, is not audio, or cannot be written."""

    exit_code = 3


class ModelError(RtsepError):
    """A model that is missing, corrupt, or does not fit what is asked of it."""

    exit_code = 4


class BackendError(RtsepError):
    """A compute device or execution provider that is not there."""

    exit_code = 5


class DeviceError(RtsepError):
    """An audio device that is unknown, refuses the format, or has gone away."""

    exit_code = 6


@dataclass(frozen=True, slots=True)
class AudioSpec:
    """What any separator takes and gives, whether it streams or not.

    Attributes:
        sample_rate: Hz.
        channels: audio channels in, and out per stem.
        stems: names in output order.

    Raises:
        ModelError: when rate or channels are not positive, or stems are missing or named twice.
    """

    sample_rate: int
    channels: int
    stems: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.sample_rate <= 0 or self.channels <= 0:
            raise ModelError(f"impossible audio: {self}")
        if not self.stems or len(set(self.stems)) != len(self.stems):
            raise ModelError(f"stem names must be present and distinct: {self.stems}")

    @property
    def rest(self) -> str:
        """The stem that what belongs to none goes to: "other", or else the last."""
        return "other" if "other" in self.stems else self.stems[-1]


@dataclass(frozen=True, slots=True)
class StreamSpec(AudioSpec):
    """The shape of a causal separator's stream.

    Attributes:
        sample_rate, channels, stems: as in `AudioSpec`.
        hop: samples that one `step` consumes and, for every stem, produces.
        delay: samples by which the output of `step` trails its input: with an overlap-add
            of synthesis window S the sample that a step completes is S - hop samples old.
    """

    hop: int
    delay: int

    def __post_init__(self) -> None:
        # Named: in a dataclass with slots `super()` means the class as it was before it got them.
        AudioSpec.__post_init__(self)
        if self.hop <= 0 or self.delay < 0:
            raise ModelError(f"impossible stream: {self}")

    @property
    def algorithmic_latency(self) -> int:
        """Samples from a sound's arrival to its departure with infinitely fast computing.

        `hop + delay`: for overlap-add that is the synthesis window, not the analysis window.
        """
        return self.hop + self.delay

    @property
    def hop_seconds(self) -> float:
        """The deadline: seconds of audio in one hop."""
        return self.hop / self.sample_rate
