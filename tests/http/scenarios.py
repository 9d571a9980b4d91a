"""Everything that can become of a request, and what its circuit is to make of it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import h11
import httpx

from tests.helpers.waiting import eventually
from tests.http import server
from tests.http.circuits import PATIENCE
from tests.http.server import Answer, Upstream
from zenvark_web import Outcome

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED
HASTY = httpx.Timeout(PATIENCE, read=0.2, pool=0.05)


@dataclass(frozen=True)
class Caller:
    """What a scenario has at hand.

    Args:
        client: Sends through the breaker.
        inner: The transport behind the breaker.
        upstream: The server.
    """

    client: httpx.AsyncClient
    inner: httpx.AsyncBaseTransport
    upstream: Upstream


Use: TypeAlias = Callable[[Caller], Awaitable[object]]


async def get(caller: Caller) -> object:
    return await caller.client.get("/")


async def head(caller: Caller) -> object:
    return await caller.client.head("/")


async def upgrade(caller: Caller) -> object:
    return await caller.client.get("/", headers={"Connection": "upgrade", "Upgrade": "x"})


async def get_hastily(caller: Caller) -> object:
    return await caller.client.get("/", timeout=HASTY)


async def read_after_the_headers(caller: Caller) -> None:
    async with caller.client.stream("GET", "/", timeout=HASTY) as response:
        caller.upstream.go.set()
        await response.aread()


async def look_at_the_status(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        assert response.status_code == 200


async def read_a_part(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        async for _ in response.aiter_raw():
            break


class OwnError(Exception):
    """Something of the caller's."""


async def stumble_over_a_chunk(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        async for _ in response.aiter_raw():
            raise OwnError


async def stumble_over_the_headers(caller: Caller) -> None:
    async with caller.client.stream("GET", "/"):
        raise OwnError


async def cancel_before_the_headers(caller: Caller) -> None:
    arrived = len(caller.upstream.requests)
    task = asyncio.create_task(get(caller))
    await eventually(lambda: len(caller.upstream.requests) > arrived, within=PATIENCE)
    await _cancel(task)


async def time_out_before_the_headers(caller: Caller) -> None:
    async with asyncio.timeout(0.1):
        await caller.client.get("/")


async def cancel_in_the_body(caller: Caller) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async with caller.client.stream("GET", "/") as response:
            async for _ in response.aiter_raw():
                reading.set()

    await _cancel_after(reading, read())


async def cancel_what_the_caller_does_meanwhile(caller: Caller) -> None:
    busy = asyncio.Event()

    async def dawdle() -> None:
        async with caller.client.stream("GET", "/"):
            busy.set()
            await asyncio.sleep(PATIENCE)

    await _cancel_after(busy, dawdle())


async def _cancel_after(event: asyncio.Event, work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(PATIENCE):
        await event.wait()
    await asyncio.sleep(0)  # so that it waits for what comes next
    await _cancel(task)


async def _cancel(task: asyncio.Future[object] | asyncio.Future[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def drop(caller: Caller) -> None:
    await caller.client.send(caller.client.build_request("GET", "/"), stream=True)
    gc.collect()


async def drop_half_way(caller: Caller) -> None:
    response = await caller.client.send(caller.client.build_request("GET", "/"), stream=True)
    async for _ in response.aiter_raw():
        break
    del response
    gc.collect()
    await asyncio.sleep(0.01)  # the loop closes the generators
    gc.collect()


async def find_the_pool_exhausted(caller: Caller) -> None:
    holder = await caller.inner.handle_async_request(caller.client.build_request("GET", "/"))
    try:
        await get_hastily(caller)
    finally:
        await holder.aclose()


async def send_a_bad_header(caller: Caller) -> None:
    await caller.client.get("/", headers={"X-Header": "two\r\nlines"})


async def send_more_than_announced(caller: Caller) -> None:
    await caller.client.post("/", content=b"too long", headers={"Content-Length": "3"})


async def send_from_a_broken_source(caller: Caller) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"hello"
        raise OwnError

    await caller.client.post("/", content=source())


async def use_another_protocol(caller: Caller) -> None:
    await caller.client.get("ftp://localhost/")


async def knock_at_a_closed_port(caller: Caller) -> None:
    with server.unused_port() as port:
        await caller.client.get(f"http://{server.HOST}:{port}/")


def real_transport() -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(verify=False)


def narrow_transport() -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_connections=1))


def mock(made: Callable[[], httpx.Response]) -> Callable[[], httpx.AsyncBaseTransport]:
    return lambda: httpx.MockTransport(lambda _: made())


def mock_error(error: BaseException) -> Callable[[], httpx.AsyncBaseTransport]:
    def fail() -> httpx.Response:
        raise error

    return mock(fail)


async def some_chunks() -> AsyncIterator[bytes]:
    yield b"hello, "
    yield b"world"


async def breaking_chunks() -> AsyncIterator[bytes]:
    yield b"hello, "
    raise httpx.ReadError("broken")


class Interruption(BaseException):
    """No `Exception`, and unknown to everyone."""


@dataclass(frozen=True)
class Scenario:
    """One thing that can happen.

    Args:
        name: What it is called in reports.
        outcome: What the circuit is to make of it.
        use: What the caller does.
        answer: What the server does.
        raises: What the caller gets.
        inner: Makes the transport behind the breaker.
    """

    name: str
    outcome: Outcome
    use: Use = get
    answer: Answer = server.ok
    raises: type[BaseException] | None = None
    inner: Callable[[], httpx.AsyncBaseTransport] = real_transport


SCENARIOS = [
    # Good answers, however they are read.
    Scenario("full read", SUCCESS),
    Scenario("chunks", SUCCESS, answer=server.chunked(b"hello, ", b"world")),
    Scenario("until closed", SUCCESS, answer=server.until_closed),
    Scenario("gzip", SUCCESS, answer=server.gzipped),
    Scenario("no content", SUCCESS, answer=server.status(204)),
    Scenario("HEAD", SUCCESS, head),
    Scenario("upgrade", SUCCESS, upgrade, server.status(101, "Upgrade: x", "Connection: upgrade")),
    Scenario("status only", SUCCESS, look_at_the_status),
    Scenario("a part", SUCCESS, read_a_part, server.half(server.stall)),
    Scenario("own error at headers", SUCCESS, stumble_over_the_headers, raises=OwnError),
    Scenario("own error at a chunk", SUCCESS, stumble_over_a_chunk, raises=OwnError),
    Scenario("cancelled elsewhere", SUCCESS, cancel_what_the_caller_does_meanwhile),
    Scenario("bad gzip", SUCCESS, answer=server.badly_gzipped, raises=httpx.DecodingError),
    Scenario("mock, pre-read", SUCCESS, inner=mock(lambda: httpx.Response(200, text="hello"))),
    Scenario("mock, empty", SUCCESS, inner=mock(lambda: httpx.Response(200))),
    Scenario(
        "mock, streamed", SUCCESS, inner=mock(lambda: httpx.Response(200, content=some_chunks()))
    ),
    *(
        Scenario(f"status {code}", SUCCESS, answer=server.status(code))
        for code in (304, 400, 401, 403, 404, 408, 409, 418, 422, 501, 505)
    ),
    # Bad answers, and none.
    *(
        Scenario(f"status {code}", FAILURE, answer=server.status(code, body=b"sorry"))
        for code in (429, 500, 502, 503, 504)
    ),
    Scenario("HEAD 503", FAILURE, head, server.status(503)),
    Scenario("mock 500", FAILURE, inner=mock(lambda: httpx.Response(500, text="sorry"))),
    Scenario("connect refused", FAILURE, knock_at_a_closed_port, raises=httpx.ConnectError),
    Scenario("stall", FAILURE, get_hastily, server.stall, httpx.ReadTimeout),
    Scenario("no answer", FAILURE, get, server.refuse_to_answer, httpx.RemoteProtocolError),
    Scenario("reset", FAILURE, get, server.reset, httpx.ReadError),
    Scenario("gibberish", FAILURE, get, server.gibberish, httpx.RemoteProtocolError),
    Scenario(
        "stall in the body",
        FAILURE,
        read_after_the_headers,
        server.half(server.stall),
        httpx.ReadTimeout,
    ),
    Scenario(
        "reset in the body",
        FAILURE,
        read_after_the_headers,
        server.half(server.reset),
        httpx.ReadError,
    ),
    Scenario(
        "short body",
        FAILURE,
        read_after_the_headers,
        server.half(server.refuse_to_answer),
        httpx.RemoteProtocolError,
    ),
    Scenario(
        "broken chunk",
        FAILURE,
        read_after_the_headers,
        server.broken_chunk,
        httpx.RemoteProtocolError,
    ),
    Scenario(
        "mock, broken stream",
        FAILURE,
        inner=mock(lambda: httpx.Response(200, content=breaking_chunks())),
        raises=httpx.ReadError,
    ),
    # What says nothing of the upstream.
    Scenario("cancelled before the headers", IGNORED, cancel_before_the_headers, server.stall),
    Scenario("timed out", IGNORED, time_out_before_the_headers, server.stall, TimeoutError),
    Scenario("cancelled in the body", IGNORED, cancel_in_the_body, server.half(server.stall)),
    Scenario("interrupted", IGNORED, inner=mock_error(Interruption()), raises=Interruption),
    Scenario(
        "pool exhausted",
        IGNORED,
        find_the_pool_exhausted,
        server.half(server.stall),
        httpx.PoolTimeout,
        narrow_transport,
    ),
    Scenario("protocol", IGNORED, use_another_protocol, raises=httpx.UnsupportedProtocol),
    Scenario("bad header", IGNORED, send_a_bad_header, raises=httpx.LocalProtocolError),
    # httpcore lets the error of h11 through here.
    Scenario("bad length", IGNORED, send_more_than_announced, raises=h11.LocalProtocolError),
    Scenario("broken source", IGNORED, send_from_a_broken_source, raises=OwnError),
    Scenario("dropped", IGNORED, drop),
    Scenario("dropped half-way", IGNORED, drop_half_way, server.half(server.stall)),
]
