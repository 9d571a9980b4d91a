"""A real HTTP server that calls go to, and that can be told to fail or to hang."""

import asyncio
import time
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

from tests.helpers.waiting import loop_rests
from zenvark_web.testing.simulation.world import ColdUpstream


class Mode(Enum):
    OK = "200 OK"
    FAILING = "503 Service Unavailable"
    HANGING = "never"


@dataclass(frozen=True)
class Hit:
    """A request that arrived.

    Args:
        at: Monotonic seconds.
        path: Its path.
        instance: Who sent it.
        generation: The circuit's when the call was let through.
        asked_at: When its sender asked for it, in monotonic seconds.
    """

    at: float
    path: str
    instance: str
    generation: int
    asked_at: float


class Upstream:
    """Counts what arrives, and answers as its `mode` says.

    A request that hangs stays hung whatever the mode becomes, until `release`.
    """

    def __init__(self) -> None:
        self.mode = Mode.OK
        self.cold: ColdUpstream | None = None
        self.all: list[Hit] = []
        self.url = ""
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._released = asyncio.Event()

    @property
    def calls(self) -> list[Hit]:
        return [hit for hit in self.all if hit.path == "/"]

    @property
    def checks(self) -> list[Hit]:
        return [hit for hit in self.all if hit.path == "/health"]

    def release(self) -> None:
        """Answer the requests that hang: all is well."""
        self._released.set()
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await loop_rests()  # in CPython, closing loses what is just being accepted
        self._server.close()
        connections = dict(self._connections)
        for connection, writer in connections.items():
            connection.cancel()
            writer.close()
        await asyncio.gather(*connections, return_exceptions=True)
        await loop_rests()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections[connection] = writer
        connection.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except ConnectionError:
            pass  # the caller was killed
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tells whether there may be another."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return False
        self.all.append(_hit(head))
        mode = self.mode
        if mode is Mode.OK and self.cold is not None and not self.cold.serves(time.monotonic()):
            mode = Mode.FAILING
        if mode is Mode.HANGING:
            await self._released.wait()
            mode = Mode.OK
        writer.write(f"HTTP/1.1 {mode.value}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True


def _hit(head: str) -> Hit:
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Hit(
        at=time.monotonic(),
        path=first.split(" ")[1],
        instance=headers.get("x-instance", ""),
        generation=int(headers.get("x-generation", 0)),
        asked_at=float(headers.get("x-asked-at", 0)),
    )
