"""Client features that send several requests, or look at one twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx
import pytest

import zenvark_web.httpx
from tests.helpers.waiting import PATIENCE, eventually
from tests.http import server
from tests.http.circuits import counts
from tests.http.conftest import PATIENT, StartCoordinator
from tests.http.server import Exchange, Upstream
from tests.http.stub import Chunks, Stub
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    Coordinator,
    Outcome,
    default_classify,
)

NAME = "api.example.com"
URL = f"https://{NAME}/"


@pytest.fixture
async def client(coordinator: Coordinator, upstream: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    transport = BreakerTransport(coordinator, httpx.AsyncHTTPTransport(verify=False))
    async with httpx.AsyncClient(transport=transport, base_url=upstream.url) as client:
        yield client


def by_target(**answers: server.Answer) -> server.Answer:
    async def answer(exchange: Exchange) -> None:
        await answers[exchange.target.strip("/")](exchange)

    return answer


async def test_each_hop_of_a_redirect_counts_for_its_host(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    upstream.answer = by_target(
        start=server.status(302, "Location: /moved"),
        moved=server.status(307, f"Location: http://localhost:{upstream.port}/end"),
        end=server.status(500),
    )
    response = await client.get("/start", follow_redirects=True)
    assert response.status_code == 500
    assert [hop.status_code for hop in response.history] == [302, 307]
    assert counts(coordinator.breaker(f"{server.HOST}:{upstream.port}")) == (2, 0)
    assert counts(coordinator.breaker(f"localhost:{upstream.port}")) == (0, 1)


async def test_redirect_keeps_the_circuit_that_the_request_named(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    upstream.answer = by_target(start=server.status(302, "Location: /end"), end=server.ok)
    await client.get("/start", follow_redirects=True, extensions={"breaker": "named"})
    assert counts(coordinator.breaker("named")) == (2, 0)
    assert set(coordinator.breakers) == {"named"}


async def test_redirects_without_end_are_all_answers(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    upstream.answer = server.status(302, "Location: /again")
    with pytest.raises(httpx.TooManyRedirects):
        await client.get("/again", follow_redirects=True)
    [breaker] = coordinator.breakers.values()
    assert counts(breaker) == (21, 0)


async def test_a_challenge_says_nothing_and_the_answer_to_its_reply_counts(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    async def guarded(exchange: Exchange) -> None:
        challenge = 'WWW-Authenticate: Digest realm="x", qop="auth", nonce="n", algorithm="MD5"'
        known = "authorization" in exchange.headers
        await (server.ok if known else server.status(401, challenge))(exchange)

    upstream.answer = guarded
    response = await client.get("/", auth=httpx.DigestAuth("user", "secret"))
    assert response.text == "hello"
    [breaker] = coordinator.breakers.values()
    assert counts(breaker) == (1, 0)


async def test_event_hooks_see_the_request_once_and_may_read_the_body(
    client: httpx.AsyncClient, coordinator: Coordinator
) -> None:
    seen: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(request.method)

    async def on_response(response: httpx.Response) -> None:
        seen.append((await response.aread()).decode())

    client.event_hooks = {"request": [on_request], "response": [on_response]}
    assert (await client.get("/")).text == "hello"
    assert seen == ["GET", "hello"]
    [breaker] = coordinator.breakers.values()
    assert counts(breaker) == (1, 0)


async def test_hook_that_raises_is_not_the_upstreams_fault(
    client: httpx.AsyncClient, coordinator: Coordinator
) -> None:
    async def on_response(response: httpx.Response) -> None:
        raise httpx.HTTPStatusError("no", request=response.request, response=response)

    client.event_hooks = {"response": [on_response]}
    with pytest.raises(httpx.HTTPStatusError):
        await client.get("/")
    [breaker] = coordinator.breakers.values()
    assert counts(breaker) == (1, 0)


async def test_failure_status_counts_before_its_body_comes(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    async def slow_error(exchange: Exchange) -> None:
        await exchange.send("HTTP/1.1 503 Busy", "Content-Length: 10")
        await exchange.go.wait()
        exchange.reset()

    upstream.answer = slow_error
    async with client.stream("GET", "/") as response:
        [breaker] = coordinator.breakers.values()
        assert counts(breaker) == (0, 1)
        upstream.go.set()
        with pytest.raises(httpx.ReadError):
            await response.aread()
    assert counts(breaker) == (0, 1)


async def test_good_answer_counts_when_its_body_has_come(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    upstream.answer = server.half(lambda exchange: exchange.send_body(b"world"))
    async with client.stream("GET", "/") as response:
        [breaker] = coordinator.breakers.values()
        assert counts(breaker) == (0, 0)
        upstream.go.set()
        assert await response.aread() == b"helloworld"
        assert counts(breaker) == (1, 0)
    assert counts(breaker) == (1, 0)


async def test_stream_that_is_read_to_its_end_need_not_be_closed_to_count(
    coordinator: Coordinator,
) -> None:
    body = Chunks()
    transport = BreakerTransport(coordinator, Stub(httpx.Response(200, stream=body)))
    response = await transport.handle_async_request(httpx.Request("GET", URL))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for _ in response.stream:
        assert counts(coordinator.breaker(NAME)) == (0, 0)
    assert counts(coordinator.breaker(NAME)) == (1, 0)
    assert body.closed == 0


async def test_upgrade_counts_at_once_and_is_left_alone(coordinator: Coordinator) -> None:
    body = Chunks()
    transport = BreakerTransport(coordinator, Stub(httpx.Response(101, stream=body)))
    response = await transport.handle_async_request(httpx.Request("GET", URL))
    assert response.stream is body
    assert counts(coordinator.breaker(NAME)) == (1, 0)


async def test_read_that_is_abandoned_says_nothing(coordinator: Coordinator) -> None:
    """So are reads under way when a loop is shut down in a hurry."""

    class Endless(Chunks):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self  # no generator: CPython 3.11 would not let one go that was left like this

        async def __anext__(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    transport = BreakerTransport(coordinator, Stub(httpx.Response(200, stream=Endless())))
    response = await transport.handle_async_request(httpx.Request("GET", URL))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    read = response.stream.__aiter__().__anext__().__await__()
    next(read)
    read.close()
    await response.stream.aclose()
    assert counts(coordinator.breaker(NAME)) == (0, 0)


async def test_call_takes_as_long_as_its_headers(
    client: httpx.AsyncClient, coordinator: Coordinator, upstream: Upstream
) -> None:
    upstream.answer = server.half(lambda exchange: exchange.send_body(b"world"))
    began = time.monotonic()
    async with client.stream("GET", "/") as response:
        at_most = time.monotonic() - began
        await asyncio.sleep(0.1)
        upstream.go.set()
        await response.aread()
    [breaker] = coordinator.breakers.values()
    assert counts(breaker) == (1, 0)
    assert 0 < breaker.successes.total <= at_most


def another_circuit_open(_: str) -> Exception:
    return zenvark_web.httpx.CircuitOpenError("another", 1)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx.ConnectError, Outcome.FAILURE),
        (httpx.ConnectTimeout, Outcome.FAILURE),
        (httpx.ReadTimeout, Outcome.FAILURE),
        (httpx.ReadError, Outcome.FAILURE),
        (httpx.WriteTimeout, Outcome.FAILURE),
        (httpx.WriteError, Outcome.FAILURE),
        (httpx.CloseError, Outcome.FAILURE),
        (httpx.ProxyError, Outcome.FAILURE),
        (httpx.RemoteProtocolError, Outcome.FAILURE),
        (httpx.NetworkError, Outcome.FAILURE),
        (httpx.TransportError, Outcome.FAILURE),
        (ConnectionResetError, Outcome.FAILURE),
        (TimeoutError, Outcome.FAILURE),
        (httpx.PoolTimeout, Outcome.IGNORED),
        (another_circuit_open, Outcome.IGNORED),
        (httpx.LocalProtocolError, Outcome.IGNORED),
        (httpx.UnsupportedProtocol, Outcome.IGNORED),
        (httpx.InvalidURL, Outcome.IGNORED),
        (httpx.DecodingError, Outcome.IGNORED),
        (httpx.StreamConsumed, Outcome.IGNORED),
        (ValueError, Outcome.IGNORED),
    ],
)
def test_every_error_has_an_outcome(error: Callable[..., Exception], outcome: Outcome) -> None:
    made = error() if error is httpx.StreamConsumed else error("…")
    assert default_classify(httpx.Request("GET", "https://example.com"), made) is outcome


def test_an_error_of_a_kind_to_come_counts_as_the_one_it_derives_from() -> None:
    class NewReadError(httpx.ReadError):
        pass

    class NewPoolTimeout(httpx.PoolTimeout):
        pass

    request = httpx.Request("GET", "https://example.com")
    assert default_classify(request, NewReadError("…")) is Outcome.FAILURE
    assert default_classify(request, NewPoolTimeout("…")) is Outcome.IGNORED


@pytest.mark.parametrize(
    ("response", "error", "label"),
    [
        (httpx.Response(503), None, "HTTP 503"),
        (None, httpx.ConnectTimeout("…"), "ConnectTimeout"),
    ],
)
async def test_a_trip_says_what_the_failures_were(
    response: httpx.Response | None,
    error: Exception | None,
    label: str,
    start_coordinator: StartCoordinator,
) -> None:
    reasons = []
    coordinator = await start_coordinator(
        BreakerPolicy(strategy=ConsecutiveFailures(3)),
        on_state_change=lambda change: reasons.append(change.reason),
    )
    inner = Stub(response)
    inner.error = error
    transport = BreakerTransport(coordinator, inner)
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            with suppress(httpx.ConnectTimeout):
                await client.get("https://example.com")
    [reason] = await eventually(lambda: reasons, within=PATIENCE)
    assert reason.failures == {label: 3}


async def test_calls_after_the_coordinator_has_stopped_pass_and_count_nothing(
    upstream: Upstream,
) -> None:
    coordinator = Coordinator(policy=PATIENT)
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator)) as client:
        assert (await client.get(upstream.url)).text == "hello"
        async with coordinator:
            assert (await client.get(upstream.url)).text == "hello"
            upstream.answer = server.half(lambda exchange: exchange.send_body(b"world"))
            response = await client.send(client.build_request("GET", upstream.url), stream=True)
        upstream.go.set()
        assert await response.aread() == b"helloworld"
        assert (await client.get(upstream.url)).text == "helloworld"
        [breaker] = coordinator.breakers.values()
        assert counts(breaker) == (1, 0)
