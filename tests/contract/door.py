"""A port in front of a server that can be anything but a server."""

import asyncio
from contextlib import suppress
from typing import Self

ANSWERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "rubbish": b"\x00\xff$-7\r\n*9999999999\r\n",
    "error": b"-ERR go away\r\n" * 20,
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n" * 20,
}
SILENT, CLOSING, OPEN = "silent", "closing", "open"
TROUBLES = [*ANSWERS, SILENT, CLOSING]


class Door:
    """Leads to the server when `mode` is `OPEN`; otherwise answers as the mode says.

    Attributes:
        knocks: How often somebody has connected.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._mode = OPEN
        self._tasks: set[asyncio.Task[None]] = set()
        self.knocks = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def switch(self, mode: str) -> None:
        """Change its mode; whoever is connected is thrown out."""
        self._mode = mode
        for task in self._tasks:
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.CancelledError):
                if self._mode == OPEN:
                    await self._lead_on(reader, writer)
                elif self._mode != CLOSING:
                    while await reader.read(65536):
                        writer.write(ANSWERS.get(self._mode, b""))
        finally:
            writer.close()

    async def _lead_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as tasks:
                for source, target in ((reader, to_server), (from_server, writer)):
                    tasks.create_task(self._pipe(source, target))
        finally:
            to_server.close()

    @staticmethod
    async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        raise ConnectionResetError
