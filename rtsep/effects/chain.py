"""A chain of effects on one signal: constant latency, bypass without a click, faults that stay inside."""

from __future__ import annotations

import numpy as np

from rtsep.dsp.kernel import Floats
from rtsep.effects.catalogue import BUILT_IN
from rtsep.effects.chainfile import ChainFile, PluginEntry
from rtsep.effects.lines import Crossfade, DelayLine, Queue
from rtsep.effects.measurement import measure
from rtsep.effects.parameters import EffectParameter
from rtsep.effects.plugins import Plugin
from rtsep.mixer.guard import Guard
from rtsep.spec import UsageError

RAMP = 512
"""Samples that a bypass takes: 12 ms."""

LOUDEST = 100.0
"""Amplitude beyond which an effect is taken to have gone mad: 40 dB above full scale."""


class Slot:
    """One effect, evened out and compensated: a hop in, a hop out, always equally late.

    Args:
        entry: which effect.
        where: file and place in it, for messages.
        channels, hop, sample_rate: of the stream.

    Attributes:
        delay: samples by which its output trails its input.

    Raises:
        UsageError: when it cannot be loaded, or its lateness cannot be compensated.
    """

    def __init__(self, entry: PluginEntry, where: str, channels: int, hop: int, sample_rate: int) -> None:
        self.entry = entry
        self._rate = sample_rate
        if entry.type is not None and (why := BUILT_IN[entry.type].unstreamed):
            raise UsageError(f"{where} ({entry.title}): {why}")
        self.plugin = Plugin(entry, where)
        self.plugin.reset()
        listen = entry.lag is None and not self.plugin.echoes
        try:
            found = measure(self._run, channels, hop, sample_rate, listen=listen)
        except UsageError as error:
            raise UsageError(f"{where} ({entry.title}): cannot be compensated: {error}") from None
        except Exception as error:
            raise UsageError(f"{where} ({entry.title}): {' '.join(str(error).split())}") from None
        self.delay = found.delay if entry.lag is None else found.shortfall + entry.lag
        self._queue = Queue(channels, hop, found.shortfall)
        self._line = DelayLine(1, channels, self.delay)
        self._fade = Crossfade(hop, RAMP, not entry.bypass)
        self._dry = np.zeros((channels, hop), np.float32)
        self._wet = np.zeros((channels, hop), np.float32)
        self._reported = self.plugin.reported_latency
        self.plugin.reset()

    def bypass(self, on: bool) -> None:
        """Let the sound past it, equally late."""
        self._fade.set(not on)

    def process(self, block: Floats) -> bool:
        """Put a hop through it, in place. False, and dry, when it did not give what it should."""
        self._line.push(block[np.newaxis], self._dry[np.newaxis])
        sane = self._queue.exchange(self._run(block), self._wet)
        # With another latency than was measured it would be out of time with everything else.
        sane &= self.plugin.reported_latency == self._reported
        if sane:
            self._fade.mix(self._dry, self._wet, block)
        else:
            block[:] = self._dry
        return sane

    def reset(self) -> None:
        """Begin anew, with silence to come first."""
        self.plugin.reset()
        self._queue.reset()

    def _run(self, block: Floats) -> Floats:
        return self.plugin.process(block, self._rate)


class EffectChain:
    """Effects one after the other, as a chain file lists them.

    The delay never changes: bypassed or not, and whatever a plug-in does. One that raises, gives too little,
    or gives samples that are not numbers is replaced by the dry signal, begins anew, and is faded in
    when it has a past again.

    Args:
        chain: what the file says.
        source: the file, for messages.
        channels, hop, sample_rate: of the stream.

    Attributes:
        chain: as given.
        delay: samples by which its output trails its input.
        parameters: what can be moved, with addresses such as "0/room_size" and "bypass".
        replaced: hops that were replaced by the dry signal.

    Raises:
        UsageError: when an effect cannot be loaded or compensated, or all are too late.
    """

    def __init__(self, chain: ChainFile, source: str, channels: int, hop: int, sample_rate: int) -> None:
        self.chain = chain
        self._slots = [
            Slot(entry, f"{source}: plugin {k + 1}", channels, hop, sample_rate)
            for k, entry in enumerate(chain.plugin)
        ]
        self.delay = sum(slot.delay for slot in self._slots)
        late = 1000.0 * self.delay / sample_rate
        if late > chain.latency_limit_ms:
            latest = max(self._slots, key=lambda slot: slot.delay)
            raise UsageError(
                f"{source}: is {late:.0f} ms late, most of it by {latest.entry.title}, and all else would"
                f" have to wait for it; latency_limit_ms is {chain.latency_limit_ms:g}"
            )
        self.replaced = 0
        self._settling = -(-self.delay // hop) + 1
        self._dry_hops = 0
        self._line = DelayLine(1, channels, self.delay)
        self._fade = Crossfade(hop, RAMP, not chain.bypass)
        self._guard = Guard(1, channels, RAMP, LOUDEST)
        self._dry = np.zeros((channels, hop), np.float32)
        self._wet = np.zeros((1, channels, hop), np.float32)
        self._pieces: list[tuple[Slot | None, int]] = []
        self.parameters = tuple(self._list_parameters())
        # Every path once, so that nothing is loaded or prepared while music plays.
        self.process(np.zeros((channels, hop), np.float32))
        self.reset()

    def process(self, block: Floats) -> None:
        """Put a hop, (channels, hop) and C-contiguous, through it in place."""
        self._line.push(block[np.newaxis], self._dry[np.newaxis])
        wet = self._wet[0]
        wet[:] = block
        sane = True
        for slot in self._slots:
            try:
                sane &= slot.process(wet)
            except Exception:
                # A plug-in's fault, of whatever class, must not end the music.
                sane = False
        bad = self._guard.sanitise(self._wet, self._dry, not sane or self._dry_hops > 0)
        if bad and self._dry_hops == 0:
            self.reset()
            self._dry_hops = self._settling
        self.replaced += bad
        self._dry_hops = max(0, self._dry_hops - 1)
        self._fade.mix(self._dry, wet, block)

    def bypass(self, on: bool) -> None:
        """Let the sound past all of it, equally late."""
        self._fade.set(not on)

    def set(self, index: int, value: float) -> None:
        """Turn one of `parameters`."""
        slot, number = self._pieces[index]
        if number >= 0:
            assert slot is not None
            slot.plugin.set(number, value)
        elif slot is not None:
            slot.bypass(value >= 0.5)
        else:
            self.bypass(value >= 0.5)

    def reset(self) -> None:
        """Let every effect begin anew; the dry signal goes on."""
        for slot in self._slots:
            slot.reset()

    def _list_parameters(self) -> list[EffectParameter]:
        found = [EffectParameter("bypass", 0.0, 1.0, float(self.chain.bypass), switch=True)]
        self._pieces.append((None, -1))
        for k, slot in enumerate(self._slots):
            bypass = float(slot.entry.bypass)
            found.append(EffectParameter(f"{k}/bypass", 0.0, 1.0, bypass, switch=True))
            self._pieces.append((slot, -1))
            for number, known in enumerate(slot.plugin.parameters):
                found.append(
                    EffectParameter(
                        f"{k}/{known.address}", known.minimum, known.maximum, known.value, known.unit,
                        known.choices, known.switch,
                    )
                )  # fmt: skip
                self._pieces.append((slot, number))
        return found
