"""The worker: waits for a hop, separates it, mixes it, puts it where it is due; and nothing else.

It runs on a thread of its own. While it waits it holds no lock, not even the interpreter's. What it
touches was allocated before it began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream
from rtsep.dsp.gains import linear_to_db
from rtsep.dsp.kernel import Integers
from rtsep.engine.board import Board
from rtsep.engine.dry import DryDelay
from rtsep.engine.latency import LatencyReport
from rtsep.engine.rates import Intake, Outlet
from rtsep.engine.tape import Tape
from rtsep.mixer.decks import DeckSection
from rtsep.mixer.master import MasterStrip
from rtsep.mixer.mixer import Mixer
from rtsep.mixer.strip import ChannelStrip, channel_gains
from rtsep.rt import priority
from rtsep.rt.port import RealtimePort
from rtsep.rt.ring import RingBuffer

if TYPE_CHECKING:
    from rtsep.effects.stage import EffectStage

RAMP = 256
"""Samples in which a gain goes to a new value at the soonest: under 6 ms, and no click."""
WAIT_SECONDS = 0.05
LOAD_SHARE = 0.05
"""Weight of the newest hop in the average load, which thus remembers some twenty hops."""

METER_SHARE = 0.2
REDUCTION_SHARE = 0.02
"""By which the limiter's meter falls back at every hop."""

Routes = tuple[tuple[int, tuple[int, ...]], ...]
"""Number of a strip and the device channels, counted from 0, that it goes to besides the mix."""


class Worker:
    """Moves hops from a port's input to its output.

    Args:
        port: the memory shared with the audio callback.
        stream: the separator, warmed up; of as many decks as the port and the board have.
        board: parameters in, telemetry out.
        latency: the stream's plan.
        routes: strips that have device channels of their own.
        silent: the fallback is silence, not dry.
        recorder: where stems and mix go, interleaved, if they are recorded:
            (strips + 1) x channels wide.
        effects: chains on stems and on the mix, if there are any.
        realtime: ask for real-time priority.
        on_failure: called with a line of text if the worker cannot go on.
    """

    def __init__(
        self,
        port: RealtimePort,
        stream: HopStream,
        board: Board,
        latency: LatencyReport,
        *,
        routes: Routes = (),
        silent: bool = False,
        recorder: RingBuffer | None = None,
        effects: EffectStage | None = None,
        realtime: bool = False,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        spec = stream.spec
        self._port, self._stream, self._board = port, stream, board
        self._routes, self._effects, self._realtime = routes, effects, realtime
        self._on_failure = on_failure
        decks = self._decks = stream.decks
        if not decks == board.decks == len(port.decks):
            raise ValueError(
                f"{decks} decks to separate, {board.decks} on the board, {port.decks} in the port"
            )
        self._mixer = Mixer(len(spec.stems), spec.channels, spec.hop, RAMP, spec.sample_rate, decks)
        stems = self._mixer.stems
        # Views that are made once: a deck's share of the stream's strips.
        self._shares = [stream.strips[board.strips_of(deck)] for deck in range(decks)]
        self._strips = [ChannelStrip() for _ in range(stems)]
        self._section = DeckSection([0.0] * decks, [False] * len(spec.stems))
        self._crossed = np.ones(stems + decks)
        self._crossed_fades = np.full(stems + decks, RAMP, np.int64)
        self._channel_gains = np.ones((stems, spec.channels))
        self._sent_gains = np.ones((stems, spec.channels))
        self._replaced = [False] * decks
        self._master = MasterStrip()
        self._fades_ms = np.zeros(stems)
        self._fades = np.full(stems, RAMP, np.int64)
        self._sends = np.zeros(stems)
        self._sliding = False
        self._panic = False
        self._revision = -1
        self._peak = np.zeros(stems + 1, np.float32)
        self._square = np.zeros(stems + 1, np.float32)
        self._dry = [DryDelay(spec.channels, spec.hop, spec.delay) for _ in range(decks)]
        self._dries = np.zeros((decks, spec.channels, spec.hop), np.float32)
        # What takes the place of a hop that cannot be let through; None for the dry signal.
        self._silence = np.zeros((spec.channels, spec.hop), np.float32) if silent else None
        self._intake = Intake(port, latency.sample_rate, spec.sample_rate, spec.hop)
        self._outlet = Outlet(port, spec.sample_rate, latency.sample_rate, spec.hop, latency.prefill)
        self._mix = np.zeros((spec.channels, spec.hop), np.float32)
        self._faded: NDArray[np.float32] = np.zeros((stems, spec.channels, spec.hop), np.float32)
        self._out = np.zeros((port.out_channels, spec.hop), np.float32)
        self._tape = Tape(recorder, stems, spec.channels, spec.hop) if recorder else None
        # Frames of the model for each of the device's.
        self._ratio = spec.sample_rate / latency.sample_rate
        self._untouched = stream.strips
        self._effects_revision = int(board.words["effects_revision"])
        self._settling = -(-spec.delay // spec.hop)
        self._refilling = -(-(spec.delay + (effects.delay if effects else 0)) // spec.hop)
        self._dry_hops = [0] * decks
        self._mute_hops = 0
        self._epoch = int(board.words["epoch"])
        self._deck_epochs = [int(epoch) for epoch in board.words["deck_epochs"][:decks]]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtsep worker", daemon=True)
        board.words["deadline"] = spec.hop_seconds
        self._warm_up()

    def start(self) -> None:
        """Begin; the port's input may be empty so far."""
        self._thread.start()

    def stop(self) -> None:
        """End after the hop in hand, and wait for that."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    # -- the loop --------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._realtime:
            self._board.words["realtime"] = priority.rise(priority.WORKER)
        try:
            while not self._stopping.is_set():
                if self._port.wait(self._intake.needed, WAIT_SECONDS):
                    self._hop()
                elif self._port.finished:
                    # The device has ended: nothing will come, and a wait would return at once.
                    time.sleep(WAIT_SECONDS)
                else:
                    # Nothing came for many hops: a GPU would begin to save power.
                    self._stream.keep_alive()
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure(f"{type(error).__name__}: {error}")

    def _hop(self) -> None:
        began = time.perf_counter_ns()
        if not self._intake.take(self._stream.inputs):
            self._catch_up()
            return
        self._separate()
        self._route()
        self._outlet.put(self._out, audible=self._mute_hops == 0)
        self._mute_hops = max(0, self._mute_hops - 1)
        self._recover()
        self._account(time.perf_counter_ns() - began)

    def _separate(self) -> None:
        """Input hop to mix: `_mix`, and the stems after their gains in `_faded`."""
        words, stream, mixer = self._board.words, self._stream, self._mixer
        for deck, delay in enumerate(self._dry):
            self._dries[deck] = delay.push(stream.inputs[deck])
        stream.step()
        self._reset_as_asked()
        turned = False
        for deck, stems in enumerate(self._shares):
            instead = self._dries[deck] if self._silence is None else self._silence
            replaced = mixer.sanitise(stems, instead, self._dry_hops[deck] > 0, deck)
            turned |= replaced != self._replaced[deck]
            self._replaced[deck] = replaced
            self._dry_hops[deck] = max(0, self._dry_hops[deck] - 1)
        if turned:
            self._send_gains()
        if words["revision"] != self._revision and not words["pending"]:
            self._take_parameters()
        effects, returned = self._effects, None
        if effects is not None:
            self._affect(effects)
        mixer.strips(stream.strips, self._faded)
        if effects is not None:
            returned = effects.process_bus(mixer.bus)
        mixer.total(self._faded, self._mix, returned)
        dry = mixer.cross_dry(self._dries)
        if self._sliding:
            self._level_fallback()
        if effects is not None:
            effects.process_mix(self._mix, self._faded)
            dry = effects.delay_dry(dry)
            words["effects_replaced"] = effects.replaced
        mixer.finish(self._faded, self._mix, dry)

    def _reset_as_asked(self) -> None:
        """All decks, or one: from here on its stems are replaced by dry, until it has a past again."""
        words, stream = self._board.words, self._stream
        epoch = int(words["epoch"])
        if epoch != self._epoch:
            self._epoch = epoch
            words["resets"] += 1
            stream.reset()
            for deck in range(self._decks):
                self._dry_hops[deck] = self._settling + 1
        for deck in range(self._decks):
            epoch = int(words["deck_epochs"][deck])
            if epoch != self._deck_epochs[deck]:
                self._deck_epochs[deck] = epoch
                words["resets"] += 1
                stream.reset(deck)
                self._dry_hops[deck] = self._settling + 1

    def _take_parameters(self) -> None:
        """Board to mixer; another change that begins meanwhile is left, whole, to the next hop."""
        words, mixer, board = self._board.words, self._mixer, self._board
        revision = int(words["revision"])
        board.read_strips(self._strips, self._fades_ms)
        fade_ms = board.read_master(self._master)
        crossfade_ms = board.read_crossfader(self._section)
        panic = bool(words["panic"])
        if words["pending"] or words["revision"] != revision:
            return
        self._revision = revision
        for k, strip in enumerate(self._strips):
            self._fades[k] = self._samples(self._fades_ms[k])
            self._sends[k] = strip.send
        for deck, level in enumerate(self._section.gains()):
            share = board.strips_of(deck)
            # Solos are a deck's own.
            gains = channel_gains(self._strips[share], mixer.channels)
            self._channel_gains[share] = gains if level == 1.0 else gains * level
        self._crossed_fades.fill(self._samples(crossfade_ms))
        self._send_gains(self._fades, self._crossed_fades)
        mixer.set_sends(self._sends, self._fades)
        self._sliding = self._decks > 1
        mixer.master.set(self._master, self._samples(fade_ms), RAMP if panic != self._panic else None)
        self._panic = panic

    def _send_gains(self, fades: Integers | None = None, crossed_fades: Integers | None = None) -> None:
        """Strips to where they are set; of a deck whose stems are replaced, the last one to where dry goes.

        That strip holds the whole of the deck's input then (see `mixer.guard`), which must be heard even if
        the stem is muted or another one soloed: no separation is better than no sound. It is as loud as the
        loudest strip is set, and no louder than the deck: where all are muted, nothing is heard.

        Args:
            fades, crossed_fades: samples that each gain takes that changes; the usual ramp if None.
        """
        np.copyto(self._sent_gains, self._channel_gains)
        for deck, level in enumerate(self._section.gains()):
            if self._replaced[deck]:
                share = self._board.strips_of(deck)
                loudest = float(np.abs(self._channel_gains[share]).max())
                self._sent_gains[share.stop - 1] = min(level, loudest)
        self._mixer.set_targets(self._sent_gains, fades)
        self._section.levels(self._crossed, self._replaced)
        self._mixer.set_crossfader(self._crossed, crossed_fades)

    def _level_fallback(self) -> None:
        """What the callback plays where a hop is missing: the decks as the crossfader has them now."""
        crossfader, strips = self._mixer.crossfader, self._mixer.stems
        for deck in range(self._decks):
            self._port.set_dry_level(deck, crossfader.value(strips + deck))
        self._sliding = crossfader.moving

    def _samples(self, fade_ms: float) -> int:
        return max(RAMP, int(fade_ms * 1e-3 * self._stream.spec.sample_rate))

    def _affect(self, effects: EffectStage) -> None:
        """Stems through their chains, in place; as they were, in time with the mix, for the recorder."""
        words, stems = self._board.words, self._stream.strips
        revision = int(words["effects_revision"])
        if revision != self._effects_revision:
            self._effects_revision = revision
            effects.set_values(words["effects"])
        if self._tape is not None:
            self._untouched = effects.keep_dry(stems)
        effects.process_stems(stems)

    def _recover(self) -> None:
        """After a spoiled hop, which the guard has replaced: a state with a NaN in it never loses it."""
        counts = self._board.words["deck_bad_hops"]
        for deck, guard in enumerate(self._mixer.guards):
            fresh = guard.replaced - int(counts[deck])
            if fresh:
                counts[deck] = guard.replaced
                self._board.words["bad_hops"] += fresh
                self._stream.reset(None if self._decks == 1 else deck)
                self._dry_hops[deck] = self._settling

    def _route(self) -> None:
        """Mix and stems to the device's channels, and to the recorder."""
        out, mix = self._out, self._mix
        if out.shape[0] == 1 and mix.shape[0] > 1:
            np.mean(mix, axis=0, out=out[0])
        else:
            out[: mix.shape[0]] = mix
            if mix.shape[0] == 1 and out.shape[0] > 1:
                out[1] = mix[0]
        for stem, channels in self._routes:
            for k, channel in enumerate(channels):
                out[channel] = self._faded[stem, k % mix.shape[0]]
        if self._tape is not None:
            self._tape.record(self._untouched, mix)
            self._board.words["record_lost"] = self._tape.lost

    def _account(self, nanoseconds: int) -> None:
        words = self._board.words
        self._board.hop_times.add(nanoseconds)
        share = nanoseconds * 1e-9 / self._stream.spec.hop_seconds
        words["load"] += LOAD_SHARE * (share - words["load"])
        self._mixer.meters.read(self._peak, self._square)
        # The square root of a smoothed mean square falls as a meter's needle does.
        levels = words["levels"]
        for k in range(self._mixer.stems):
            levels[k] += METER_SHARE * (float(self._square[k]) ** 0.5 - levels[k])
        reduction = linear_to_db(self._mixer.master.take_reduction())
        words["reduction"] = min(reduction, words["reduction"] * (1.0 - REDUCTION_SHARE))

    def _catch_up(self) -> None:
        """The input that comes next is lost. Go on with the newest, and let the callback bridge the hole."""
        position = self._port.position
        self._intake.jump(position)
        self._outlet.jump(position)
        self._stream.reset()
        if self._tape is not None:
            self._tape.skip_to(round(position * self._ratio))
        # Neither stems nor dry signal are whole before the delays have filled: leave it to the callback.
        self._mute_hops = self._refilling
        self._board.words["jumps"] += 1

    def _warm_up(self) -> None:
        """Run every path once, so that nothing is compiled or loaded while music plays."""
        self._stream.inputs.fill(0.0)
        self._separate()
        tape, self._tape = self._tape, None
        self._route()
        self._tape = tape
        self._stream.reset()
        self._mixer.reset()
        self._dry_hops = [0] * self._decks
