"""A real HTTP server on a raw socket, which does with a request whatever a test likes."""

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeAlias

from tests.helpers.waiting import loop_rests

HOST = "127.0.0.1"


class Exchange:
    """One request, as the server sees it, and the means to answer it.

    Attributes:
        go: Set by the test when the server may go on.
    """

    def __init__(
        self,
        head: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        go: asyncio.Event,
    ) -> None:
        first, *lines = head.split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        self.go = go
        self._reader = reader
        self._writer = writer

    async def send(self, *lines: str) -> None:
        """Send header lines, and the empty one that ends them."""
        await self.send_body("\r\n".join([*lines, "", ""]).encode())

    async def send_body(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def read(self, length: int) -> bytes:
        return await self._reader.readexactly(length)

    async def read_body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            return await self._reader.readuntil(b"0\r\n\r\n")
        return await self._reader.readexactly(int(self.headers.get("content-length", 0)))

    async def read_some(self) -> bytes:
        return await self._reader.read(65536)

    async def client_left(self) -> None:
        await self._reader.read()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close so that the client gets an error instead of an end."""
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._writer.transport.abort()


Answer: TypeAlias = Callable[[Exchange], Awaitable[None]]


class Upstream:
    """The server.

    Attributes:
        answer: What it does with a request. Connections are kept alive unless that closes them.
        requests: Those that have arrived.
        connections: How many have been accepted.
        go: What an exchange waits for that waits for the test.
    """

    def __init__(self) -> None:
        self.answer: Answer = ok
        self.requests: list[Exchange] = []
        self.go = asyncio.Event()
        self.connections = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, HOST, 0, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await loop_rests()  # in CPython, closing loses what is just being accepted
        self._server.close()
        for connection in self._serving:
            connection.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await loop_rests()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                exchange = Exchange(head[:-4].decode(), reader, writer, self.go)
                self.requests.append(exchange)
                await self.answer(exchange)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        finally:
            self._serving.discard(task)
            writer.close()


async def ok(exchange: Exchange) -> None:
    await exchange.read_body()
    body = b"" if exchange.method == "HEAD" else b"hello"
    await exchange.send("HTTP/1.1 200 OK", "Content-Length: 5")
    await exchange.send_body(body)


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    """An answer with this status."""

    async def answer(exchange: Exchange) -> None:
        length = [] if code < 200 or code in {204, 304} else [f"Content-Length: {len(body)}"]
        await exchange.send(f"HTTP/1.1 {code} Whatever", *headers, *length)
        await exchange.send_body(body)

    return answer


def chunked(*chunks: bytes) -> Answer:
    """An answer in chunks, each sent when the client has had time to read the one before."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
        for chunk in [*chunks, b""]:
            await asyncio.sleep(0)
            await exchange.send_body(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    return answer


gzipped = status(200, "Content-Encoding: gzip", body=gzip.compress(b"hello" * 1000))
badly_gzipped = status(200, "Content-Encoding: gzip", body=b"hello" * 1000)


async def until_closed(exchange: Exchange) -> None:
    await exchange.send("HTTP/1.1 200 OK")
    await exchange.send_body(b"hello")
    exchange.close()


async def stall(exchange: Exchange) -> None:
    await exchange.client_left()


async def refuse_to_answer(exchange: Exchange) -> None:
    exchange.close()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def gibberish(exchange: Exchange) -> None:
    await exchange.send("SSH-2.0-OpenSSH_9.9")
    exchange.close()


def half(then: Answer, *headers: str) -> Answer:
    """An answer that stops in the middle of its body; what then, once the test lets it go on."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 200 OK", "Content-Length: 10", *headers)
        await exchange.send_body(b"hello")
        await exchange.go.wait()
        await then(exchange)

    return answer


def in_parts(*parts: bytes) -> Answer:
    """Raw parts of an answer, and the end of the connection."""

    async def answer(exchange: Exchange) -> None:
        for part in parts:
            await exchange.send_body(part)
        exchange.close()

    return answer


def held(first: bytes, last: bytes) -> Answer:
    """Two raw parts of an answer, the last once the test lets it go on."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send_body(first)
        await exchange.go.wait()
        await exchange.send_body(last)
        exchange.close()

    return answer


async def broken_chunk(exchange: Exchange) -> None:
    await exchange.send("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
    await exchange.send_body(b"5\r\nhello\r\n")
    await exchange.go.wait()
    await exchange.send_body(b"this is no chunk\r\n")
    await exchange.client_left()


@contextmanager
def unused_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]
