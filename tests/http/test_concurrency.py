"""Many requests at once, over real sockets, of which some are cancelled at any moment."""

import asyncio
import gc
import random
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle
from typing import Any

import httpx
import httpx2
import pytest

from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually
from tests.http import server
from tests.http.circuits import counts, half_opened, takes_a_call
from tests.http.clients import LIBRARIES
from tests.http.conftest import StartCoordinator
from tests.http.server import Exchange, Upstream
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    State,
)

MANY = spanning([300, 2_000], {300})
"""Requests at once: hundreds in every run, thousands among the slow tests."""

CONNECTIONS = 200
POOLS = 10


class Storm:
    """Requests at once, of which about a third are cancelled while the upstream works: `strike`
    is called whenever it does something, so that the speed of the host does not matter."""

    def __init__(self, client: Any, requests: int) -> None:
        self.ended: Counter[str] = Counter()
        self._requests = requests
        self._client = client
        self._chance = random.Random(7)
        self._victims: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        before = self.ended.total()
        tasks = [asyncio.create_task(self._one()) for _ in range(self._requests)]
        self._victims = self._chance.sample(tasks, self._requests // 3)
        async with asyncio.timeout(2 * PATIENCE):
            await asyncio.gather(*tasks)
        assert self.ended.total() == before + self._requests

    def strike(self) -> None:
        while self._victims and self._victims[-1].done():  # most of those that were rejected
            self._victims.pop()
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
        except (httpx.TransportError, httpx2.TransportError):
            return "failed"
        return "passed" if response.status_code == 200 else "failed"


class Ledger:
    """A real transport that keeps account of the bodies it hands out and gets back.

    It has several pools: the work of one grows with the square of the requests that wait for it.
    """

    def __init__(self, library: Any) -> None:
        limits = library.Limits(max_connections=CONNECTIONS // POOLS)
        self.pools = [library.AsyncHTTPTransport(verify=False, limits=limits) for _ in range(POOLS)]
        self.library = library
        self.opened = 0
        self.closed = 0

    def transport(self) -> Any:
        """The transport."""
        ledger, pools, library = self, cycle(self.pools), self.library

        class Entry(library.AsyncByteStream):  # type: ignore[misc,name-defined]
            def __init__(self, stream: Any) -> None:
                self.stream = stream

            async def __aiter__(self) -> AsyncIterator[bytes]:
                async for chunk in self.stream:
                    yield chunk

            async def aclose(self) -> None:
                ledger.closed += 1
                await self.stream.aclose()

        class Transport(library.AsyncBaseTransport):  # type: ignore[misc,name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                response = await next(pools).handle_async_request(request)
                response.stream = Entry(response.stream)
                ledger.opened += 1
                return response

        return Transport()

    def check(self) -> None:
        """Nothing is left in the pools but connections that wait for their next request."""
        assert self.opened > 0
        assert self.closed == self.opened, "a connection would not return to its pool"
        for pool in self.pools if self.library is httpx2 else ():
            connections = pool._pool.connections
            assert all(one.is_idle() or one.is_closed() for one in connections), connections
            assert not pool._pool._requests


@pytest.fixture(
    params=[
        # Its pools lose connections when many requests are cancelled, with and without a breaker.
        pytest.param(LIBRARIES[0], marks=pytest.mark.filterwarnings("ignore:unclosed"), id="httpx"),
        pytest.param(LIBRARIES[1], id="httpx2"),
    ]
)
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Ledger, Any, Any]]:
    library, ours = request.param
    ledger = Ledger(library)
    yield ledger, library, ours
    ledger.check()
    for pool in ledger.pools:
        await pool.aclose()
    if library is httpx:
        del ledger, pool
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # what is lost is found now, and not in another test


def client(coordinator: Coordinator, parts: tuple[Ledger, Any, Any], upstream: Upstream) -> Any:
    ledger, library, ours = parts
    transport = ours.BreakerTransport(
        coordinator,
        ledger.transport(),
        circuits=lambda _: "upstream",
        when_open="raise",
    )
    return library.AsyncClient(transport=transport, base_url=upstream.url, timeout=None)


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


@pytest.mark.untraced
@pytest.mark.parametrize("requests", MANY)
async def test_results_add_up(
    requests: int, coordinator: Coordinator, upstream: Upstream, ledger: tuple[Ledger, Any, Any]
) -> None:
    storm = Storm(client(coordinator, ledger, upstream), requests)
    upstream.answer = moody(storm, bad=True)
    await storm.run()
    successes, failures = counts(coordinator.breaker("upstream"))
    ended = storm.ended
    assert ended["passed"] > requests / 20
    assert ended["failed"] > 0
    assert ended["cancelled"] > 0
    # A request may be cancelled when it has just ended.
    assert 0 <= successes - ended["passed"] <= ended["cancelled"]
    assert 0 <= failures - ended["failed"] <= ended["cancelled"]
    assert successes + failures <= requests


@pytest.mark.parametrize("requests", MANY)
async def test_every_trial_permit_comes_back(
    requests: int,
    start_coordinator: StartCoordinator,
    upstream: Upstream,
    ledger: tuple[Ledger, Any, Any],
) -> None:
    """The circuit closes after exactly so many passes as were asked for: a permit too few, and
    it would never close, one too many, and there would be more."""
    trials = requests // 2
    coordinator = await start_coordinator(
        BreakerPolicy(
            strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01), trial_calls=trials
        )
    )
    breaker = coordinator.breaker("upstream")
    storm = Storm(client(coordinator, ledger, upstream), requests)
    upstream.answer = moody(storm, bad=False)
    await half_opened(breaker)
    while not (storm.ended["passed"] and storm.ended["cancelled"]):
        # On a busy host, permits may go back before there was a use for them.
        await eventually(lambda: takes_a_call(breaker), within=PATIENCE)
        await storm.run()

    async def closed() -> bool:
        if breaker.state is not State.CLOSED and takes_a_call(breaker):
            await breaker.execute(asyncio.sleep, 0)
        return breaker.state is State.CLOSED

    await eventually(closed)
    assert counts(breaker) == (trials, 1)


@pytest.mark.parametrize(("library", "ours"), LIBRARIES, ids=["httpx", "httpx2"])
async def test_results_of_threads_add_up(
    coordinator: Coordinator, upstream: Upstream, library: Any, ours: Any
) -> None:
    """Synchronous clients cannot be cancelled; they leave early, or never look back."""
    answers = cycle([server.ok, server.chunked(b"a", b"b"), server.status(503), server.reset])

    async def answer(exchange: Exchange) -> None:
        await next(answers)(exchange)

    upstream.answer = answer
    transport = ours.BreakerTransport(
        coordinator, library.HTTPTransport(verify=False), circuits=lambda _: "upstream"
    )

    def work(seed: int, client: Any) -> Counter[str]:
        chance = random.Random(seed)
        ended: Counter[str] = Counter()
        for _ in range(100):
            try:
                with client.stream("GET", upstream.url) as response:
                    if chance.random() < 0.5:
                        response.read()
                    ended["failed" if response.status_code == 503 else "passed"] += 1
            except library.TransportError:
                ended["failed"] += 1
        return ended

    with library.Client(transport=transport, trust_env=False, timeout=60) as client:
        works = [asyncio.to_thread(work, seed, client) for seed in range(8)]
        ended = sum(await asyncio.gather(*works), Counter[str]())
    assert ended.total() == 800
    breaker = coordinator.breaker("upstream")
    await eventually(lambda: sum(counts(breaker)) == 800, within=PATIENCE)
    assert counts(breaker) == (ended["passed"], ended["failed"])
