"""A request that met an open circuit: it is answered for, and its route is not blamed, in whatever
form the rejection arrives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import anyio
import httpx
import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import zenvark_web.httpx2
from tests.asgi.messages import Played, play
from tests.asgi.scenarios import body, raises, start
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, opened
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    FixedResponse,
    OtherUpstream,
    State,
)
from zenvark_web.fastapi import circuit_open_handler

Endpoint: TypeAlias = Callable[[Coordinator, Request], Awaitable[Response]]

WAITS = {"upstream": 60, "slower": 600}


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    """One whose circuits open at one failure; those of two upstreams are open."""
    waits = {name: policy_of(wait) for name, wait in WAITS.items()}
    async with Coordinator(policy=policy_of(30), policies=waits) as coordinator:
        for name in WAITS:
            await opened(coordinator.breaker(name))
        yield coordinator


def policy_of(wait: float) -> BreakerPolicy:
    return BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(wait))


def protected(endpoint: Endpoint, coordinator: Coordinator, **settings: Any) -> Starlette:
    async def page(request: Request) -> Response:
        return await endpoint(coordinator, request)

    app = Starlette(routes=[Route("/", page)], **settings)
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
    return app


async def assert_blameless(coordinator: Coordinator) -> None:
    """The route's own circuit has counted no failure, and takes its calls."""
    own = coordinator.breaker("own")
    assert counts(own) == (0, 0)
    app = BreakerMiddleware(PlainTextResponse("well"), coordinator, routes={"/": "own"})
    assert (await play(app)).body == b"well"
    assert counts(own) == (1, 0)


def assert_answered(played: Played, wait: float = WAITS["upstream"]) -> None:
    assert played.error is None
    assert played.status == 503
    assert played.headers["content-type"] == "application/problem+json"
    assert wait - PATIENCE <= int(played.headers["retry-after"]) <= wait * 1.2 + 1


# What escapes from the handler.


async def call(coordinator: Coordinator, name: str = "upstream") -> None:
    await coordinator.breaker(name).execute(anyio.sleep, 0)


async def in_a_group(coordinator: Coordinator, _: Request) -> Response:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call(coordinator))
        tasks.create_task(asyncio.sleep(PATIENCE))
    raise AssertionError


async def in_a_group_of_anyio(coordinator: Coordinator, _: Request) -> Response:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, coordinator)
    raise AssertionError


async def in_groups_of_groups(coordinator: Coordinator, request: Request) -> Response:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(in_a_group_of_anyio(coordinator, request))
        tasks.create_task(in_a_group(coordinator, request))
    raise AssertionError


async def as_the_cause(coordinator: Coordinator, _: Request) -> Response:
    try:
        await call(coordinator)
    except CircuitOpenError as error:
        raise LookupError("no price") from error
    raise AssertionError


async def raised_by_a_client(coordinator: Coordinator, _: Request) -> Response:
    transport = BreakerTransport(coordinator, when_open="raise")
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("http://upstream")
    raise AssertionError


async def raised_for_status(coordinator: Coordinator, _: Request) -> Response:
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator)) as client:
        (await client.get("http://upstream")).raise_for_status()
    raise AssertionError


async def raised_for_status_by_httpx2(coordinator: Coordinator, _: Request) -> Response:
    transport = zenvark_web.httpx2.BreakerTransport(coordinator)
    async with httpx2.AsyncClient(transport=transport) as client:
        (await client.get("http://upstream")).raise_for_status()
    raise AssertionError


async def raised_for_status_in_a_group(coordinator: Coordinator, request: Request) -> Response:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raised_for_status(coordinator, request))
        tasks.create_task(raised_by_a_client(coordinator, request))
    raise AssertionError


async def in_a_thread(coordinator: Coordinator, _: Request) -> Response:
    def work() -> None:
        with httpx.Client(transport=BreakerTransport(coordinator)) as client:
            client.get("http://upstream").raise_for_status()

    await asyncio.to_thread(work)
    raise AssertionError


ESCAPING: list[Endpoint] = [
    in_a_group,
    in_a_group_of_anyio,
    in_groups_of_groups,
    as_the_cause,
    raised_by_a_client,
    raised_for_status,
    raised_for_status_by_httpx2,
    raised_for_status_in_a_group,
    in_a_thread,
]


@pytest.fixture(params=ESCAPING, ids=lambda endpoint: endpoint.__name__)
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    given: Endpoint = request.param
    return given


async def test_it_is_answered_in_whatever_form_it_escapes(
    coordinator: Coordinator, endpoint: Endpoint
) -> None:
    played = await play(protected(endpoint, coordinator))
    assert_answered(played)
    await assert_blameless(coordinator)


async def test_of_several_the_longest_wait_is_told(coordinator: Coordinator) -> None:
    async def page(coordinator: Coordinator, _: Request) -> Response:
        async with asyncio.TaskGroup() as tasks:
            for name in (*WAITS, *WAITS):
                tasks.create_task(call(coordinator, name))
        raise AssertionError

    assert_answered(await play(protected(page, coordinator)), WAITS["slower"])


async def test_what_else_is_in_a_group_counts(coordinator: Coordinator) -> None:
    async def breaks() -> None:
        raise ValueError("own")

    async def page(coordinator: Coordinator, _: Request) -> Response:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call(coordinator))
            tasks.create_task(breaks())
        raise AssertionError

    played = await play(protected(page, coordinator))
    assert isinstance(played.error, ExceptionGroup)
    assert counts(coordinator.breaker("own")) == (0, 1)


async def test_an_error_of_the_handlers_own_counts_though_it_met_a_rejection(
    coordinator: Coordinator,
) -> None:
    async def page(coordinator: Coordinator, _: Request) -> Response:
        with suppress(CircuitOpenError):  # it can do without
            await call(coordinator)
        raise ValueError("own")

    assert isinstance((await play(protected(page, coordinator))).error, ValueError)
    assert counts(coordinator.breaker("own")) == (0, 1)


async def test_with_the_middleware_further_out_than_what_answers_for_errors(
    coordinator: Coordinator, endpoint: Endpoint
) -> None:
    """Starlette answers 500 there before the middleware sees the error."""

    async def page(request: Request) -> Response:
        return await endpoint(coordinator, request)

    for debug in (False, True):
        inner = Starlette(routes=[Route("/", page)], debug=debug)
        app = BreakerMiddleware(inner, coordinator, routes={"/": "own"})
        assert_answered(await play(app))
    await assert_blameless(coordinator)


@pytest.mark.parametrize("place", ["inside", "around"])
async def test_beside_a_middleware_with_tasks_of_its_own(
    coordinator: Coordinator, endpoint: Endpoint, place: str
) -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    app = protected(endpoint, coordinator)
    other = Middleware(BaseHTTPMiddleware, dispatch)
    app.user_middleware.insert(1 if place == "inside" else 0, other)
    assert_answered(await play(app))
    await assert_blameless(coordinator)


async def test_in_a_mounted_app(coordinator: Coordinator, endpoint: Endpoint) -> None:
    async def page(request: Request) -> Response:
        return await endpoint(coordinator, request)

    """One with error handling of its own."""
    for inner in (Starlette(routes=[Route("/", page)]), FastAPI(routes=[Route("/", page)])):
        app = Starlette(routes=[Mount("/inner", inner)])
        app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
        assert_answered(await play(app, path="/inner/"))
    await assert_blameless(coordinator)


@pytest.mark.parametrize("kind", [ExceptionGroup, httpx.HTTPStatusError, CircuitOpenError])
async def test_the_handler_serves_for_each_class_in_which_it_arrives(
    coordinator: Coordinator, kind: type[Exception]
) -> None:
    made = {
        ExceptionGroup: in_groups_of_groups,
        httpx.HTTPStatusError: raised_for_status,
        CircuitOpenError: raised_by_a_client,
    }
    app = protected(made[kind], coordinator)
    app.add_exception_handler(kind, circuit_open_handler)
    assert_answered(await play(app))
    await assert_blameless(coordinator)


async def test_the_handler_lets_go_on_what_is_none(coordinator: Coordinator) -> None:
    error = ExceptionGroup("two", [CircuitOpenError("upstream", 1), ValueError("own")])
    app = protected(lambda *_: raise_(error), coordinator)
    app.add_exception_handler(ExceptionGroup, circuit_open_handler)
    assert (await play(app)).error is error
    assert counts(coordinator.breaker("own")) == (0, 1)


async def raise_(error: Exception) -> Response:
    raise error


# What the app makes of it itself.


async def respond(coordinator: Coordinator, _: Request) -> Response:
    """Passes its upstream's answer on, which is the transport's own."""
    async with httpx.AsyncClient(transport=BreakerTransport(coordinator)) as client:
        response = await client.get("http://upstream")
    return Response(response.content, response.status_code)


async def fall_back(coordinator: Coordinator, _: Request) -> Response:
    fallback = FixedResponse({"error": "unwell"}, status=502)
    transport = BreakerTransport(coordinator, fallback=fallback)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("http://upstream")
    return Response(response.content, response.status_code)


async def raise_what_504_is_made_of(coordinator: Coordinator, _: Request) -> Response:
    try:
        await call(coordinator)
    except CircuitOpenError:
        raise HTTPException(504) from None
    raise AssertionError


async def stream_it(coordinator: Coordinator, _: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        await call(coordinator)

    return StreamingResponse(parts(), 200)


@pytest.mark.parametrize("endpoint", [respond, fall_back, raise_what_504_is_made_of])
async def test_an_answer_made_of_a_rejection_passes_and_does_not_count(
    coordinator: Coordinator, endpoint: Endpoint
) -> None:
    played = await play(protected(endpoint, coordinator))
    assert played.status in (502, 503, 504)
    await assert_blameless(coordinator)


async def test_a_stream_that_ends_in_one_does_not_count(coordinator: Coordinator) -> None:
    played = await play(protected(stream_it, coordinator))
    assert (played.status, played.body) == (200, b"first")
    await assert_blameless(coordinator)


@pytest.mark.parametrize("handled", [CircuitOpenError, httpx.TransportError, httpx.HTTPError])
@pytest.mark.parametrize("is_async", [True, False])
async def test_handlers_of_the_users_own_win_and_do_not_count(
    coordinator: Coordinator, handled: type[Exception], is_async: bool
) -> None:
    def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": "bad gateway"}, 502)

    async def answer_async(request: Request, error: Exception) -> Response:
        return answer(request, error)

    app = protected(raised_by_a_client, coordinator)
    app.add_exception_handler(handled, answer_async if is_async else answer)
    assert (await play(app)).status == 502
    await assert_blameless(coordinator)


async def test_a_handler_for_what_took_place_where_no_context_came_along(
    coordinator: Coordinator,
) -> None:
    """Such as a thread that a library has started long before."""

    async def page(coordinator: Coordinator, _: Request) -> Response:
        def work() -> None:
            coordinator.breaker("upstream").execute_sync(int)

        await asyncio.get_running_loop().run_in_executor(None, work)
        raise AssertionError

    app = protected(page, coordinator)
    app.add_exception_handler(CircuitOpenError, lambda *_: PlainTextResponse("own", 500))
    assert (await play(app)).body == b"own"
    await assert_blameless(coordinator)


@pytest.mark.parametrize("is_async", [True, False])
async def test_endpoints_of_fastapi(coordinator: Coordinator, is_async: bool) -> None:
    app = FastAPI()
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})

    def page() -> None:
        try:
            coordinator.breaker("upstream").execute_sync(int)
        except CircuitOpenError as error:
            raise HTTPException(502) from error

    async def page_async() -> None:
        page()

    app.get("/")(page_async if is_async else page)
    assert (await play(app)).status == 502
    await assert_blameless(coordinator)


async def test_further_circuits_around_it_are_not_blamed_either(coordinator: Coordinator) -> None:
    inner = protected(raise_what_504_is_made_of, coordinator)
    middle = BreakerMiddleware(inner, coordinator, routes={"/": "middle"})
    outer = BreakerMiddleware(middle, coordinator, routes={"/": "outer"})
    assert (await play(outer)).status == 504
    for name in ("own", "middle", "outer"):
        assert counts(coordinator.breaker(name)) == (0, 0)


async def test_the_app_goes_on_counting_what_is_its_own() -> None:
    """Requests that meet no rejection, beside some that do."""

    async def page(coordinator: Coordinator, request: Request) -> Response:
        if "rejected" in request.query_params:
            await anyio.sleep(0.01)
            raise HTTPException(502) from CircuitOpenError("upstream", 1)
        await anyio.sleep(0.02)
        return PlainTextResponse("broken", 500)

    patient = {"own": BreakerPolicy(strategy=ConsecutiveFailures(100))}
    async with Coordinator(policies=patient) as coordinator:
        app = protected(page, coordinator)
        async with asyncio.TaskGroup() as tasks:
            for query in ["rejected", ""] * 5:
                tasks.create_task(play(app, query=query))
        assert counts(coordinator.breaker("own")) == (0, 5)


async def test_what_a_background_task_runs_into_says_nothing(coordinator: Coordinator) -> None:
    async def page(coordinator: Coordinator, _: Request) -> Response:
        return PlainTextResponse("soon", background=BackgroundTask(call, coordinator))

    await play(protected(page, coordinator))
    assert counts(coordinator.breaker("own")) == (1, 0)


async def test_a_deliberate_500_of_starlettes_passes(coordinator: Coordinator) -> None:
    """There, what escapes is seen as the exception that it is."""

    async def page(coordinator: Coordinator, _: Request) -> Response:
        try:
            await call(coordinator)
        except CircuitOpenError:
            return PlainTextResponse("own", 500)
        raise AssertionError

    for app in (
        protected(page, coordinator),
        BreakerMiddleware(Starlette(routes=protected(page, coordinator).routes), coordinator),
    ):
        played = await play(app)
        assert (played.status, played.body) == (500, b"own")
    await assert_blameless(coordinator)


# What is the app's own, though the request met a rejection.


async def fall_back_and_go_on(coordinator: Coordinator, _: Request) -> None:
    """A fallback that is as good as the upstream's own answer."""
    transport = BreakerTransport(coordinator, fallback=FixedResponse({"items": []}))
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get("http://upstream")).is_success


async def fall_back_in_a_thread(coordinator: Coordinator, _: Request) -> None:
    def work() -> None:
        transport = zenvark_web.httpx2.BreakerTransport(
            coordinator, fallback=OtherUpstream("http://other", httpx2_answering(200))
        )
        with httpx2.Client(transport=transport) as client:
            assert client.get("http://upstream").is_success

    await asyncio.to_thread(work)


def httpx2_answering(status: int) -> httpx2.BaseTransport:
    return httpx2.MockTransport(lambda _: httpx2.Response(status))


async def do_without(coordinator: Coordinator, _: Request) -> None:
    with suppress(CircuitOpenError):
        await call(coordinator)


REPLACED = [fall_back_and_go_on, fall_back_in_a_thread]
HARMLESS = [*REPLACED, do_without]


def breaks_after(optional: Any, coordinator: Coordinator, *, answers: bool) -> list[Route]:
    async def page(request: Request) -> Response:
        await optional(coordinator, request)
        if answers:
            return PlainTextResponse("database down", 500)
        raise ValueError("database down")

    return [Route("/", page)]


@pytest.mark.parametrize("optional", REPLACED)
async def test_a_500_counts_where_a_fallback_took_the_calls_place(
    coordinator: Coordinator, optional: Any
) -> None:
    app = Starlette(routes=breaks_after(optional, coordinator, answers=True))
    for around in (app, says_what(app)):
        wrapped = BreakerMiddleware(around, coordinator, routes={"/": str(id(around))})
        played = await play(wrapped)
        assert (played.status, played.body) == (500, b"database down")
        assert counts(coordinator.breaker(str(id(around)))) == (0, 1)


def says_what(app: ASGIApp) -> ASGIApp:
    """An app that tells nobody that it is Starlette's."""

    async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
        await app(dict(scope), receive, send)

    return hidden


@pytest.mark.parametrize("optional", HARMLESS)
@pytest.mark.parametrize("handler", [None, "own"])
async def test_an_exception_counts_that_starlette_answers_before_it_goes_on(
    coordinator: Coordinator, optional: Any, handler: str | None
) -> None:
    handlers: Any = {500: lambda *_: PlainTextResponse("own", 500)} if handler else {}
    routes = breaks_after(optional, coordinator, answers=False)
    inner = Starlette(routes=routes, exception_handlers=handlers)

    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    for app in (inner, BaseHTTPMiddleware(inner, dispatch)):
        name = type(app).__name__
        wrapped = BreakerMiddleware(app, coordinator, routes={"/": name})
        played = await play(wrapped)
        assert played.status == 500
        assert isinstance(played.error, ValueError)
        assert counts(coordinator.breaker(name)) == (0, 1)


async def test_what_is_handled_around_the_app_is_not_the_apps(coordinator: Coordinator) -> None:
    """A caller in the same process makes its second request while it handles a rejection."""
    app = BreakerMiddleware(
        raises(ValueError("x"), start(500), body()), coordinator, routes={"/": "own"}
    )
    try:
        await call(coordinator)
    except CircuitOpenError:
        assert (await play(app)).status == 500
    assert counts(coordinator.breaker("own")) == (0, 1)


async def test_the_defaults_put_together_stay_closed() -> None:
    """The transport responds, the handler raises for its status, the middleware answers."""
    async with Coordinator(policy=policy_of(60)) as coordinator:
        app: ASGIApp = protected(raised_for_status, coordinator)
        await opened(coordinator.breaker("upstream"))
        for _ in range(10):
            assert_answered(await play(app))
        await eventually(lambda: coordinator.breaker("own").state is State.CLOSED)
        await assert_blameless(coordinator)
