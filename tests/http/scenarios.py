"""Everything that can become of a request, and what its circuit is to make of it.

Each scenario is written twice, for asynchronous and for synchronous clients, unless it is about
something that only one of them has.
"""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import h11

from tests.http import http2, server
from tests.http.backstage import Backstage
from tests.http.circuits import PATIENCE
from tests.http.clients import Kind
from tests.http.server import Answer
from zenvark_web import Outcome

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


@dataclass(frozen=True)
class Caller:
    """What a scenario has at hand.

    Args:
        kind: The kind of client.
        client: Sends through the breaker.
        inner: The transport behind the breaker.
        stage: The upstream.
    """

    kind: Kind
    client: Any
    inner: Any
    stage: Backstage

    @property
    def hasty(self) -> Any:
        """Timeouts that run out."""
        return self.kind.library.Timeout(PATIENCE, read=0.2, pool=0.05)


Use: TypeAlias = Callable[[Caller], Awaitable[object]]
SyncUse: TypeAlias = Callable[[Caller], object]


class OwnError(Exception):
    """Something of the caller's."""


class Interruption(BaseException):
    """No `Exception`, and unknown to everyone."""


def request(method: str = "GET", **settings: Any) -> tuple[Use, SyncUse]:
    """A request whose body is read."""
    return (
        lambda caller: caller.client.request(method, "/", **settings),
        lambda caller: caller.client.request(method, "/", **settings),
    )


async def get_hastily(caller: Caller) -> object:
    return await caller.client.get("/", timeout=caller.hasty)


def get_hastily_sync(caller: Caller) -> object:
    return caller.client.get("/", timeout=caller.hasty)


async def read_after_the_headers(caller: Caller) -> None:
    async with caller.client.stream("GET", "/", timeout=caller.hasty) as response:
        caller.stage.let_go()
        await response.aread()


def read_after_the_headers_sync(caller: Caller) -> None:
    with caller.client.stream("GET", "/", timeout=caller.hasty) as response:
        caller.stage.let_go()
        response.read()


async def look_at_the_status(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        assert response.status_code == 200


def look_at_the_status_sync(caller: Caller) -> None:
    with caller.client.stream("GET", "/") as response:
        assert response.status_code == 200


async def read_a_part(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        async for _ in response.aiter_raw():
            break


def read_a_part_sync(caller: Caller) -> None:
    with caller.client.stream("GET", "/") as response:
        for _ in response.iter_raw():
            break


async def stumble_over_a_chunk(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        async for _ in response.aiter_raw():
            raise OwnError


def stumble_over_a_chunk_sync(caller: Caller) -> None:
    with caller.client.stream("GET", "/") as response:
        for _ in response.iter_raw():
            raise OwnError


async def stumble_over_the_headers(caller: Caller) -> None:
    async with caller.client.stream("GET", "/"):
        raise OwnError


def stumble_over_the_headers_sync(caller: Caller) -> None:
    with caller.client.stream("GET", "/"):
        raise OwnError


async def cancel_before_the_headers(caller: Caller) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.client.get, "/")
        with anyio.fail_after(PATIENCE):
            while not caller.stage.upstream.requests:
                await anyio.sleep(0.002)
        tasks.cancel_scope.cancel()


async def time_out_before_the_headers(caller: Caller) -> None:
    with anyio.fail_after(0.1):
        await caller.client.get("/")


async def cancel_in_the_body(caller: Caller) -> None:
    reading = anyio.Event()

    async def read() -> None:
        async with caller.client.stream("GET", "/") as response:
            async for _ in response.aiter_raw():
                reading.set()

    await cancel_after(reading, read)


async def cancel_what_the_caller_does_meanwhile(caller: Caller) -> None:
    busy = anyio.Event()

    async def dawdle() -> None:
        async with caller.client.stream("GET", "/"):
            busy.set()
            await anyio.sleep(PATIENCE)

    await cancel_after(busy, dawdle)


async def cancel_twice(caller: Caller) -> None:
    """The second cancellation comes while the first is being dealt with."""
    reading = anyio.Event()

    async def read() -> None:
        async with caller.client.stream("GET", "/") as response:
            try:
                async for _ in response.aiter_raw():
                    reading.set()
            finally:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await anyio.sleep(PATIENCE)

    await cancel_after(reading, read)


async def cancel_after(event: anyio.Event, work: Callable[[], Awaitable[None]]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        with anyio.fail_after(PATIENCE):
            await event.wait()
        await anyio.sleep(0.01)  # so that it waits for what comes next
        tasks.cancel_scope.cancel()


async def drop(caller: Caller) -> None:
    await caller.client.send(caller.client.build_request("GET", "/"), stream=True)
    gc.collect()


def drop_sync(caller: Caller) -> None:
    caller.client.send(caller.client.build_request("GET", "/"), stream=True)
    gc.collect()


async def drop_half_way(caller: Caller) -> None:
    response = await caller.client.send(caller.client.build_request("GET", "/"), stream=True)
    async for _ in response.aiter_raw():
        break
    del response
    gc.collect()
    await anyio.sleep(0.01)  # the loop closes the generators
    gc.collect()


def drop_half_way_sync(caller: Caller) -> None:
    response = caller.client.send(caller.client.build_request("GET", "/"), stream=True)
    for _ in response.iter_raw():
        break
    del response
    gc.collect()


async def find_the_pool_exhausted(caller: Caller) -> None:
    holder = await caller.inner.handle_async_request(caller.client.build_request("GET", "/"))
    try:
        await get_hastily(caller)
    finally:
        await holder.aclose()


def find_the_pool_exhausted_sync(caller: Caller) -> None:
    holder = caller.inner.handle_request(caller.client.build_request("GET", "/"))
    try:
        get_hastily_sync(caller)
    finally:
        holder.close()


async def send_from_a_broken_source(caller: Caller) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"hello"
        raise OwnError

    await caller.client.post("/", content=source())


def send_from_a_broken_source_sync(caller: Caller) -> None:
    def source() -> Iterator[bytes]:
        yield b"hello"
        raise OwnError

    caller.client.post("/", content=source())


def elsewhere(url: Callable[[], str]) -> tuple[Use, SyncUse]:
    return lambda caller: caller.client.get(url()), lambda caller: caller.client.get(url())


async def knock_at_a_closed_port(caller: Caller) -> None:
    with server.unused_port() as port:
        await caller.client.get(f"http://{server.HOST}:{port}/")


def knock_at_a_closed_port_sync(caller: Caller) -> None:
    with server.unused_port() as port:
        caller.client.get(f"http://{server.HOST}:{port}/")


Inner: TypeAlias = Callable[[Kind], Any]


def real_transport(kind: Kind) -> Any:
    return kind.real_transport()


def narrow_transport(kind: Kind) -> Any:
    return kind.real_transport(limits=kind.library.Limits(max_connections=1))


def http2_transport(kind: Kind) -> Any:
    return kind.real_transport(http1=False, http2=True)


def mock(made: Callable[[Kind], Any]) -> Inner:
    return lambda kind: kind.library.MockTransport(lambda _: made(kind))


def fail_with(error: BaseException) -> Callable[[Kind], Any]:
    def fail(_: Kind) -> Any:
        raise error

    return fail


def chunks(kind: Kind, *, broken: bool = False) -> Any:
    """A body in chunks, which may break."""

    def chunks_sync() -> Iterator[bytes]:
        yield b"hello, "
        if broken:
            raise kind.library.ReadError("broken")
        yield b"world"

    async def chunks_async() -> AsyncIterator[bytes]:
        for chunk in chunks_sync():
            yield chunk

    return chunks_sync() if kind.sync else chunks_async()


@dataclass(frozen=True)
class Scenario:
    """One thing that can happen.

    Args:
        name: What it is called in the documentation's table.
        outcome: What the circuit is to make of it.
        use: What an asynchronous caller does, and a synchronous one. None: there is no such.
        answer: What the server does.
        raises: What the caller gets; a library's errors by name.
        inner: Makes the transport behind the breaker.
        others: The outcome, where it is another: by a kind's name.
        without: Where it can't be played.
    """

    name: str
    outcome: Outcome
    use: tuple[Use, SyncUse | None] = field(default_factory=request)
    answer: Answer = server.ok
    raises: type[BaseException] | str | None = None
    inner: Inner = real_transport
    others: Mapping[str, Outcome] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def expected(self, kind: Kind) -> Outcome:
        """What the circuit is to make of it with such a client."""
        return self.others.get(str(kind), self.outcome)

    def fits(self, kind: Kind) -> bool:
        """Whether such a client can come into it."""
        return kind.runner not in self.without and (not kind.sync or self.use[1] is not None)

    def error(self, kind: Kind) -> type[BaseException] | None:
        """What the caller gets."""
        if isinstance(self.raises, str):
            found: type[BaseException] = getattr(kind.library, self.raises)
            return found
        return self.raises


AFTER_HEADERS = (read_after_the_headers, read_after_the_headers_sync)
HASTY = (get_hastily, get_hastily_sync)
UPGRADE = request(headers={"Connection": "upgrade", "Upgrade": "x"})

SCENARIOS = [
    # Good answers, however they are read.
    Scenario("read to the end", SUCCESS),
    Scenario("chunked", SUCCESS, answer=server.chunked(b"hello, ", b"world")),
    Scenario("body until the connection closes", SUCCESS, answer=server.until_closed),
    Scenario("gzip", SUCCESS, answer=server.gzipped),
    Scenario("204, no body", SUCCESS, answer=server.status(204)),
    Scenario("HEAD", SUCCESS, request("HEAD")),
    Scenario(
        "101, an upgrade", SUCCESS, UPGRADE, server.status(101, "Upgrade: x", "Connection: upgrade")
    ),
    Scenario("only the status looked at", SUCCESS, (look_at_the_status, look_at_the_status_sync)),
    Scenario(
        "closed half-way", SUCCESS, (read_a_part, read_a_part_sync), server.half(server.stall)
    ),
    Scenario(
        "caller's own error after the headers",
        SUCCESS,
        (stumble_over_the_headers, stumble_over_the_headers_sync),
        raises=OwnError,
    ),
    Scenario(
        "caller's own error while reading",
        SUCCESS,
        (stumble_over_a_chunk, stumble_over_a_chunk_sync),
        raises=OwnError,
    ),
    Scenario(
        "cancelled while the caller does something else",
        SUCCESS,
        (cancel_what_the_caller_does_meanwhile, None),
    ),
    Scenario(
        "body that can't be decoded", SUCCESS, answer=server.badly_gzipped, raises="DecodingError"
    ),
    Scenario(
        "response already read (mock, cache)",
        SUCCESS,
        inner=mock(lambda kind: kind.library.Response(200, text="hello")),
    ),
    Scenario(
        "response without a body (mock)",
        SUCCESS,
        inner=mock(lambda kind: kind.library.Response(200)),
    ),
    Scenario(
        "streamed by a mock",
        SUCCESS,
        inner=mock(lambda kind: kind.library.Response(200, content=chunks(kind))),
    ),
    *(
        Scenario(f"status {code}", SUCCESS, answer=server.status(code))
        for code in (304, 400, 401, 403, 404, 408, 409, 418, 422, 501, 505)
    ),
    Scenario(
        "HTTP/2, with trailers", SUCCESS, answer=http2.http2(http2.complete), inner=http2_transport
    ),
    Scenario(
        "HTTP/2, closed half-way",
        SUCCESS,
        (read_a_part, read_a_part_sync),
        http2.http2(http2.half),
        inner=http2_transport,
    ),
    # Bad answers, and none.
    Scenario("HTTP/2, status 503", FAILURE, answer=http2.http2(http2.busy), inner=http2_transport),
    Scenario(
        "HTTP/2, stream reset",
        FAILURE,
        answer=http2.http2(http2.reset),
        raises="RemoteProtocolError",
        inner=http2_transport,
    ),
    Scenario(
        "HTTP/2, stream reset in the body",
        FAILURE,
        AFTER_HEADERS,
        http2.http2(http2.half, http2.reset),
        "RemoteProtocolError",
        http2_transport,
    ),
    Scenario(
        "HTTP/2, connection given up",
        FAILURE,
        answer=http2.http2(http2.go_away),
        raises="RemoteProtocolError",
        inner=http2_transport,
    ),
    *(
        Scenario(f"status {code}", FAILURE, answer=server.status(code, body=b"sorry"))
        for code in (429, 500, 502, 503, 504)
    ),
    Scenario("HEAD, status 503", FAILURE, request("HEAD"), server.status(503)),
    Scenario(
        "status 500, already read (mock)",
        FAILURE,
        inner=mock(lambda kind: kind.library.Response(500, text="sorry")),
    ),
    Scenario(
        "connection refused",
        FAILURE,
        (knock_at_a_closed_port, knock_at_a_closed_port_sync),
        raises="ConnectError",
    ),
    Scenario("no answer in time", FAILURE, HASTY, server.stall, "ReadTimeout"),
    Scenario(
        "closed without an answer",
        FAILURE,
        answer=server.refuse_to_answer,
        raises="RemoteProtocolError",
    ),
    Scenario("reset before the headers", FAILURE, answer=server.reset, raises="ReadError"),
    Scenario("no HTTP", FAILURE, answer=server.gibberish, raises="RemoteProtocolError"),
    Scenario("stall in the body", FAILURE, AFTER_HEADERS, server.half(server.stall), "ReadTimeout"),
    Scenario("reset in the body", FAILURE, AFTER_HEADERS, server.half(server.reset), "ReadError"),
    Scenario(
        "body cut short",
        FAILURE,
        AFTER_HEADERS,
        server.half(server.refuse_to_answer),
        "RemoteProtocolError",
    ),
    Scenario("broken chunk", FAILURE, AFTER_HEADERS, server.broken_chunk, "RemoteProtocolError"),
    Scenario(
        "mock whose body breaks",
        FAILURE,
        inner=mock(lambda kind: kind.library.Response(200, content=chunks(kind, broken=True))),
        raises="ReadError",
    ),
    # What says nothing of the upstream.
    Scenario(
        "cancelled before the headers", IGNORED, (cancel_before_the_headers, None), server.stall
    ),
    Scenario(
        "timed out by the caller (`fail_after`, `asyncio.timeout`)",
        IGNORED,
        (time_out_before_the_headers, None),
        server.stall,
        TimeoutError,
    ),
    Scenario(
        "HTTP/2, cancelled in the body",
        IGNORED,
        (cancel_in_the_body, None),
        http2.http2(http2.half),
        inner=http2_transport,
    ),
    Scenario(
        "cancelled in the body", IGNORED, (cancel_in_the_body, None), server.half(server.stall)
    ),
    Scenario("cancelled twice", IGNORED, (cancel_twice, None), server.half(server.stall)),
    Scenario(
        "interrupted by a `BaseException`",
        IGNORED,
        inner=mock(fail_with(Interruption())),
        raises=Interruption,
    ),
    Scenario(
        "pool exhausted",
        IGNORED,
        (find_the_pool_exhausted, find_the_pool_exhausted_sync),
        server.half(server.stall),
        "PoolTimeout",
        narrow_transport,
    ),
    Scenario(
        "unknown protocol",
        IGNORED,
        elsewhere(lambda: "ftp://localhost/"),
        raises="UnsupportedProtocol",
    ),
    Scenario(
        "header with a line break",
        IGNORED,
        request(headers={"X-Header": "two\r\nlines"}),
        raises="LocalProtocolError",
    ),
    # httpcore lets the error of h11 through here.
    Scenario(
        "more sent than announced",
        IGNORED,
        request("POST", content=b"too long", headers={"Content-Length": "3"}),
        raises=h11.LocalProtocolError,
    ),
    Scenario(
        "request body that breaks",
        IGNORED,
        (send_from_a_broken_source, send_from_a_broken_source_sync),
        raises=OwnError,
    ),
    Scenario("response dropped, never read", IGNORED, (drop, drop_sync)),
    Scenario(
        "response dropped half-way",
        IGNORED,
        (drop_half_way, drop_half_way_sync),
        server.half(server.stall),
        # httpx2 closes a response whose iterator is dropped; trio would complain about it.
        others={"httpx2-asyncio": SUCCESS, "httpx2-sync": SUCCESS},
        without=("trio",),
    ),
]
