"""The chunks of a body whose call follows them: it waits for each, and looks into it."""

from __future__ import annotations

from typing import Any


class FollowedChunks:
    """Chunks for synchronous clients, with the other methods of their iterator.

    Args:
        chunks: The iterator.
        call: The `StreamCall`.
    """

    __slots__ = ("_call", "_chunks")

    def __init__(self, chunks: Any, call: Any) -> None:
        self._chunks = chunks
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chunks, name)

    def __next__(self) -> bytes:
        self._call.waits()
        chunk: bytes = self._chunks.__next__()
        self._call.took(chunk)
        return chunk


class AsyncFollowedChunks(FollowedChunks):
    """The same for asynchronous clients."""

    __slots__ = ()

    async def __anext__(self) -> bytes:
        self._call.waits()
        chunk: bytes = await self._chunks.__anext__()
        self._call.took(chunk)
        return chunk
