"""What an engine is asked for: plain data, so that it can be sent to another process."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rtsep.engine.worker import Routes
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import UsageError


@dataclass(frozen=True)
class EngineOptions:
    """How to run an engine.

    Attributes:
        model: a shipped model's name, or the folder of one.
        backend: "onnx" or "torch".
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
        allowance: device samples that a hop may take, in whole blocks; as many as a hop holds when None. Less
            is less latency, and less patience with a busy machine.
        fallback: what an underrun sounds like: the delayed input, or silence.
        effects: chain files, by stem or "master".
    """

    model: str = DEFAULT_MODEL
    backend: str = "onnx"
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

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> EngineOptions:
        """The inverse of `to_json`."""
        out_map = {stem: tuple(channels) for stem, channels in fields["out_map"].items()}
        return cls(**{**fields, "out_map": out_map})


def routes(out_map: dict[str, tuple[int, ...]], stems: tuple[str, ...], out_channels: int) -> Routes:
    """The map, counted from 0 and by stem number.

    Raises:
        UsageError: a stem that the model lacks, or a channel that the device lacks or the mix has.
    """
    taken: dict[int, str] = {0: "the mix", 1: "the mix"}
    found = []
    for stem, channels in out_map.items():
        if stem not in stems:
            raise UsageError(f"no stem {stem!r} to route: this model has {', '.join(stems)}")
        for channel in channels:
            if not 1 <= channel <= out_channels:
                raise UsageError(f"{stem} cannot go to channel {channel}: the output has {out_channels}")
            if channel - 1 in taken:
                raise UsageError(f"{stem} cannot go to channel {channel}: {taken[channel - 1]} goes there")
            taken[channel - 1] = stem
        found.append((stems.index(stem), tuple(channel - 1 for channel in channels)))
    return tuple(found)
