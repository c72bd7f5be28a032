"""All open pages: each learns what has changed at its own pace, and none waits for another.

Nothing is queued for a client. Its sender knows what the client has seen, the desk's version, the number of
the meters, and sends what has come since as one message; a client that is slow so gets fewer and newer ones,
and one that has not taken a message in `SEND_SECONDS` is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from rtsep.control.session import Session
from rtsep.io.devices import list_devices
from rtsep.page.health import Health
from rtsep.page.learning import Learning
from rtsep.page.limits import BURST, CLIENTS, MESSAGES_PER_SECOND, SEND_SECONDS, TokenBucket
from rtsep.page.protocol import (
    AskDevices,
    Learn,
    Name,
    NewEngine,
    Ping,
    Request,
    Set,
    dump,
    parse,
    values_of,
)
from rtsep.separators.registry import ModelPackage, available
from rtsep.spec import RtsepError, UsageError

METERS_SECONDS = 0.04
METERS_PER_HEALTH = 12
TOO_MUCH = 1008
BUSY = 1013


class _Client:
    """What one page has seen."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.wake = asyncio.Event()
        self.bucket = TokenBucket(MESSAGES_PER_SECOND, BURST)
        self.version = -1
        self.seen: tuple[Any, ...] = ()
        self.meters = 0
        self.health = 0
        self.done = 0
        """The highest number of what the page has set."""
        self.told_done = 0
        self.answers: list[dict[str, Any]] = []


class Hub:
    """Serves every client from the session's desk. Lives in one event loop.

    Args:
        session: what is controlled.
        learning: of the MIDI map; None where there is none.
    """

    def __init__(self, session: Session, learning: Learning | None = None) -> None:
        self._session = session
        self._desk = session.desk
        self._learning = learning
        self._health = Health(session)
        self._clients: set[_Client] = set()
        self._meters = (0, "")
        self._health_text = (0, "")
        self._models: list[dict[str, Any]] = []
        self._ready = asyncio.Event()
        """The models are known, so that a hello can name them."""
        self._over = threading.Event()

    @property
    def clients(self) -> int:
        """Pages that are open."""
        return len(self._clients)

    async def run(self) -> None:
        """Look at the desk and the engine until cancelled."""
        loop = asyncio.get_running_loop()
        # A folder that cannot be read costs the page its choice of models, and nothing else.
        with contextlib.suppress(OSError):
            self._models = await asyncio.to_thread(_models)
        self._ready.set()
        listener = threading.Thread(target=self._listen, args=(loop,), name="page listener", daemon=True)
        listener.start()
        try:
            turn = 0
            while True:
                if self._clients:
                    self._meters = (self._meters[0] + 1, dump(self._health.meters()))
                    if turn % METERS_PER_HEALTH == 0:
                        self._health_text = (self._health_text[0] + 1, dump(self._health.health()))
                    self._wake()
                turn += 1
                await asyncio.sleep(METERS_SECONDS)
        finally:
            self._over.set()

    async def serve(self, socket: WebSocket) -> None:
        """One client, from its hello to its end."""
        await socket.accept()
        if len(self._clients) >= CLIENTS:
            await socket.close(BUSY, "too many pages are open")
            return
        client = _Client(socket)
        self._clients.add(client)
        client.wake.set()
        ends = [asyncio.create_task(self._send(client)), asyncio.create_task(self._receive(client))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            for end in ends:
                end.cancel()
        reason = next((end.result() for end in ends if end.done() and not end.cancelled()), None)
        if reason is not None:
            with contextlib.suppress(RuntimeError, TimeoutError, WebSocketDisconnect):
                await asyncio.wait_for(socket.close(TOO_MUCH, reason), SEND_SECONDS)

    # -- to the page -----------------------------------------------------------------------------------

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sleep on the desk in a thread of its own, and wake the loop."""
        version = self._desk.version
        while not self._over.is_set():
            if self._desk.wait_for_change(version, 0.25):
                version = self._desk.version
                with contextlib.suppress(RuntimeError):  # the loop has just ended
                    loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for client in self._clients:
            client.wake.set()

    async def _send(self, client: _Client) -> str | None:
        """Tell a client what it has not seen, as long as it takes it."""
        # A page may come while the folders of models are still being read, and is greeted only once.
        await self._ready.wait()
        try:
            while True:
                await client.wake.wait()
                client.wake.clear()
                for text in self._news(client):
                    await asyncio.wait_for(client.socket.send_text(text), SEND_SECONDS)
        except TimeoutError:
            return "too slow"
        except (WebSocketDisconnect, RuntimeError, OSError):
            return None

    def _news(self, client: _Client) -> list[str]:
        texts = []
        seen = (self._session.generation, self._desk.snapshots, self._learned())
        version, values = self._desk.changes_since(client.version)
        if not client.seen or seen[0] != client.seen[0]:
            version, values = self._desk.changes_since(-1)
            texts.append(dump(self._hello(values_of(self._desk, values))))
        elif values or seen != client.seen or client.done != client.told_done:
            now: dict[str, Any] = {"is": "now", "done": client.done, "values": values_of(self._desk, values)}
            if seen != client.seen:
                now |= {"snapshots": seen[1], "learning": seen[2]}
            texts.append(dump(now))
        client.seen, client.version, client.told_done = seen, version, client.done
        while client.answers:
            texts.append(dump(client.answers.pop(0)))
        number, text = self._meters
        if number != client.meters:
            texts.append(text)
            client.meters = number
        number, text = self._health_text
        if number != client.health:
            texts.append(text)
            client.health = number
        return texts

    def _learned(self) -> str:
        return "" if self._learning is None else self._learning.status

    def _hello(self, values: dict[str, list[Any]]) -> dict[str, Any]:
        session = self._session
        latency = session.latency
        options = session.options
        told: dict[str, Any] = {
            "is": "hello",
            "stems": self._desk.stems,
            "decks": self._desk.decks,
            "parameters": self._desk.describe(),
            "values": values,
            "snapshots": self._desk.snapshots,
            "learn": self._learning is not None,
            "learning": self._learned(),
            "engine": {
                "model": options.model,
                "audio": options.audio,
                "input": options.input,
                "output": options.output,
                "block": options.block,
                "locked": session.locked,
                "changing": session.changing,
                "failure": session.failure,
            },
            "models": self._models,
            "latency": None,
        }
        if latency is not None:
            told["latency"] = {
                "rate": latency.sample_rate,
                "total": round(latency.milliseconds(latency.total), 2),
                "parts": [
                    [p.name, round(latency.milliseconds(p.samples), 2), p.meaning] for p in latency.parts
                ],
            }
        return told

    # -- from the page ---------------------------------------------------------------------------------

    async def _receive(self, client: _Client) -> str | None:
        """Do what a client asks. Returns why it is sent away, or None when it has left."""
        try:
            while True:
                message = await client.socket.receive()
                if message["type"] == "websocket.disconnect":
                    return None
                text = message.get("text")
                if not isinstance(text, str):
                    return "messages are text"
                if not client.bucket.take():
                    return "too many messages"
                try:
                    await self._do(client, parse(text))
                except RtsepError as error:
                    client.answers.append({"is": "sorry", "why": str(error)})
                client.wake.set()
        except (WebSocketDisconnect, RuntimeError):
            return None

    async def _do(self, client: _Client, request: Request) -> None:
        desk = self._desk
        match request:
            case Set(number, places):
                try:
                    for address, place in places:
                        desk.set_normalised(address, place)
                finally:
                    client.done = max(client.done, number)
            case Name(address, name):
                does: dict[str, Callable[[str], None]] = {
                    "snapshot/recall": desk.recall,
                    "snapshot/capture": desk.capture,
                    "snapshot/forget": desk.forget,
                }
                # A capture writes a file, and a disk may be slow.
                await asyncio.to_thread(does[address], name)
            case NewEngine(options):
                self._session.request(**options)
            case Learn(address):
                self._learn(address)
            case AskDevices():
                found = await asyncio.to_thread(list_devices)
                client.answers.append({"is": "devices", "devices": [asdict(device) for device in found]})
            case Ping(number):
                client.answers.append({"is": "pong", "n": number})

    def _learn(self, address: str) -> None:
        if self._learning is None:
            raise UsageError("there is no MIDI to learn from")
        if address:
            self._desk.parameter(address)
            self._learning.start(address)
        else:
            self._learning.cancel()


def _models() -> list[dict[str, Any]]:
    """The models that can stream, by name, with their latency in ms."""
    found = []
    for package in available():
        if isinstance(package, ModelPackage):
            spec = package.spec
            late = 1000.0 * spec.algorithmic_latency / spec.sample_rate
            found.append({"name": package.name, "latency": round(late, 1), "stems": list(spec.stems)})
    return found
