"""Many requests at once, over real sockets, of which some are cancelled at any moment."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle

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
POOLS = 5


class Storm:
    """Requests at once, of which about a third are cancelled while the upstream works: `strike`
    is called whenever it does something, so that the speed of the host does not matter."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.ended: Counter[str] = Counter()
        self._client = client
        self._chance = random.Random(7)
        self._victims: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._one()) for _ in range(REQUESTS)]
        self._victims = self._chance.sample(tasks, REQUESTS // 3)
        async with asyncio.timeout(100):
            await asyncio.gather(*tasks)
        assert self.ended.total() == REQUESTS

    def strike(self) -> None:
        if self._victims and self._chance.random() < 0.3:
            self._victims.pop().cancel()

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


class Ledger(httpx.AsyncBaseTransport):
    """A real transport that keeps account of the bodies it hands out and gets back.

    It has several pools: the work of one grows with the square of the requests that wait for it.
    """

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS // POOLS)
        self._pools = [httpx.AsyncHTTPTransport(verify=False, limits=limits) for _ in range(POOLS)]
        self._next = cycle(self._pools)
        self.opened = 0
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await next(self._next).handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Entry(response.stream, self)
        self.opened += 1
        return response

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


class _Entry(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, ledger: Ledger) -> None:
        self._stream = stream
        self._ledger = ledger

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        self._ledger.closed += 1
        await self._stream.aclose()


@pytest.fixture
async def inner() -> AsyncIterator[Ledger]:
    async with Ledger() as ledger:
        yield ledger
        assert ledger.opened > 0
        assert ledger.closed == ledger.opened, "a connection would not return to its pool"


def client(
    coordinator: Coordinator, inner: httpx.AsyncBaseTransport, upstream: Upstream
) -> httpx.AsyncClient:
    transport = BreakerTransport(
        coordinator, inner, circuits=lambda _: "upstream", when_open="raise"
    )
    return httpx.AsyncClient(transport=transport, base_url=upstream.url, timeout=None)


def moody(storm: Storm, *, bad: bool) -> server.Answer:
    """An upstream that takes its time, in two steps, and perhaps answers badly."""
    chance = random.Random(7)

    async def pause() -> None:
        await asyncio.sleep(chance.uniform(0, 0.02))
        storm.strike()

    async def answer(exchange: Exchange) -> None:
        await pause()
        mood = chance.random() if bad else 1
        if mood < 0.05:
            exchange.reset()
        elif mood < 0.15:
            await server.status(503, body=b"sorry")(exchange)
        else:
            await exchange.send("HTTP/1.1 200 OK", "Content-Length: 10")
            await exchange.send_body(b"hello")
            await pause()
            await (server.reset(exchange) if mood < 0.2 else exchange.send_body(b"world"))

    return answer


async def test_results_add_up(coordinator: Coordinator, upstream: Upstream, inner: Ledger) -> None:
    storm = Storm(client(coordinator, inner, upstream))
    upstream.answer = moody(storm, bad=True)
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


async def test_every_trial_permit_comes_back(
    start_coordinator: StartCoordinator, upstream: Upstream, inner: Ledger
) -> None:
    """The circuit closes after exactly so many passes as were asked for: a permit too few, and
    it would never close, one too many, and there would be more."""
    coordinator = await start_coordinator(
        BreakerPolicy(
            strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01), trial_calls=REQUESTS
        )
    )
    breaker = coordinator.breaker("upstream")
    storm = Storm(client(coordinator, inner, upstream))
    upstream.answer = moody(storm, bad=False)
    await half_opened(breaker)
    await storm.run()
    assert storm.ended["passed"] > 0
    assert storm.ended["cancelled"] > 0

    async def closed() -> bool:
        if breaker.state is not State.CLOSED and takes_a_call(breaker):
            await breaker.execute(asyncio.sleep, 0)
        return breaker.state is State.CLOSED

    await eventually(closed, within=60)
    assert counts(breaker) == (REQUESTS, 1)
