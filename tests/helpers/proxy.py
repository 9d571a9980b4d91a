"""A port in front of a server: leads there, in good ways and bad, or is anything but a server."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.helpers.waiting import loop_rests

ANSWERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "rubbish": b"\x00\xff$-7\r\n*9999999999\r\n",
    "error": b"-ERR go away\r\n" * 20,
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n" * 20,
}
SILENT, CLOSING, RESETTING, OPEN = "silent", "closing", "resetting", "open"
TROUBLES = [*ANSWERS, SILENT, CLOSING]

HOST = "127.0.0.1"


class Direction:
    """What befalls the bytes that go one way, on every connection.

    Attributes:
        delay: Seconds that they are under way.
        halving: Whether half of what comes next gets through, and then the connection breaks.
        rewrite: What becomes of them.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.halving = False
        self.rewrite: Callable[[bytes], bytes] = bytes
        self._moving = asyncio.Event()
        self._moving.set()

    def stall(self) -> None:
        """Hold them back until this is healed. None is lost: so does TCP when packets are."""
        self._moving.clear()

    def heal(self) -> None:
        self.delay, self.halving = 0.0, False
        self._moving.set()

    async def carry(self, data: bytes, target: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delay)
        await self._moving.wait()
        data = self.rewrite(data)
        if self.halving:
            target.write(data[: len(data) // 2])
            await target.drain()
            raise ConnectionResetError
        target.write(data)
        await target.drain()


class Proxy:
    """Leads to the server when its mode is `OPEN`; otherwise answers as the mode says.

    Args:
        port: The server's.
        tls: What it shows of itself; the server behind it speaks plainly.

    Attributes:
        requests, replies: What befalls the two directions.
        knocks: How often somebody has connected.
        lost: How many replies were lost as `lose_reply` has asked.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._mode = OPEN
        self._tasks: set[asyncio.Task[None]] = set()
        self._marker: bytes | None = None
        self._generation = 0
        self._refusals: list[tuple[bytes, bytes]] = []
        self.requests = Direction()
        self.replies = Direction()
        self.knocks = 0
        self.lost = 0

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"redis{'s' if self._tls else ''}://{HOST}:{self.port}/0"

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._tasks)

    def switch(self, mode: str) -> None:
        """Change its mode; whoever is connected is thrown out."""
        self._mode = mode
        for task in self._tasks:
            task.cancel()

    def heal(self) -> None:
        """All is well from now on. Connections that got through the fault stay."""
        self._marker = None
        self.requests.heal()
        self.replies.heal()
        if self._mode != OPEN:
            self.switch(OPEN)

    def lose_reply(self, marker: bytes) -> None:
        """Let the next request that holds this through, but break the connection before its
        reply."""
        self._marker = marker

    def lead_to(self, port: int) -> None:
        """Lead to another server from now on, but leave those connected who are."""
        self._port = port

    def turn_stale(self, answer: str, *commands: str) -> None:
        """Let the server refuse these commands from now on, but on connections that there are now
        only: new ones get to one that takes them."""
        self._generation += 1
        self._refusals = [(command.encode(), f"-{answer}\r\n".encode()) for command in commands]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        await loop_rests()  # in CPython, closing loses what is just being accepted
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        await loop_rests()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # also of one that never began

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.CancelledError):
                if self._mode == OPEN:
                    await self._lead_on(reader, writer)
                elif self._mode not in {CLOSING, RESETTING}:
                    while await reader.read(65536):
                        writer.write(ANSWERS.get(self._mode, b""))
        finally:
            if self._mode == RESETTING:
                _reset(writer)

    async def _lead_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(HOST, self._port)
        doomed = asyncio.Event()
        generation = self._generation

        def request(data: bytes) -> bool:
            for command, answer in self._refusals:
                if generation < self._generation and command in data:
                    writer.write(answer)
                    return False
            if self._marker is not None and self._marker in data:
                self._marker = None
                doomed.set()
            return True

        def reply(data: bytes) -> bool:
            if doomed.is_set():
                self.lost += 1
                raise ConnectionResetError
            return True

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pipe(reader, to_server, self.requests, request))
                tasks.create_task(_pipe(from_server, writer, self.replies, reply))
        except* OSError:
            pass
        finally:
            to_server.close()


async def _pipe(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    direction: Direction,
    passes: Callable[[bytes], bool],
) -> None:
    while data := await source.read(65536):
        if passes(data):
            await direction.carry(data, target)
    raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the connection end with a reset, not in good order."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:  # the other side may have gone first
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
