"""What the drivers without a device share: a thread of their own that pumps the native callback."""

from __future__ import annotations

import threading

from rtsep.rt.pump import Pump


class PumpedDriver:
    """Stops, waits for and watches the thread that runs the callback; a subclass starts it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._pump: Pump | None = None

    def stop(self) -> None:
        """Stop after the block that is running."""
        if self._pump is not None:
            self._pump.stop()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop, if running. What the stream has read or written stays the caller's."""
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the stream to end by itself; True if it has, or if it failed."""
        if self._thread is None:
            return False
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def active(self) -> bool:
        """The thread is making callbacks."""
        return self._thread is not None and self._thread.is_alive()
