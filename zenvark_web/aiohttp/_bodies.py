"""Bodies on their way between aiohttp and httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from .._http.stream import AsyncResponseBody


class Body(httpx.AsyncByteStream):
    """The body of a response, in whatever way its reader takes it.

    Args:
        close: Closes the response.

    Attributes:
        read: Reads the next part, as the reader asked for it.
    """

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close
        self.read: Callable[[], Awaitable[bytes]]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read():
            yield data

    async def aclose(self) -> None:
        self._close()


class WatchedContent:
    """The `content` of a response, which tells the call how its reading ends.

    Args:
        content: aiohttp's stream.
        body: The same as httpx' body.
        watched: The watched `body`.
    """

    def __init__(self, content: Any, body: Body, watched: AsyncResponseBody) -> None:
        self._content = content
        self._body = body
        self._watched = watched
        self._reading: Any = None

    def __repr__(self) -> str:
        return f"<watched {self._content!r}>"

    def __getattr__(self, name: str) -> Any:
        if name == "_content":  # a copy that is under way has no attributes yet
            raise AttributeError(name)
        return getattr(self._content, name)

    def set_exception(self, error: Any, *args: Any) -> None:
        """Settle the call: the caller has closed the response, or it has broken."""
        self._content.set_exception(error, *args)
        self._watched.settle_closed()

    async def read(self, n: int = -1) -> bytes:
        """As aiohttp's, and so are the other methods."""
        return await self._next(lambda: self._content.read(n))

    async def readany(self) -> bytes:
        """The bytes that have arrived."""
        return await self._next(self._content.readany)

    async def readline(self, **settings: Any) -> bytes:
        """A line."""
        return await self._next(lambda: self._content.readline(**settings))

    async def readuntil(self, separator: bytes = b"\n", **settings: Any) -> bytes:
        """Bytes up to a separator."""
        return await self._next(lambda: self._content.readuntil(separator, **settings))

    async def readexactly(self, n: int) -> bytes:
        """A number of bytes."""
        return await self._next(lambda: self._content.readexactly(n))

    async def readchunk(self) -> tuple[bytes, bool]:
        """A chunk, and whether it ends a chunk of HTTP."""
        ended = False

        async def read() -> bytes:
            nonlocal ended
            data: bytes
            data, ended = await self._content.readchunk()
            return data

        return await self._next(read), ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Bytes as they arrive."""
        while data := await self.readany():
            yield data

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Up to a number of bytes at a time."""
        while data := await self.read(n):
            yield data

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Chunks as they were sent."""
        while (chunk := await self.readchunk()) != (b"", False):
            yield chunk

    async def _next(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        self._body.read = read
        if self._reading is None:
            self._reading = aiter(self._watched)
        data: bytes = await anext(self._reading, b"")
        if data and self._content.at_eof():  # that was the rest
            self._body.read = self._content.readany
            await anext(self._reading, b"")
        return data
