"""What an engine is asked for: plain data, so that it can be sent to another process."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rtsep.backends.choices import DEFAULT_BACKEND
from rtsep.engine.board import MAX_CHANNELS, Board
from rtsep.engine.worker import Routes
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import UsageError


@dataclass(frozen=True)
class EngineOptions:
    """How to run an engine.

    Attributes:
        model: a shipped model's name, or the folder of one.
        backend: "auto", "fused", "onnx" or "torch"; see `rtsep.backends.open.open_backend`.
        device: "cpu" or "cuda"; where the network runs.
        threads: CPU threads of one step.
        precision: "fp32", or "fp16" on the torch backend; see `rtsep.backends.open.open_backend`.
        audio: "portaudio" for a sound card or server, "null" for a clock without one.
        input, output: the audio device's name, a part of it, or its number; None for the default.
        block: frames per callback.
        sample_rate: of the audio device, Hz; None for the model's or, where the device refuses that, the
            device's own.
        in_channels, out_channels: to open; None for two, or one where the device has no more.
        out_map: channels of the device, counted from 1, that a stem goes to besides the mix.
        decks: stereo inputs that are separated at once, each by itself.
        in_map: by deck, counted from 1, the input channels of the device that it has, counted from 1: two,
            or one for a mono source. Those that are left out have the pairs in order: 1 and 2, 3 and 4.
        allowance: device samples that a hop may take, in whole blocks; as many as a hop holds when None. Less
            is less latency, and less patience with a busy machine.
        fallback: what an underrun sounds like: the delayed input, or silence.
        effects: chain files, by stem or "master".
        realtime: ask for real-time priority for what computes the hops, and for its memory to stay in place.
    """

    model: str = DEFAULT_MODEL
    backend: str = DEFAULT_BACKEND
    device: str = "cpu"
    threads: int = 1
    precision: str = "fp32"
    audio: Literal["portaudio", "null"] = "portaudio"
    input: str | int | None = None
    output: str | int | None = None
    block: int = 128
    sample_rate: int | None = None
    in_channels: int | None = 2
    out_channels: int | None = 2
    out_map: dict[str, tuple[int, ...]] = field(default_factory=dict)
    allowance: int | None = None
    fallback: Literal["dry", "silence"] = "dry"
    effects: dict[str, str] = field(default_factory=dict)
    decks: int = 1
    in_map: dict[int, tuple[int, ...]] = field(default_factory=dict)
    realtime: bool = True

    @property
    def needed_inputs(self) -> int | None:
        """Input channels to open: `in_channels`, and at least as many as the decks need."""
        if self.decks == 1 and not self.in_map:
            return self.in_channels
        pairs = [self.in_map.get(deck, usual_inputs(deck)) for deck in range(1, self.decks + 1)]
        return max(self.in_channels or 0, *(channel for pair in pairs for channel in pair))

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> EngineOptions:
        """The inverse of `to_json`."""
        out_map = {stem: tuple(channels) for stem, channels in fields["out_map"].items()}
        in_map = {int(deck): tuple(channels) for deck, channels in fields["in_map"].items()}
        return cls(**{**fields, "out_map": out_map, "in_map": in_map})


def usual_inputs(deck: int) -> tuple[int, int]:
    """The input channels of a deck of which nothing else is said; all counted from 1."""
    return 2 * deck - 1, 2 * deck


def inputs(in_map: dict[int, tuple[int, ...]], decks: int, in_channels: int) -> tuple[tuple[int, int], ...]:
    """Each deck's left and right, counted from 0.

    A device of one channel gives it to both sides of a single deck.

    Raises:
        UsageError: for a deck or channel that there is not, or a map of other than one or two channels.
    """
    for deck in in_map:
        if not 1 <= deck <= decks:
            raise UsageError(
                f"no deck {deck} to give an input: there {'is one' if decks == 1 else f'are {decks}'}"
            )
    found = []
    for deck in range(1, decks + 1):
        usual = (1, min(2, in_channels)) if decks == 1 else usual_inputs(deck)
        pair = in_map.get(deck, usual)
        if not 1 <= len(pair) <= 2:
            raise UsageError(f"deck {deck} takes one or two input channels, not {len(pair)}")
        for channel in pair:
            if not 1 <= channel <= in_channels:
                raise UsageError(f"deck {deck} cannot hear channel {channel}: the input has {in_channels}")
        found.append((pair[0] - 1, pair[-1] - 1))
    return tuple(found)


def routes(out_map: dict[str, tuple[int, ...]], strips: Board, out_channels: int) -> Routes:
    """The map, counted from 0 and by the number of a strip.

    Raises:
        UsageError: a stem that the board lacks, or a channel that the device lacks or the mix has.
    """
    taken: dict[int, str] = {0: "the mix", 1: "the mix"}
    found = []
    for stem, channels in out_map.items():
        number = strips.index(stem)
        for channel in channels:
            if channel > MAX_CHANNELS:
                raise UsageError(f"{stem} cannot go to channel {channel}: {MAX_CHANNELS} are the most")
            if not 1 <= channel <= out_channels:
                raise UsageError(f"{stem} cannot go to channel {channel}: the output has {out_channels}")
            if channel - 1 in taken:
                raise UsageError(f"{stem} cannot go to channel {channel}: {taken[channel - 1]} goes there")
            taken[channel - 1] = stem
        found.append((number, tuple(channel - 1 for channel in channels)))
    return tuple(found)
