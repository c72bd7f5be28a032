"""Soft takeover: a control that stands elsewhere than its parameter must not make it jump."""

from __future__ import annotations

from typing import Literal

Policy = Literal["pickup", "scale", "jump"]

_SAME = 1e-6


class Takeover:
    """Decides what a move of a control does to a parameter that others may have moved meanwhile.

    "pickup" does nothing until the control meets or passes the parameter, then follows it. "scale" moves at
    once, towards the end that the control moves to and by the same share of the way that is left, so that
    both arrive there together. "jump" follows always: for motor faders, which are never elsewhere.

    All places are those of the parameter, 0 to 1.

    Args:
        policy: one of the three.
        window: how near is met: what the control's steps are apart.
    """

    def __init__(self, policy: Policy, window: float = 1.0 / 127.0) -> None:
        self.policy = policy
        self._window = window
        self._control: float | None = None
        self._left_at: float | None = None

    def move(self, control: float, parameter: float) -> float | None:
        """Where to set the parameter.

        Args:
            control: where the control would put it.
            parameter: where it stands now.

        Returns:
            None when it is to stay where it is.
        """
        before, self._control = self._control, control
        if self.policy == "jump" or self._holds(parameter) or self._meets(before, control, parameter):
            return control
        self._left_at = None
        if self.policy == "pickup" or before is None:
            return None
        return _scaled(before, control, parameter)

    def left(self, parameter: float, control_holds: bool) -> None:
        """Remember where the parameter stands after a move; whether the control and it are together there."""
        self._left_at = parameter if control_holds else None

    def let_go(self) -> None:
        """The control has gone; when it comes back it may stand anywhere."""
        self._control = self._left_at = None

    @property
    def together(self) -> bool:
        """The control had hold of the parameter when it was moved last."""
        return self._left_at is not None

    def _holds(self, parameter: float) -> bool:
        # Whoever moves the parameter elsewhere takes it out of the control's hand.
        return self._left_at is not None and abs(parameter - self._left_at) <= _SAME

    def _meets(self, before: float | None, control: float, parameter: float) -> bool:
        if abs(control - parameter) <= self._window:
            return True
        return before is not None and min(before, control) <= parameter <= max(before, control)


def _scaled(before: float, control: float, parameter: float) -> float | None:
    if control == before:
        return None
    end = 1.0 if control > before else 0.0
    left = end - before
    if left == 0.0:
        return None
    return parameter + (end - parameter) * (control - before) / left
