"""The board between the engine and whoever controls it: parameters in, telemetry out, in plain memory.

The memory may be shared between processes. Every word has one writer: parameters and requests belong to the
controlling side, everything else to the engine. Words are aligned and eight bytes long, so each is read
whole; nothing needs a lock, and neither side can hold up the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rtsep.effects.parameters import MAX_PARAMETERS
from rtsep.engine.telemetry import BUCKETS, HopTimes, Telemetry
from rtsep.mixer.strip import ChannelStrip
from rtsep.spec import UsageError

MAX_STEMS = 16
MAX_CHANNELS = 64
ERROR_BYTES = 512
HIGHEST_DB = 12.0
STATES = ("starting", "running", "stopped", "failed")

PORT_COUNTERS = (
    "callbacks", "frames", "underruns", "underrun_frames", "late_hops", "input_overruns",
    "pa_input_overflow", "pa_output_underflow", "bad_input", "bad_output", "late_callbacks",
    "missed_callbacks", "max_callback_gap_ns", "last_callback_ns", "max_callback_ns",
    "total_callback_ns", "first_stream_ns", "last_stream_ns",
)  # fmt: skip
"""What the board carries of `RealtimePort.counters`."""

_LAYOUT = np.dtype(
    [
        # Written by the controlling side.
        ("gain_db", "f8", MAX_STEMS),
        ("mute", "i8", MAX_STEMS),
        ("solo", "i8", MAX_STEMS),
        ("bypass", "i8"),
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
        ("sample_rate", "i8"),
        ("bad_hops", "i8"),
        ("jumps", "i8"),
        ("resets", "i8"),
        ("record_lost", "i8"),
        ("effects_replaced", "i8"),
        ("port", "i8", len(PORT_COUNTERS)),
        ("levels", "f8", MAX_STEMS),
        ("peaks", "f8", MAX_CHANNELS),
        ("out_channels", "i8"),
        ("error_length", "i8"),
        ("error", "u1", ERROR_BYTES),
    ],
    align=True,
)


class Board:
    """Named access to the board's memory.

    Args:
        stems: names, in the model's order.
        buffer: at least `Board.size_bytes()` bytes, zeroed or an existing board's; own memory if None.
            Zeros are the defaults: every stem at 0 dB.

    Raises:
        UsageError: for a stem that the model does not have.
    """

    def __init__(self, stems: tuple[str, ...], buffer: Any = None) -> None:
        if len(stems) > MAX_STEMS:
            raise UsageError(f"a model of {len(stems)} stems; at most {MAX_STEMS} are possible")
        self.stems = stems
        memory = np.zeros(_LAYOUT.itemsize, np.uint8) if buffer is None else buffer
        self.words = np.frombuffer(memory, _LAYOUT, 1)[0]
        self.hop_times = HopTimes(self.words["hop_counts"], self.words["hops"])

    @staticmethod
    def size_bytes() -> int:
        """Bytes that a board occupies."""
        return _LAYOUT.itemsize

    # -- the controlling side ------------------------------------------------------------------------

    def index(self, stem: str) -> int:
        """Where a stem stands in the model's order."""
        try:
            return self.stems.index(stem)
        except ValueError:
            raise UsageError(f"no stem {stem!r}: this model has {', '.join(self.stems)}") from None

    def set_gain(self, stem: str, db: float) -> None:
        """Gain of a stem in dB, -inf to +12; reached by a ramp."""
        if not db <= HIGHEST_DB:
            raise UsageError(f"gain of {stem}: {db} dB is not between -inf and +{HIGHEST_DB:g}")
        self.words["gain_db"][self.index(stem)] = db
        self._changed()

    def set_mute(self, stem: str, on: bool = True) -> None:
        """Silence a stem, or let it sound again at its gain."""
        self.words["mute"][self.index(stem)] = on
        self._changed()

    def set_solo(self, stem: str, on: bool = True) -> None:
        """While any stem is soloed, only soloed stems sound."""
        self.words["solo"][self.index(stem)] = on
        self._changed()

    def set_bypass(self, on: bool = True) -> None:
        """Hear the input, delayed as the output is, instead of the mix."""
        self.words["bypass"] = on
        self._changed()

    def request_reset(self) -> None:
        """Forget what was heard so far: after a seek, or when other music begins."""
        self.words["epoch"] += 1

    def request_stop(self) -> None:
        """Ask the engine's process to end."""
        self.words["stop"] = 1

    def _changed(self) -> None:
        # Written after the parameter, so that whoever sees the new revision sees the parameter too.
        self.words["revision"] += 1

    def telemetry(self) -> Telemetry:
        """Read everything, now."""
        words, times = self.words, self.hop_times
        counters = {name: int(value) for name, value in zip(PORT_COUNTERS, words["port"], strict=True)}
        rate = int(words["sample_rate"])
        error = bytes(words["error"][: int(words["error_length"])]).decode("utf-8", "replace")
        levels = {stem: float(words["levels"][k]) for k, stem in enumerate(self.stems)}
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
            underruns=counters["underruns"],
            late_hops=counters["late_hops"],
            bad_hops=int(words["bad_hops"]),
            jumps=int(words["jumps"]),
            resets=int(words["resets"]),
            xruns=counters["pa_input_overflow"] + counters["pa_output_underflow"],
            counters=counters,
            peaks=tuple(float(p) for p in words["peaks"][: int(words["out_channels"])]),
            stem_levels=levels,
            record_lost=int(words["record_lost"]),
            effects_replaced=int(words["effects_replaced"]),
        )

    # -- the engine's side -------------------------------------------------------------------------------

    def read_strips(self, strips: list[ChannelStrip]) -> bool:
        """Copy the parameters to the strips, one a stem. Returns whether the bypass is on.

        The memory is shared: a gain that `set_gain` would have refused must not end the music, so the strip
        keeps the one it had.
        """
        words = self.words
        for k, strip in enumerate(strips):
            gain_db = float(words["gain_db"][k])
            if gain_db <= HIGHEST_DB:  # which a NaN is not
                strip.gain_db = gain_db
            strip.mute = bool(words["mute"][k])
            strip.solo = bool(words["solo"][k])
        return bool(words["bypass"])

    def set_state(self, state: str, error: str = "") -> None:
        """Say where the engine's life stands."""
        text = error.encode()[:ERROR_BYTES]
        self.words["error"][: len(text)] = np.frombuffer(text, np.uint8)
        self.words["error_length"] = len(text)
        self.words["state"] = STATES.index(state)

    def publish_counters(self, counters: dict[str, int]) -> None:
        """Copy what the audio callback counted."""
        for k, name in enumerate(PORT_COUNTERS):
            self.words["port"][k] = counters[name]
