"""With other packages around and inside: retries, caches, authentication, proxies, an SDK."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import groq
import hishel
import hishel.httpx
import hishel.httpx2
import httpx
import httpx2
import pytest
from httpx_retries import Retry, RetryTransport

import zenvark_web.httpx
import zenvark_web.httpx2
from tests.http import server
from tests.http.circuits import counts, opened
from tests.http.conftest import StartCoordinator
from tests.http.server import Exchange, Upstream
from tests.http.stub import Stub
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
)

URL = "https://api.example.com/"
NAME = "api.example.com"


class TestRetriesOutside:
    async def test_each_attempt_counts(self, coordinator: Coordinator) -> None:
        inner = Stub(httpx.Response(503))
        transport = RetryTransport(BreakerTransport(coordinator, inner), Retry(total=3))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).status_code == 503
        assert counts(coordinator.breaker(NAME)) == (0, 4)

    async def test_a_rejection_ends_them(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker(NAME))
        inner = Stub()
        guarded = BreakerTransport(brisk, inner, when_open="raise")
        async with httpx.AsyncClient(transport=RetryTransport(guarded, Retry(total=3))) as client:
            with pytest.raises(zenvark_web.httpx.CircuitOpenError):
                await client.get(URL)
        assert inner.requests == []
        assert brisk.breaker(NAME).blocked == 1

    async def test_the_circuit_opens_among_them(self, start_coordinator: StartCoordinator) -> None:
        policy = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(60))
        coordinator = await start_coordinator(policy)
        inner = Stub()
        inner.error = httpx.ConnectError("gone")
        guarded = BreakerTransport(coordinator, inner, when_open="raise")
        retry = Retry(total=50, backoff_factor=0.05, max_backoff_wait=0.05)
        async with httpx.AsyncClient(transport=RetryTransport(guarded, retry)) as client:
            with pytest.raises(CircuitOpenError):
                await client.get(URL)
        assert 2 <= len(inner.requests) < 50

    def test_for_synchronous_clients(self) -> None:
        inner = httpx.MockTransport(lambda _: httpx.Response(200, text="hello"))
        transport = RetryTransport(BreakerTransport(Coordinator(), inner))
        with httpx.Client(transport=transport) as client:
            assert client.get(URL).text == "hello"


async def test_retries_inside_are_one_call(coordinator: Coordinator) -> None:
    answers = iter([httpx.Response(503), httpx.Response(503), httpx.Response(200)])

    def answer(_: httpx.Request) -> httpx.Response:
        return next(answers)

    retrying = RetryTransport(httpx.MockTransport(answer), Retry(total=3))
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator, retrying)) as client:
        assert (await client.get(URL)).status_code == 200
    assert counts(coordinator.breaker(NAME)) == (1, 0)


@pytest.mark.parametrize(
    ("library", "cache", "ours"),
    [
        (httpx, hishel.httpx, zenvark_web.httpx),
        (httpx2, hishel.httpx2, zenvark_web.httpx2),
    ],
    ids=["httpx", "httpx2"],
)
class TestCache:
    def answer(self, library: Any, request: Any) -> Any:
        headers = {"Cache-Control": "max-age=3600"}
        return library.Response(200, stream=library.ByteStream(b"hello"), headers=headers)

    async def test_outside_it_answers_while_the_circuit_is_open(
        self, library: Any, cache: Any, ours: Any, tmp_path: Path, brisk: Coordinator
    ) -> None:
        inner = library.MockTransport(lambda request: self.answer(library, request))
        storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
        transport = cache.AsyncCacheTransport(
            ours.BreakerTransport(brisk, inner), storage=storage, rfc=True
        )
        async with library.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).text == "hello"
            await opened(brisk.breaker(NAME))
            response = await client.get(URL)
            assert (response.text, response.extensions["caching"]["from_cache"]) == ("hello", True)
            assert (await client.get(f"{URL}other")).status_code == 503
        await storage.close()
        assert counts(brisk.breaker(NAME)) == (1, 1)

    def test_outside_a_synchronous_client(
        self, library: Any, cache: Any, ours: Any, tmp_path: Path
    ) -> None:
        inner = library.MockTransport(lambda request: self.answer(library, request))
        storage = hishel.SqliteStorage(database_path=tmp_path / "cache.db")
        transport = cache.CacheTransport(
            ours.BreakerTransport(Coordinator(), inner), storage=storage, rfc=True
        )
        with library.Client(transport=transport) as client:
            assert client.get(URL).text == "hello"
            assert client.get(URL).extensions["caching"]["from_cache"]
        storage.close()

    async def test_inside_its_answers_count_as_successes(
        self, library: Any, cache: Any, ours: Any, tmp_path: Path, coordinator: Coordinator
    ) -> None:
        inner = library.MockTransport(lambda request: self.answer(library, request))
        storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
        caching = cache.AsyncCacheTransport(inner, storage=storage, rfc=True)
        transport = ours.BreakerTransport(coordinator, caching)
        async with library.AsyncClient(transport=transport) as client:
            for _ in range(2):
                assert (await client.get(URL)).text == "hello"
        await storage.close()
        assert counts(coordinator.breaker(NAME)) == (2, 0)


async def proxying(exchange: Exchange) -> None:
    """A proxy that answers itself."""
    assert exchange.target.startswith("http://api.example.com")
    await server.ok(exchange)


class TestProxies:
    async def test_proxy_of_the_client_goes_past_the_breaker(
        self, coordinator: Coordinator, upstream: Upstream
    ) -> None:
        """What the documentation warns of: if this fails, the warning can go."""
        upstream.answer = proxying
        for library, ours in ((httpx, zenvark_web.httpx), (httpx2, zenvark_web.httpx2)):
            transport: Any = ours.BreakerTransport(coordinator, None)
            async with library.AsyncClient(transport=transport, proxy=upstream.url) as client:
                assert (await client.get("http://api.example.com/")).text == "hello"
        assert not coordinator.breakers

    async def test_proxy_of_the_inner_transport_is_protected(
        self, coordinator: Coordinator, upstream: Upstream
    ) -> None:
        upstream.answer = proxying
        for library, ours in ((httpx, zenvark_web.httpx), (httpx2, zenvark_web.httpx2)):
            inner: Any = library.AsyncHTTPTransport(proxy=upstream.url)
            transport: Any = ours.BreakerTransport(coordinator, inner)
            async with library.AsyncClient(transport=transport) as client:
                assert (await client.get("http://api.example.com/")).text == "hello"
        assert counts(coordinator.breaker(NAME)) == (2, 0)


class Completions:
    """A language model's API on the upstream: complete, streamed, or busy."""

    def __init__(self) -> None:
        self.busy = False

    async def __call__(self, exchange: Exchange) -> None:
        body = await exchange.read_body()
        if self.busy:
            await server.status(503, "Retry-After: 1", body=b"{}")(exchange)
        elif b'"stream":true' in body.replace(b" ", b""):
            event = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"tea"}}]}\n\n'
            await exchange.send(
                "HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Connection: close"
            )
            await exchange.send_body(event * 3 + b"data: [DONE]\n\n")
            exchange.close()
        else:
            answer = (
                b'{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"tea"}}]}'
            )
            await server.status(200, "Content-Type: application/json", body=answer)(exchange)


class TestLanguageModel:
    @pytest.fixture
    def completions(self, upstream: Upstream) -> Completions:
        upstream.answer = completions = Completions()
        return completions

    @pytest.fixture
    async def client(
        self, brisk: Coordinator, upstream: Upstream, completions: Completions
    ) -> AsyncIterator[groq.AsyncGroq]:
        transport = BreakerTransport(brisk, circuits=lambda _: "llm", when_open="raise")
        async with groq.AsyncGroq(
            api_key="none",
            base_url=upstream.url,
            http_client=httpx.AsyncClient(transport=transport, trust_env=False),
            max_retries=0,
        ) as client:
            yield client

    async def ask(self, client: groq.AsyncGroq, **settings: Any) -> Any:
        return await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "tea or coffee?"}], **settings
        )

    async def test_answers_come_through(self, client: groq.AsyncGroq, brisk: Coordinator) -> None:
        answer = await self.ask(client)
        assert answer.choices[0].message.content == "tea"
        assert counts(brisk.breaker("llm")) == (1, 0)

    async def test_streamed_answers_come_through(
        self, client: groq.AsyncGroq, brisk: Coordinator
    ) -> None:
        stream = await self.ask(client, stream=True)
        assert counts(brisk.breaker("llm")) == (1, 0), "an event stream counts at its start"
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["tea"] * 3
        assert counts(brisk.breaker("llm")) == (1, 0)

    async def test_an_open_circuit_ends_it_at_once(
        self,
        client: groq.AsyncGroq,
        completions: Completions,
        brisk: Coordinator,
        upstream: Upstream,
    ) -> None:
        completions.busy = True
        with pytest.raises(groq.InternalServerError):
            await self.ask(client)
        await opened(brisk.breaker("llm"))
        asked = len(upstream.requests)
        with pytest.raises(groq.APIConnectionError) as caught:
            await self.ask(client)
        assert isinstance(caught.value.__cause__, CircuitOpenError)
        assert len(upstream.requests) == asked


async def test_event_hooks_auth_and_base_url_work_as_ever(
    coordinator: Coordinator, upstream: Upstream
) -> None:
    async def guarded(exchange: Exchange) -> None:
        known = exchange.headers.get("authorization", "").startswith("Basic ")
        await (server.ok if known else server.status(401))(exchange)

    upstream.answer = guarded
    seen: list[int] = []

    async def note(response: httpx.Response) -> None:
        seen.append(response.status_code)
        await asyncio.sleep(0)

    async with httpx.AsyncClient(
        transport=BreakerTransport(coordinator),
        base_url=upstream.url,
        auth=("user", "secret"),
        event_hooks={"response": [note]},
    ) as client:
        assert (await client.get("/")).text == "hello"
    assert seen == [200]
    assert set(coordinator.breakers) == {f"{server.HOST}:{upstream.port}"}
