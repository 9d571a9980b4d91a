"""What the transport adds to a request, beside the transports of another library: for httpx and
httpx2, both kinds of clients, closed and open."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

import httpx
import httpx2
import interlock
from _measure import Loop, measure, show

import zenvark_web.httpx
import zenvark_web.httpx2
from zenvark_web import BreakerPolicy, ConstantBackoff, Coordinator, Outcome, State

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
URL = "http://upstream/"
OPEN = "http://open/"
BARE = "in-memory upstream"
BESIDE = "with a transport that watches the body"
OURS = "with BreakerTransport"


def upstream(library: Any) -> Any:
    """A transport that answers from memory, or not at all."""

    class Body(library.AsyncByteStream, library.SyncByteStream):  # type: ignore[misc,name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"hello"

        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"

    class Upstream(library.AsyncBaseTransport, library.BaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

        def handle_request(self, request: Any) -> Any:
            if request.url.host == "open":
                raise library.ConnectError("refused")
            return library.Response(200, stream=Body())

    return Upstream()


def watching(library: Any, inner: Any) -> Any:
    """A transport that hands on, and learns how each body ends: what any breaker has to do."""

    class Watched(library.AsyncByteStream, library.SyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self.ended = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._stream:
                yield chunk
            self.ended = True

        def __iter__(self) -> Iterator[bytes]:
            yield from self._stream
            self.ended = True

        async def aclose(self) -> None:
            self.ended = True
            await self._stream.aclose()

        def close(self) -> None:
            self.ended = True
            self._stream.close()

    class Watching(library.AsyncBaseTransport, library.BaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            response = await inner.handle_async_request(request)
            response.stream = Watched(response.stream)
            return response

        def handle_request(self, request: Any) -> Any:
            response = inner.handle_request(request)
            response.stream = Watched(response.stream)
            return response

    return Watching()


def interlocks(library: Any, inner: Any) -> tuple[Any, Any]:
    """The transports of interlock, for both kinds of clients."""
    module = import_module(f"interlock.integrations.{library.__name__}")
    config = interlock.Config(wait_duration_in_open=600)
    return (
        module.AsyncCircuitBreakerTransport(inner, config=config),
        module.CircuitBreakerTransport(inner, config=config),
    )


def exchanging(transport: Any, request: Any) -> Loop:
    """Requests below the client, bodies read."""

    async def loop(calls: int) -> None:
        for _ in range(calls):
            response = await transport.handle_async_request(request)
            async for _ in response.stream:
                pass
            await response.stream.aclose()

    return loop


def exchanging_sync(transport: Any, request: Any) -> Loop:
    """The same for synchronous clients."""

    async def loop(calls: int) -> None:
        for _ in range(calls):
            response = transport.handle_request(request)
            for _ in response.stream:
                pass
            response.stream.close()

    return loop


def raising(transport: Any, request: Any, error: type[Exception]) -> Loop:
    """Requests that a transport rejects by an error."""

    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                await transport.handle_async_request(request)
            except error:
                pass

    return loop


def raising_sync(transport: Any, request: Any, error: type[Exception]) -> Loop:
    """The same for synchronous clients."""

    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                transport.handle_request(request)
            except error:
                pass

    return loop


def getting(client: Any) -> Loop:
    """Requests of a client."""

    async def loop(calls: int) -> None:
        for _ in range(calls):
            await client.get(URL)

    return loop


async def measure_library(library: Any, ours: Any, coordinator: Coordinator) -> None:
    inner = upstream(library)
    responds = ours.BreakerTransport(coordinator, inner)
    raises = ours.BreakerTransport(coordinator, inner, when_open="raise")
    theirs, theirs_sync = interlocks(library, inner)
    request, to_open = library.Request("GET", URL), library.Request("GET", OPEN)
    for _ in range(10):
        try:
            await theirs.handle_async_request(to_open)
        except library.TransportError:
            pass
        try:
            theirs_sync.handle_request(to_open)
        except library.TransportError:
            pass
    error = library.TransportError
    for kind, exchange, refused, other in (
        ("async", exchanging, raising, theirs),
        ("sync", exchanging_sync, raising_sync, theirs_sync),
    ):
        closed = {
            BARE: exchange(inner, request),
            BESIDE: exchange(watching(library, inner), request),
            OURS: exchange(responds, request),
            "with interlock's transport": exchange(other, request),
        }
        rejected = {
            "BreakerTransport, responds": exchange(responds, to_open),
            "BreakerTransport, raises": refused(raises, to_open, error),
            "interlock's transport, raises": refused(other, to_open, error),
        }
        measured = await measure({**closed, **rejected}, CALLS)
        title = f"{library.__name__}, {kind}"
        show(f"{title}: CPU time added to an exchange", measured, BESIDE, BARE, closed)
        show(f"{title}: CPU time of a rejection, whole", measured, BARE, names=[BARE, *rejected])
    clients = {
        what: library.AsyncClient(transport=one)
        for what, one in {BARE: inner, BESIDE: watching(library, inner), OURS: responds}.items()
    }
    measured = await measure({name: getting(one) for name, one in clients.items()}, CALLS // 5)
    show(f"{library.__name__}, async: a request of a client, CPU time", measured, BARE)


async def main() -> None:
    policy = BreakerPolicy(backoff=ConstantBackoff(600))  # longer than a run
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("open")
        while breaker.state is State.CLOSED:
            for _ in range(5):
                breaker.acquire().record(Outcome.FAILURE)
            await asyncio.sleep(0.05)
        await measure_library(httpx, zenvark_web.httpx, coordinator)
        await measure_library(httpx2, zenvark_web.httpx2, coordinator)


asyncio.run(main())
