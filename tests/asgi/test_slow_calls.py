"""The client's pace makes no slow call: not while its request is awaited, nor while it reads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.asgi.messages import Script
from tests.asgi.scenarios import body, start
from tests.asgi.serving import served
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts
from zenvark_web import (
    Breaker,
    BreakerMiddleware,
    BreakerPolicy,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    State,
)

SLOW = 0.25
UPLOAD = 1.0
"""The seconds that the client takes for its body."""


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    """One whose circuits open at two calls that are slow."""
    strategy = CountWindow(10, 0.9, minimum_calls=2, slow_rate=0.5)
    policy = BreakerPolicy(strategy=strategy, slow_call=SLOW, backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy) as coordinator:
        yield coordinator


@pytest.fixture
def own(coordinator: Coordinator) -> Breaker:
    return coordinator.breaker("own")


def protected(app: ASGIApp, coordinator: Coordinator) -> ASGIApp:
    return BreakerMiddleware(app, coordinator, routes={"/": "own"})


class Client:
    """One that takes its time for each part of its request."""

    def __init__(self, parts: int = 5) -> None:
        self._left = parts
        self._parts = parts

    async def receive(self) -> Message:
        if not self._left:
            await anyio.sleep(PATIENCE)
        await anyio.sleep(UPLOAD / self._parts)
        self._left -= 1
        return {"type": "http.request", "body": b"x", "more_body": self._left > 0}

    async def send(self, message: Message) -> None:
        pass

    async def visit(self, app: ASGIApp) -> None:
        await app(Script("POST").scope(), self.receive, self.send)


async def uploads(app: ASGIApp, times: int = 3) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(times):
            tasks.create_task(Client().visit(app))


async def read(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass


async def answer(send: Send) -> None:
    await send(start())
    await send(body())


async def test_slow_uploads_make_no_slow_calls(coordinator: Coordinator, own: Breaker) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read(receive)
        await answer(send)

    await uploads(protected(app, coordinator))
    assert counts(own) == (3, 0)
    assert own.successes.total < UPLOAD
    await asyncio.sleep(0)
    assert own.state is State.CLOSED


async def test_nor_while_another_task_of_the_app_reads_them(
    coordinator: Coordinator, own: Breaker
) -> None:
    """Quart reads the body in a task of its own, and two may listen at once."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read(receive))
        await answer(send)

    await uploads(protected(app, coordinator))
    assert own.successes.total < UPLOAD


async def test_an_app_that_hangs_after_the_upload_is_slow(
    coordinator: Coordinator, own: Breaker
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read(receive)
        await anyio.sleep(PATIENCE)

    hanging = asyncio.create_task(uploads(protected(app, coordinator)))
    await eventually(lambda: own.state is State.OPEN, within=PATIENCE)
    hanging.cancel()


async def test_an_app_that_hangs_while_it_listens_for_the_client_to_leave_is_slow(
    coordinator: Coordinator, own: Breaker
) -> None:
    """Frameworks do that beside every request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read(receive)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receive())  # type: ignore[arg-type]
            await anyio.sleep(PATIENCE)

    hanging = asyncio.create_task(uploads(protected(app, coordinator)))
    await eventually(lambda: own.state is State.OPEN, within=PATIENCE)
    hanging.cancel()


async def test_an_app_that_is_slow_between_the_parts_is_slow(
    coordinator: Coordinator, own: Breaker
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            await anyio.sleep(SLOW / 2)
        await answer(send)

    await uploads(protected(app, coordinator))
    assert own.successes.total > 3 * SLOW
    await eventually(lambda: own.state is State.OPEN, within=PATIENCE)


async def test_cancelled_during_an_upload_is_no_failure(
    coordinator: Coordinator, own: Breaker
) -> None:
    """Servers cancel the app when a client leaves."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read(receive)

    with anyio.move_on_after(UPLOAD / 2):
        await uploads(protected(app, coordinator))
    assert counts(own) == (0, 0)


async def test_an_answer_before_the_upload_has_ended(
    coordinator: Coordinator, own: Breaker
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reading = asyncio.create_task(read(receive))
        await asyncio.sleep(0)
        await send(start(413))
        await reading
        await send(body())

    await uploads(protected(app, coordinator))
    assert counts(own) == (0, 0)
    assert own.state is State.CLOSED


async def test_through_a_real_server(coordinator: Coordinator, own: Breaker) -> None:
    app = FastAPI()
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})

    @app.post("/")
    async def upload(request: Request) -> int:
        return len(await request.body())

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x"
            await asyncio.sleep(UPLOAD / 5)

    async with served(app) as client:
        for _ in range(2):
            response = await client.post("/", content=parts())
            assert response.json() == 5
        await eventually(lambda: counts(own) == (2, 0), within=PATIENCE)
    assert own.successes.total < UPLOAD


@pytest.mark.parametrize("wait", [read, None])
async def test_a_reader_that_is_slow_makes_no_slow_call(
    coordinator: Coordinator, own: Breaker, wait: Callable[[Receive], Awaitable[None]] | None
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if wait is not None:
            await wait(receive)
        await answer(send)

    async def slow(message: Message) -> None:
        await anyio.sleep(2 * SLOW)

    client = Client(1)
    client.send = slow  # type: ignore[method-assign]
    await client.visit(protected(app, coordinator))
    assert counts(own) == (1, 0)
    assert own.successes.total < 2 * SLOW
