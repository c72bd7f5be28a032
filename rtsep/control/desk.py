"""The mixing desk: everything that can be set, by name or by address, for any number of clients at once.

A program calls its methods, a MIDI map or an OSC server or a page uses its addresses; all of them change the
engine only through the board in shared memory, and each learns from `changes_since` what the others did.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rtsep.control.layout import VOICE, Binding, bind, bind_effects, bind_gestures
from rtsep.control.parameters import Parameter, Value, desk_parameters, master_parameters, strip_path
from rtsep.control.snapshots import Snapshot, check_name, read_snapshots, write_snapshots
from rtsep.engine.board import Board, check_fade
from rtsep.engine.effect_controls import EffectControls
from rtsep.engine.telemetry import Telemetry
from rtsep.spec import UsageError

EFFECTS = "fx/"
_FIRST_DECK = "deck/1/"


class Desk:
    """Sets an engine's parameters and knows what they are. Safe to use from several threads.

    Every gesture takes the time `fade` in ms, in which all that it changes goes to its new place; the desk's
    own `fade_ms` where none is given, and never less than the engine's shortest, some 6 ms. What a later
    gesture changes on the same strip arrives in that gesture's time.

    With two decks a stem is named "2/vocals"; without a number it is the first deck's.

    Args:
        board: the engine's.
        telemetry: what asks the engine how it is; the board alone if None.
        snapshots: file that holds the snapshots; they live in memory only if None. It need not be there yet.

    Raises:
        UsageError: when the file of snapshots is there and is none.
    """

    def __init__(
        self,
        board: Board,
        telemetry: Callable[[], Telemetry] | None = None,
        snapshots: Path | None = None,
    ) -> None:
        self._board = board
        self._telemetry = telemetry or board.telemetry
        self._file = snapshots
        self._changed = threading.Condition(threading.RLock())
        self._version = 0
        self._versions: dict[str, int] = {}
        self._fade_ms = 0.0
        self._morph_ms = 0.0
        self._snapshots: dict[str, dict[str, Value]] = {}
        if snapshots is not None and snapshots.exists():
            self._snapshots = read_snapshots(snapshots)
        self._left: Snapshot = {}
        self._names: dict[str, str] = {"snapshot/capture": "", "snapshot/recall": ""}
        self._bindings: dict[str, Binding] = {}
        self._lay_out()

    def add_effects(self, effects: EffectControls) -> None:
        """Give the parameters of the effect chains addresses here too: "fx/vocals/0/wet_level".

        An engine knows them once it is open. A plug-in turns at once: it has no fades but its bypass'. What
        the snapshot that was recalled last holds of them is set, and what they were with an engine before.
        """
        with self._changed:
            self._add(bind_effects(effects, self._note))
            self._note(*effects.parameters)
            held = {**self._snapshots.get(self._names["snapshot/recall"], {}), **self._left}
            self.apply({a: value for a, value in held.items() if a in effects.parameters})

    # -- addresses -------------------------------------------------------------------------------------

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the model's stems."""
        return self._board.stems

    @property
    def decks(self) -> int:
        """How many there are."""
        return self._board.decks

    @property
    def strips(self) -> tuple[str, ...]:
        """Names of all decks' stems: "vocals" with one deck; "1/vocals" ... "2/other" with two."""
        return self._board.strips

    @property
    def addresses(self) -> tuple[str, ...]:
        """Everything that can be set, in the order of a desk."""
        return tuple(self._bindings)

    def parameter(self, address: str) -> Parameter:
        """What stands at an address.

        "deck/1/stem/drums/mute" and "stem/drums/mute" are the same: the first is its name where there are
        decks, the second where there is one. "snapshot/recall/verse" is a trigger that recalls the snapshot
        of that name, as "snapshot/capture/verse" captures it: for pads that send no text.

        Raises:
            UsageError: when there is nothing.
        """
        first = f"{EFFECTS}1/{address.removeprefix(EFFECTS)}" if address.startswith(EFFECTS) else ""
        for name in (address, _FIRST_DECK + address, address.removeprefix(_FIRST_DECK), first):
            if name in self._bindings:
                return self._bindings[name].parameter
        verb, slash, name = address.rpartition("/")
        if slash and verb in self._names:
            check_name(name)
            return Parameter(address, "trigger", 0.0, 1.0, False, "", f"{verb} of {name}", False)
        raise UsageError(f"nothing has the address {address!r}")

    def get(self, address: str) -> Value:
        """The value that was set last. A trigger's is False."""
        parameter = self.parameter(address)
        binding = self._bindings.get(parameter.address)
        with self._changed:
            return False if binding is None or binding.get is None else binding.get()

    def get_normalised(self, address: str) -> float:
        """Where a control that shows the value stands, 0 to 1."""
        return self.parameter(address).to_normalised(self.get(address))

    def set(self, address: str, value: Any, fade: float | None = None) -> None:
        """Set what stands at an address; text such as "-6" or "on" is understood.

        Raises:
            UsageError: when there is no such address, or the value is not one; nothing is changed then.
        """
        parameter = self.parameter(address)
        checked = parameter.check(value)
        with self._changed:
            if parameter.kind == "trigger" and not checked:
                return  # A pad that is let go.
            address = parameter.address
            if address not in self._bindings:
                address, _, checked = address.rpartition("/")  # a snapshot's name
            self._bindings[address].set(checked, self._time(fade))

    def set_normalised(self, address: str, place: float, fade: float | None = None) -> None:
        """Set by the place of a control, 0 to 1, on the parameter's own curve."""
        self.set(address, self.parameter(address).from_normalised(place), fade)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Kind, range, unit, default and meaning of everything, by address, as plain data."""
        return {address: binding.parameter.describe() for address, binding in self._bindings.items()}

    def rebind(self, board: Board, telemetry: Callable[[], Telemetry] | None = None) -> None:
        """Go over to another engine's board: what is set goes along, as far as the new one has it.

        Whoever holds the desk keeps it, its snapshots and its version, which grows. The old board is no
        longer touched. What its model had and the new one has not is forgotten.
        """
        with self._changed:
            before = self.snapshot()
            # Neither is in a snapshot, and both are still wanted from the engine that follows.
            held = {address: bool(self.get(address)) for address in ("master/bypass", "master/panic")}
            self._left = {a: value for a, value in before.items() if a.startswith(EFFECTS)}
            self._board = board
            self._telemetry = telemetry or board.telemetry
            self._bindings.clear()
            self._versions.clear()
            self._lay_out()
            with board.change():
                for address, value in {**before, **held}.items():
                    if address in self._bindings:
                        binding = self._bindings[address]
                        binding.set(binding.parameter.check(value), self._fade_ms)
            self._note(*self._lasting())

    # -- staying in step -------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    def changes_since(self, version: int) -> tuple[int, dict[str, Value]]:
        """What has changed after a version: the version now, and values by address; all after version -1."""
        with self._changed:
            if version < 0:
                changed = self._lasting()
            else:
                changed = [address for address, when in self._versions.items() if when > version]
            return self._version, {address: self.get(address) for address in changed}

    def wait_for_change(self, version: int, seconds: float) -> bool:
        """Sleep until something has changed after a version (True), or for so long (False)."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._version <= version:
                left = deadline - time.monotonic()
                if left <= 0.0:
                    return False
                self._changed.wait(left)
            return True

    def telemetry(self) -> Telemetry:
        """Levels, hop times, underruns: how the engine is, now."""
        return self._telemetry()

    # -- stems -----------------------------------------------------------------------------------------

    def set_gain(self, stem: str, db: float, fade: float | None = None) -> None:
        """Level of a stem in dB, -inf to +12."""
        with self._changed:
            self._board.set_gain(stem, db, self._time(fade))
            self._note(f"{self._path(stem)}/gain")

    def set_mute(self, stem: str, on: bool = True, fade: float | None = None) -> None:
        """Silence a stem, or let it sound again at its gain."""
        with self._changed:
            self._board.set_mute(stem, on, self._time(fade))
            self._note(f"{self._path(stem)}/mute")

    def toggle_mute(self, stem: str, fade: float | None = None) -> bool:
        """Mute if it is not, and the reverse. Returns whether it is muted now."""
        with self._changed:
            on = not self._board.words["mute"][self._board.index(stem)]
            self.set_mute(stem, on, fade)
            return on

    def set_solo(
        self, stem: str, on: bool = True, *, exclusive: bool = False, fade: float | None = None
    ) -> None:
        """Hear only a deck's soloed stems while it has any. Solos add up, unless this one is `exclusive`."""
        place = self._board.index(stem)
        time_ms = self._time(fade)
        with self._changed, self._board.change():
            mates = self.strips[self._board.strips_of(place // len(self.stems))]
            for other in mates if exclusive and on else ():
                if other != self.strips[place] and self._board.words["solo"][self._board.index(other)]:
                    self._board.set_solo(other, False, time_ms)
                    self._note(f"{self._path(other)}/solo")
            self._board.set_solo(stem, on, time_ms)
            self._note(f"{self._path(stem)}/solo")

    def set_pan(self, stem: str, position: float, fade: float | None = None) -> None:
        """Place of a stem from -1 (left) to +1 (right), at constant power."""
        with self._changed:
            self._board.set_pan(stem, position, self._time(fade))
            self._note(f"{self._path(stem)}/pan")

    def set_polarity(self, stem: str, inverted: bool = True, fade: float | None = None) -> None:
        """Turn a stem's polarity over, or back; it passes through silence."""
        with self._changed:
            self._board.set_polarity(stem, inverted, self._time(fade))
            self._note(f"{self._path(stem)}/polarity")

    def set_send(self, stem: str, db: float, fade: float | None = None) -> None:
        """What a stem, behind its gain and pan, gives to the effect bus, in dB, -inf to +12."""
        with self._changed:
            self._board.set_send(stem, db, self._time(fade))
            self._note(f"{self._path(stem)}/send")

    # -- decks -----------------------------------------------------------------------------------------

    def set_deck_gain(self, deck: int, db: float, fade: float | None = None) -> None:
        """Level of a deck, counted from 1, in dB, -inf to +12."""
        with self._changed:
            self._board.set_deck_gain(deck, db, self._time(fade))
            self._note(f"deck/{deck}/gain")

    def set_crossfader(self, position: float, fade: float | None = None) -> None:
        """From the first deck alone (0) to the second alone (1), at constant power unless it cuts."""
        with self._changed:
            self._board.set_crossfader(position, self._time(fade))
            self._note("crossfader")

    def set_crossfader_cut(self, on: bool = True, fade: float | None = None) -> None:
        """Both decks in full but for the crossfader's ends; or, off, constant power."""
        with self._changed:
            self._board.set_crossfader_cut(on, self._time(fade))
            self._note("crossfader/cut")

    def swap(self, stem: str, on: bool | None = None, fade: float | None = None) -> bool:
        """Exchange which deck a stem is heard from: either deck's goes to the other's side of the crossfader.

        With the crossfader at the first deck its vocals go, and the second's are heard over its instrumental.

        Args:
            stem: without a deck's number.
            on: swapped or not; the other of what it is if None.
            fade: ms.

        Returns:
            Whether it is swapped now.

        Raises:
            UsageError: for a stem that the model lacks, or without two decks.
        """
        with self._changed:
            if on is None:
                on = stem in self.stems and not self._board.words["swapped"][self.stems.index(stem)]
            self._board.set_swapped(stem, on, self._time(fade))
            self._note(f"swap/{stem}")
            return on

    # -- master ----------------------------------------------------------------------------------------

    def set_master(self, db: float, fade: float | None = None) -> None:
        """Level of all that is heard, -inf to +12 dB."""
        with self._changed:
            self._board.set_master(db, self._time(fade))
            self._note("master/gain")

    def set_limiter(
        self, on: bool = True, ceiling_db: float | None = None, fade: float | None = None
    ) -> None:
        """Let no sample exceed the ceiling, -24 to 0 dB; None leaves the ceiling where it is."""
        with self._changed:
            self._board.set_limiter(on, ceiling_db, self._time(fade))
            self._note("master/limiter", *([] if ceiling_db is None else ["master/ceiling"]))

    def set_ceiling(self, ceiling_db: float, fade: float | None = None) -> None:
        """The limiter's ceiling, -24 to 0 dB, whether it limits or not."""
        with self._changed:
            self._board.set_limiter(bool(self._board.words["limiter"]), ceiling_db, self._time(fade))
            self._note("master/ceiling")

    def set_dry_wet(self, wet: float, fade: float | None = None) -> None:
        """Share of the mix, 0 to 1, against the input, which is delayed as the mix is to the sample."""
        with self._changed:
            self._board.set_dry_wet(wet, self._time(fade))
            self._note("master/dry_wet")

    def set_bypass(self, on: bool = True, fade: float | None = None) -> None:
        """Hear the delayed input, exactly, in place of everything."""
        with self._changed:
            self._board.set_bypass(on, self._time(fade))
            self._note("master/bypass")

    def panic(self, on: bool = True) -> None:
        """Bypass in the shortest time there is, whatever is set or fading; `panic(False)` comes back."""
        with self._changed:
            self._board.set_panic(on)
            self._note("master/panic")

    @property
    def fade_ms(self) -> float:
        """The time of gestures that are given none, ms."""
        return self._fade_ms

    @fade_ms.setter
    def fade_ms(self, milliseconds: float) -> None:
        self.set("fade", milliseconds)

    # -- gestures --------------------------------------------------------------------------------------

    def instrumental(self, fade: float | None = None, deck: int = 1) -> None:
        """All of a deck but the vocals: they are muted, the others are not, and nothing is soloed.

        Raises:
            UsageError: when the model has no vocals, or there is no such deck.
        """
        self._mute_where(lambda stem: stem == VOICE, fade, deck)

    def acapella(self, fade: float | None = None, deck: int = 1) -> None:
        """The vocals of a deck alone; otherwise as `instrumental`."""
        self._mute_where(lambda stem: stem != VOICE, fade, deck)

    def everything(self, fade: float | None = None, deck: int = 1) -> None:
        """Every stem of a deck heard: nothing muted, nothing soloed."""
        self._mute_where(lambda stem: False, fade, deck, needs_voice=False)

    def reset(self, deck: int | None = None) -> None:
        """Forget what was heard so far, on a deck or on all: after a seek, or when other music begins."""
        with self._changed:
            self._board.request_reset(deck)

    def _mute_where(
        self, muted: Callable[[str], bool], fade: float | None, deck: int, needs_voice: bool = True
    ) -> None:
        if needs_voice:
            self._board.index(VOICE)
        strips = self.strips[self._board.strips_of(self._board.deck_of(deck))]
        time_ms = self._time(fade)
        with self._changed, self._board.change():
            for stem, strip in zip(self.stems, strips, strict=True):
                self._board.set_mute(strip, muted(stem), time_ms)
                self._board.set_solo(strip, False, time_ms)
                self._note(f"{self._path(strip)}/mute", f"{self._path(strip)}/solo")

    # -- snapshots -------------------------------------------------------------------------------------

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Names of the snapshots that there are."""
        with self._changed:
            return tuple(self._snapshots)

    def snapshot(self) -> dict[str, Value]:
        """All that a snapshot holds, as it is set now: by address. Bypass and panic are not among it."""
        with self._changed:
            return {a: self.get(a) for a, binding in self._bindings.items() if binding.parameter.recalled}

    def defaults(self) -> dict[str, Value]:
        """What a snapshot of an untouched desk holds."""
        parameters = (binding.parameter for binding in self._bindings.values())
        return {p.address: p.default for p in parameters if p.recalled}

    def capture(self, name: str) -> None:
        """Keep all that is set under a name, and in the file if there is one.

        Raises:
            UsageError: when the name is not one, or the file cannot be written; nothing is kept then.
        """
        check_name(name)
        with self._changed:
            kept = {**self._snapshots, name: self.snapshot()}
            if self._file is not None:
                write_snapshots(self._file, kept)
            self._snapshots = kept
            self._names["snapshot/capture"] = name
            self._note("snapshot/capture")

    def forget(self, name: str) -> None:
        """Drop a snapshot, from the file too.

        Raises:
            UsageError: when there is none of that name, or the file cannot be written.
        """
        with self._changed:
            self._find(name)
            kept = {other: values for other, values in self._snapshots.items() if other != name}
            if self._file is not None:
                write_snapshots(self._file, kept)
            self._snapshots = kept
            self._note()

    def recall(self, name: str, morph: float | None = None) -> None:
        """Go back to what a name holds, all of it as one change.

        Args:
            name: of the snapshot.
            morph: ms in which the engine's own ramps take every gain there; the desk's time if None.

        Raises:
            UsageError: when there is none of that name, or it holds what this desk lacks; nothing is changed.
        """
        with self._changed:
            self.apply(self._find(name), morph, name)
            self._names["snapshot/recall"] = name
            self._note("snapshot/recall")

    def apply(self, snapshot: Snapshot, morph: float | None = None, name: str = "given") -> None:
        """Set values by address, all of them as one change; as `recall`. What is left out stays as it is.

        So is what it holds of effects that are not loaded: a scene can be played without them.
        """
        with self._changed:
            checked = {}
            for address, value in snapshot.items():
                if address.startswith(EFFECTS) and address not in self._bindings:
                    continue
                try:
                    parameter = self.parameter(address)
                    if not parameter.recalled:
                        raise UsageError(f"{address} is not what a snapshot holds")
                    checked[parameter.address] = parameter.check(value)
                except UsageError as error:
                    raise UsageError(f"snapshot {name!r}: {error}") from None
            time_ms = self._time(self._morph_ms or None if morph is None else morph)
            with self._board.change():
                for address, value in checked.items():
                    self._bindings[address].set(value, time_ms)

    def _find(self, name: str) -> dict[str, Value]:
        if name not in self._snapshots:
            known = ", ".join(self._snapshots) or "none"
            raise UsageError(f"no snapshot {name!r}: there are {known}")
        return self._snapshots[name]

    # -- inside ----------------------------------------------------------------------------------------

    def _time(self, fade: float | None) -> float:
        time_ms = self._fade_ms if fade is None else fade
        check_fade(time_ms)
        return time_ms

    def _path(self, stem: str) -> str:
        """Where the addresses of a stem's strip begin."""
        return strip_path(self.strips[self._board.index(stem)])

    def _note(self, *addresses: str) -> None:
        """Remember that these have changed, and wake whoever waits. The lock is held."""
        self._version += 1
        for address in addresses:
            self._versions[address] = self._version
        self._changed.notify_all()

    def _lasting(self) -> list[str]:
        """Addresses that have a value: all but triggers."""
        return [a for a, binding in self._bindings.items() if binding.parameter.kind != "trigger"]

    def _lay_out(self) -> None:
        self._add(bind(self, self._board))
        fade = next(p for p in master_parameters() if p.address == "fade")
        self._add([Binding(fade, lambda: self._fade_ms, lambda value, _: self._set_fade(value))])
        self._add(bind_gestures(self, self._board))
        own: dict[str, tuple[Callable[[], Value] | None, Callable[[Any, float], object]]] = {
            "reset": (None, lambda _, fade: self.reset()),
            "snapshot/capture": (
                lambda: self._names["snapshot/capture"],
                lambda name, _: self.capture(name),
            ),
            "snapshot/recall": (lambda: self._names["snapshot/recall"], lambda name, _: self.recall(name)),
            "snapshot/morph": (lambda: self._morph_ms, lambda value, _: self._set_morph(value)),
        }
        self._add(Binding(parameter, *own[parameter.address]) for parameter in desk_parameters())

    def _add(self, bindings: Iterable[Binding]) -> None:
        self._bindings.update({binding.parameter.address: binding for binding in bindings})

    def _set_fade(self, milliseconds: float) -> None:
        self._fade_ms = milliseconds
        self._note("fade")

    def _set_morph(self, milliseconds: float) -> None:
        self._morph_ms = milliseconds
        self._note("snapshot/morph")
