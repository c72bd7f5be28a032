"""What `rtsep live` offers to be touched by: the control page and OSC, attached to a running set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtsep.spec import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rtsep.control.session import Session
    from rtsep.page.learning import Learning


@dataclass(frozen=True)
class PageOptions:
    """Where the page is served; `token_file` keeps its token for the next set."""

    bind: str
    port: int
    token_file: Path | None


@dataclass(frozen=True)
class OscOptions:
    """Where OSC is heard, and where state and meters are sent: "HOST:PORT" each."""

    bind: str
    port: int
    send: tuple[str, ...]


@contextlib.contextmanager
def attached(
    session: Session,
    console: Console,
    page: PageOptions | None = None,
    osc: OscOptions | None = None,
    learning: Learning | None = None,
) -> Iterator[None]:
    """Serve them while it lasts, and say where.

    Raises:
        UsageError: when an extra is not installed, or an address or port cannot be had.
    """
    with contextlib.ExitStack() as opened:
        if page is not None:
            try:
                from rtsep.page.address import is_loopback, qr_code
                from rtsep.page.server import PageServer
                from rtsep.page.token import kept_token
            except ModuleNotFoundError as error:
                raise _lacking("--ui", "ui", error) from None
            token = None if page.token_file is None else kept_token(page.token_file)
            server = opened.enter_context(PageServer(session, page.bind, page.port, token, learning))
            console.print(f"control page: {server.address}", markup=False, soft_wrap=True)
            if not is_loopback(page.bind):
                console.print(qr_code(server.address), markup=False, soft_wrap=True)
        if osc is not None:
            try:
                from rtsep.osc.server import OscServer
            except ModuleNotFoundError as error:
                raise _lacking("--osc", "osc", error) from None
            listener = opened.enter_context(OscServer(session, osc.bind, osc.port, osc.send))
            console.print(f"OSC: {osc.bind}, UDP port {listener.port}", markup=False, soft_wrap=True)
        yield


def _lacking(option: str, extra: str, error: ModuleNotFoundError) -> UsageError:
    return UsageError(f"{option} needs {error.name}: pip install 'rtsep[{extra}]'")
