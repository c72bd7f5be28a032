"""What stands at each address of a desk: how it is read, and how it is set.

The desk keeps these in one table. Reading goes to the board's words, where the engine's truth is; setting
goes through the desk's own methods, so that a change by address is the change by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rtsep.control.parameters import (
    Kind,
    Parameter,
    Value,
    deck_parameters,
    gesture_parameters,
    master_parameters,
    strip_parameters,
    strip_path,
)
from rtsep.dsp.gains import linear_to_db
from rtsep.engine.board import Board
from rtsep.engine.effect_controls import EffectControls

if TYPE_CHECKING:
    from rtsep.control.desk import Desk

VOICE = "vocals"


class Binding(NamedTuple):
    """An address of a desk.

    Attributes:
        parameter: what stands there.
        get: its value; None for triggers.
        set: from a checked value, and the time of the gesture in ms.
    """

    parameter: Parameter
    get: Callable[[], Value] | None
    set: Callable[[Any, float], object]


def bind(desk: Desk, board: Board) -> Iterator[Binding]:
    """All that a board has, in the order of a desk."""
    for k, strip in enumerate(board.strips):
        yield from _strip(desk, board, strip, k)
    if board.decks > 1:
        yield from _decks(desk, board)
    yield from _master(desk, board)


def bind_gestures(desk: Desk, board: Board) -> Iterator[Binding]:
    """Instrumental, acapella, everything: of each deck."""
    for deck in range(1, board.decks + 1):
        does: dict[str, Callable[[Any, float], object]] = {
            "instrumental": lambda _, fade, deck=deck: desk.instrumental(fade, deck),  # type: ignore[misc]
            "acapella": lambda _, fade, deck=deck: desk.acapella(fade, deck),  # type: ignore[misc]
            "everything": lambda _, fade, deck=deck: desk.everything(fade, deck),  # type: ignore[misc]
        }
        path = f"deck/{deck}/" if board.decks > 1 else ""
        for parameter in gesture_parameters(VOICE in board.stems, path):
            yield Binding(parameter, None, does[parameter.address.rpartition("/")[2]])


def bind_effects(effects: EffectControls, changed: Callable[[str], None]) -> Iterator[Binding]:
    """The parameters of effect chains. A plug-in turns at once; `changed` is told the address."""
    for address, p in effects.parameters.items():
        meaning = ", ".join(p.choices) if p.choices else address.rpartition("/")[2].replace("_", " ")
        kind: Kind = "switch" if p.switch else "number"
        default: Value = p.value >= 0.5 if p.switch else p.value

        def get(address: str = address, switch: bool = p.switch) -> Value:
            value = effects.value(address)
            return value >= 0.5 if switch else value

        def turn(value: Any, fade: float, address: str = address) -> None:
            effects.set(address, float(value))
            changed(address)

        parameter = Parameter(address, kind, p.minimum, p.maximum, default, p.unit, meaning)
        yield Binding(parameter, get, turn)


def _strip(desk: Desk, board: Board, strip: str, k: int) -> Iterator[Binding]:
    words, path = board.words, strip_path(strip)
    gets: dict[str, Callable[[], Value]] = {
        "gain": lambda: float(words["gain_db"][k]),
        "mute": lambda: bool(words["mute"][k]),
        "solo": lambda: bool(words["solo"][k]),
        "pan": lambda: float(words["pan"][k]),
        "polarity": lambda: bool(words["inverted"][k]),
        "send": lambda: round(linear_to_db(float(words["send"][k])), 9),
    }
    sets: dict[str, Callable[[Any, float], object]] = {
        "gain": partial(desk.set_gain, strip),
        "mute": partial(desk.set_mute, strip),
        "solo": lambda on, fade: desk.set_solo(strip, on, fade=fade),
        "pan": partial(desk.set_pan, strip),
        "polarity": partial(desk.set_polarity, strip),
        "send": partial(desk.set_send, strip),
    }
    known = {p.address: p for p in strip_parameters(path, strip)}
    for name, get in gets.items():
        yield Binding(known[f"{path}/{name}"], get, sets[name])


def _decks(desk: Desk, board: Board) -> Iterator[Binding]:
    words = board.words
    known = {p.address: p for p in deck_parameters(board.decks, board.stems)}
    for deck in range(1, board.decks + 1):
        yield Binding(
            known[f"deck/{deck}/gain"],
            lambda k=deck - 1: float(words["deck_db"][k]),  # type: ignore[misc]
            partial(desk.set_deck_gain, deck),
        )
        yield Binding(
            known[f"deck/{deck}/reset"],
            None,
            lambda _, fade, deck=deck: desk.reset(deck),  # type: ignore[misc]
        )
    if board.decks != 2:
        return
    yield Binding(known["crossfader"], lambda: board.crossfader, desk.set_crossfader)
    yield Binding(known["crossfader/cut"], lambda: bool(words["cut"]), desk.set_crossfader_cut)
    for k, stem in enumerate(board.stems):
        yield Binding(
            known[f"swap/{stem}"],
            lambda k=k: bool(words["swapped"][k]),  # type: ignore[misc]
            partial(desk.swap, stem),
        )
        yield Binding(
            known[f"gesture/swap/{stem}"],
            None,
            lambda _, fade, stem=stem: desk.swap(stem, None, fade),  # type: ignore[misc]
        )


def _master(desk: Desk, board: Board) -> Iterator[Binding]:
    words = board.words
    bindings: dict[str, tuple[Callable[[], Value], Callable[[Any, float], object]]] = {
        "master/gain": (lambda: float(words["master_db"]), desk.set_master),
        "master/limiter": (
            lambda: bool(words["limiter"]),
            lambda on, fade: desk.set_limiter(on, fade=fade),
        ),
        "master/ceiling": (lambda: float(words["ceiling_db"]), desk.set_ceiling),
        "master/dry_wet": (lambda: round(1.0 - float(words["dry"]), 12), desk.set_dry_wet),
        "master/bypass": (lambda: bool(words["bypass"]), desk.set_bypass),
        "master/panic": (lambda: bool(words["panic"]), lambda on, fade: desk.panic(on)),
    }
    for parameter in master_parameters():
        if parameter.address in bindings:
            yield Binding(parameter, *bindings[parameter.address])
