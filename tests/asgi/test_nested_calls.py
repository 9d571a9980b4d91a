"""A route's circuit that its own handler uses as well, by a dependency, a breaker or a transport:
what is let through once is served, and counts once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response

from tests.asgi.messages import play
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, half_opened
from zenvark_web import (
    Breaker,
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    State,
)
from zenvark_web.fastapi import breaker

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    async with Coordinator(policy=POLICY) as coordinator:
        yield coordinator


Stock = Annotated[Breaker, Depends(breaker("stock"))]


async def guarded(stock: Stock) -> AsyncIterator[None]:
    async with stock.guard():
        yield


async def hand_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


def shop(coordinator: Coordinator, *, routes: Any = None, status: int = 200) -> FastAPI:
    app = FastAPI(middleware=[Middleware(BaseHTTPMiddleware, hand_on)])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes=routes)

    async def ask() -> None:
        inner = httpx.MockTransport(lambda _: httpx.Response(status))
        async with httpx.AsyncClient(transport=BreakerTransport(coordinator, inner)) as client:
            (await client.get("http://stock")).raise_for_status()

    @app.get("/async")
    async def in_the_loop(stock: Stock) -> str:
        await asyncio.gather(stock.execute(ask), ask())
        return "three"

    @app.get("/sync")
    def in_a_thread(stock: Stock) -> str:
        return stock.execute_sync(lambda: stock.execute_sync(str, "three"))

    @app.get("/guarded", dependencies=[Depends(guarded)])
    async def with_a_dependency(stock: Stock) -> str:
        await stock.execute(ask)
        return "three"

    @app.get("/background", dependencies=[Depends(guarded)])
    async def with_a_background_task(tasks: BackgroundTasks) -> str:
        tasks.add_task(ask)
        return "three"

    @app.get("/failing")
    async def failing(stock: Stock) -> str:
        async with stock.guard():
            raise HTTPException(502)

    return app


OWN = {"/": "stock"}
CASES = [
    (path, routes)
    for path in ("/async", "/sync", "/guarded")
    for routes in (OWN, None)
    if routes or path == "/guarded"
]


@pytest.mark.parametrize(("path", "routes"), CASES)
async def test_it_recovers_and_counts_once(
    coordinator: Coordinator, path: str, routes: Any
) -> None:
    stock = coordinator.breaker("stock")
    app = shop(coordinator, routes=routes)
    await half_opened(stock)

    async def served() -> bool:
        return (await play(app, path=path)).body == b'"three"'

    await eventually(served, within=PATIENCE)
    await eventually(lambda: stock.state is State.CLOSED, within=PATIENCE)
    assert counts(stock) == (1, 1)
    assert (await play(app, path=path)).status == 200
    await eventually(lambda: counts(stock)[0] >= 2, within=PATIENCE)
    # FastAPI leaves a dependency after the answer, when the route's call has ended: while the
    # circuit is closed, its guard then counts by itself. (Older versions leave it before.)
    most = 3 if path == "/guarded" and routes is not None else 2
    assert counts(stock) in [(2, 1), (most, 1)]


async def test_with_a_call_that_outlives_the_answer(coordinator: Coordinator) -> None:
    """Which is one by itself."""
    stock = coordinator.breaker("stock")
    assert (await play(shop(coordinator, routes=OWN), path="/background")).status == 200
    await eventually(lambda: counts(stock)[0] >= 1, within=PATIENCE)
    assert counts(stock)[1] == 0


@pytest.mark.parametrize(("path", "status"), [("/failing", 200), ("/async", 500)])
async def test_what_fails_inside_fails_once(path: str, status: int) -> None:
    policy = {"stock": BreakerPolicy(strategy=ConsecutiveFailures(100))}
    async with Coordinator(policies=policy) as patient:
        await play(shop(patient, routes=OWN, status=status), path=path)
        await eventually(lambda: counts(patient.breaker("stock")) == (0, 1), within=PATIENCE)
