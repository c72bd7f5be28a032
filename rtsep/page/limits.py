"""How much a client may ask of the server."""

from __future__ import annotations

import time
from collections.abc import Callable

MESSAGE_BYTES = 4096
"""The longest message that a client may send."""
SETS_PER_MESSAGE = 32
MESSAGES_PER_SECOND = 150.0
"""A page sends one message a picture at most: 60 a second, 120 on a fast screen."""
BURST = 300.0
CLIENTS = 16
"""Pages that are open at once."""
SEND_SECONDS = 3.0
"""A client that has not taken a message after so long is dropped."""
PING_SECONDS = 5.0
"""Between two questions whether a client is still there; it has as long to answer."""


class TokenBucket:
    """Lets `rate` events a second pass on average, and `burst` at once.

    Args:
        rate: events a second.
        burst: how many are saved up at most.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._when = clock()

    def take(self) -> bool:
        """Whether one more event may pass now."""
        now = self._clock()
        self._left = min(self._left + (now - self._when) * self._rate, self._burst)
        self._when = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
