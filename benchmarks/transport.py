"""What the transport adds to a request: for both libraries, both kinds of clients."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import httpx2
from _measure import microseconds, show

import zenvark_web.httpx
import zenvark_web.httpx2
from zenvark_web import Coordinator

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
URL = "http://upstream/"


def upstream(library: Any) -> Any:
    """A transport that answers from memory."""

    class Body(library.AsyncByteStream, library.SyncByteStream):  # type: ignore[misc,name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"hello"

        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"

    class Upstream(library.AsyncBaseTransport, library.BaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            return library.Response(200, stream=Body())

        def handle_request(self, request: Any) -> Any:
            return library.Response(200, stream=Body())

    return Upstream()


def delegating(library: Any, inner: Any) -> Any:
    """A transport that does nothing but hand on."""

    class Delegating(library.AsyncBaseTransport, library.BaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            return await inner.handle_async_request(request)

        def handle_request(self, request: Any) -> Any:
            return inner.handle_request(request)

    return Delegating()


async def exchange(transport: Any, request: Any) -> None:
    """One request below the client, body read."""
    response = await transport.handle_async_request(request)
    async for _ in response.stream:
        pass
    await response.stream.aclose()


def exchange_sync(transport: Any, request: Any) -> None:
    """The same for synchronous clients."""
    response = transport.handle_request(request)
    for _ in response.stream:
        pass
    response.stream.close()


def awaited(call: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """The same, to be measured like the others."""

    async def work() -> None:
        call()

    return work


async def measure(library: Any, ours: Any, coordinator: Coordinator) -> None:
    inner = upstream(library)
    name, request = library.__name__, library.Request("GET", URL)
    transports = {
        "in-memory upstream": inner,
        "with a transport that only delegates": delegating(library, inner),
        "with BreakerTransport, closed": ours.BreakerTransport(coordinator, inner),
    }
    below = {
        what: lambda transport=transport: exchange(transport, request)
        for what, transport in transports.items()
    }
    below_sync = {
        what: awaited(lambda transport=transport: exchange_sync(transport, request))
        for what, transport in transports.items()
    }
    clients = {what: library.AsyncClient(transport=one) for what, one in transports.items()}
    sync_clients = {what: library.Client(transport=one) for what, one in transports.items()}
    for title, contestants, calls in (
        (f"{name}, async: one exchange below the client", below, CALLS * 10),
        (f"{name}, sync: one exchange below the client", below_sync, CALLS * 10),
        (
            f"{name}, async: one request of a client",
            {what: lambda client=client: client.get(URL) for what, client in clients.items()},
            CALLS,
        ),
        (
            f"{name}, sync: one request of a client",
            {
                what: awaited(lambda client=client: client.get(URL))
                for what, client in sync_clients.items()
            },
            CALLS,
        ),
    ):
        rows = await microseconds(contestants, calls)
        show(f"{title}, CPU time", rows, "us", "in-memory upstream")


async def main() -> None:
    async with Coordinator() as coordinator:
        await measure(httpx, zenvark_web.httpx, coordinator)
        await measure(httpx2, zenvark_web.httpx2, coordinator)


asyncio.run(main())
