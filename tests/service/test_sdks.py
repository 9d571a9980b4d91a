"""The SDKs of OpenAI and Anthropic through the transport, with clocks for their streams: faults at
every byte, silence, errors inside a 200, retries, cancellations."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.examples.pages import blocks
from tests.helpers.inside import circuit_of
from tests.helpers.processes import ROOT
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts
from tests.http.server import Exchange, Upstream
from tests.service import upstreams
from zenvark_web import Breaker, BreakerPolicy, ConsecutiveFailures, Coordinator
from zenvark_web.httpx2 import BreakerTransport

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

NAME = "model"
PATIENT = BreakerPolicy(
    strategy=ConsecutiveFailures(1_000_000), first_chunk=PATIENCE, stall=PATIENCE
)
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n"
)


@dataclass(frozen=True)
class Sdk:
    """One SDK.

    Args:
        errors: The base class of its errors.
        client: Makes its client.
        answer: The body of a streamed answer.
        error: An event that tells of a failure.
    """

    errors: type[Exception]
    client: Callable[..., Any]
    answer: Callable[[], Iterable[bytes]]
    error: bytes

    @property
    def body(self) -> bytes:
        """The whole answer."""
        return b"".join(self.answer())


SDKS = {
    "openai": Sdk(
        openai.APIError,
        openai.AsyncOpenAI,
        upstreams.openai_stream,
        b'data: {"error": {"type": "server_error", "message": "sorry"}}\n\n',
    ),
    "anthropic": Sdk(
        anthropic.APIError,
        anthropic.AsyncAnthropic,
        upstreams.anthropic_stream,
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", '
        b'"message": "sorry"}}\n\n',
    ),
}


def judge_of_the_page() -> Any:
    """The judge in the documentation."""
    [recipe] = [block for block in blocks(ROOT / "docs/streams.md") if "def judge_" in block.text]
    names: dict[str, Any] = {}
    exec(recipe.text, names)
    return names["judge_chunk"]


@dataclass(frozen=True)
class Stage:
    """A provider, and a client for it."""

    sdk: Sdk
    upstream: Upstream
    breaker: Breaker
    client: Any

    async def ask(self, **options: Any) -> str:
        """What the model says, streamed."""
        client = self.client.with_options(**options) if options else self.client
        messages = [{"role": "user", "content": "hello"}]
        words = ""
        if hasattr(client, "chat"):
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            async for chunk in stream:
                words += chunk.choices[0].delta.content or ""
            return words
        async with client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
            async for text in stream.text_stream:
                words += text
        return words


@asynccontextmanager
async def playing(sdk: Sdk, policy: BreakerPolicy = PATIENT) -> AsyncIterator[Stage]:
    """A stage on which an SDK talks to a local provider."""
    async with Upstream() as upstream, Coordinator(policy=policy) as coordinator:
        transport = BreakerTransport(
            coordinator, circuits=lambda _: NAME, judge_chunk=judge_of_the_page()
        )
        async with httpx2.AsyncClient(transport=transport, timeout=PATIENCE) as http_client:
            client = sdk.client(
                api_key="key", base_url=upstream.url, http_client=http_client, max_retries=0
            )
            yield Stage(sdk, upstream, coordinator.breaker(NAME), client)


def sends(body: bytes, *, length: int | None = None) -> Callable[[Exchange], Awaitable[None]]:
    """An answer with this body, of a longer one if a length is given."""

    async def answer(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.send_body(HEAD % (len(body) if length is None else length) + body)
        exchange.close()

    return answer


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return SDKS[request.param]


async def test_answers_arrive_whole_and_count_once(sdk: Sdk) -> None:
    async with playing(sdk) as stage:
        stage.upstream.answer = sends(sdk.body)
        assert await stage.ask() == "hello"
        assert counts(stage.breaker) == (1, 0)


async def test_answers_that_break_off_at_any_byte_count_once(sdk: Sdk) -> None:
    async with playing(sdk) as stage:
        for cut in range(len(sdk.body)):
            stage.upstream.answer = sends(sdk.body[:cut], length=len(sdk.body))
            with suppress(sdk.errors, httpx2.TransportError):
                await stage.ask()
            # A client that has all it needs closes the stream, whatever is missing.
            assert sum(counts(stage.breaker)) == cut + 1
        assert counts(stage.breaker)[1] > len(sdk.body) / 2


async def test_an_error_inside_a_200_is_a_failure(sdk: Sdk) -> None:
    async with playing(sdk) as stage:
        stage.upstream.answer = sends(sdk.error)
        with pytest.raises(sdk.errors):
            await stage.ask()
        assert counts(stage.breaker) == (0, 1)
        assert stage.breaker.failure_kinds["status"] == 1


async def test_silence_opens_the_circuit_while_the_calls_are_in_flight(sdk: Sdk) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(5), first_chunk=0.2)
    async with playing(sdk, policy) as stage:
        stage.upstream.answer = silence
        tasks = [asyncio.create_task(stage.ask()) for _ in range(5)]
        await eventually(lambda: stage.breaker.state == "open", within=PATIENCE)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert counts(stage.breaker) == (0, 5)


async def silence(exchange: Exchange) -> None:
    await exchange.read_body()
    await exchange.send_body(HEAD % 1_000)
    await exchange.client_left()


async def test_each_retry_of_an_sdk_counts(sdk: Sdk) -> None:
    async with playing(sdk) as stage:

        async def overloaded_once(exchange: Exchange) -> None:
            stage.upstream.answer = sends(sdk.body)
            await exchange.read_body()
            await exchange.send("HTTP/1.1 529 Overloaded", "Content-Length: 0", "retry-after-ms: 1")

        stage.upstream.answer = overloaded_once
        assert await stage.ask(max_retries=1) == "hello"
        assert counts(stage.breaker) == (1, 1)


async def test_cancellation_at_each_await_leaves_nothing_behind(sdk: Sdk) -> None:
    async with playing(sdk) as stage:
        stage.upstream.answer = sends(sdk.body)
        clocks = circuit_of(stage.breaker).stream_clocks
        assert clocks is not None
        before = counted = 0
        for steps in range(10_000):
            task = asyncio.create_task(stage.ask())
            for _ in range(steps):
                await asyncio.sleep(0)
            if task.done():
                assert await task == "hello"
                break
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not clocks.running
            counted, failed = counts(stage.breaker)
            assert failed == 0
            assert counted <= before + 1
            before = counted
        assert steps > 10
        assert await stage.ask() == "hello"
