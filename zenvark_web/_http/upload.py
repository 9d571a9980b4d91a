"""A request body that the caller produces while it is sent.

Neither its delays nor its exceptions count against the upstream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

from .watched import WatchedStream


class Upload(WatchedStream):
    """A watched body. The clock of its call stops while the body waits for the caller.

    Attributes:
        begun: Whether its parts have been asked for.
    """

    begun = False

    def leave(self, request: Any) -> None:
        """Restore the request's own stream, unless it has been replaced meanwhile."""
        if request.stream is self:
            request.stream = self._stream


class AsyncUpload(Upload):
    """A watched body for asynchronous clients."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        call, chunks = self._call, self._stream.__aiter__()
        try:
            while True:
                call.pause()
                try:
                    chunk = await chunks.__anext__()
                except StopAsyncIteration:
                    return
                except Exception as error:
                    call.upload_error = error
                    raise
                finally:
                    call.go_on()
                yield chunk
        finally:
            # Left to the collector, the generator would clean up late.
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        """Close the caller's stream."""
        await self._stream.aclose()


class SyncUpload(Upload):
    """A watched body for synchronous clients."""

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        call, chunks = self._call, self._stream.__iter__()
        try:
            while True:
                call.pause()
                try:
                    chunk = chunks.__next__()
                except StopIteration:
                    return
                except Exception as error:
                    call.upload_error = error
                    raise
                finally:
                    call.go_on()
                yield chunk
        finally:
            if isinstance(chunks, Generator):
                chunks.close()

    def close(self) -> None:
        """Close the caller's stream."""
        self._stream.close()
