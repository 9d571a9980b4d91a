"""The middleware served on trio: the coordinator runs in a thread of its own."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import httpx
import pytest
import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve
from hypercorn.utils import wrap_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from tests.asgi.messages import Script, play
from tests.asgi.scenarios import COUNTS, SCENARIOS, Scenario
from tests.helpers.waiting import PATIENCE
from tests.http.circuits import counts
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    ProtectedRoute,
    State,
)

QUICK = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(0.05))


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(PATIENCE):
        while not await condition():
            await anyio.sleep(0.005)


# Starlette leaves the stream to the collector when the server tells by an error that a client left.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_each_call_counts_once(scenario: Scenario) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("own")
        app = BreakerMiddleware(scenario.app, coordinator, routes={"/": "own"})
        await play(app, scenario.script)
        breaker.acquire().record(Outcome.SUCCESS)  # what comes last counts last

        async def counted() -> bool:
            return sum(counts(breaker)) >= 1 + sum(COUNTS[scenario.outcome])

        await eventually(counted)
        successes, failures = COUNTS[scenario.outcome]
        assert counts(breaker) == (successes + 1, failures)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an app with hypercorn on trio; gives a client for it, on trio as well."""
    stop = anyio.Event()
    config = Config()
    config.loglevel = "ERROR"
    config.graceful_timeout = 0.1
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def serve() -> None:
            sockets = Sockets([], [listener], [])
            wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
            await worker_serve(wrapped, config, sockets=sockets, shutdown_trigger=stop.wait)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
                yield client
            stop.set()


async def test_hypercorn_on_trio() -> None:
    healthy = False
    coordinator = Coordinator(policy=QUICK)

    async def home(request: Request) -> Response:
        assert coordinator.running
        return PlainTextResponse("hello", 200 if healthy else 500)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"part "
            await anyio.lowlevel.checkpoint()

    async def stream(request: Request) -> Response:
        return StreamingResponse(chunks())

    app = Starlette(routes=[Route("/", home), Route("/stream", stream), Route("/needs", home)])
    routes = {"/": "own", "/stream": "stream", "/needs": ProtectedRoute(needs=["own"])}
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes=routes)
    breaker = coordinator.breaker("own")
    async with served(app) as client:
        assert (await client.get("/stream")).text == "part part part "
        assert [(await client.get("/")).status_code for _ in range(2)] == [500, 500]

        async def is_open() -> bool:
            return breaker.state is State.OPEN

        await eventually(is_open)
        healthy = True

        async def answered() -> bool:
            response = await client.get("/")
            if response.status_code == 503:
                assert response.headers["content-type"] == "application/problem+json"
                assert int(response.headers["retry-after"]) >= 1
            return response.status_code == 200

        await eventually(answered)
        assert (await client.get("/needs")).text == "hello"
    assert not coordinator.running


async def test_early_answer_on_trio() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE)

        async def is_open() -> bool:
            return breaker.state is State.OPEN

        await eventually(is_open)
        routes = {"/": ProtectedRoute(needs=["payments"])}
        played = await play(BreakerMiddleware(pytest.fail, coordinator, routes=routes))
        assert (played.status, played.received) == (503, [])


async def test_rejections_in_a_nursery_are_answered_and_blame_no_route() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy) as coordinator:
        upstream = coordinator.breaker("upstream")
        upstream.acquire().record(Outcome.FAILURE)

        async def is_open() -> bool:
            return upstream.state is State.OPEN

        await eventually(is_open)

        async def fan_out(request: Request) -> Response:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(upstream.execute, trio.sleep, 0)
                nursery.start_soon(upstream.execute, trio.sleep, 0)
            raise AssertionError

        app = Starlette(routes=[Route("/", fan_out)])
        app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
        for _ in range(3):
            played = await play(app)
            assert (played.error, played.status) == (None, 503)
            assert int(played.headers["retry-after"]) > 60 - PATIENCE
        assert counts(coordinator.breaker("own")) == (0, 0)


async def test_slow_uploads_make_no_slow_calls() -> None:
    policy = BreakerPolicy(slow_call=0.2)
    async with Coordinator(policy=policy) as coordinator:
        parts = [b"x", b"x", b""]

        async def receive() -> Message:
            await trio.sleep(0.3)
            return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}

        async def send(message: Message) -> None:
            """Nobody listens."""

        async def read(request: Request) -> Response:
            return PlainTextResponse(await request.body())

        app = Starlette(routes=[Route("/", read, methods=["POST"])])
        app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
        await app(Script("POST").scope(), receive, send)
        own = coordinator.breaker("own")

        async def counted() -> bool:
            return counts(own) == (1, 0)

        await eventually(counted)
        assert own.successes.total < 0.9
