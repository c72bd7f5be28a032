"""Memory that two processes map: a file that has no name once both hold it.

Not `multiprocessing.shared_memory`: before Python 3.13 its resource tracker unlinks a block when any
process that attached to it ends, and complains. A mapped file needs no tracker.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path


class SharedFile:
    """A mapped file in memory (where the system has such a folder), zeroed at creation.

    Attributes:
        path: where another process finds it, until `forget`.
        buffer: the memory.
    """

    def __init__(self, size: int, path: Path | None = None) -> None:
        self._owned = path is None
        if path is None:
            folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            handle, name = tempfile.mkstemp(prefix="rtsep-", dir=folder)
            os.ftruncate(handle, size)
            self.path = Path(name)
        else:
            handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            self.path = path
        try:
            self.buffer = mmap.mmap(handle, size)
        finally:
            os.close(handle)

    def forget(self) -> None:
        """Take the file's name away, where the system allows that while it is mapped; the memory stays."""
        if self._owned:
            try:
                self.path.unlink(missing_ok=True)
            except PermissionError:
                return  # Windows keeps the name until the last map is gone; `close` tries again.
            self._owned = False

    def close(self) -> None:
        """Let go of the memory if nothing refers to it any more, and of the name."""
        try:
            self.buffer.close()
        except BufferError:
            # A view is still alive somewhere; the mapping ends with it.
            self.buffer = mmap.mmap(-1, 1)
        self.forget()
