"""All effects of an engine: chains of stems, of the sends' bus and of the sum; all else kept in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rtsep.dsp.kernel import Doubles, Floats
from rtsep.effects.chain import EffectChain
from rtsep.effects.chainfile import load_chain
from rtsep.effects.lines import DelayLine
from rtsep.effects.parameters import BUS, MASTER, MAX_PARAMETERS, EffectParameter
from rtsep.spec import StreamSpec, UsageError, strip_names


def check_owners(files: Iterable[str], strips: tuple[str, ...]) -> None:
    """Raise a UsageError for a chain that belongs to no strip, nor to the bus or the master."""
    owners = (*strips, BUS, MASTER)
    for owner in files:
        if owner not in owners:
            raise UsageError(f"no stem '{owner}' for effects: there are {', '.join(owners)}")


class EffectStage:
    """Between the separator and the strips: the stems' chains. Behind these: the bus', and the sum's.

    Stems without a chain, or with a quicker one, are delayed until all are equally late; so is whatever
    belongs to the mix while the master's chain has it.

    Args:
        files: chain files by stem, "bus" or "master"; by "2/vocals" where there are several decks.
        spec: the stream's.
        decks: how many. Where the arrays below have stems, they have those of all decks, the first's first.

    Attributes:
        files: as given.
        delay: samples from the separator's output to the mix, added by all this.
        parameters: of every chain, with their whole addresses.

    Raises:
        UsageError: a file that is wrong, a plug-in that does not load or cannot be compensated.
    """

    def __init__(self, files: Mapping[str, str | Path], spec: StreamSpec, decks: int = 1) -> None:
        strips = strip_names(spec.stems, decks)
        check_owners(files, strips)
        self.files = {owner: str(file) for owner, file in files.items()}
        read = {owner: (str(file), load_chain(file)) for owner, file in files.items()}
        chains = {
            owner: EffectChain(chain, file, spec.channels, spec.hop, spec.sample_rate)
            for owner, (file, chain) in read.items()
        }
        self._master = chains.get(MASTER)
        self._bus = chains.get(BUS)
        if self._bus is not None and self._bus.delay:
            raise UsageError(
                f"{self.files[BUS]}: this chain is {self._bus.delay} samples late; what the bus returns"
                " must be in time with the stems"
            )
        self._chains = [(k, chains[stem]) for k, stem in enumerate(strips) if stem in chains]
        self._all = tuple(chains.values())
        stems, channels = len(strips), spec.channels
        slowest = max((chain.delay for _, chain in self._chains), default=0)
        late = self._master.delay if self._master else 0
        self.delay = slowest + late
        quickness = [slowest] * stems
        for k, chain in self._chains:
            quickness[k] -= chain.delay
        self._waits = [DelayLine(1, channels, wait) for wait in quickness]
        self._parts = DelayLine(stems, channels, late)
        self._dry = DelayLine(stems, channels, self.delay)
        self._through = DelayLine(1, channels, self.delay)
        self._late: Floats = np.zeros((1, channels, spec.hop), np.float32)
        self._returned: Floats = np.zeros((channels, spec.hop), np.float32)
        self._dry_stems: Floats = np.zeros((stems, channels, spec.hop), np.float32)
        self._signal = np.zeros((channels, spec.hop), np.float32)
        self._ways = [(chain, k) for chain in self._all for k in range(len(chain.parameters))]
        self.parameters = tuple(
            EffectParameter(
                f"fx/{owner}/{p.address}", p.minimum, p.maximum, p.value, p.unit, p.choices, p.switch
            )
            for owner, chain in chains.items()
            for p in chain.parameters
        )
        if len(self.parameters) > MAX_PARAMETERS:
            raise UsageError(
                f"the chains have {len(self.parameters)} parameters, of which at most {MAX_PARAMETERS} can be"
                " moved: list those that matter under 'expose'"
            )
        self._values = np.array([p.value for p in self.parameters], np.float64)

    @property
    def replaced(self) -> int:
        """Hops of chains that were replaced by the dry signal."""
        return sum(chain.replaced for chain in self._all)

    def keep_dry(self, stems: Floats) -> Floats:
        """The stems as they were separated, in time with the mix; overwritten by the next call."""
        self._dry.push(stems, self._dry_stems)
        return self._dry_stems

    def process_stems(self, stems: Floats) -> None:
        """Put a hop, (stems, channels, hop), through the stems' chains, in place."""
        for k, chain in self._chains:
            signal = self._signal
            signal[:] = stems[k]
            chain.process(signal)
            stems[k] = signal
        for k, wait in enumerate(self._waits):
            if wait.delay:
                wait.push(stems[k : k + 1], stems[k : k + 1])

    def process_mix(self, mix: Floats, parts: Floats) -> None:
        """Put the sum, (channels, hop), through the master's chain, and let its parts wait; in place."""
        if self._master is not None:
            self._master.process(mix)
            self._parts.push(parts, parts)

    def process_bus(self, bus: Floats) -> Floats | None:
        """What the bus' chain makes of a hop of sends, (channels, hop); overwritten by the next call."""
        if self._bus is None:
            return None
        self._returned[:] = bus
        self._bus.process(self._returned)
        return self._returned

    def delay_dry(self, dry: Floats) -> Floats:
        """The input of a hop, (channels, hop), in time with the mix; overwritten by the next call."""
        if not self.delay:
            return dry
        self._through.push(dry[None], self._late)
        return self._late[0]

    def set_values(self, values: Doubles) -> None:
        """Turn to these what differs: (parameters,) float64, in the order of `parameters`.

        The memory that they come from is shared: what is no number, or out of range, is left alone.
        """
        for index, parameter in enumerate(self.parameters):
            value = float(values[index])
            if value == self._values[index] or not parameter.minimum <= value <= parameter.maximum:
                continue
            self._values[index] = value
            chain, k = self._ways[index]
            try:
                chain.set(k, value)
            except Exception:
                # A plug-in that refuses a value keeps the one it has: that must not end the music.
                continue
