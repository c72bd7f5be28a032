"""Who is let in: by the Host that was asked for, the page that asks, and the token, before all else.

A page of somebody else's in the same browser could open a WebSocket to this machine; its Origin tells. A
name that somebody else's DNS turns into this machine's address would make that page's origin ours; its Host
tells: only addresses, "localhost" and this machine's own names are good, and none of them can be turned.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from rtsep.page.address import LOOPBACK
from rtsep.page.token import same

REFUSED = 1008
"""WebSocket close code: against the rules."""


class Guard:
    """Wraps the application; refuses who may not come in, and says in every answer what the page may load.

    Args:
        app: what is guarded.
        token: what the address must carry, once; None asks for none.
        names: further host names that are good.
    """

    def __init__(self, app: ASGIApp, token: str | None, names: Iterable[str] = ()) -> None:
        self._app = app
        self._token = token
        own = socket.gethostname().lower()
        self._names = {*LOOPBACK, own, f"{own}.local", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        given = self._given(scope, headers)
        complaint = ""
        if not self._knows(host, scope):
            complaint = "this is not an address of this machine"
        elif self._token is not None and not any(same(text, self._token) for text in given):
            complaint = "the address lacks its token: scan the code that rtsep has printed"
        elif scope["type"] == "websocket" and headers.get("origin") != f"http://{host}":
            complaint = "not the page's own origin"
        if not complaint:
            await self._app(scope, receive, self._labelled(scope, host, given, send))
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(REFUSED, complaint)
        else:
            await PlainTextResponse(f"rtsep: {complaint}\n", 403)(scope, receive, send)

    def _knows(self, host: str, scope: Scope) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname, parts.port or 80
        except ValueError:
            return False
        if name is None or parts.username is not None or parts.path:
            return False
        # Where the client has really connected to: an address cannot be turned as a name can.
        server = scope.get("server") or ("", None)
        return (name in self._names or name == str(server[0])) and (server[1] is None or port == server[1])

    def _given(self, scope: Scope, headers: Headers) -> list[str]:
        """What may be the token: in the address, or in the cookie that the first answer has set."""
        query = scope.get("query_string", b"").decode("latin-1")
        found = parse_qs(query).get("token", [])[:1]
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(scope))
        except CookieError:
            cookie = None
        return found if cookie is None else [*found, cookie.value]

    def _labelled(self, scope: Scope, host: str, given: list[str], send: Send) -> Send:
        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = (
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
                    f" connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none';"
                    " frame-ancestors 'none'"
                )
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cross-origin-opener-policy"] = "same-origin"
                headers["cross-origin-resource-policy"] = "same-origin"
                headers["cache-control"] = "no-cache"
                if self._token is not None and given:
                    headers["set-cookie"] = (
                        f"{_cookie_name(scope)}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                    )
            await send(message)

        return labelled


def _cookie_name(scope: Scope) -> str:
    # Cookies know no ports: two sets on one machine must not overwrite each other's.
    server = scope.get("server")
    return f"rtsep_{server[1] if server else 0}"
