"""Requests that reach no handler say nothing of the route: preflights of browsers, paths and
methods that no route has, redirects to the path with a slash."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from tests.asgi.messages import Played, Script, play
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, half_opened, opened, takes_a_call
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    ProtectedRoute,
    State,
)

PAGE = "https://shop.example"
ORIGIN = [("origin", PAGE)]
PREFLIGHT = [*ORIGIN, ("access-control-request-method", "POST")]
CORS = Middleware(CORSMiddleware, allow_origins=[PAGE], allow_methods=["*"])
EVERYTHING = {"/": "own"}


@pytest.fixture
async def three() -> AsyncIterator[Coordinator]:
    """One whose circuits open at three failures in a row."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy) as coordinator:
        yield coordinator


async def orders(request: Request) -> Response:
    return PlainTextResponse("broken", 500)


async def accept(websocket: WebSocket) -> None:
    await websocket.accept()


SECTION = [Route("/orders", orders, methods=["POST"]), Route("/stock/", orders)]
MOUNTED = [
    Mount("/files", StaticFiles(directory=Path(__file__).parent)),
    Mount("/section", routes=SECTION),
]


def starlette(*middleware: Middleware) -> Starlette:
    inner = Starlette(routes=[Route("/orders", orders)])
    routes = [
        Route("/orders", orders, methods=["POST"]),
        Route("/stock/", orders),
        WebSocketRoute("/live", accept),
        Mount("/inner", inner),
        *MOUNTED,
    ]
    return Starlette(routes=routes, middleware=middleware)


def fastapi(*middleware: Middleware) -> FastAPI:
    router = APIRouter()
    router.add_api_route("/orders", lambda: PlainTextResponse("broken", 500), methods=["POST"])
    router.add_api_route("/stock/", lambda: PlainTextResponse("broken", 500))
    router.add_api_websocket_route("/live", accept)
    app = FastAPI(middleware=middleware)
    app.include_router(router)
    app.mount("/inner", Starlette(routes=[Route("/orders", orders)]))
    app.router.routes += MOUNTED
    return app


def protected(coordinator: Coordinator) -> Middleware:
    return Middleware(BreakerMiddleware, coordinator=coordinator, routes=EVERYTHING)


UNREACHED = [
    Script("GET", "/wp-login.php"),
    Script("GET", "/inner/wp-login.php"),
    Script("DELETE", "/orders"),
    Script("GET", "/stock"),  # without its slash
    Script("OPTIONS", "/orders", headers=PREFLIGHT),
    Script("WEBSOCKET", "/nowhere"),
    Script("GET", "/files/wp-login.php"),
    Script("GET", "/section/wp-login.php"),
    Script("GET", "/section/stock"),
    Script("DELETE", "/section/orders"),
    Script("WEBSOCKET", "/section/nowhere"),
]


@pytest.mark.parametrize("make", [starlette, fastapi])
@pytest.mark.parametrize("script", UNREACHED, ids=str)
async def test_they_end_no_streak_of_failures(
    three: Coordinator, make: Any, script: Script
) -> None:
    app = make(protected(three))
    for _ in range(3):
        await play(app, script)
        assert (await play(app, Script("POST", "/orders"))).status == 500
        await play(app, script)
    await eventually(lambda: three.breaker("own").state is State.OPEN, within=PATIENCE)


@pytest.mark.parametrize("make", [starlette, fastapi])
@pytest.mark.parametrize("script", UNREACHED, ids=str)
async def test_they_neither_spend_a_trial_nor_close_the_circuit(make: Any, script: Script) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))
    async with Coordinator(policy=policy) as coordinator:
        own = coordinator.breaker("own")
        await half_opened(own)
        app = make(protected(coordinator))
        for _ in range(3):
            await play(app, script)
            assert own.state is not State.CLOSED
        await eventually(lambda: takes_a_call(own), within=PATIENCE)
        assert own.state is State.HALF_OPEN


async def test_a_trial_is_answered_by_what_the_handler_did_not_find() -> None:
    """A handler of another status says that the route is back."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))

    async def forbidden(request: Request) -> Response:
        raise HTTPException(403)

    async with Coordinator(policy=policy) as coordinator:
        own = coordinator.breaker("own")
        app = Starlette(routes=[Route("/", forbidden)], middleware=[protected(coordinator)])
        await half_opened(own)

        async def closed() -> bool:
            await play(app)
            return own.state is State.CLOSED

        await eventually(closed, within=PATIENCE)
        assert counts(own) == (1, 1)


async def missing(request: Request) -> Response:
    if request.query_params["how"] == "raises":
        raise HTTPException(int(request.query_params["status"]))
    return PlainTextResponse("none", int(request.query_params["status"]))


async def missing_of_fastapi(how: str, status: int) -> Response:
    if how == "raises":
        raise HTTPException(status)
    return PlainTextResponse("none", status)


async def as_it_is(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


class Missing(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return await missing(request)


def sites(*middleware: Middleware) -> dict[str, ASGIApp]:
    """Apps with a handler at `/items/7` that does not find the item."""
    item = Route("/items/{id}", missing)
    router = APIRouter(prefix="/items")
    router.add_api_route("/{id}", missing_of_fastapi)
    included = FastAPI(middleware=middleware)
    included.include_router(router)
    mounting = FastAPI(middleware=middleware)
    mounting.mount("/inner", Starlette(routes=[item]))
    return {
        "starlette": Starlette(routes=[item], middleware=middleware),
        "an endpoint": Starlette(routes=[Route("/items/{id}", Missing)], middleware=middleware),
        "fastapi": included,
        "/inner, routes": Starlette(routes=[Mount("/inner", routes=[item])], middleware=middleware),
        "/inner, an app": mounting,
    }


BETWEEN = [Middleware(BaseHTTPMiddleware, as_it_is), Middleware(GZipMiddleware), CORS]


@pytest.mark.parametrize("site", sites())
@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("how", ["raises", "returns"])
@pytest.mark.parametrize("between", [[], BETWEEN], ids=["bare", "behind others"])
async def test_a_handler_that_finds_nothing_has_been_reached(
    site: str, status: int, how: str, between: list[Middleware]
) -> None:
    """A trial call has passed by it, or the circuit would reject for ever."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))
    path = ("/inner" if site.startswith("/inner") else "") + "/items/7"
    async with Coordinator(policy=policy) as coordinator:
        own = coordinator.breaker("own")
        app = sites(protected(coordinator), *between)[site]
        await half_opened(own)

        async def closed() -> bool:
            await play(app, path=path, query=f"how={how}&status={status}")
            return own.state is State.CLOSED

        await eventually(closed, within=PATIENCE)


async def test_one_success_in_a_streak_of_4xx_does_not_hide_an_outage(three: Coordinator) -> None:
    """Nine answers in ten that deny access hide no handler that fails whenever it is reached."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        status = 500 if scope["path"] == "/in" else 401
        await PlainTextResponse("", status)(scope, receive, send)

    wrapped = BreakerMiddleware(app, three, routes=EVERYTHING)
    for _ in range(3):
        await play(wrapped, path="/in")
        for _ in range(9):
            await play(wrapped)
    await eventually(lambda: three.breaker("own").state is State.OPEN, within=PATIENCE)


ORDERS = [[CORS, "own"], ["own", CORS], ["own", Middleware(GZipMiddleware), CORS]]


def with_order(coordinator: Coordinator, order: list[Any], routes: Any = EVERYTHING) -> ASGIApp:
    own = Middleware(BreakerMiddleware, coordinator=coordinator, routes=routes)
    return starlette(*(own if each == "own" else each for each in order))


@pytest.mark.parametrize("order", ORDERS, ids=["outermost", "inside", "further in"])
@pytest.mark.parametrize("routes", [EVERYTHING, {"/": ProtectedRoute(needs=["own"])}])
async def test_preflights_pass_while_the_circuit_is_open(
    brisk: Coordinator, order: list[Any], routes: Any
) -> None:
    await opened(brisk.breaker("own"))
    blocked = brisk.breaker("own").blocked
    app = with_order(brisk, order, routes)
    played = await play(app, Script("OPTIONS", "/orders", headers=PREFLIGHT))
    assert played.status == 200
    assert played.headers["access-control-allow-origin"] == PAGE
    assert brisk.breaker("own").blocked == blocked


@pytest.mark.parametrize("headers", [[], ORIGIN, PREFLIGHT[1:]])
async def test_other_options_are_answered_early(brisk: Coordinator, headers: Any) -> None:
    await opened(brisk.breaker("own"))
    app = with_order(brisk, ["own"])
    assert (await play(app, Script("OPTIONS", "/orders", headers=headers))).status == 503


async def ask(app: ASGIApp, headers: Any = ORIGIN) -> Played:
    return await play(app, Script("POST", "/orders", headers=headers))


@pytest.mark.parametrize("order", ORDERS, ids=["outermost", "inside", "further in"])
async def test_pages_of_other_origins_can_read_the_answer(
    brisk: Coordinator, order: list[Any]
) -> None:
    await opened(brisk.breaker("own"))
    app = with_order(brisk, order)
    played = await ask(app)
    assert played.status == 503
    assert played.headers["access-control-allow-origin"] == PAGE
    assert "retry-after" in played.headers
    assert "access-control-allow-origin" not in (await ask(app, [])).headers
    stranger = await ask(app, [("origin", "https://elsewhere.example")])
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("make", [Starlette, FastAPI])
async def test_also_the_answer_for_what_escapes(brisk: Coordinator, make: Any) -> None:
    async def page(request: Request) -> Response:
        return await brisk.breaker("upstream").execute(orders, request)

    await opened(brisk.breaker("upstream"))
    app = make(routes=[Route("/orders", page, methods=["POST"])])
    app.add_middleware(CORSMiddleware, allow_origins=[PAGE])
    app.add_middleware(BreakerMiddleware, coordinator=brisk)
    played = await ask(app)
    assert (played.status, played.headers["access-control-allow-origin"]) == (503, PAGE)


async def test_an_app_that_holds_itself_is_looked_at_all_the_same(patient: Coordinator) -> None:
    class Odd:
        def __init__(self) -> None:
            self.app = self

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("hello")(scope, receive, send)

    assert (await play(BreakerMiddleware(Odd(), patient))).body == b"hello"
