"""What a rig file may say. docs/rig.md describes every key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rtsep.engine.board import HIGHEST_DB, LONGEST_FADE_MS
from rtsep.engine.ports import OSC_PORT, PAGE_PORT

FORMAT = 1

Level = Annotated[float, Field(ge=-math.inf, le=HIGHEST_DB, allow_inf_nan=True)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Table(BaseModel):
    """A table of the file: unknown keys are mistakes, not wishes; a text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Audio(Table):
    """The sound card.

    Attributes:
        input, output: the device's name, a part of it, or its number; the system's own if left out.
        block: frames that it hands over at once.
        sample_rate: Hz; the model's if left out.
        null: run on a clock, without a sound card.
    """

    input: str | int | None = None
    output: str | int | None = None
    block: int = Field(default=128, ge=1)
    sample_rate: int | None = Field(default=None, ge=1000)
    null: bool = False


class Engine(Table):
    """What separates.

    Attributes:
        model: a name of `rtsep models`, or the folder of one, seen from the rig's.
        backend, device, threads: what runs it.
        allowance: device samples that a hop may take; a hop if left out.
        fallback: what an underrun sounds like.
        realtime: ask for real-time priority, and for memory to stay in place.
    """

    model: str = "live"
    backend: Literal["auto", "fused", "onnx", "torch"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1)
    allowance: int | None = Field(default=None, ge=1)
    fallback: Literal["dry", "silence"] = "dry"
    realtime: bool = True


class Decks(Table):
    """Inputs that are separated at once, each by itself.

    Attributes:
        count: how many.
        inputs: of each deck in turn, the input channels that it hears, counted from 1: two, or one; those
            left out have the pairs in order.
        crossfader: where it begins, from the first deck (0) to the second (1).
        curve: how it goes from deck to deck.
    """

    count: int = Field(default=1, ge=1, le=2)
    inputs: list[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=2)]] = Field(
        default_factory=list
    )
    crossfader: float = Field(default=0.5, ge=0.0, le=1.0)
    curve: Literal["constant-power", "cut"] = "constant-power"


class Stem(Table):
    """Where a stem's strip begins; `[stems."2/vocals"]` is one of the second deck.

    Attributes:
        gain: dB, up to +12; -inf is silence.
        pan: -1 (left) to 1 (right).
        mute, solo: on or off.
        out: channels of the device, counted from 1, that it goes to besides the mix.
        chain: file of its effects, seen from the rig's folder.
    """

    gain: Level = 0.0
    pan: float = Field(default=0.0, ge=-1.0, le=1.0)
    mute: bool = False
    solo: bool = False
    out: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    chain: Path | None = Field(default=None, strict=False)


class Master(Table):
    """Where the master begins.

    Attributes:
        gain: dB, up to +12.
        limiter: let no sample exceed full scale, unless the input does.
        dry_wet: 1 is the mix, 0 the delayed input.
        fade: ms in which it goes from the music as it is to what is set.
        chain: file of effects of the mix.
    """

    gain: Level = 0.0
    limiter: bool = True
    dry_wet: float = Field(default=1.0, ge=0.0, le=1.0)
    fade: float | None = Field(default=None, ge=0.0, le=LONGEST_FADE_MS)
    chain: Path | None = Field(default=None, strict=False)


class Snapshots(Table):
    """Snapshots.

    Attributes:
        file: that holds them, seen from the rig's folder; made when the first is kept.
        begin: the name of the one to begin with; what the rig itself says is stronger.
    """

    file: Path = Field(strict=False)
    begin: str | None = None


class Midi(Table):
    """Controllers.

    Attributes:
        ports: names of MIDI ports or parts of them, each with its mapping: a file, seen from the rig's
            folder, the name of one that comes with rtsep, or "" for the one that fits the port's name.
        virtual: the same for ports that rtsep makes, for others to connect to.
    """

    ports: dict[str, str] = Field(default_factory=dict)
    virtual: dict[str, str] = Field(default_factory=dict)


class Page(Table):
    """The control page; served if the table is there.

    Attributes:
        bind: address; 0.0.0.0 for the network, with a token.
        port: of it.
        token_file: keeps the token, seen from the rig's folder, so that an address stays good.
    """

    bind: str = "127.0.0.1"
    port: Port = PAGE_PORT
    token_file: Path | None = Field(default=None, strict=False)


class Osc(Table):
    """OSC; heard if the table is there.

    Attributes:
        bind: address.
        port: UDP port.
        send: "HOST:PORT" that are told everything whether they ask or not.
    """

    bind: str = "127.0.0.1"
    port: Port = OSC_PORT
    send: list[str] = Field(default_factory=list)


class Rig(Table):
    """The whole file.

    Attributes:
        format: 1.
        audio, engine, decks, stems, master, snapshots, midi, page, osc: see there; each may be left out.
    """

    format: Literal[1]
    audio: Audio = Audio()
    engine: Engine = Engine()
    decks: Decks = Decks()
    stems: dict[str, Stem] = Field(default_factory=dict)
    master: Master = Master()
    snapshots: Snapshots | None = None
    midi: Midi | None = None
    page: Page | None = None
    osc: Osc | None = None
