"""The page's web server: a thread of the controlling process, with an event loop of its own.

It touches the engine through the desk alone, which writes to shared memory: whatever happens here, the
engine's process does not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from rtsep.control.session import Session
from rtsep.engine.ports import PAGE_PORT
from rtsep.page.address import is_loopback, page_address
from rtsep.page.guard import Guard
from rtsep.page.hub import Hub
from rtsep.page.learning import Learning
from rtsep.page.limits import CLIENTS, MESSAGE_BYTES, PING_SECONDS
from rtsep.page.token import new_token
from rtsep.spec import UsageError

STATIC = Path(__file__).parent / "static"
START_SECONDS = 10.0


def build_app(hub: Hub, token: str | None = None, names: Iterable[str] = ()) -> ASGIApp:
    """The application: `/` is the page, `/static` its files, `/live` its WebSocket; all behind the guard."""

    async def index(request: Request) -> FileResponse:
        return FileResponse(STATIC / "index.html")

    async def live(socket: WebSocket) -> None:
        await hub.serve(socket)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    app = Starlette(
        routes=[
            Route("/", index),
            WebSocketRoute("/live", live),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        lifespan=lifespan,
    )
    return Guard(app, token, names)


class PageServer:
    """Serves the page while entered.

    Args:
        session: what is controlled.
        bind: address to listen at; anything but loopback asks for a token.
        port: to listen at; 0 for any that is free.
        token: in place of a fresh one; asked for on loopback too if given.
        learning: of the MIDI map; None where there is none.
        names: further host names under which the machine may be reached.

    Raises (on entering):
        UsageError: when the address or the port cannot be had.
    """

    def __init__(
        self,
        session: Session,
        bind: str = "127.0.0.1",
        port: int = PAGE_PORT,
        token: str | None = None,
        learning: Learning | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self._bind = bind
        self._port = port
        self.token = token or (None if is_loopback(bind) else new_token())
        self._hub = Hub(session, learning)
        app = build_app(self._hub, self.token, names)
        config = uvicorn.Config(
            app,
            ws="websockets-sansio",
            http="h11",
            ws_max_size=MESSAGE_BYTES,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            # Compression would cost more time than these small messages cost on a network.
            ws_per_message_deflate=False,
            limit_concurrency=4 * CLIENTS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def clients(self) -> int:
        """Pages that are open."""
        return self._hub.clients

    @property
    def address(self) -> str:
        """What is typed to reach the page, token and all."""
        return page_address(self._bind, self._port, self.token)

    def __enter__(self) -> Self:
        self._socket = _listen(self._bind, self._port)
        self._port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="control page", daemon=True)
        self._thread.start()
        started = threading.Event()
        waited = 0.0
        while not self._server.started and self._thread.is_alive() and waited < START_SECONDS:
            started.wait(0.01)
            waited += 0.01
        if not self._server.started:
            raise UsageError("the control page's server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(5.0)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        assert self._socket is not None
        with asyncio.Runner() as runner:
            runner.run(self._server.serve([self._socket]))


def _listen(bind: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(bind).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"the control page cannot be served at {bind}, port {port}: {reason}") from None
    return listener
