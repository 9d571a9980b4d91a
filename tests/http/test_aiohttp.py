"""`zenvark_web.aiohttp`: the middleware, with the real library and a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    FixedResponse,
    LastGoodResponse,
    OtherUpstream,
    Outcome,
    Scoped,
    State,
)
from zenvark_web.aiohttp import BreakerMiddleware, CircuitOpenError, default_classify
from zenvark_web.exceptions import CircuitOpenError as AnyCircuitOpenError

BRISK = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
PATIENT = BreakerPolicy(strategy=ConsecutiveFailures(1_000))
BODY = b"0123456789\n" * 20_000


async def answer(request: web.Request) -> web.StreamResponse:
    status = int(request.query.get("status", 200))
    if "breaks" in request.query:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"some")
        assert request.transport is not None
        request.transport.close()
        return response
    if "hangs" in request.query:
        await asyncio.sleep(3600)
    if request.method == "POST":
        return web.Response(body=await request.read())
    return web.Response(status=status, body=BODY, headers={"Retry-After": "7"})


class World:
    """A server, a coordinator and sessions."""

    def __init__(self, coordinator: Coordinator, url: str) -> None:
        self.coordinator = coordinator
        self.url = url
        self.breaker: Breaker = coordinator.breaker(url.removeprefix("http://").rstrip("/"))

    @asynccontextmanager
    async def session(self, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
        middleware = BreakerMiddleware(self.coordinator, **settings)
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            yield session

    async def counted(self, successes: int, failures: int) -> None:
        def they_are() -> bool:
            return counts(self.breaker) == (successes, failures)

        await eventually(they_are, within=PATIENCE)


@asynccontextmanager
async def world(policy: BreakerPolicy = PATIENT) -> AsyncIterator[World]:
    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with Coordinator(policy=policy) as coordinator:
            yield World(coordinator, f"http://127.0.0.1:{port}/")
    finally:
        await runner.cleanup()


READERS = {
    "read": lambda response: response.read(),
    "lines": lambda response: joined(response.content),
    "any": lambda response: joined(response.content.iter_any()),
    "chunked": lambda response: joined(response.content.iter_chunked(1000)),
    "chunks": lambda response: chunks(response.content),
    "exactly": lambda response: response.content.readexactly(len(BODY)),
}


async def joined(parts: Any) -> bytes:
    return b"".join([part async for part in parts])


async def chunks(content: Any) -> bytes:
    return b"".join([data async for data, _ in content.iter_chunks()])


@pytest.mark.parametrize("how", READERS)
async def test_a_body_passes_unchanged_and_settles_the_call(how: str) -> None:
    async with world() as here, here.session() as session, session.get(here.url) as response:
        assert response.status == 200
        assert counts(here.breaker) == (0, 0)
        assert await READERS[how](response) == BODY
        await here.counted(1, 0)


async def test_a_body_that_is_left_is_a_success() -> None:
    async with world() as here, here.session() as session:
        async with session.get(here.url):
            pass
        await here.counted(1, 0)
        response = await session.get(here.url)
        await response.content.read(10)
        response.close()
        await here.counted(2, 0)


async def test_without_a_body_it_is_settled_at_once() -> None:
    async with world() as here, here.session() as session, session.head(here.url) as response:
        assert response.status == 200
        await here.counted(1, 0)


async def test_a_request_body_is_sent() -> None:
    async with world() as here, here.session() as session:
        response = await session.post(here.url, data=BODY)
        assert await response.read() == BODY


@pytest.mark.parametrize("query", ["?status=500", "?status=429", "?breaks"])
async def test_failures_open_the_circuit(query: str) -> None:
    async with world(BRISK) as here, here.session() as session:
        try:
            async with session.get(here.url + query) as response:
                await response.read()
        except aiohttp.ClientError:
            assert query == "?breaks"
        await eventually(lambda: here.breaker.state is State.OPEN, within=PATIENCE)
        async with session.get(here.url) as rejected:
            assert rejected.status == 503
            assert int(rejected.headers["Retry-After"]) >= 1
            assert rejected.content_type == "application/problem+json"
            assert (await rejected.json(content_type=None))["status"] == 503
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(here.url, raise_for_status=True)


async def test_transport_errors_and_timeouts_are_failures_and_cancellations_are_not() -> None:
    async with world() as here, here.session() as session:
        with pytest.raises(TimeoutError):
            await session.get(here.url + "?hangs", timeout=aiohttp.ClientTimeout(total=0.05))
        await here.counted(0, 1)
        call = asyncio.create_task(session.get(here.url + "?hangs"))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with session.get(here.url) as response:
            await response.read()
        await here.counted(1, 1)


async def test_an_unreachable_upstream_opens_its_circuit() -> None:
    async with world(BRISK) as here, here.session() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://127.0.0.1:1/")
        breaker = here.coordinator.breaker("127.0.0.1:1")
        await eventually(lambda: breaker.state is State.OPEN, within=PATIENCE)


async def test_raises_when_told_to() -> None:
    async with world(BRISK) as here, here.session(when_open="raise") as session:
        await session.get(here.url + "?status=500")
        await eventually(lambda: here.breaker.state is State.OPEN, within=PATIENCE)
        with pytest.raises(CircuitOpenError) as raised:
            await session.get(here.url)
        assert isinstance(raised.value, AnyCircuitOpenError | aiohttp.ClientError)
        assert raised.value.name == here.breaker.name
        assert not isinstance(raised.value, aiohttp.ClientConnectionError)


@pytest.mark.parametrize("last_good", [False, True])
async def test_fallbacks(last_good: bool) -> None:
    fallback = LastGoodResponse() if last_good else FixedResponse({"items": []})
    async with world(BRISK) as here, here.session(fallback=fallback) as session:
        async with session.get(here.url) as response:
            await response.read()
        here.breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: here.breaker.state is State.OPEN, within=PATIENCE)
        async with session.get(here.url) as response:
            assert response.status == 200
            body = await response.read()
        assert body == BODY if last_good else json.loads(body) == {"items": []}


async def test_nothing_is_sent_to_another_upstream() -> None:
    async with (
        world(BRISK) as here,
        world(BRISK) as other,
        here.session(fallback=OtherUpstream(other.url)) as session,
    ):
        here.breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: here.breaker.state is State.OPEN, within=PATIENCE)
        with pytest.raises(TypeError, match="another upstream"):
            await session.get(here.url, headers={"Authorization": "secret"})


async def test_circuits_of_the_provider_and_of_the_key() -> None:
    def circuits(request: httpx.Request) -> Scoped:
        return Scoped(provider="openai", key=f"openai#{request.headers['X-Customer']}")

    async with world(BRISK) as here, here.session(circuits=circuits) as session:
        for customer, status in (("1", 429), ("2", 200)):
            url = f"{here.url}?status={status}"
            async with session.get(url, headers={"X-Customer": customer}) as response:
                assert response.status == status
        first = here.coordinator.breaker("openai#1")
        await eventually(lambda: first.state is State.OPEN, within=PATIENCE)
        assert here.coordinator.breaker("openai").state is State.CLOSED
        async with session.get(here.url, headers={"X-Customer": "2"}) as response:
            assert response.status == 200


async def test_fifty_at_once() -> None:
    async with world() as here, here.session() as session:

        async def call() -> bytes:
            async with session.get(here.url) as response:
                return await response.read()

        bodies = await asyncio.gather(*(call() for _ in range(50)))
        assert set(bodies) == {BODY}
        await here.counted(50, 0)


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (aiohttp.ServerDisconnectedError(), Outcome.FAILURE),
        (aiohttp.ClientPayloadError(), Outcome.FAILURE),
        (TimeoutError(), Outcome.FAILURE),
        (aiohttp.InvalidURL("x"), Outcome.IGNORED),
        (ValueError(), Outcome.IGNORED),
    ],
    ids=["disconnected", "payload", "timeout", "url", "other"],
)
def test_default_rules(ended: Exception, outcome: Outcome) -> None:
    assert default_classify(None, ended) is outcome
