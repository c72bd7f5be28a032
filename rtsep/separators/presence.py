"""When a stem counts as there, and how much its masks are favoured then: what a model's config says of it.

Described in `rtsep.dsp.presence`; done by `rtsep.separators.favouring`.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MEMORIES = 2
"""The short one lets a voice in when it begins, the long one keeps it through breaths and rests."""


class Presence(BaseModel):
    """When and how much a stem is favoured.

    Attributes:
        stem: which one.
        logits: added to its masks before the softmax while it is there.
        from_db, to_db: its share of the mixture's energy, at which that begins and at which it is all there.
        seconds: time constants of the short and of the long memory.
        low_hz, high_hz: of the bands whose energy counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    stem: str = "vocals"
    logits: float = Field(ge=0.0, le=6.0)
    from_db: float = Field(-24.0, ge=-60.0, le=0.0)
    to_db: float = Field(-18.0, ge=-60.0, le=0.0)
    seconds: tuple[float, float] = (0.3, 2.0)
    low_hz: float = Field(200.0, ge=0.0)
    high_hz: float = Field(5000.0, gt=0.0)

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        if self.from_db >= self.to_db:
            raise ValueError(f"from_db, {self.from_db:g}, must lie below to_db, {self.to_db:g}")
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz, {self.low_hz:g}, must lie below high_hz, {self.high_hz:g}")
        if min(self.seconds) <= 0.0:
            raise ValueError("seconds must be positive")
        return self
