"""Sets for the page's tests: a real desk on a real board; the engine itself is never opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rtsep.control.desk import Desk
from rtsep.control.session import Session
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine


@contextlib.contextmanager
def silent_set(model: str, locked: str = "", decks: int = 1) -> Iterator[Session]:
    """A set whose engine is never opened: all is there but the sound."""
    engine = ProcessEngine(EngineOptions(model=model, audio="null", decks=decks))
    session = Session(engine, Desk(engine.board, engine.telemetry), locked)
    with contextlib.closing(session):
        yield session
