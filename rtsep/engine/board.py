"""The board between the engine and whoever controls it: parameters in, telemetry out, in plain memory.

The memory may be shared between processes. Every word has one writer: parameters and requests belong to the
controlling side, everything else to the engine. Words are aligned and eight bytes long, so each is read
whole; nothing needs a lock, and neither side can hold up the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rtsep.dsp.gains import db_to_linear
from rtsep.dsp.kernel import Doubles
from rtsep.effects.parameters import MAX_PARAMETERS
from rtsep.engine.telemetry import BUCKETS, HopTimes, Telemetry
from rtsep.mixer.decks import DeckSection
from rtsep.mixer.master import MasterStrip
from rtsep.mixer.strip import ChannelStrip
from rtsep.spec import MAX_DECKS, UsageError, strip_names

MAX_STEMS = 16
MAX_STRIPS = MAX_STEMS * MAX_DECKS
MAX_CHANNELS = 64
ERROR_BYTES = 512
HIGHEST_DB = 12.0
LOWEST_CEILING_DB = -24.0
LONGEST_FADE_MS = 600_000.0
STATES = ("starting", "running", "stopped", "failed")

PORT_COUNTERS = (
    "callbacks", "frames", "last_frames", "underruns", "underrun_frames", "late_hops", "input_overruns",
    "pa_input_overflow", "pa_output_underflow", "bad_input", "bad_output", "late_callbacks",
    "missed_callbacks", "max_callback_gap_ns", "last_callback_ns", "max_callback_ns",
    "total_callback_ns", "first_stream_ns", "last_stream_ns",
)  # fmt: skip
"""What the board carries of `RealtimePort.counters`."""

_LAYOUT = np.dtype(
    [
        # Written by the controlling side.
        ("gain_db", "f8", MAX_STRIPS),
        ("mute", "i8", MAX_STRIPS),
        ("solo", "i8", MAX_STRIPS),
        ("pan", "f8", MAX_STRIPS),
        ("inverted", "i8", MAX_STRIPS),
        ("send", "f8", MAX_STRIPS),
        ("fade_ms", "f8", MAX_STRIPS),
        ("deck_db", "f8", MAX_DECKS),
        ("crossfader", "f8"),
        ("cut", "i8"),
        ("swapped", "i8", MAX_STEMS),
        ("crossfader_fade_ms", "f8"),
        ("deck_epochs", "i8", MAX_DECKS),
        ("master_db", "f8"),
        ("dry", "f8"),
        ("limiter", "i8"),
        ("ceiling_db", "f8"),
        ("master_fade_ms", "f8"),
        ("bypass", "i8"),
        ("panic", "i8"),
        ("pending", "i8"),
        ("revision", "i8"),
        ("epoch", "i8"),
        ("stop", "i8"),
        ("effects", "f8", MAX_PARAMETERS),
        ("effects_revision", "i8"),
        # Written by the engine.
        ("state", "i8"),
        ("hops", "i8", 3),
        ("hop_counts", "i8", BUCKETS),
        ("deadline", "f8"),
        ("load", "f8"),
        ("cpu_load", "f8"),
        ("gpu_load", "f8"),
        ("sample_rate", "i8"),
        ("block", "i8"),
        ("bad_hops", "i8"),
        ("deck_bad_hops", "i8", MAX_DECKS),
        ("jumps", "i8"),
        ("resets", "i8"),
        ("record_lost", "i8"),
        ("realtime", "i8"),
        ("effects_replaced", "i8"),
        ("port", "i8", len(PORT_COUNTERS)),
        ("levels", "f8", MAX_STRIPS),
        ("reduction", "f8"),
        ("peaks", "f8", MAX_CHANNELS),
        ("out_channels", "i8"),
        ("error_length", "i8"),
        ("error", "u1", ERROR_BYTES),
    ],
    align=True,
)


_HIGHEST_SEND = db_to_linear(HIGHEST_DB)


def check_fade(fade_ms: float) -> None:
    """Raises a UsageError when a fade is not from 0 to `LONGEST_FADE_MS`."""
    if not 0.0 <= fade_ms <= LONGEST_FADE_MS:
        raise UsageError(f"a fade of {fade_ms} ms is not between 0 and {LONGEST_FADE_MS:g}")


class Board:
    """Named access to the board's memory.

    With several decks a stem is named "2/vocals"; without a number it is the first deck's.

    Args:
        stems: names, in the model's order.
        buffer: at least `Board.size_bytes()` bytes, zeroed or an existing board's; own memory if None.
            Zeros are the defaults: every stem at 0 dB in the middle, no sends, the crossfader in the middle,
            the master open, no limiter.
        decks: how many.

    Attributes:
        stems, decks: as given.
        strips: names of the strips, in the order of all arrays: see `rtsep.spec.strip_names`.

    Raises:
        UsageError: for a stem or a deck that there is not.
    """

    def __init__(self, stems: tuple[str, ...], buffer: Any = None, decks: int = 1) -> None:
        if len(stems) > MAX_STEMS:
            raise UsageError(f"a model of {len(stems)} stems; at most {MAX_STEMS} are possible")
        if not 1 <= decks <= MAX_DECKS:
            raise UsageError(f"{decks} decks are not possible: 1 to {MAX_DECKS} are")
        self.stems = stems
        self.decks = decks
        self.strips = strip_names(stems, decks)
        self._places = {f"{1 + k // len(stems)}/{stem}": k for k, stem in enumerate(stems * decks)}
        self._places |= {stem: k for k, stem in enumerate(stems)}
        memory = np.zeros(_LAYOUT.itemsize, np.uint8) if buffer is None else buffer
        self.words = np.frombuffer(memory, _LAYOUT, 1)[0]
        self.hop_times = HopTimes(self.words["hop_counts"], self.words["hops"])

    @staticmethod
    def size_bytes() -> int:
        """Bytes that a board occupies."""
        return _LAYOUT.itemsize

    # -- the controlling side ------------------------------------------------------------------------

    def index(self, stem: str) -> int:
        """Where a stem's strip stands in the order of `strips`."""
        try:
            return self._places[stem]
        except KeyError:
            raise UsageError(f"no stem {stem!r}: this model has {', '.join(self.strips)}") from None

    def deck_of(self, number: int) -> int:
        """A deck's place, from its number that is counted from 1."""
        if not 1 <= number <= self.decks:
            raise UsageError(
                f"no deck {number}: there {'is one' if self.decks == 1 else f'are {self.decks}'}"
            )
        return number - 1

    def strips_of(self, deck: int) -> slice:
        """The places of a deck's strips; decks are counted from 0 here."""
        return slice(deck * len(self.stems), (deck + 1) * len(self.stems))

    @contextmanager
    def change(self) -> Iterator[None]:
        """What is set within is one change: the engine sees all of it or nothing.

        While the word `pending` is set the worker leaves the parameters alone, which costs it one look.
        Changes may be nested; they must come from one thread at a time.
        """
        outermost = not self.words["pending"]
        self.words["pending"] = 1
        try:
            yield
        finally:
            if outermost:
                # Written after the parameters, so that whoever sees the new revision sees them too.
                self.words["revision"] += 1
                self.words["pending"] = 0

    def set_gain(self, stem: str, db: float, fade_ms: float = 0.0) -> None:
        """Gain of a stem in dB, -inf to +12; reached by a ramp.

        Args (here and below):
            fade_ms: how long the ramp takes; the engine's shortest, some 6 ms, at least.
        """
        if not db <= HIGHEST_DB:
            raise UsageError(f"gain of {stem}: {db} dB is not between -inf and +{HIGHEST_DB:g}")
        self._set_stem("gain_db", stem, db, fade_ms)

    def set_mute(self, stem: str, on: bool = True, fade_ms: float = 0.0) -> None:
        """Silence a stem, or let it sound again at its gain."""
        self._set_stem("mute", stem, on, fade_ms)

    def set_solo(self, stem: str, on: bool = True, fade_ms: float = 0.0) -> None:
        """While any stem of a deck is soloed, only its soloed stems sound."""
        index = self.index(stem)
        check_fade(fade_ms)
        with self.change():
            self._set_stem("solo", stem, on, fade_ms)
            # A solo silences the others: they fade in the same time.
            self.words["fade_ms"][self.strips_of(index // len(self.stems))] = fade_ms

    def set_pan(self, stem: str, position: float, fade_ms: float = 0.0) -> None:
        """Place of a stem, -1 (left) to +1 (right): see `rtsep.mixer.strip.balance`."""
        if not -1.0 <= position <= 1.0:
            raise UsageError(f"pan of {stem}: {position} is not between -1 (left) and 1 (right)")
        self._set_stem("pan", stem, position, fade_ms)

    def set_polarity(self, stem: str, inverted: bool = True, fade_ms: float = 0.0) -> None:
        """Turn a stem's polarity over, or back."""
        self._set_stem("inverted", stem, inverted, fade_ms)

    def set_send(self, stem: str, db: float, fade_ms: float = 0.0) -> None:
        """What a stem, behind its gain and pan, gives to the effect bus, in dB, -inf to +12."""
        if not db <= HIGHEST_DB:
            raise UsageError(f"send of {stem}: {db} dB is not between -inf and +{HIGHEST_DB:g}")
        self._set_stem("send", stem, db_to_linear(db), fade_ms)

    def set_deck_gain(self, deck: int, db: float, fade_ms: float = 0.0) -> None:
        """Level of all stems of a deck, counted from 1, and of its dry signal, in dB, -inf to +12."""
        place = self.deck_of(deck)
        if not db <= HIGHEST_DB:
            raise UsageError(f"gain of deck {deck}: {db} dB is not between -inf and +{HIGHEST_DB:g}")
        check_fade(fade_ms)
        with self.change():
            self.words["fade_ms"][self.strips_of(place)] = fade_ms
            self._set_crossfader(fade_ms)
            self.words["deck_db"][place] = db

    def set_crossfader(self, position: float, fade_ms: float = 0.0) -> None:
        """From the first deck alone (0) to the second alone (1); see `rtsep.mixer.decks.crossfade`."""
        self._need_decks("crossfader")
        if not 0.0 <= position <= 1.0:
            raise UsageError(f"crossfader: {position} is not between 0 (deck 1) and 1 (deck 2)")
        check_fade(fade_ms)
        with self.change():
            self._set_crossfader(fade_ms)
            # Zeros are the defaults, and the middle is where a crossfader begins.
            self.words["crossfader"] = position - 0.5

    @property
    def crossfader(self) -> float:
        """Where the crossfader was put last, 0 to 1."""
        return float(self.words["crossfader"]) + 0.5

    def set_crossfader_cut(self, on: bool = True, fade_ms: float = 0.0) -> None:
        """The curve: both decks in full but for the fader's ends, or constant power (off)."""
        self._need_decks("crossfader")
        check_fade(fade_ms)
        with self.change():
            self._set_crossfader(fade_ms)
            self.words["cut"] = on

    def set_swapped(self, stem: str, on: bool = True, fade_ms: float = 0.0) -> None:
        """Put a stem of the first deck on the second's side of the crossfader, and the reverse; or back."""
        self._need_decks("swap")
        if stem not in self.stems:
            raise UsageError(f"no stem {stem!r} to swap: this model has {', '.join(self.stems)}")
        check_fade(fade_ms)
        with self.change():
            self._set_crossfader(fade_ms)
            self.words["swapped"][self.stems.index(stem)] = on

    def _set_crossfader(self, fade_ms: float) -> None:
        self.words["crossfader_fade_ms"] = fade_ms

    def _need_decks(self, what: str) -> None:
        if self.decks != 2:
            raise UsageError(f"{what}: takes two decks")

    def set_master(self, db: float, fade_ms: float = 0.0) -> None:
        """Level of all that is heard in dB, -inf to +12."""
        if not db <= HIGHEST_DB:
            raise UsageError(f"master: {db} dB is not between -inf and +{HIGHEST_DB:g}")
        self._set_master("master_db", db, fade_ms)

    def set_limiter(self, on: bool = True, ceiling_db: float | None = None, fade_ms: float = 0.0) -> None:
        """Let no sample exceed a ceiling, or stop to. The ceiling, -24 to 0 dB, stays as it is if None."""
        if ceiling_db is not None and not LOWEST_CEILING_DB <= ceiling_db <= 0.0:
            raise UsageError(f"ceiling: {ceiling_db} dB is not between {LOWEST_CEILING_DB:g} and 0")
        check_fade(fade_ms)
        with self.change():
            self._set_master("limiter", on, fade_ms)
            if ceiling_db is not None:
                self._set_master("ceiling_db", ceiling_db, fade_ms)

    def set_dry_wet(self, wet: float, fade_ms: float = 0.0) -> None:
        """Share of the mix in what is heard, 1 (the mix alone) to 0 (the delayed input alone)."""
        if not 0.0 <= wet <= 1.0:
            raise UsageError(f"dry/wet: {wet} is not between 0 (dry) and 1 (wet)")
        self._set_master("dry", 1.0 - wet, fade_ms)

    def set_bypass(self, on: bool = True, fade_ms: float = 0.0) -> None:
        """Hear the input, delayed as the output is, instead of the mix."""
        self._set_master("bypass", on, fade_ms)

    def set_panic(self, on: bool = True) -> None:
        """A bypass of its own, in the shortest time there is, whatever else is set or fading."""
        self._set_master("panic", on, float(self.words["master_fade_ms"]))

    def _set_stem(self, word: str, stem: str, value: float, fade_ms: float) -> None:
        index = self.index(stem)
        check_fade(fade_ms)
        with self.change():
            self.words["fade_ms"][index] = fade_ms
            self.words[word][index] = value

    def _set_master(self, word: str, value: float, fade_ms: float) -> None:
        check_fade(fade_ms)
        with self.change():
            self.words["master_fade_ms"] = fade_ms
            self.words[word] = value

    def request_reset(self, deck: int | None = None) -> None:
        """Forget what was heard, on a deck (counted from 1) or on all: after a seek, or other music."""
        if deck is None:
            self.words["epoch"] += 1
        else:
            self.words["deck_epochs"][self.deck_of(deck)] += 1

    def request_stop(self) -> None:
        """Ask the engine's process to end."""
        self.words["stop"] = 1

    def telemetry(self) -> Telemetry:
        """Read everything, now."""
        words, times = self.words, self.hop_times
        counters = {name: int(value) for name, value in zip(PORT_COUNTERS, words["port"], strict=True)}
        rate = int(words["sample_rate"])
        error = bytes(words["error"][: int(words["error_length"])]).decode("utf-8", "replace")
        levels = {stem: float(words["levels"][k]) for k, stem in enumerate(self.strips)}
        return Telemetry(
            state=STATES[int(words["state"])],
            error=error,
            seconds=counters["frames"] / rate if rate else 0.0,
            deadline=float(words["deadline"]),
            hops=times.hops,
            hop_p50=times.percentile(50.0),
            hop_p99=times.percentile(99.0),
            hop_p999=times.percentile(99.9),
            hop_max=times.longest,
            first_hops_max=times.longest_first,
            load=float(words["load"]),
            cpu_load=float(words["cpu_load"]),
            gpu_load=float(words["gpu_load"]),
            underruns=counters["underruns"],
            late_hops=counters["late_hops"],
            bad_hops=int(words["bad_hops"]),
            deck_bad_hops=tuple(int(n) for n in words["deck_bad_hops"][: self.decks]),
            jumps=int(words["jumps"]),
            resets=int(words["resets"]),
            xruns=counters["pa_input_overflow"] + counters["pa_output_underflow"],
            counters=counters,
            peaks=tuple(float(p) for p in words["peaks"][: int(words["out_channels"])]),
            stem_levels=levels,
            reduction_db=float(words["reduction"]),
            record_lost=int(words["record_lost"]),
            effects_replaced=int(words["effects_replaced"]),
            realtime=bool(words["realtime"]),
            block=counters["last_frames"] or int(words["block"]),
            planned_block=int(words["block"]),
        )

    # -- the engine's side -------------------------------------------------------------------------------

    def read_strips(self, strips: list[ChannelStrip], fades_ms: Doubles) -> None:
        """Copy the parameters to the strips, one a stem, and the time in which each is to fade.

        The memory is shared: a value that a setter would have refused must not end the music, so the strip
        keeps the one it had.
        """
        words = self.words
        for k, strip in enumerate(strips):
            # A NaN fails every comparison.
            if words["gain_db"][k] <= HIGHEST_DB:
                strip.gain_db = float(words["gain_db"][k])
            if -1.0 <= words["pan"][k] <= 1.0:
                strip.pan = float(words["pan"][k])
            if 0.0 <= words["send"][k] <= _HIGHEST_SEND:
                strip.send = float(words["send"][k])
            strip.mute = bool(words["mute"][k])
            strip.solo = bool(words["solo"][k])
            strip.inverted = bool(words["inverted"][k])
            if 0.0 <= words["fade_ms"][k] <= LONGEST_FADE_MS:
                fades_ms[k] = words["fade_ms"][k]

    def read_crossfader(self, decks: DeckSection) -> float:
        """The same for what several decks have. Returns the time in which it is to fade, ms."""
        words = self.words
        for k in range(self.decks):
            if words["deck_db"][k] <= HIGHEST_DB:
                decks.gains_db[k] = float(words["deck_db"][k])
        if -0.5 <= words["crossfader"] <= 0.5:
            decks.position = self.crossfader
        decks.cut = bool(words["cut"])
        for k in range(len(self.stems)):
            decks.swapped[k] = bool(words["swapped"][k])
        fade = float(words["crossfader_fade_ms"])
        return fade if 0.0 <= fade <= LONGEST_FADE_MS else 0.0

    def read_master(self, master: MasterStrip) -> float:
        """The same for the master. Returns the time in which it is to fade, ms."""
        words = self.words
        if words["master_db"] <= HIGHEST_DB:
            master.gain_db = float(words["master_db"])
        if 0.0 <= words["dry"] <= 1.0:
            master.dry = float(words["dry"])
        if LOWEST_CEILING_DB <= words["ceiling_db"] <= 0.0:
            master.ceiling_db = float(words["ceiling_db"])
        master.limiter = bool(words["limiter"])
        master.bypass = bool(words["bypass"]) or bool(words["panic"])
        fade = float(words["master_fade_ms"])
        return fade if 0.0 <= fade <= LONGEST_FADE_MS else 0.0

    def set_state(self, state: str, error: str = "") -> None:
        """Say where the engine's life stands."""
        text = error.encode()[:ERROR_BYTES]
        self.words["error"][: len(text)] = np.frombuffer(text, np.uint8)
        self.words["error_length"] = len(text)
        self.words["state"] = STATES.index(state)

    def publish_loads(self, cpu: float, gpu: float) -> None:
        """How busy processors and GPU are; NaN where that is not known."""
        self.words["cpu_load"], self.words["gpu_load"] = cpu, gpu

    def publish_counters(self, counters: dict[str, int]) -> None:
        """Copy what the audio callback counted."""
        for k, name in enumerate(PORT_COUNTERS):
            self.words["port"][k] = counters[name]
