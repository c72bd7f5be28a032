"""The sum of the stems, each at its own gain and place, hop by hop; of one deck's, or of several decks'."""

from __future__ import annotations

import numpy as np

from rtsep.dsp.gains import Ramp
from rtsep.dsp.kernel import Doubles, Floats, Integers, kernel
from rtsep.mixer.guard import Guard
from rtsep.mixer.master import Master
from rtsep.mixer.meters import Meters
from rtsep.spec import UsageError


@kernel("void(float32[:, :, :], float32[:, ::1], float32[:, :, :])")
def _apply(stems: Floats, gains: Floats, stem_out: Floats) -> None:
    """Each channel of each stem at its gain; a gain of one changes no bit."""
    count, channels, samples = stems.shape
    for s in range(count):
        for c in range(channels):
            for i in range(samples):
                stem_out[s, c, i] = stems[s, c, i] * gains[s * channels + c, i]


@kernel("void(float32[:, :, :], float32[:, ::1], float32[:, :, :])")
def _cross(stems: Floats, levels: Floats, out: Floats) -> None:
    """Each stem at its level, all its channels alike."""
    count, channels, samples = stems.shape
    for s in range(count):
        for c in range(channels):
            for i in range(samples):
                out[s, c, i] = stems[s, c, i] * levels[s, i]


@kernel("void(float32[:, :, :], float32[:, :])")
def _sum(stems: Floats, out: Floats) -> None:
    """The stems' sum, in order."""
    count, channels, samples = stems.shape
    for c in range(channels):
        for i in range(samples):
            out[c, i] = stems[0, c, i]
        for s in range(1, count):
            for i in range(samples):
                out[c, i] += stems[s, c, i]


@kernel("void(float32[:, :, :], float32[:, ::1], float32[:, :])")
def _send(stems: Floats, levels: Floats, bus: Floats) -> None:
    """What the stems, at their levels, give to the bus."""
    count, channels, samples = stems.shape
    for c in range(channels):
        for i in range(samples):
            bus[c, i] = stems[0, c, i] * levels[0, i]
        for s in range(1, count):
            for i in range(samples):
                bus[c, i] += stems[s, c, i] * levels[s, i]


@kernel("boolean(int64[::1], float64[::1])")
def _open(left: Integers, target: Doubles) -> bool:
    """Whether any send is open, or still closing."""
    found = False
    for k in range(left.shape[0]):
        found |= left[k] > 0 or target[k] != 0.0
    return found


@kernel("void(float32[:, :], float32[:, :])")
def _add(what: Floats, out: Floats) -> None:
    channels, samples = out.shape
    for c in range(channels):
        for i in range(samples):
            out[c, i] += what[c, i]


class Mixer:
    """Sums stems with gains that never step, meters them, and guards against runaway stems.

    With several decks a *strip* is one stem of one deck, the first deck's first. Behind their strips the
    stems of every deck pass the crossfader, on the side that they are on, and so does each deck's input on
    its way to the dry signal. One deck passes none.

    All gains begin at one, all sends at zero. One thread uses a mixer; nothing it does allocates. A hop goes
    through `strips`, through an effect that reads `bus`, if there is one, into the sum by `total`, through an
    effect on the sum, and through `finish`; `process` is all three where there is no effect.

    Attributes:
        stems: strips in all. channels, hop, ramp, decks: as given.
        gains: the ramps, one a channel of a strip; `gains.target` is what was set last.
        sends: the ramps of what each stem gives to the effect bus.
        bus: (channels, hop) float32, the sum of the sends; zero where no send is open.
        crossfader: the ramps of what it lets through, of every strip and then of every deck's input.
        master: what the sum passes last.
        meters: of each strip behind its gain and, in the last row, of what leaves.
        guards: one a deck, replaces its hops that are not sane and counts them.
    """

    def __init__(
        self, stems: int, channels: int, hop: int, ramp: int, sample_rate: int = 44100, decks: int = 1
    ) -> None:
        """Args:
            stems, channels: shape of one deck's stream.
            hop: the most samples that one call brings.
            ramp: samples in which a gain goes to a new target where nothing else is said.
            sample_rate: Hz, for the limiter's release.
            decks: how many.

        Raises:
            UsageError: for sizes below 1.
        """
        if min(stems, channels, hop, ramp, decks) < 1:
            raise UsageError(
                f"mixer: {decks} decks, {stems} stems of {channels} channels, hop {hop}, ramp {ramp}"
            )
        self.decks = decks
        self.guards = tuple(Guard(stems, channels, ramp) for _ in range(decks))
        stems *= decks
        self.stems = stems
        self.channels = channels
        self.hop = hop
        self.ramp = ramp
        self.gains = Ramp(stems * channels, ramp)
        self.sends = Ramp(stems, ramp, initial=0.0)
        self.master = Master(hop, ramp, sample_rate)
        self.meters = Meters(stems)
        self.crossfader = Ramp(stems + decks, ramp)
        self.bus: Floats = np.zeros((channels, hop), np.float32)
        self._sending = False
        self._goals: Doubles = np.ones((stems, channels))
        self._lengths: Integers = np.full((stems, channels), ramp, np.int64)
        # Views that are made once.
        self._flat_goals, self._flat_lengths = self._goals.reshape(-1), self._lengths.reshape(-1)
        self._goal_columns, self._length_columns = self._goals.T, self._lengths.T
        self._gains = np.ones((stems * channels, hop), np.float32)
        self._levels = np.zeros((stems, hop), np.float32)
        self._stem_out = np.zeros((stems, channels, hop), np.float32)
        self._no_dry = np.zeros((channels, hop), np.float32)
        self._through = np.ones((stems + decks, hop), np.float32)
        self._crossed = np.zeros((stems, channels, hop), np.float32)
        self._inputs = np.zeros((decks, channels, hop), np.float32)
        self._dry = np.zeros((channels, hop), np.float32)

    def reset(self) -> None:
        """Begin a new stream: gains at their targets, meters and guard as new."""
        self.gains.land()
        self.sends.land()
        self.crossfader.land()
        self.master.reset()
        self.meters.reset()
        for guard in self.guards:
            guard.reset()

    def set_targets(self, gains_linear: Doubles, lengths: Integers | None = None) -> None:
        """Send the gains to `gains_linear`, float64 amplitude factors.

        Factors that are not finite are ignored: those gains stay as set before.

        Args:
            gains_linear: (stems, channels), or (stems,) for all channels alike.
            lengths: (stems,) int64, samples that the gains of each stem take; `ramp` when left out.

        Raises:
            ValueError: for another number of factors.
        """
        if gains_linear.shape not in ((self.stems,), (self.stems, self.channels)):
            raise ValueError(f"expected {self.stems} gains, got {gains_linear.shape}")
        self._goal_columns[:] = gains_linear.T
        self._length_columns[:] = self.ramp if lengths is None else lengths
        self.gains.set(self._flat_goals, self._flat_lengths)

    def set_sends(self, levels_linear: Doubles, lengths: Integers | None = None) -> None:
        """Send the stems' sends to `levels_linear` (stems,) float64; `lengths` as in `set_targets`.

        Raises:
            ValueError: for another number of levels.
        """
        self.sends.set(levels_linear, lengths)

    def set_crossfader(self, levels_linear: Doubles, lengths: Integers | None = None) -> None:
        """Send what the crossfader lets through to `levels_linear`, (strips + decks,) float64.

        Raises:
            ValueError: for another number of levels.
        """
        self.crossfader.set(levels_linear, lengths)

    def sanitise(self, stems: Floats, dry: Floats, force: bool = False, deck: int = 0) -> bool:
        """Check and mend one hop of a deck's stems in place before it is mixed: see `Guard.sanitise`."""
        return self.guards[deck].sanitise(stems, dry, force)

    def cross_dry(self, inputs: Floats) -> Floats:
        """The sum of the decks' inputs, each as the crossfader lets it through.

        To be called once a hop, behind `strips`.

        Args:
            inputs: (decks, channels, n) float32, delayed as the stems are.

        Returns:
            (channels, n) float32, overwritten by the next call; of one deck its input itself.
        """
        if self.decks == 1:
            return inputs[0]
        samples = inputs.shape[2]
        crossed, dry = self._inputs[:, :, :samples], self._dry[:, :samples]
        _cross(inputs, self._through[self.stems :], crossed)
        _sum(crossed, dry)
        return dry

    def mix(self, stems: Floats, out: Floats) -> None:
        """Sum one hop: `process` without the stems' own outputs."""
        self.process(stems, None, out)

    def process(self, stems: Floats, stem_out: Floats | None, out: Floats, dry: Floats | None = None) -> None:
        """Apply the gains to one hop of stems, sum them in order, and finish the sum.

        With every control where it begins, `out` is exactly `((stem 0 + stem 1) + stem 2) + ...` in float32.

        Args:
            stems: (stems, channels, n) float32, any n up to `hop`, any strides; unchanged unless
                `stem_out` is the same array.
            stem_out: same shape, overwritten with the stems behind their gains; or None.
            out: (channels, n) float32, overwritten; shares no memory with the others.
            dry: (channels, n) float32, the input that the stems belong to; silence when left out.

        Raises:
            ValueError: for other shapes; TypeError for other types.
        """
        samples = out.shape[1]
        if (
            stems.shape[0] != self.stems
            or out.shape[0] != self.channels
            or stems.shape[1:] != out.shape
            or samples > self.hop
            or (stem_out is not None and stem_out.shape != stems.shape)
        ):
            raise ValueError(
                f"expected {self.stems} stems of {self.channels} channels and up to {self.hop} samples,"
                f" got {stems.shape}, {None if stem_out is None else stem_out.shape} and {out.shape}"
            )
        if stem_out is None:
            stem_out = self._stem_out[:, :, :samples]
        self.strips(stems, stem_out)
        self.total(stem_out, out)
        self.finish(stem_out, out, self._no_dry[:, :samples] if dry is None else dry)

    def strips(self, stems: Floats, stem_out: Floats) -> bool:
        """Put one hop of stems through their strips, and what they send into `bus`.

        Args:
            stems, stem_out: as in `process`.

        Returns:
            Whether `bus` holds anything.
        """
        samples = stems.shape[2]
        self.gains.fill(self._gains, samples)
        _apply(stems, self._gains, stem_out)
        heard = stem_out
        if self.decks > 1:
            self.crossfader.fill(self._through, samples)
            heard = self._crossed[:, :, :samples]
            _cross(stem_out, self._through, heard)
        sending = _open(self.sends.left, self.sends.target)
        if sending:
            self.sends.fill(self._levels, samples)
            _send(heard, self._levels, self.bus[:, :samples])
        elif self._sending:
            self.bus.fill(0.0)
        self._sending = sending
        return sending

    def total(self, stem_out: Floats, out: Floats, returned: Floats | None = None) -> None:
        """Sum one hop of stems that have been through `strips`.

        Args:
            stem_out, out: as in `process`.
            returned: (channels, n) float32, what the effect bus gives back; None where there is no effect.

        Raises:
            ValueError: for other shapes.
        """
        _sum(stem_out if self.decks == 1 else self._crossed[:, :, : out.shape[1]], out)
        if returned is not None:
            if returned.shape != out.shape:
                raise ValueError(f"expected a return of {out.shape}, got {returned.shape}")
            _add(returned, out)

    def finish(self, stem_out: Floats, out: Floats, dry: Floats) -> None:
        """Put the sum of a hop, `out`, through the master, and meter everything; the rest as in `process`."""
        self.master.process(out, dry)
        self.meters.gather(stem_out, out)
