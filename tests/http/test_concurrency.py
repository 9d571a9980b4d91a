"""Many requests at once, over real sockets, of which some are cancelled at any moment."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.helpers.waiting import eventually
from tests.http import server
from tests.http.circuits import counts, half_opened, takes_a_call
from tests.http.conftest import StartCoordinator
from tests.http.server import Exchange, Upstream
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    State,
)

REQUESTS = 500
CONNECTIONS = 50


class Storm:
    """Requests at once, a third of which are cancelled at random moments."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.ended: Counter[str] = Counter()
        self._client = client
        self._chance = random.Random(7)

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._one()) for _ in range(REQUESTS)]
        loop = asyncio.get_running_loop()
        for task in self._chance.sample(tasks, REQUESTS // 3):
            loop.call_later(self._chance.uniform(0, 0.5), task.cancel)
        await asyncio.gather(*tasks)
        assert self.ended.total() == REQUESTS

    async def _one(self) -> None:
        self.ended[await self._outcome()] += 1

    async def _outcome(self) -> str:
        try:
            async with self._client.stream("GET", "/") as response:
                await response.aread()
        except asyncio.CancelledError:
            return "cancelled"
        except CircuitOpenError:
            return "rejected"
        except httpx.TransportError:
            return "failed"
        return "passed" if response.status_code == 200 else "failed"


@pytest.fixture
async def inner() -> AsyncIterator[httpx.AsyncHTTPTransport]:
    limits = httpx.Limits(max_connections=CONNECTIONS)
    async with httpx.AsyncHTTPTransport(verify=False, limits=limits) as transport:
        yield transport


def client(
    coordinator: Coordinator, inner: httpx.AsyncBaseTransport, upstream: Upstream
) -> httpx.AsyncClient:
    transport = BreakerTransport(
        coordinator, inner, circuits=lambda _: "upstream", when_open="raise"
    )
    return httpx.AsyncClient(transport=transport, base_url=upstream.url, timeout=60)


def moody(*, bad: bool) -> server.Answer:
    """An upstream that takes its time, in two steps, and perhaps answers badly."""
    chance = random.Random(7)

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(chance.uniform(0, 0.02))
        mood = chance.random() if bad else 1
        if mood < 0.05:
            exchange.reset()
        elif mood < 0.15:
            await server.status(503, body=b"sorry")(exchange)
        else:
            await exchange.send("HTTP/1.1 200 OK", "Content-Length: 10")
            await exchange.send_body(b"hello")
            await asyncio.sleep(chance.uniform(0, 0.02))
            await (server.reset(exchange) if mood < 0.2 else exchange.send_body(b"world"))

    return answer


async def assert_no_connection_is_lost(inner: httpx.AsyncBaseTransport, upstream: Upstream) -> None:
    """As many requests at once as there may be connections all get through."""
    together = asyncio.Barrier(CONNECTIONS)

    async def meet(exchange: Exchange) -> None:
        await together.wait()
        await server.ok(exchange)

    upstream.answer = meet
    bare = httpx.AsyncClient(transport=inner, base_url=upstream.url, timeout=60)
    async with asyncio.timeout(60):
        await asyncio.gather(*(bare.get("/") for _ in range(CONNECTIONS)))


async def test_results_add_up(
    coordinator: Coordinator, upstream: Upstream, inner: httpx.AsyncHTTPTransport
) -> None:
    upstream.answer = moody(bad=True)
    storm = Storm(client(coordinator, inner, upstream))
    await storm.run()
    successes, failures = counts(coordinator.breaker("upstream"))
    ended = storm.ended
    assert ended["passed"] > 100
    assert ended["failed"] > 0
    assert ended["cancelled"] > 0
    # A request may be cancelled when it has just ended.
    assert 0 <= successes - ended["passed"] <= ended["cancelled"]
    assert 0 <= failures - ended["failed"] <= ended["cancelled"]
    assert successes + failures <= REQUESTS
    await assert_no_connection_is_lost(inner, upstream)


async def test_every_trial_permit_comes_back(
    start_coordinator: StartCoordinator, upstream: Upstream, inner: httpx.AsyncHTTPTransport
) -> None:
    """The circuit closes after exactly so many passes as were asked for: a permit too few, and
    it would never close, one too many, and there would be more."""
    coordinator = await start_coordinator(
        BreakerPolicy(
            strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01), trial_calls=REQUESTS
        )
    )
    breaker = coordinator.breaker("upstream")
    upstream.answer = moody(bad=False)
    await half_opened(breaker)
    storm = Storm(client(coordinator, inner, upstream))
    await storm.run()
    assert storm.ended["passed"] > 100
    assert storm.ended["cancelled"] > 0

    async def closed() -> bool:
        if breaker.state is not State.CLOSED and takes_a_call(breaker):
            await breaker.execute(asyncio.sleep, 0)
        return breaker.state is State.CLOSED

    await eventually(closed, within=60)
    assert counts(breaker) == (REQUESTS, 1)
    await assert_no_connection_is_lost(inner, upstream)
