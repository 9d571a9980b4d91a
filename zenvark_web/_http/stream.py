"""A response body that settles the call when it ends.

Iterators, not generators: asyncio would register each of them. A body that is itself read by a
generator, which clients close by hand (httpx2 does), is wrapped by a generator here as well.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from .call import HttpCall
from .followed import AsyncFollowedChunks, FollowedChunks
from .watched import WatchedStream


class AsyncResponseBody(WatchedStream):
    """A watched body for asynchronous clients."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._stream.__aiter__()
        # The exact type first: `isinstance` with an abstract class is slow.
        generated = type(chunks) is AsyncGeneratorType or isinstance(chunks, AsyncGenerator)
        if self._call.follows:
            chunks = AsyncFollowedChunks(chunks, self._call)
        reading = _AsyncGeneratorReading if generated else _AsyncReading
        return reading(chunks, self._call)

    async def aclose(self) -> None:
        """Settle the call, then close the wrapped body."""
        # Before closing, whose own errors are not the upstream's.
        self._call.closed()
        await self._stream.aclose()

    def settle_closed(self) -> None:
        """Settle the call: its reader closes the wrapped body without waiting for it."""
        self._call.closed()


class SyncResponseBody(WatchedStream):
    """A watched body for synchronous clients."""

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._stream.__iter__()
        generated = type(chunks) is GeneratorType or isinstance(chunks, Generator)
        if self._call.follows:
            chunks = FollowedChunks(chunks, self._call)
        reading = _GeneratorReading if generated else _Reading
        return reading(chunks, self._call)

    def close(self) -> None:
        """Settle the call, then close the wrapped body."""
        self._call.closed()
        self._stream.close()

    def stop_following(self) -> None:
        """Ignore the contents of further chunks: the reader takes the body in another form than
        decoded."""
        self._call.stop_following()


class _AsyncReading:
    __slots__ = ("_call", "_chunks")

    def __init__(self, chunks: Any, call: HttpCall) -> None:
        self._chunks = chunks
        self._call = call

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await self._chunks.__anext__()
        except StopAsyncIteration:
            self._call.finished()
            raise
        except BaseException as error:
            self._call.broke(error)
            raise
        if self._call.recorder is not None:
            self._call.recorder.add(chunk)
        return chunk


class _AsyncGeneratorReading(_AsyncReading, AsyncGenerator[bytes, Any]):
    __slots__ = ()

    async def asend(self, value: Any) -> bytes:
        return await self.__anext__()

    async def athrow(self, *error: Any) -> Any:
        return await self._chunks.athrow(*error)

    async def aclose(self) -> None:
        await self._chunks.aclose()


class _Reading:
    __slots__ = ("_call", "_chunks")

    def __init__(self, chunks: Any, call: HttpCall) -> None:
        self._chunks = chunks
        self._call = call

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes = self._chunks.__next__()
        except StopIteration:
            self._call.finished()
            raise
        except BaseException as error:
            self._call.broke(error)
            raise
        if self._call.recorder is not None:
            self._call.recorder.add(chunk)
        return chunk


class _GeneratorReading(_Reading, Generator[bytes, Any, None]):
    __slots__ = ()

    def send(self, value: Any) -> bytes:
        return self.__next__()

    def throw(self, *error: Any) -> Any:
        return self._chunks.throw(*error)

    def close(self) -> None:
        self._chunks.close()
