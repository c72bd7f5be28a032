"""A parameter of an effect as whoever turns it sees it: an address, a range, a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rtsep.spec import UsageError

MASTER = "master"
"""What the chain of the mix is called, where a stem's chain has the stem's name."""
BUS = "bus"
"""The owner of the chain that the sends go to, and whose output joins the sum."""

MAX_PARAMETERS = 512
"""That one engine can offer."""


@dataclass(frozen=True, slots=True)
class EffectParameter:
    """One number that can be changed while music plays.

    Attributes:
        address: `fx/<stem or master>/<plug-in, from 0>/<parameter>`, or `fx/<stem or master>/bypass`.
        minimum, maximum: of its value.
        value: when it was loaded.
        unit: as the plug-in calls it, or "".
        choices: what the values 0, 1, 2 and so on mean, where they are names.
        switch: on above a half, off below.
    """

    address: str
    minimum: float
    maximum: float
    value: float
    unit: str = ""
    choices: tuple[str, ...] = ()
    switch: bool = False

    def checked(self, value: float) -> float:
        """The value itself.

        Raises:
            UsageError: when it is not a number, or out of range.
        """
        if not self.minimum <= value <= self.maximum:
            raise UsageError(
                f"{self.address}: {value:g} is not between {self.minimum:g} and {self.maximum:g}"
            )
        return float(value)

    def plain(self) -> dict[str, Any]:
        """As plain data, for another process."""
        return asdict(self)

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> EffectParameter:
        """The inverse of `plain`."""
        return cls(**{**fields, "choices": tuple(fields["choices"])})
