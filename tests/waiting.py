"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds: far more than anything takes. A test fails by it only when what it waits for never comes."""


def until(
    condition: Callable[[], object],
    what: str = "what was waited for",
    *,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Wait until a condition holds; fails after `PATIENCE`, naming `what`.

    Args:
        condition: looked at every hundredth of a second.
        what: it is, in the failure.
        pause: lets so many seconds pass, for who must do something meanwhile.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        pause(0.01)
