"""Bodies on their way between requests and httpx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from .._http.stream import SyncResponseBody

CHUNK = 65_536
"""The size in bytes of the parts in which a file is sent."""


def plain(body: Any) -> httpx.ByteStream | None:
    """A body in memory, which needs no watching."""
    if isinstance(body, str):
        body = body.encode()
    if body is None or isinstance(body, bytes | bytearray):
        return httpx.ByteStream(bytes(body or b""))
    return None


class CallersBody(httpx.SyncByteStream):
    """A request body that the caller produces: a file, or an iterable."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __iter__(self) -> Iterator[Any]:
        if hasattr(self._body, "read"):
            return iter(lambda: self._body.read(CHUNK), b"")
        return iter(self._body)


class Body(httpx.SyncByteStream):
    """The body of a response, in whatever way its reader takes it.

    Args:
        raw: urllib3's response.

    Attributes:
        chunks: The reader's own chunks.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.chunks: Iterator[bytes] = iter(())

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        self._raw.close()


class WatchedRaw:
    """The `raw` of a response, which tells the call how its reading ends.

    Args:
        raw: urllib3's response.
        body: The same as httpx' body.
        watched: The watched `body`.
    """

    def __init__(self, raw: Any, body: Body, watched: SyncResponseBody) -> None:
        self._raw = raw
        self._body = body
        self._watched = watched
        self._reading: Iterator[bytes] | None = None
        self._how: tuple[tuple[Any, ...], dict[str, Any]] = (), {}

    def __repr__(self) -> str:
        return f"<watched {self._raw!r}>"

    def __getattr__(self, name: str) -> Any:
        if name == "_raw":  # a copy that is under way has no attributes yet
            raise AttributeError(name)
        found = getattr(self._raw, name)
        return {"stream": self._stream, "read": self._read}.get(name, found)

    def __iter__(self) -> Iterator[bytes]:
        self._watched.stop_following()
        return self._through(iter(self._raw))

    def close(self) -> None:
        """Settle the call, and close the response."""
        self._watched.close()

    def _stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[Any]:
        if not decode_content:
            self._watched.stop_following()
        return self._through(self._raw.stream(amt, decode_content=decode_content))

    def _read(self, *args: Any, **kwargs: Any) -> bytes:
        self._how = args, kwargs
        if self._reading is None:
            self._watched.stop_following()
            self._reading = self._through(self._reads())
        data = next(self._reading, b"")
        if data and getattr(self._raw, "closed", False):  # that was the rest
            next(self._reading, None)
        return data

    def _reads(self) -> Iterator[bytes]:
        while True:
            args, kwargs = self._how
            data: bytes = self._raw.read(*args, **kwargs)
            if not data:
                return
            yield data

    def _through(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        self._body.chunks = chunks
        return iter(self._watched)
