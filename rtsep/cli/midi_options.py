"""The MIDI options of a command, and the controllers that they attach to its desk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rtsep.cli.errors import warn

if TYPE_CHECKING:
    from rtsep.control.desk import Desk
    from rtsep.midi.surface import Learning, Surface, Wanted


class PageLearning:
    """Learning from the control page: what it asks of a surface, and what it tells of it.

    Follows `rtsep.page.learning.Learning`.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._last: Learning | None = None

    @property
    def status(self) -> str:
        """What is waited for or was learnt last, in words."""
        last = self._last
        if last is None:
            return ""
        if last.error is not None:
            return last.error
        if last.learned is not None:
            kept = "" if last.file is not None else ", until this set ends"
            return f"{last.learned} moves {last.address}{kept}"
        return "" if last.over.is_set() else f"move a control for {last.address}"

    def start(self, address: str) -> None:
        """Wait for a control to be moved. Raises a UsageError for an address that there is not."""
        self._last = self._surface.learn(address)

    def cancel(self) -> None:
        """Wait no more."""
        self._surface.cancel_learning()


def parse_controllers(ports: Sequence[str] | None, virtual: Sequence[str] | None) -> list[Wanted]:
    """What the options of a command name, with their mappings read.

    Args:
        ports: of --midi, each PORT or PORT=MAPPING.
        virtual: of --midi-virtual, likewise, with names for ports of our own.

    Raises:
        UsageError: for what names no port, or a mapping that is none.
    """
    if not ports and not virtual:
        return []
    from rtsep.midi.surface import parse_wanted

    return [parse_wanted(text) for text in ports or ()] + [
        parse_wanted(text, virtual=True) for text in virtual or ()
    ]


@contextlib.contextmanager
def controllers(desk: Desk, wanted: Sequence[Wanted], api: str | None = None) -> Iterator[Surface | None]:
    """Controllers on a desk while the block lasts; None, and no MIDI at all, where none are wanted.

    Args:
        desk: what they move.
        wanted: which.
        api: the MIDI system; all that answer if None.

    Raises:
        UsageError, DeviceError: as `rtsep.midi.surface`.
    """
    if not wanted:
        yield None
        return
    from rtsep.midi.surface import Surface

    with Surface(desk, wanted, warn, api) as surface:
        yield surface
