"""The transport changes nothing that passes through it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.helpers.waiting import PATIENCE
from tests.http import server
from tests.http.circuits import counts
from tests.http.server import Exchange, Upstream
from tests.http.stub import CHUNKS, Chunks, Stub
from zenvark_web import BreakerTransport, Coordinator


async def test_inner_transport_gets_the_very_request(coordinator: Coordinator) -> None:
    inner = Stub()

    async def trace(name: str, info: object) -> None: ...

    extensions = {"trace": trace, "sni_hostname": "x", "timeout": {"read": 1.5}}
    before = dict(extensions)
    request = httpx.Request("PUT", "https://example.com/x", content=b"!", extensions=extensions)
    stream = request.stream
    await BreakerTransport(coordinator, inner).handle_async_request(request)
    assert inner.requests == [request]
    assert request.stream is stream
    assert request.extensions == before


@pytest.mark.parametrize("status", [101, 200, 204, 302, 404, 500, 503])
async def test_caller_gets_the_very_response(coordinator: Coordinator, status: int) -> None:
    headers = [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X-Odd", b"\xc4")]
    extensions = {"http_version": b"HTTP/2", "stream_id": 7, "network_stream": object()}
    response = httpx.Response(status, headers=headers, stream=Chunks(), extensions=extensions)
    raw, held = list(response.headers.raw), dict(extensions)
    transport = BreakerTransport(coordinator, Stub(response))
    got = await transport.handle_async_request(httpx.Request("GET", "https://example.com"))
    assert got is response
    assert got.headers.raw == raw
    assert got.extensions == held
    assert got.http_version == "HTTP/2"
    assert isinstance(got.stream, httpx.AsyncByteStream)
    assert [chunk async for chunk in got.stream] == CHUNKS


@pytest.mark.parametrize("status", [200, 500])
async def test_body_is_handed_on_chunk_by_chunk(coordinator: Coordinator, status: int) -> None:
    body = Chunks()
    transport = BreakerTransport(coordinator, Stub(httpx.Response(status, stream=body)))
    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream("GET", "https://example.com") as response,
    ):
        chunks = response.aiter_raw()
        for chunk in filter(None, CHUNKS):  # the client leaves out empty ones
            assert await anext(chunks) == chunk
            assert body.given[-1] is chunk
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
    assert body.closed == 1


async def test_first_chunk_comes_before_the_server_sends_the_second(
    coordinator: Coordinator, upstream: Upstream
) -> None:
    upstream.answer = server.half(lambda exchange: exchange.send_body(b"world"))
    transport = BreakerTransport(coordinator)
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(transport=transport) as client,
        client.stream("GET", upstream.url) as response,
    ):
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"hello"
        upstream.go.set()
        assert await anext(chunks) == b"world"


async def test_request_body_is_sent_as_it_is_made(
    coordinator: Coordinator, upstream: Upstream
) -> None:
    arrived = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"hello"
        await arrived.wait()
        yield b"world"

    async def answer(exchange: Exchange) -> None:
        assert await exchange.read(10) == b"5\r\nhello\r\n"
        arrived.set()
        await server.ok(exchange)

    upstream.answer = answer
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(transport=BreakerTransport(coordinator)) as client,
    ):
        response = await client.post(upstream.url, content=source())
    assert response.text == "hello"


async def test_error_of_the_inner_transport_passes_as_it_is(coordinator: Coordinator) -> None:
    inner = Stub()
    inner.error = httpx.ConnectError("gone")
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator, inner)) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("https://example.com")
    assert caught.value is inner.error
    assert caught.value.request is inner.requests[0]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_error_of_the_body_passes_as_it_is(coordinator: Coordinator) -> None:
    body = Chunks(error=httpx.ReadError("broken"))
    transport = BreakerTransport(coordinator, Stub(httpx.Response(200, stream=body)))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ReadError) as caught:
            await client.get("https://example.com")
    assert caught.value is body.error
    assert caught.value.__context__ is None
    assert body.closed == 1


async def test_closing_early_reaches_the_body(coordinator: Coordinator) -> None:
    body = Chunks()
    transport = BreakerTransport(coordinator, Stub(httpx.Response(200, stream=body)))
    async with httpx.AsyncClient(transport=transport) as client:
        async with client.stream("GET", "https://example.com"):
            pass
        assert body.closed == 1
    assert body.given == []


async def test_error_while_closing_passes_and_the_call_has_counted(
    coordinator: Coordinator,
) -> None:
    class Stubborn(Chunks):
        async def aclose(self) -> None:
            raise httpx.CloseError("stuck")

    transport = BreakerTransport(coordinator, Stub(httpx.Response(200, stream=Stubborn())))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.CloseError):
            async with client.stream("GET", "https://example.com"):
                pass
    assert counts(coordinator.breaker("example.com")) == (1, 0)


async def test_entering_and_leaving_reach_the_inner_transport_once(
    coordinator: Coordinator,
) -> None:
    inner = Stub()
    transport = BreakerTransport(coordinator, inner)
    async with transport as entered:
        assert entered is transport
        assert inner.calls == ["enter"]
    assert inner.calls == ["enter", "exit"]
    await transport.aclose()
    assert inner.calls == ["enter", "exit", "aclose"]


async def test_error_that_ends_the_block_reaches_the_inner_transport(
    coordinator: Coordinator,
) -> None:
    inner, error = Stub(), ValueError()
    with pytest.raises(ValueError):  # noqa: PT011 - it is compared below
        async with BreakerTransport(coordinator, inner):
            raise error
    assert inner.exits == [error]


async def test_client_closes_the_inner_transport(coordinator: Coordinator) -> None:
    inner = Stub()
    await httpx.AsyncClient(transport=BreakerTransport(coordinator, inner)).aclose()
    assert inner.calls == ["aclose"]


async def test_mounted_transports_protect_what_they_are_mounted_on(
    coordinator: Coordinator,
) -> None:
    plain, secure, other = Stub(), Stub(), Stub()
    mounts = {
        "http://": BreakerTransport(coordinator, plain, circuits=lambda _: "plain"),
        "https://": BreakerTransport(coordinator, secure, circuits=lambda _: "secure"),
        "https://free.example.com": other,
    }
    async with httpx.AsyncClient(mounts=mounts) as client:
        await client.get("http://example.com")
        await client.get("https://example.com")
        await client.get("https://free.example.com")
    assert [len(inner.requests) for inner in (plain, secure, other)] == [1, 1, 1]
    assert set(coordinator.breakers) == {"plain", "secure"}
    for inner in (plain, secure, other):
        assert inner.calls == ["enter", "exit"]


async def test_one_transport_may_be_mounted_twice(
    coordinator: Coordinator, upstream: Upstream
) -> None:
    transport = BreakerTransport(coordinator, httpx.AsyncHTTPTransport(verify=False))
    mounts = {"http://localhost": transport, f"http://{server.HOST}": transport}
    async with httpx.AsyncClient(mounts=mounts) as client:
        assert (await client.get(f"http://localhost:{upstream.port}")).text == "hello"
        assert (await client.get(upstream.url)).text == "hello"


async def test_cookies_are_kept_and_sent_back(coordinator: Coordinator, upstream: Upstream) -> None:
    upstream.answer = server.status(200, "Set-Cookie: a=1; Path=/")
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator)) as client:
        await client.get(upstream.url)
        await client.get(upstream.url)
        assert client.cookies["a"] == "1"
    first, second = upstream.requests
    assert "cookie" not in first.headers
    assert second.headers["cookie"] == "a=1"


async def test_connection_is_kept_alive(coordinator: Coordinator, upstream: Upstream) -> None:
    transport = BreakerTransport(
        coordinator, httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1))
    )
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            await client.get(upstream.url)
    assert upstream.connections == 1


async def test_closed_client_sends_nothing_more(
    coordinator: Coordinator, upstream: Upstream
) -> None:
    client = httpx.AsyncClient(transport=BreakerTransport(coordinator))
    await client.get(upstream.url)
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.get(upstream.url)
    [breaker] = coordinator.breakers.values()
    assert counts(breaker) == (1, 0)


async def test_two_transports_of_one_coordinator_share_circuits(coordinator: Coordinator) -> None:
    for inner in (Stub(), Stub(httpx.Response(500))):
        async with httpx.AsyncClient(transport=BreakerTransport(coordinator, inner)) as client:
            await client.get("https://example.com")
    assert counts(coordinator.breaker("example.com")) == (1, 1)


async def test_repr_tells_what_it_is_around(coordinator: Coordinator) -> None:
    assert "MockTransport" in repr(
        BreakerTransport(coordinator, httpx.MockTransport(lambda _: httpx.Response(200)))
    )
