"""What the page needs of a MIDI map to teach it."""

from __future__ import annotations

from typing import Protocol


class Learning(Protocol):
    """Ties the next control that is moved to an address. Called from the page's thread; must not block."""

    @property
    def status(self) -> str:
        """What it waits for or has last learnt, in words; "" if nothing."""

    def start(self, address: str) -> None:
        """Wait for a control to be moved; raises a UsageError where there is nothing to hear it from."""

    def cancel(self) -> None:
        """Wait no more."""
