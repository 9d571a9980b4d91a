"""Everything that can become of a request, and what its circuit is to make of it.

Each scenario is written twice, for asynchronous and for synchronous clients, unless it is about
something that only one of them has.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import h11
import trio

from tests.helpers.waiting import PATIENCE
from tests.http import http2, server
from tests.http.backstage import Backstage
from tests.http.clients import KINDS, Kind
from tests.http.server import Answer
from zenvark_web import BreakerStatus, CircuitOpenError, Outcome, State

SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE
IGNORED, ANSWERED = Outcome.IGNORED, Outcome.ANSWERED


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


async def close_the_client_meanwhile(caller: Caller) -> None:
    """The request is under way, or its body is."""
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_after_a_request, caller)
            await caller.client.get("/")


async def close_after_a_request(caller: Caller) -> None:
    while not caller.stage.upstream.requests:
        await anyio.sleep(0.002)
    await anyio.sleep(0.05)
    await caller.client.aclose()


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


async def send_from_a_broken_upstream(caller: Caller) -> None:
    """What comes from one upstream goes on to another."""

    async def source() -> AsyncIterator[bytes]:
        yield b"hello"
        raise caller.kind.library.ReadTimeout("the other upstream")

    await caller.client.post("/", content=source())


def send_from_a_broken_upstream_sync(caller: Caller) -> None:
    def source() -> Iterator[bytes]:
        yield b"hello"
        raise caller.kind.library.ReadTimeout("the other upstream")

    caller.client.post("/", content=source())


def elsewhere(url: Callable[[], str]) -> tuple[Use, SyncUse]:
    return lambda caller: caller.client.get(url()), lambda caller: caller.client.get(url())


async def knock_at_a_closed_port(caller: Caller) -> None:
    with server.unused_port() as port:
        await caller.client.get(f"http://{server.HOST}:{port}/")


def knock_at_a_closed_port_sync(caller: Caller) -> None:
    with server.unused_port() as port:
        caller.client.get(f"http://{server.HOST}:{port}/")


WrappedTransport: TypeAlias = Callable[[Kind], Any]


def real_transport(kind: Kind) -> Any:
    return kind.real_transport()


def narrow_transport(kind: Kind) -> Any:
    return kind.real_transport(limits=kind.library.Limits(max_connections=1))


def http2_transport(kind: Kind) -> Any:
    return kind.real_transport(http1=False, http2=True)


def mock(made: Callable[[Kind], Any]) -> WrappedTransport:
    return lambda kind: kind.library.MockTransport(lambda _: made(kind))


def group_of(*errors: Exception) -> Callable[[Kind], Any]:
    """Fail with a group, as a transport does that runs several tasks."""
    return fail_with(ExceptionGroup("it failed", errors))


def our_own_answer(kind: Kind) -> Any:
    """What a `BreakerTransport` further in answers for its open circuit."""
    status = BreakerStatus("inner", State.OPEN, 1.0)
    return kind.library.Response(503, extensions={"breaker": status})


class TooSlow:
    """A transport that bounds its requests itself, by trio's means."""

    async def handle_async_request(self, _: Any) -> Any:
        with trio.fail_after(0.01):
            await trio.sleep(PATIENCE)

    async def aclose(self) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def cancelled_by_nobody(_: Kind) -> Any:
    """What a transport awaited was cancelled under it."""
    raise asyncio.CancelledError


class ProxyError(Exception):
    """What python-socks calls its own, and httpx-socks lets through."""


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


SHORT = 0.05
"""A limit of a stream's clock in seconds. The server waits until the passed limit is counted."""

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
TOKENS = b"data: a\n\n", b"data: b\n\n"


def judge_errors(line: bytes) -> Outcome | None:
    """Take an event for a failure that says so."""
    return FAILURE if b"error" in line else None


async def read_chunk_by_chunk(caller: Caller) -> None:
    async with caller.client.stream("GET", "/") as response:
        async for _ in response.aiter_raw():
            caller.stage.let_go()


def read_chunk_by_chunk_sync(caller: Caller) -> None:
    with caller.client.stream("GET", "/") as response:
        for _ in response.iter_raw():
            caller.stage.let_go()


async def cancel_once_counted(caller: Caller) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.client.get, "/")
        with anyio.fail_after(PATIENCE):
            while not caller.stage.upstream.go.is_set():
                await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()


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
        without: The kinds that it is not for.
        on_trial: What a half-open circuit is to make of it. None: the same.
        limits: The policy's clocks for streams.
        settings: Further settings of the transport.
    """

    name: str
    outcome: Outcome
    use: tuple[Use, SyncUse | None] = field(default_factory=request)
    answer: Answer = server.ok
    raises: type[BaseException] | str | None = None
    inner: WrappedTransport = real_transport
    without: tuple[str, ...] = ()
    on_trial: Outcome | None = None
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def fits(self, kind: Kind) -> bool:
        """Whether such a client can come into it."""
        return str(kind) not in self.without and (not kind.sync or self.use[1] is not None)

    def error(self, kind: Kind) -> type[BaseException] | None:
        """What the caller gets."""
        if isinstance(self.raises, str):
            found: type[BaseException] = getattr(kind.library, self.raises)
            return found
        return self.raises


AFTER_HEADERS = (read_after_the_headers, read_after_the_headers_sync)
HASTY = (get_hastily, get_hastily_sync)
UPGRADE = request(headers={"Connection": "upgrade", "Upgrade": "x"})

PATIENT_CLOCKS = {"first_chunk": PATIENCE, "stall": PATIENCE}

SCENARIOS = [
    # Good answers, however they are read.
    Scenario("body read to its end", SUCCESS),
    Scenario("chunked body", SUCCESS, answer=server.chunked(b"hello, ", b"world")),
    Scenario("body until the connection closes", SUCCESS, answer=server.until_closed),
    Scenario("gzip body", SUCCESS, answer=server.gzipped),
    Scenario("204, no body", SUCCESS, answer=server.status(204)),
    Scenario("HEAD", SUCCESS, request("HEAD")),
    Scenario(
        "101, an upgrade", SUCCESS, UPGRADE, server.status(101, "Upgrade: x", "Connection: upgrade")
    ),
    Scenario("only the status is used", SUCCESS, (look_at_the_status, look_at_the_status_sync)),
    Scenario(
        "closed half-way through the body",
        SUCCESS,
        (read_a_part, read_a_part_sync),
        server.half(server.stall),
    ),
    Scenario(
        "exception of the caller after the headers",
        SUCCESS,
        (stumble_over_the_headers, stumble_over_the_headers_sync),
        raises=OwnError,
    ),
    Scenario(
        "exception of the caller while it reads",
        SUCCESS,
        (stumble_over_a_chunk, stumble_over_a_chunk_sync),
        raises=OwnError,
    ),
    Scenario(
        "cancelled while the caller does other work",
        SUCCESS,
        (cancel_what_the_caller_does_meanwhile, None),
    ),
    Scenario(
        "body that cannot be decoded", SUCCESS, answer=server.badly_gzipped, raises="DecodingError"
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
        "body streamed by a mock",
        SUCCESS,
        inner=mock(lambda kind: kind.library.Response(200, content=chunks(kind))),
    ),
    *(Scenario(f"status {code}", SUCCESS, answer=server.status(code)) for code in (304, 501, 505)),
    *(
        Scenario(
            f"event stream, {how}",
            SUCCESS,
            AFTER_HEADERS,
            server.half(then, "Content-Type: text/event-stream"),
            raises,
        )
        for how, then, raises in (
            ("cut by a proxy", server.refuse_to_answer, "RemoteProtocolError"),
            ("reset", server.reset, "ReadError"),
            ("silent beyond the timeout", server.stall, "ReadTimeout"),
        )
    ),
    Scenario(
        "HTTP/2, with trailers", SUCCESS, answer=http2.http2(http2.complete), inner=http2_transport
    ),
    Scenario(
        "HTTP/2, closed half-way through the body",
        SUCCESS,
        (read_a_part, read_a_part_sync),
        http2.http2(http2.half),
        inner=http2_transport,
    ),
    # What tells that there is an upstream, but not how well it is.
    *(
        Scenario(f"status {code}", ANSWERED, answer=server.status(code))
        for code in (400, 401, 403, 404, 409, 418, 422, 499)
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
        on_trial=SUCCESS,
    ),
    Scenario(
        "HTTP/2, connection aborted",
        FAILURE,
        answer=http2.http2(http2.go_away),
        raises="RemoteProtocolError",
        inner=http2_transport,
    ),
    *(
        Scenario(f"status {code}", FAILURE, answer=server.status(code, body=b"sorry"))
        for code in (408, 429, 500, 502, 503, 504, 507, 520, 524, 529, 530, 598, 599, 600, 999)
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
    Scenario("no response before the timeout", FAILURE, HASTY, server.stall, "ReadTimeout"),
    Scenario(
        "timed out by the wrapped transport (`trio.fail_after`)",
        FAILURE,
        raises=trio.TooSlowError,
        inner=lambda _: TooSlow(),
        without=tuple(str(kind) for kind in KINDS if kind.runner != "trio"),
    ),
    Scenario(
        "cancelled without a request to cancel",
        FAILURE,
        raises=asyncio.CancelledError,
        inner=mock(cancelled_by_nobody),
        without=tuple(str(kind) for kind in KINDS if kind.runner != "asyncio"),
    ),
    Scenario(
        "proxy error of python-socks",
        FAILURE,
        raises=ProxyError,
        inner=mock(fail_with(ProxyError("no route"))),
    ),
    Scenario(
        "group of transport errors",
        FAILURE,
        raises=ExceptionGroup,
        inner=mock(group_of(ConnectionResetError(), TimeoutError())),
    ),
    Scenario(
        "closed without a response",
        FAILURE,
        answer=server.refuse_to_answer,
        raises="RemoteProtocolError",
    ),
    Scenario("reset before the headers", FAILURE, answer=server.reset, raises="ReadError"),
    Scenario(
        "response that is not HTTP", FAILURE, answer=server.gibberish, raises="RemoteProtocolError"
    ),
    Scenario(
        "stall in the body",
        FAILURE,
        AFTER_HEADERS,
        server.half(server.stall),
        "ReadTimeout",
        on_trial=SUCCESS,
    ),
    Scenario(
        "reset in the body",
        FAILURE,
        AFTER_HEADERS,
        server.half(server.reset),
        "ReadError",
        on_trial=SUCCESS,
    ),
    Scenario(
        "truncated body",
        FAILURE,
        AFTER_HEADERS,
        server.half(server.refuse_to_answer),
        "RemoteProtocolError",
        on_trial=SUCCESS,
    ),
    Scenario(
        "malformed chunk",
        FAILURE,
        AFTER_HEADERS,
        server.broken_chunk,
        "RemoteProtocolError",
        on_trial=SUCCESS,
    ),
    Scenario(
        "body of a mock that raises",
        FAILURE,
        inner=mock(lambda kind: kind.library.Response(200, content=chunks(kind, broken=True))),
        raises="ReadError",
        on_trial=SUCCESS,
    ),
    # Clocks for streams, and judged events.
    *(
        Scenario(f"{what}, with both clocks", SUCCESS, answer=answer, limits=PATIENT_CLOCKS)
        for what, answer in (
            ("body read to its end", server.chunked(b"hello, ", b"world")),
            ("event stream read to its end", server.in_parts(EVENTS, *TOKENS)),
            ("204", server.status(204)),
        )
    ),
    *(
        Scenario(
            f"{what}, with both clocks",
            FAILURE,
            AFTER_HEADERS,
            server.half(then, *headers),
            error,
            on_trial=SUCCESS,
            limits=PATIENT_CLOCKS,
        )
        for what, then, headers, error in (
            ("body that breaks", server.reset, (), "ReadError"),
            (
                "event stream, reset",
                server.reset,
                ("Content-Type: text/event-stream",),
                "ReadError",
            ),
        )
    ),
    *(
        Scenario(f"{what} `first_chunk`", FAILURE, answer=answer, limits={"first_chunk": SHORT})
        for what, answer in (
            ("headers after", server.held(b"", HEAD + b"hello")),
            ("body that begins after", server.held(HEAD, b"hello")),
            ("body without a byte that ends after", server.held(HEAD, b"")),
            ("event stream that begins after", server.held(EVENTS, TOKENS[0])),
        )
    ),
    Scenario(
        "timed out by the client after `first_chunk`",
        FAILURE,
        HASTY,
        server.stall,
        "ReadTimeout",
        limits={"first_chunk": SHORT},
    ),
    Scenario(
        "cancelled after `first_chunk`",
        FAILURE,
        (cancel_once_counted, None),
        server.stall,
        limits={"first_chunk": SHORT},
    ),
    *(
        Scenario(
            f"{what}, with a chunk after `stall`",
            FAILURE,
            answer=server.held(head + TOKENS[0], TOKENS[1]),
            limits={"stall": SHORT},
            on_trial=SUCCESS,
        )
        for what, head in (("body", HEAD), ("event stream", EVENTS))
    ),
    Scenario(
        "error event in an event stream, with `judge_chunk`",
        FAILURE,
        answer=server.in_parts(EVENTS, b"data: error\n", b"\n"),
        settings={"judge_chunk": judge_errors},
    ),
    Scenario(
        "error event after others, with `judge_chunk`",
        FAILURE,
        (read_chunk_by_chunk, read_chunk_by_chunk_sync),
        server.held(EVENTS + TOKENS[0], b"data: error\n\n"),
        settings={"judge_chunk": judge_errors},
        on_trial=SUCCESS,
    ),
    Scenario(
        "event stream without an error, with `judge_chunk`",
        SUCCESS,
        answer=server.in_parts(EVENTS, *TOKENS),
        settings={"judge_chunk": judge_errors},
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
        on_trial=SUCCESS,
    ),
    Scenario(
        "cancelled in the body",
        IGNORED,
        (cancel_in_the_body, None),
        server.half(server.stall),
        on_trial=SUCCESS,
    ),
    Scenario(
        "cancelled twice",
        IGNORED,
        (cancel_twice, None),
        server.half(server.stall),
        on_trial=SUCCESS,
    ),
    Scenario(
        "interrupted by a `BaseException`",
        IGNORED,
        inner=mock(fail_with(Interruption())),
        raises=Interruption,
    ),
    Scenario(
        "connection pool exhausted",
        IGNORED,
        (find_the_pool_exhausted, find_the_pool_exhausted_sync),
        server.half(server.stall),
        "PoolTimeout",
        narrow_transport,
    ),
    Scenario(
        "unsupported protocol",
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
        "request body longer than announced",
        IGNORED,
        request("POST", content=b"too long", headers={"Content-Length": "3"}),
        raises=h11.LocalProtocolError,
    ),
    Scenario(
        "request body that raises",
        IGNORED,
        (send_from_a_broken_source, send_from_a_broken_source_sync),
        raises=OwnError,
    ),
    Scenario(
        "request body that raises another upstream's error",
        IGNORED,
        (send_from_a_broken_upstream, send_from_a_broken_upstream_sync),
        raises="ReadTimeout",
    ),
    Scenario(
        "client closed during the request",
        IGNORED,
        (close_the_client_meanwhile, None),
        server.stall,
        ExceptionGroup,
    ),
    Scenario(
        "HTTP/2, connection closed gracefully (GOAWAY) before the request was processed",
        IGNORED,
        answer=http2.http2(http2.say_goodbye),
        raises="RemoteProtocolError",
        inner=http2_transport,
    ),
    Scenario("response of an inner breaker", IGNORED, inner=mock(our_own_answer)),
    Scenario(
        "group of rejections",
        IGNORED,
        raises=ExceptionGroup,
        inner=mock(group_of(CircuitOpenError("inner", 1.0))),
    ),
    Scenario("response dropped without reading", IGNORED, (drop, drop_sync), on_trial=SUCCESS),
    Scenario(
        "response dropped half-way through the body",
        IGNORED,
        (drop_half_way, drop_half_way_sync),
        server.half(server.stall),
        # trio complains about it, and it depends on the version of httpx2 whether it closes it.
        without=("httpx-trio", "httpx2-trio", "httpx2-asyncio", "httpx2-sync"),
        on_trial=SUCCESS,
    ),
]
