"""A server as an app sees it: it plays a script, and keeps what the app said. On any event loop."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Scope

from tests.helpers.waiting import PATIENCE


@dataclass
class Script:
    """A client's part.

    Args:
        method: `WEBSOCKET` for one.
        path: The path.
        root_path: Where the app is mounted; part of the path.
        query: What stands after `?`.
        headers: The request's.
        body: The parts of the body, or the texts sent through a websocket.
        leaves_after: The client leaves when it has got so many messages. Default: never.
        tells_by_raising: The server's `send` then raises `OSError`, as the specification has it
            since version 2.4.
        extensions: What the server can do besides.
    """

    method: str = "GET"
    path: str = "/"
    root_path: str = ""
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: Sequence[bytes | str] = ()
    leaves_after: int | None = None
    tells_by_raising: bool = False
    extensions: Iterable[str] = ()

    def __str__(self) -> str:
        left = "" if self.leaves_after is None else f" leaves after {self.leaves_after}"
        raising = " raising" if self.tells_by_raising else ""
        return f"{self.method} {self.root_path}{self.path}?{self.query}{left}{raising}"

    @property
    def is_websocket(self) -> bool:
        return self.method == "WEBSOCKET"

    def scope(self) -> Scope:
        path = self.root_path + self.path
        kind = {"type": "websocket", "scheme": "ws", "subprotocols": []}
        if not self.is_websocket:
            kind = {"type": "http", "scheme": "http", "method": self.method}
        return {
            **kind,
            "asgi": {"version": "3.0", "spec_version": "2.4" if self.tells_by_raising else "2.3"},
            "http_version": "1.1",
            "path": path,
            "raw_path": path.encode(),
            "root_path": self.root_path,
            "query_string": self.query.encode(),
            "headers": [
                (b"host", b"testserver"),
                *((name.encode(), value.encode()) for name, value in self.headers),
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
            "state": {"greeting": "hello"},
            "extensions": {name: {} for name in self.extensions},
        }

    def messages(self) -> list[Message]:
        if self.is_websocket:
            texts = [{"type": "websocket.receive", "text": text} for text in self.body]
            return [{"type": "websocket.connect"}, *texts]
        parts = list(self.body) or [b""]
        return [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]


@dataclass
class Played:
    """What came of it."""

    sent: list[Message] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def status(self) -> int | None:
        """The response's."""
        return next((message["status"] for message in self.sent if "status" in message), None)

    @property
    def headers(self) -> dict[str, str]:
        start = next(message for message in self.sent if "headers" in message)
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def comparable(self) -> Any:
        """What is the same each time: who listens for the client to leave may hear of the end or
        not, when it comes with the end of the response."""
        error = None if self.error is None else (type(self.error), str(self.error))
        received = [each for each in self.received if each["type"] != "http.disconnect"]
        return self.sent, received, error


async def play(app: ASGIApp, script: Script | None = None, **settings: Any) -> Played:
    """Play a script against an app, until the app returns or raises."""
    script = script or Script(**settings)
    played = Played()
    with anyio.fail_after(PATIENCE):
        server = _Server(script, played)
        try:
            await app(script.scope(), server.receive, server.send)
        except Exception as error:
            played.error = error
    return played


class _Server:
    def __init__(self, script: Script, played: Played) -> None:
        self._script = script
        self._played = played
        self._waiting = script.messages()
        self._changed = anyio.Event()
        self._over = False

    @property
    def _left(self) -> bool:
        after = self._script.leaves_after
        return after is not None and len(self._played.sent) >= after

    async def receive(self) -> Message:
        message = await self._next()
        self._played.received.append(message)
        return message

    async def _next(self) -> Message:
        if self._waiting and not self._left:
            await anyio.lowlevel.checkpoint()
            return self._waiting.pop(0)
        while not (self._left or self._over):
            await self._changed.wait()
        if self._script.is_websocket:
            return {"type": "websocket.disconnect", "code": 1000}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        if self._left and self._script.tells_by_raising:
            raise OSError("the client has left")
        self._played.sent.append(_comparable(message))
        kind = message["type"]
        if kind == "websocket.close" or (
            kind.endswith((".body", ".pathsend")) and not message.get("more_body", False)
        ):
            self._over = True
        self._changed.set()
        self._changed = anyio.Event()


def _comparable(message: Message) -> Message:
    """A message as it is now, but for the time; a list of headers may be changed later on."""
    copy = dict(message)
    if "headers" in message:
        copy["headers"] = [tuple(pair) for pair in message["headers"]]
    body = bytes(message.get("body", b""))
    if body.startswith(b"\x1f\x8b"):  # gzip: four bytes hold the second it was made in (RFC 1952)
        copy["body"] = body[:4] + bytes(4) + body[8:]
    return copy
