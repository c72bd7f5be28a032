"""The sum of the stems, each at its own gain, hop by hop."""

from __future__ import annotations

import numpy as np

from rtsep.dsp.gains import Ramp
from rtsep.dsp.kernel import Doubles, Floats, kernel
from rtsep.mixer.guard import Guard
from rtsep.mixer.meters import Meters
from rtsep.spec import UsageError


@kernel("void(float32[:, :, :], float32[:, ::1], float32[:, :, :], float32[:, :])")
def _apply_and_sum(stems: Floats, gains: Floats, stem_out: Floats, out: Floats) -> None:
    """Each stem at its gain, and their sum in order; a gain of one changes no bit."""
    count, channels, samples = stems.shape
    for s in range(count):
        for c in range(channels):
            for i in range(samples):
                stem_out[s, c, i] = stems[s, c, i] * gains[s, i]
    for c in range(channels):
        for i in range(samples):
            out[c, i] = stem_out[0, c, i]
        for s in range(1, count):
            for i in range(samples):
                out[c, i] += stem_out[s, c, i]


class Mixer:
    """Sums stems with gains that never step, meters them, and guards against runaway stems.

    All gains begin at one. One thread uses a mixer; nothing it does allocates.

    Attributes:
        stems, channels, hop, ramp: as given.
        gains: the ramps; `gains.target` is what was set last.
        meters: of each stem behind its gain and, in the last row, of the sum.
        guard: replaces hops that are not sane; `guard.replaced` counts them.
    """

    def __init__(self, stems: int, channels: int, hop: int, ramp: int) -> None:
        """Args:
            stems, channels: shape of the stream.
            hop: the most samples that one call brings.
            ramp: samples in which a gain goes to a new target.

        Raises:
            UsageError: for sizes below 1.
        """
        if min(stems, channels, hop, ramp) < 1:
            raise UsageError(f"mixer: {stems} stems of {channels} channels, hop {hop}, ramp {ramp}")
        self.stems = stems
        self.channels = channels
        self.hop = hop
        self.ramp = ramp
        self.gains = Ramp(stems, ramp)
        self.meters = Meters(stems)
        self.guard = Guard(stems, channels, ramp)
        self._gains = np.ones((stems, hop), np.float32)
        self._stem_out = np.zeros((stems, channels, hop), np.float32)

    def reset(self) -> None:
        """Begin a new stream: gains at their targets, meters and guard as new."""
        self.gains.land()
        self.meters.reset()
        self.guard.reset()

    def set_targets(self, gains_linear: Doubles) -> None:
        """Send the gains to `gains_linear` (stems,) float64 amplitude factors over the next `ramp` samples.

        Factors that are not finite are ignored: those gains stay as set before.

        Raises:
            ValueError: for another number of factors.
        """
        self.gains.set(gains_linear)

    def sanitise(self, stems: Floats, dry: Floats, force: bool = False) -> bool:
        """Check and mend one hop of stems in place before it is mixed: see `Guard.sanitise`."""
        return self.guard.sanitise(stems, dry, force)

    def mix(self, stems: Floats, out: Floats) -> None:
        """Sum one hop: `process` without the stems' own outputs."""
        self.process(stems, None, out)

    def process(self, stems: Floats, stem_out: Floats | None, out: Floats) -> None:
        """Apply the gains to one hop of stems, and sum them in order.

        With all gains at one, `out` is exactly `((stem 0 + stem 1) + stem 2) + ...` in float32.

        Args:
            stems: (stems, channels, n) float32, any n up to `hop`, any strides; unchanged unless
                `stem_out` is the same array.
            stem_out: same shape, overwritten with the stems behind their gains; or None.
            out: (channels, n) float32, overwritten with the sum; shares no memory with the others.

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
        self.gains.fill(self._gains, samples)
        _apply_and_sum(stems, self._gains, stem_out, out)
        self.meters.gather(stem_out, out)
