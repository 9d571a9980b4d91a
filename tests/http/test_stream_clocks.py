"""Clocks for streams: headers that come at once, and chunks that do not."""

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import httpx
import pytest

from tests.helpers.inside import circuit_of
from tests.helpers.waiting import PATIENCE, eventually
from tests.http import server
from tests.http.circuits import counts
from tests.http.clients import KINDS, Kind
from tests.http.conftest import StartCoordinator
from tests.http.either import body, over, sent, use
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    LastGoodResponse,
    State,
)
from zenvark_web.testing import Fleet

# httpx and trio leave the generators of a body that is closed early to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected")

NAME = "tokens.example.com"
URL = f"https://{NAME}/"
TOKEN = b"data: token\n\n"
EVENTS = {"content-type": "text/event-stream"}
POLICY = BreakerPolicy(
    strategy=ConsecutiveFailures(1_000), backoff=ConstantBackoff(1), first_chunk=5, stall=2
)


class Slowly:
    """A fleet with one client, and an upstream whose chunks take time: the fleet's clock moves
    while the upstream is asked.

    Args:
        kind: The client's.
        fleet: The fleet.

    Attributes:
        counted: The successes and failures as each chunk was sent.
    """

    def __init__(self, kind: Kind, fleet: Fleet) -> None:
        self._kind = kind
        self._fleet = fleet
        self._coordinator = fleet.coordinator()
        self.breaker = self._coordinator.breaker(NAME)
        self.counted: list[tuple[int, int]] = []
        self.settings: dict[str, Any] = {}

    def read(
        self,
        *seconds: float,
        headers: dict[str, str] | None = None,
        before: float = 0,
        pause: float = 0,
    ) -> bytes:
        """Read a body whose headers and chunks take so many seconds.

        Args:
            *seconds: Those of each chunk.
            headers: Those of the response.
            before: The seconds of the headers.
            pause: Those of the reader before each chunk.
        """

        def answer(_: Any) -> Any:
            self._fleet.advance(before)
            content = body(self._kind, lambda: self._chunks(seconds))
            return self._kind.library.Response(200, headers=headers, content=content)

        async def work(client: Any) -> bytes:
            response = await sent(client, URL)
            if response.is_stream_consumed:  # a fallback made it
                return bytes(response.content)
            chunks = response.iter_raw() if self._kind.sync else response.aiter_raw()
            read = b""
            while True:
                self._fleet.advance(pause)
                chunk = await over(next(chunks, b"") if self._kind.sync else anext(chunks, b""))
                if not chunk:
                    return read
                read += chunk

        inner = self._kind.library.MockTransport(answer)
        transport = self._kind.guarded(self._coordinator, inner, **self.settings)
        found: bytes = use(self._kind, transport, work)
        self._fleet.advance()
        return found

    def send(self, *seconds: float) -> bytes:
        """Send a body that its caller produces in so many seconds for each part."""

        def produced() -> Iterator[bytes]:
            for each in seconds:
                self._fleet.advance(each)
                yield b"part"

        async def read_body(request: Any) -> Any:
            await request.aread()
            return answer(request)

        def answer(request: Any) -> Any:
            request.read()
            return self._kind.library.Response(200, content=body(self._kind, lambda: iter([TOKEN])))

        async def work(client: Any) -> bytes:
            content = body(self._kind, produced)
            response = await over(client.post(URL, content=content))
            found: bytes = response.content
            return found

        transport = self._kind.library.MockTransport(answer if self._kind.sync else read_body)
        read: bytes = use(self._kind, self._kind.guarded(self._coordinator, transport), work)
        self._fleet.advance()
        return read

    def _chunks(self, seconds: tuple[float, ...]) -> Iterator[bytes]:
        for each in seconds:
            self._fleet.advance(each)
            self.counted.append(counts(self.breaker))
            yield TOKEN


@pytest.fixture(params=KINDS, ids=str)
def slowly(request: pytest.FixtureRequest) -> Iterator[Slowly]:
    with Fleet(policy=POLICY) as fleet:
        yield Slowly(request.param, fleet)


@pytest.mark.parametrize("headers", [EVENTS, None], ids=["events", "bytes"])
class TestLimits:
    def test_chunks_in_time(self, slowly: Slowly, headers: dict[str, str] | None) -> None:
        assert slowly.read(4.9, 1.9, 1.9, 1.9, headers=headers) == TOKEN * 4
        assert counts(slowly.breaker) == (1, 0)

    @pytest.mark.parametrize("late", [(5.1,), (1, 2.1), (1, 2.1, 0, 3), (6, 3)], ids=str)
    def test_late_chunks_count_once_and_while_the_call_is_in_flight(
        self, slowly: Slowly, headers: dict[str, str] | None, late: tuple[float, ...]
    ) -> None:
        assert slowly.read(*late, headers=headers) == TOKEN * len(late)
        assert slowly.counted[-1] == (0, 1)
        assert counts(slowly.breaker) == (0, 1)
        assert slowly.breaker.failure_kinds["timeout"] == 1

    @pytest.mark.parametrize(("before", "first"), [(6, 0), (4, 1.1)])
    def test_first_chunk_is_awaited_from_the_start_of_the_call(
        self, slowly: Slowly, headers: dict[str, str] | None, before: float, first: float
    ) -> None:
        slowly.read(first, before=before, headers=headers)
        assert counts(slowly.breaker) == (0, 1)

    def test_the_readers_pace_is_not_the_upstreams(
        self, slowly: Slowly, headers: dict[str, str] | None
    ) -> None:
        slowly.read(4, 1, 1, headers=headers, pause=60)
        assert counts(slowly.breaker) == (1, 0)


def test_the_callers_request_body_is_not_the_upstreams(slowly: Slowly) -> None:
    assert slowly.send(1, 60, 60, 1) == TOKEN
    assert counts(slowly.breaker) == (1, 0)


def test_call_inside_a_block_fails_the_block(slowly: Slowly) -> None:
    with slowly.breaker.guard():
        slowly.read(6)
    slowly.read(0)
    assert counts(slowly.breaker) == (1, 1)


def test_only_a_stall_is_limited() -> None:
    """Without `first_chunk`, the first chunk may take any time."""
    with Fleet(policy=BreakerPolicy(stall=2)) as fleet:
        slowly = Slowly(KINDS[0], fleet)
        slowly.read(60, 1)
        slowly.read(60, 3)
        assert counts(slowly.breaker) == (1, 1)


@pytest.mark.parametrize("late", [False, True])
def test_only_a_response_in_time_becomes_the_last_good_one(late: bool) -> None:
    with Fleet(policy=POLICY) as fleet:
        slowly = Slowly(KINDS[2], fleet)
        slowly.settings.update(fallback=LastGoodResponse(), when_open="raise")
        headers = {"content-type": "text/plain"}
        slowly.read(0, 3 if late else 1, headers=headers)
        fleet.trip(slowly.breaker)
        with pytest.raises(CircuitOpenError) if late else nullcontext():
            assert slowly.read(headers=headers) == TOKEN * 2


async def test_silent_streams_open_the_circuit_before_any_client_gives_up(
    start_coordinator: StartCoordinator, upstream: server.Upstream
) -> None:
    """Twenty streams have their headers at once, and no token ever."""
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(20), backoff=ConstantBackoff(60), first_chunk=0.2
    )
    coordinator = await start_coordinator(policy)
    breaker = coordinator.breaker("tokens")
    upstream.answer = silent_stream
    transport = BreakerTransport(coordinator, circuits=lambda _: "tokens")
    async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:

        async def ask() -> None:
            async with client.stream("POST", upstream.url) as response:
                async for _ in response.aiter_bytes():
                    raise AssertionError("there is no token")

        began = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(ask()) for _ in range(20)]
        await eventually(lambda: breaker.state is State.OPEN)
        assert asyncio.get_running_loop().time() - began >= 0.2
        assert not any(task.done() for task in tasks)
        assert breaker.failure_kinds["timeout"] == 20
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert counts(breaker) == (0, 20)


async def silent_stream(exchange: server.Exchange) -> None:
    await exchange.send("HTTP/1.1 200 OK", "Content-Type: text/event-stream")
    await exchange.client_left()


@pytest.mark.parametrize("chunks", range(4))
async def test_cancellation_at_each_chunk_leaves_no_clock(
    start_coordinator: StartCoordinator, upstream: server.Upstream, chunks: int
) -> None:
    """A cancellation before the limit is ignored, wherever it comes."""
    coordinator = await start_coordinator(POLICY)
    breaker = coordinator.breaker("tokens")
    clocks = circuit_of(breaker).stream_clocks
    assert clocks is not None

    async def some_chunks(exchange: server.Exchange) -> None:
        if chunks:
            await exchange.send("HTTP/1.1 200 OK", "Content-Type: text/event-stream")
        for _ in range(chunks - 1):
            await exchange.send_body(TOKEN)
        await exchange.client_left()

    upstream.answer = some_chunks
    read = bytearray()
    transport = BreakerTransport(coordinator, circuits=lambda _: "tokens")
    async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:

        async def ask() -> None:
            async with client.stream("GET", upstream.url) as response:
                async for chunk in response.aiter_raw():
                    read.extend(chunk)

        task = asyncio.create_task(ask())
        await eventually(lambda: len(upstream.requests) == 1)
        await eventually(lambda: len(read) == len(TOKEN) * max(0, chunks - 1))
        assert len(clocks.running) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not clocks.running
    assert counts(breaker) == (0, 0)
