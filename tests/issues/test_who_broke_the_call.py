"""Not the upstream: five calls that were under way when the client was closed were five failures,
and five uploads of what another upstream did not send were, too. A slow caller made calls slow."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest

from tests.helpers.waiting import PATIENCE, eventually_sync
from tests.http import http2, server
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from tests.http.either import body, over, use
from tests.http.server import Exchange
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    Coordinator,
    CountWindow,
    Outcome,
    State,
)
from zenvark_web.testing import Fleet

CALLS = 5
NAME = "upstream"
ASYNC_KINDS = [kind for kind in KINDS if not kind.sync]
SYNC_KINDS = [kind for kind in KINDS if kind.sync]
# httpx and trio leave a generator of an upload that breaks to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected")

OPENS_AT_ONE = BreakerPolicy(strategy=ConsecutiveFailures(1))


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


@pytest.fixture(scope="module")
def coordinator(stage: Backstage) -> Coordinator:
    return stage.start(BreakerPolicy(strategy=ConsecutiveFailures(1_000_000)))


def guarded(kind: Kind, coordinator: Coordinator, name: str, **settings: Any) -> Any:
    inner = kind.real_transport(**settings)
    return kind.guarded(coordinator, inner, circuits=lambda _: name)


silent_http2 = http2.http2(lambda *_: None)
ANSWERS = {"headers": server.stall, "body": server.half(server.stall)}


class TestClosing:
    @pytest.mark.parametrize("kind", ASYNC_KINDS, ids=str)
    @pytest.mark.parametrize("what", ["client", "transport", "block"])
    @pytest.mark.parametrize("awaited", ANSWERS)
    def test_calls_under_way_are_ignored(
        self, stage: Backstage, coordinator: Coordinator, kind: Kind, awaited: str, what: str
    ) -> None:
        name = f"{kind} {what} {awaited}"
        stage.set(ANSWERS[awaited])
        transport = guarded(kind, coordinator, name)
        raised: list[Exception] = []

        async def call(client: Any) -> None:
            try:
                await client.get(stage.upstream.url)
            except Exception as error:
                raised.append(error)

        async def main() -> None:
            client = kind.client(transport, timeout=PATIENCE)
            async with anyio.create_task_group() as tasks:
                if what == "block":
                    await client.__aenter__()
                for _ in range(CALLS):
                    tasks.start_soon(call, client)
                with anyio.fail_after(PATIENCE):
                    while len(stage.upstream.requests) < CALLS:
                        await anyio.sleep(0.005)
                await anyio.sleep(0.1)
                if what == "block":
                    await client.__aexit__(None, None, None)
                else:
                    await (client if what == "client" else transport).aclose()

        kind.run(main)
        assert len(raised) == CALLS, "closing breaks them"
        assert stage.counts(coordinator.breaker(name)) == (0, 0)

    @pytest.mark.parametrize("kind", SYNC_KINDS, ids=str)
    def test_calls_of_other_threads_are_ignored(
        self, stage: Backstage, coordinator: Coordinator, kind: Kind
    ) -> None:
        """Where closing breaks them: a thread that waits for a socket may never hear of it."""
        name = f"{kind} threads"
        stage.set(server.half(server.chunked(b"late")))
        client = kind.client(guarded(kind, coordinator, name), timeout=PATIENCE)
        raised: list[Exception] = []

        def call() -> None:
            try:
                client.get(stage.upstream.url)
            except Exception as error:
                raised.append(error)

        threads = [threading.Thread(target=call) for _ in range(CALLS)]
        for thread in threads:
            thread.start()
        eventually_sync(lambda: len(stage.upstream.requests) == CALLS, within=PATIENCE)
        with suppress(Exception):
            client.close()
        stage.let_go()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(raised) == CALLS
        assert stage.counts(coordinator.breaker(name)) == (0, 0)

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_what_comes_after_it_counts_again(
        self, stage: Backstage, coordinator: Coordinator, kind: Kind
    ) -> None:
        """One transport may serve two clients, and the first to go does not disarm it."""
        name = f"{kind} again"
        transport = guarded(kind, coordinator, name)

        async def leave(client: Any) -> None:
            await over(client.get(stage.upstream.url))

        async def fail(client: Any) -> None:
            with pytest.raises(kind.library.RemoteProtocolError):
                await over(client.get(stage.upstream.url))

        stage.set(server.ok)
        use(kind, transport, leave)
        stage.set(server.refuse_to_answer)
        use(kind, transport, fail)
        assert stage.counts(coordinator.breaker(name)) == (1, 1)


class OwnError(Exception):
    """Something of the caller's."""


def errors(kind: Kind) -> list[BaseException]:
    library = kind.library
    return [
        library.ReadTimeout("the other upstream"),
        library.ReadError("the other upstream"),
        library.ConnectError("the other upstream"),
        library.RemoteProtocolError("the other upstream"),
        ConnectionResetError(),
        TimeoutError(),
        OwnError(),
        ExceptionGroup("", [OSError()]),
    ]


class TestUploads:
    @pytest.mark.parametrize("kind", KINDS, ids=str)
    @pytest.mark.parametrize("number", range(8))
    @pytest.mark.parametrize("h2", [False, True], ids=["http1", "http2"])
    def test_what_the_requests_own_body_raises_is_ignored(
        self, stage: Backstage, coordinator: Coordinator, kind: Kind, number: int, h2: bool
    ) -> None:
        error = errors(kind)[number]
        name = f"{kind} {number} {h2}"

        def source() -> Iterator[bytes]:
            yield b"hello"
            raise error

        async def work(client: Any) -> None:
            for _ in range(2):
                with pytest.raises(BaseException) as caught:  # noqa: PT011
                    await over(client.post(stage.upstream.url, content=body(kind, source)))
                assert caught.value is error

        stage.set(silent_http2 if h2 else server.stall)
        use(kind, guarded(kind, coordinator, name, http1=not h2, http2=h2), work)
        assert stage.counts(coordinator.breaker(name)) == (0, 0)

    def test_also_where_the_transport_makes_another_error_of_it(self) -> None:
        """As aiohttp does."""

        class Wrapping(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                try:
                    assert isinstance(request.stream, httpx.AsyncByteStream)
                    async for _ in request.stream:
                        pass
                except OwnError as error:
                    raise httpx.WriteError("could not send") from error
                raise AssertionError

        async def source() -> AsyncIterator[bytes]:
            yield b"hello"
            raise OwnError

        async def main(coordinator: Coordinator) -> None:
            async with httpx.AsyncClient(
                transport=BreakerTransport(coordinator, Wrapping())
            ) as client:
                with pytest.raises(httpx.WriteError):
                    await client.post("https://upstream/", content=source())

        with Fleet(policy=OPENS_AT_ONE) as fleet:
            coordinator = fleet.coordinator()
            asyncio.run(main(coordinator))
            fleet.advance()
            assert coordinator.breaker(NAME).state is State.CLOSED

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_an_upstream_that_breaks_an_upload_has_failed(
        self, stage: Backstage, coordinator: Coordinator, kind: Kind
    ) -> None:
        name = f"{kind} broken by the upstream"

        def source() -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        async def hang_up(exchange: Exchange) -> None:
            await exchange.read_some()
            exchange.reset()

        async def work(client: Any) -> None:
            with pytest.raises(kind.library.TransportError):
                await over(client.post(stage.upstream.url, content=body(kind, source)))

        stage.set(hang_up)
        use(kind, guarded(kind, coordinator, name), work)
        assert stage.counts(coordinator.breaker(name)) == (0, 1)

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_the_callers_pace_makes_no_call_slow(self, kind: Kind) -> None:
        policy = BreakerPolicy(strategy=CountWindow(10, 0.5, 2, slow_rate=0.5), slow_call=5)
        with Fleet(policy=policy) as fleet:
            coordinator = fleet.coordinator()
            breaker = coordinator.breaker(NAME)

            def source() -> Iterator[bytes]:
                for _ in range(3):
                    fleet.advance(20)  # it is looked at while it is under way, too
                    assert breaker.state is State.CLOSED
                    yield b"hello"
                fleet.advance(20)

            upload(kind, coordinator, source, lambda: None)
            fleet.advance()
            assert breaker.state is State.CLOSED
            assert breaker.successes.total < 1

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_an_upstream_that_is_slow_after_it_is(self, kind: Kind) -> None:
        policy = BreakerPolicy(strategy=CountWindow(10, 0.5, 2, slow_rate=0.5), slow_call=5)
        with Fleet(policy=policy) as fleet:
            coordinator = fleet.coordinator()
            breaker = coordinator.breaker(NAME)
            upload(kind, coordinator, lambda: iter([b"hello"]), lambda: fleet.advance(6))
            fleet.advance()
            assert breaker.state is State.OPEN

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_the_request_keeps_its_own_body(self, kind: Kind) -> None:
        coordinator = Coordinator()
        seen: list[Any] = []

        def answer(request: Any) -> Any:
            seen.append(request.stream)
            return kind.library.Response(200)

        inner = kind.library.MockTransport(answer)
        transport = kind.guarded(coordinator, inner)
        send = transport.handle_request if kind.sync else transport.handle_async_request

        async def work(client: Any) -> None:
            request = client.build_request(
                "POST", "https://upstream/", content=body(kind, lambda: iter([b"hello"]))
            )
            own = request.stream
            with suppress(RuntimeError):
                await over(send(request))
            assert request.stream is own or request.content == b"hello"

        use(kind, transport, work)


def upload(kind: Kind, coordinator: Coordinator, source: Any, meanwhile: Any) -> None:
    """Send twice what a source gives, to an upstream that does something meanwhile."""

    def answer(request: Any) -> Any:
        assert request.content.startswith(b"hello")
        meanwhile()
        return kind.library.Response(200)

    async def work(client: Any) -> None:
        for _ in range(2):
            await over(client.post(f"https://{NAME}/", content=body(kind, source)))

    use(kind, kind.guarded(coordinator, kind.library.MockTransport(answer)), work)


async def test_a_cancellation_while_the_caller_is_slow_is_not_late() -> None:
    """The upstream was given no time at all."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), slow_call=0.05)

    async def source() -> AsyncIterator[bytes]:
        yield b"hello"
        await asyncio.sleep(PATIENCE)

    async with Coordinator(policy=policy) as coordinator:
        inner = httpx.MockTransport(lambda _: httpx.Response(200))
        async with httpx.AsyncClient(transport=BreakerTransport(coordinator, inner)) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.post(f"https://{NAME}/", content=source())
        breaker = coordinator.breaker(NAME)
        await asyncio.sleep(0.05)
        assert sum(breaker.failures.counts) == 0
        breaker.acquire().record(Outcome.SUCCESS)
