"""What the transport adds to a request: against the bare client and one that only delegates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
from _measure import microseconds, show

from zenvark_web import BreakerTransport, Coordinator

CALLS = 2_000


class Upstream(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Body())


class Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"hello"


class Delegating(httpx.AsyncBaseTransport):
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.transport.handle_async_request(request)


async def main() -> None:
    async with (
        Coordinator() as coordinator,
        httpx.AsyncClient(transport=Upstream()) as bare,
        httpx.AsyncClient(transport=Delegating(Upstream())) as delegating,
        httpx.AsyncClient(transport=BreakerTransport(coordinator, Upstream())) as guarded,
    ):
        rows = await microseconds(
            {
                "httpx, in-memory upstream": lambda: bare.get("http://upstream/"),
                "with a transport that only delegates": lambda: delegating.get("http://upstream/"),
                "with BreakerTransport, closed": lambda: guarded.get("http://upstream/"),
            },
            CALLS,
        )
        show("One request, CPU time", rows, "us", "httpx, in-memory upstream")
        request = httpx.Request("GET", "http://upstream/")

        async def exchange(transport: httpx.AsyncBaseTransport) -> None:
            response = await transport.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for _ in response.stream:
                pass
            await response.stream.aclose()

        bare_transport, transport = Upstream(), BreakerTransport(coordinator, Upstream())
        rows = await microseconds(
            {
                "transport alone, in-memory upstream": lambda: exchange(bare_transport),
                "BreakerTransport around it, closed": lambda: exchange(transport),
            },
            CALLS * 10,
        )
        show("One exchange below the client, CPU time", rows, "us", next(iter(rows)))


asyncio.run(main())
