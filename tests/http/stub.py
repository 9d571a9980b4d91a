"""An inner transport and a body that note how they are treated."""

from collections.abc import AsyncIterator
from types import TracebackType

import httpx

CHUNKS = [b"a", b"", b"bcd" * 10_000, b"e"]


class Chunks(httpx.AsyncByteStream):
    """A body of known chunks that notes how it is treated."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.given: list[bytes] = []
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in CHUNKS:
            self.given.append(chunk)
            yield chunk
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed += 1


class Stub(httpx.AsyncBaseTransport):
    """An inner transport that notes how it is treated."""

    def __init__(self, response: httpx.Response | None = None) -> None:
        self.response = response or httpx.Response(200)
        self.error: Exception | None = None
        self.requests: list[httpx.Request] = []
        self.calls: list[str] = []
        self.exits: list[object] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return self.response

    async def aclose(self) -> None:
        self.calls.append("aclose")

    async def __aenter__(self) -> "Stub":
        self.calls.append("enter")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.calls.append("exit")
        self.exits.append(exc_value)
