"""What the middleware makes of a `CircuitOpenError`, and of everything else: nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeAlias

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from tests.asgi.messages import play
from tests.asgi.serving import served
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import opened
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    ProtectedRoute,
    ZenvarkError,
)

HIDDEN = "payments.internal:8443"
"""The name of a circuit, which no client is to read."""

Endpoint: TypeAlias = Callable[..., Any]


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


def reject(retry_after: float = 2.5) -> Any:
    raise CircuitOpenError(HIDDEN, retry_after)


async def rejected(request: Request) -> Response:
    return reject()


def sorry(request: Request, error: CircuitOpenError) -> Response:
    raise HTTPException(503, "try again later", {"X-Why": "circuit"})


async def raises_sorry(request: Request) -> Response:
    return sorry(request, CircuitOpenError(HIDDEN, 1))


OPENS_AT_ONCE = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))


def make_starlette(endpoint: Endpoint, coordinator: Coordinator, **settings: Any) -> Starlette:
    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, **settings)
    return app


def make_fastapi(endpoint: Endpoint, coordinator: Coordinator, **settings: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, **settings)
    app.get("/")(endpoint)
    return app


MakeApp: TypeAlias = Callable[..., Any]


@pytest.fixture(params=[make_starlette, make_fastapi], ids=["starlette", "fastapi"])
def make_app(request: pytest.FixtureRequest) -> MakeApp:
    made: MakeApp = request.param
    return made


async def get(app: ASGIApp, path: str = "/", method: str = "GET") -> httpx.Response:
    async with served(app) as client:
        return await client.request(method, path)


def assert_is_problem(response: httpx.Response, least: int = 3, most: int = 4) -> None:
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    retry_after = int(response.headers["retry-after"])
    assert least <= retry_after <= most  # some is added by chance
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "type": "urn:zenvark:problem:circuit-open",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "A service that this request needs is not available now.",
        "retry_after": retry_after,
    }
    assert "internal" not in f"{response.headers} {response.text}"


async def test_open_circuit_becomes_a_problem_document(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    assert_is_problem(await get(make_app(rejected, coordinator)))


async def test_breakers_and_transports_errors_are_all_answered(make_app: MakeApp) -> None:
    coordinator = Coordinator(
        policy=BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(500))
    )
    transport = BreakerTransport(
        coordinator, httpx.MockTransport(lambda _: httpx.Response(200)), when_open="raise"
    )

    async def endpoint(request: Request) -> Response:
        if request.query_params["by"] == "breaker":
            await coordinator.breaker(HIDDEN).execute(asyncio.sleep, 0)
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get(f"https://{HIDDEN}")
        return PlainTextResponse("paid")

    async with served(make_app(endpoint, coordinator)) as client:
        for by in ("breaker", "transport"):
            assert (await client.get("/", params={"by": by})).text == "paid"
        await opened(coordinator.breaker(HIDDEN))
        for by in ("breaker", "transport"):
            response = await client.get("/", params={"by": by})
            assert_is_problem(response, least=500 - int(PATIENCE), most=600)


async def test_plain_function_as_endpoint(coordinator: Coordinator, make_app: MakeApp) -> None:
    def endpoint(request: Request) -> Response:
        return reject()

    assert_is_problem(await get(make_app(endpoint, coordinator)))


async def test_raised_in_a_dependency(coordinator: Coordinator) -> None:
    async def need(kind: str) -> AsyncIterator[str]:
        if kind == "before":
            reject()
        yield "value"

    async def endpoint(value: Annotated[str, Depends(need)]) -> str:
        return reject()

    app = make_fastapi(endpoint, coordinator)
    for kind in ("before", "inside"):
        assert_is_problem(await get(app, f"/?kind={kind}"))


async def test_raised_in_a_middleware_or_behind_one(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        return reject() if "early" in request.query_params else await call_next(request)

    app = make_app(rejected, coordinator)
    app.user_middleware.append(Middleware(BaseHTTPMiddleware, dispatch))  # innermost
    assert_is_problem(await get(app))
    assert_is_problem(await get(app, "/?early=1"))


async def test_raised_in_mounted_routes(coordinator: Coordinator) -> None:
    app = Starlette(routes=[Mount("/inner", routes=[Route("/", rejected)])])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)
    assert_is_problem(await get(app, "/inner/"))


async def test_raised_in_a_mounted_app(coordinator: Coordinator, make_app: MakeApp) -> None:
    """Such an app answers errors itself, so it needs a middleware of its own."""
    app = Starlette(routes=[Mount("/inner", make_app(rejected, coordinator))])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, fallback=pytest.fail)
    assert_is_problem(await get(app, "/inner/"))


async def test_head_gets_the_headers_alone(coordinator: Coordinator) -> None:
    async with served(make_starlette(rejected, coordinator)) as client:
        for _ in range(2):  # what is wrong with the first would show in the second
            response = await client.head("/")
            assert response.status_code == 503
            assert response.headers["retry-after"] in ("3", "4")
            assert int(response.headers["content-length"]) > 0
            assert response.content == b""
        assert_is_problem(await client.get("/"))


@pytest.mark.parametrize("handled", [CircuitOpenError, ZenvarkError])
async def test_handler_of_the_user_wins(
    coordinator: Coordinator, make_app: MakeApp, handled: type[Exception]
) -> None:
    async def handler(request: Request, error: CircuitOpenError) -> Response:
        return PlainTextResponse(f"own answer for {error.name}", 418)

    app = make_app(rejected, coordinator)
    app.add_exception_handler(handled, handler)
    response = await get(app)
    assert (response.status_code, response.text) == (418, f"own answer for {HIDDEN}")


async def test_handler_for_errors_of_httpx_gets_the_transports(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    import zenvark_web.httpx

    async def endpoint(request: Request) -> Response:
        raise zenvark_web.httpx.CircuitOpenError(HIDDEN, 1)

    async def handler(request: Request, error: httpx.HTTPError) -> Response:
        return PlainTextResponse("upstream trouble", 502)

    app = make_app(endpoint, coordinator)
    app.add_exception_handler(httpx.HTTPError, handler)
    assert (await get(app)).status_code == 502


async def test_handler_for_all_errors_is_not_troubled(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    app = make_app(rejected, coordinator)
    app.add_exception_handler(Exception, lambda *_: pytest.fail("it was"))
    assert_is_problem(await get(app))


class TestFallback:
    async def test_its_response_takes_the_place(
        self, coordinator: Coordinator, make_app: MakeApp
    ) -> None:
        seen: list[tuple[Request, CircuitOpenError]] = []

        def fallback(request: Request, error: CircuitOpenError) -> Response:
            seen.append((request, error))
            return JSONResponse({"cached": True})

        response = await get(make_app(rejected, coordinator, fallback=fallback), "/?page=2")
        assert (response.status_code, response.json()) == (200, {"cached": True})
        [(request, error)] = seen
        assert request.query_params["page"] == "2"
        assert (error.name, error.retry_after) == (HIDDEN, 2.5)

    async def test_it_may_be_async_and_read_the_request(self, coordinator: Coordinator) -> None:
        async def fallback(request: Request, error: CircuitOpenError) -> Response:
            return PlainTextResponse(f"queued {(await request.body()).decode()}", 202)

        app = Starlette(routes=[Route("/", rejected, methods=["POST"])])
        app.add_middleware(BreakerMiddleware, coordinator=coordinator, fallback=fallback)
        async with served(app) as client:
            response = await client.post("/", content=b"order 7")
        assert (response.status_code, response.text) == (202, "queued order 7")

    @pytest.mark.parametrize("parts", [1, 2])
    async def test_it_can_not_read_what_the_app_has_read(
        self, coordinator: Coordinator, parts: int
    ) -> None:
        """It would wait for it until the client leaves."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            reject()

        async def fallback(request: Request, error: CircuitOpenError) -> Response:
            return PlainTextResponse(await request.body())

        wrapped = BreakerMiddleware(app, coordinator, fallback)
        played = await play(wrapped, method="POST", body=[b"x"] * parts)
        assert "the app has read it" in str(played.error)
        assert (await play(wrapped)).body == b""  # there was none

    async def test_it_may_stream(self, coordinator: Coordinator, make_app: MakeApp) -> None:
        async def fallback(*_: object) -> Response:
            return StreamingResponse(iter([b"a", b"b"]))

        assert (await get(make_app(rejected, coordinator, fallback=fallback))).text == "ab"

    async def test_what_it_raises_is_an_error_of_the_app(self, coordinator: Coordinator) -> None:
        error = LookupError("not in the cache")

        def fallback(*_: object) -> Response:
            raise error

        app = BreakerMiddleware(rejecting, coordinator, fallback)
        with pytest.raises(LookupError) as caught:
            await call(app, discard)
        assert caught.value is error

    @pytest.mark.parametrize("early", [False, True])
    async def test_http_exception_becomes_the_response_that_the_app_makes_of_it(
        self, make_app: MakeApp, early: bool
    ) -> None:
        async with Coordinator(policy=OPENS_AT_ONCE) as coordinator:
            app = make_app(rejected, coordinator, fallback=sorry, routes={"/": "own"})
            if early:
                await opened(coordinator.breaker("own"))
            response = await get(app)
            as_ever = await get(make_app(raises_sorry, coordinator))
        assert (response.status_code, response.headers["x-why"]) == (503, "circuit")
        assert (response.content, response.headers["content-type"]) == (
            as_ever.content,
            as_ever.headers["content-type"],
        )

    @pytest.mark.parametrize("key", [HTTPException, 503])
    @pytest.mark.parametrize("is_async", [True, False])
    async def test_the_apps_own_handler_makes_it(
        self, coordinator: Coordinator, make_app: MakeApp, key: Any, is_async: bool
    ) -> None:
        def handler(request: Request, error: HTTPException) -> Response:
            return JSONResponse({"own": error.detail}, error.status_code)

        async def handler_async(request: Request, error: HTTPException) -> Response:
            return handler(request, error)

        app = make_app(rejected, coordinator, fallback=sorry)
        app.add_exception_handler(key, handler_async if is_async else handler)
        assert (await get(app)).json() == {"own": "try again later"}

    async def test_http_exception_without_a_body_and_outside_of_any_app(
        self, coordinator: Coordinator
    ) -> None:
        for status, text in ((204, b""), (304, b""), (502, b"Bad Gateway")):

            async def fallback(*_: object, status: int = status) -> Response:
                raise HTTPException(status)

            played = await play(BreakerMiddleware(rejecting, coordinator, fallback))
            assert (played.status, played.body) == (status, text)

    async def test_it_may_run_into_another_circuit_that_is_open(
        self, coordinator: Coordinator, make_app: MakeApp
    ) -> None:
        async def fallback(request: Request, error: CircuitOpenError) -> Response:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(rejected(request))
                raise CircuitOpenError("archive", 90)

        response = await get(make_app(rejected, coordinator, fallback=fallback))
        assert_is_problem(response, least=90, most=109)

    @pytest.mark.parametrize("made", [None, {"cached": True}, "text"], ids=str)
    async def test_what_is_no_response_is_told(
        self, coordinator: Coordinator, made: object
    ) -> None:
        app = BreakerMiddleware(rejecting, coordinator, lambda *_: made)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must return a starlette Response, not"):
            await call(app, discard)

    @pytest.mark.parametrize(
        "given", [PlainTextResponse("hello"), "hello", 503], ids=["response", "text", "status"]
    )
    def test_what_can_not_make_one_is_refused(self, coordinator: Coordinator, given: Any) -> None:
        for make in (
            lambda: BreakerMiddleware(rejecting, coordinator, fallback=given),
            lambda: ProtectedRoute(circuit="own", fallback=given),
        ):
            with pytest.raises(TypeError, match="fallback must be"):
                make()

    async def test_it_is_not_asked_without_need(
        self, coordinator: Coordinator, make_app: MakeApp
    ) -> None:
        async def endpoint(request: Request) -> Response:
            return PlainTextResponse("busy", 503)

        app = make_app(endpoint, coordinator, fallback=lambda *_: pytest.fail("it was"))
        assert (await get(app)).text == "busy"


# The bare interface, to see exactly what passes.


SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def rejecting(scope: Scope, receive: Receive, send: Send) -> None:
    reject()


async def discard(message: Message) -> None:
    """A `send` for who does not care."""


async def nothing_more() -> Message:
    return {"type": "http.disconnect"}


async def call(app: ASGIApp, send: Send) -> None:
    await app(dict(SCOPE), nothing_more, send)


async def test_any_other_error_passes_as_it_is(coordinator: Coordinator) -> None:
    error = ValueError("own")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(ValueError, match="own") as caught:
        await call(BreakerMiddleware(app, coordinator), pytest.fail)
    assert caught.value is error
    assert caught.value.__context__ is None


async def test_cancellation_passes(coordinator: Coordinator) -> None:
    reached = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.set()
        await asyncio.sleep(PATIENCE)

    task = asyncio.create_task(call(BreakerMiddleware(app, coordinator), pytest.fail))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("body_sent", [False, True])
async def test_once_the_response_has_started_the_error_passes_on(
    coordinator: Coordinator, body_sent: bool
) -> None:
    body: Message = {"type": "http.response.body", "body": b"hello", "more_body": True}
    messages = [START, body] if body_sent else [START]
    sent: list[Message] = []
    error = CircuitOpenError(HIDDEN, 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    fallback = pytest.fail
    with pytest.raises(CircuitOpenError) as caught:
        await call(BreakerMiddleware(app, coordinator, fallback), send)
    assert caught.value is error
    assert sent == messages


async def test_error_while_the_start_is_being_sent_passes_on(coordinator: Coordinator) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)

    async def send(message: Message) -> None:
        reject()

    with pytest.raises(CircuitOpenError):
        await call(BreakerMiddleware(app, coordinator), send)


@pytest.mark.parametrize("kind", ["http.response.debug", "http.response.early_hint"])
async def test_what_comes_before_the_response_is_not_its_start(
    coordinator: Coordinator, kind: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": kind})
        reject()

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await call(BreakerMiddleware(app, coordinator), send)
    assert [message.get("status") for message in sent] == [None, 503, None]


@pytest.mark.parametrize("kind", ["http", "websocket", "something.new"])
async def test_app_gets_the_very_scope_and_receive(coordinator: Coordinator, kind: str) -> None:
    seen: list[object] = []

    async def app(*arguments: object) -> None:
        seen.extend(arguments)

    scope = {**SCOPE, "type": kind}
    added = {} if kind == "something.new" else {"zenvark_web.coordinator": coordinator}
    after = {**scope, **added}
    await BreakerMiddleware(app, coordinator)(scope, nothing_more, discard)
    assert seen[0] is scope
    assert scope == after
    assert seen[1] is nothing_more
    assert (seen[2] is discard) is (kind == "something.new")


async def test_messages_pass_as_they_are_and_at_once(coordinator: Coordinator) -> None:
    sent: list[Message] = []
    bodies = [{"type": "http.response.body", "body": b"x", "more_body": True} for _ in range(3)]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for number, message in enumerate([START, *bodies], 1):
            await send(message)
            assert len(sent) == number

    async def send(message: Message) -> None:
        sent.append(message)

    await call(BreakerMiddleware(app, coordinator), send)
    assert all(a is b for a, b in zip(sent, [START, *bodies], strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coordinator": None}, "coordinator must be a Coordinator, not None"),
        ({"coordinator": "redis://localhost"}, "coordinator must be a Coordinator"),
        ({"fallback": "/sorry"}, "fallback must be callable"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        BreakerMiddleware(rejecting, **{"coordinator": Coordinator(), **settings})


# Real servers, for what only they show.


async def test_streams_are_not_held_back(coordinator: Coordinator, make_app: MakeApp) -> None:
    go = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await go.wait()
        yield b"second"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    async with (
        served(make_app(endpoint, coordinator)) as client,
        client.stream("GET", "/") as response,
    ):
        received = response.aiter_raw()
        assert await anext(received) == b"first"
        go.set()
        assert await anext(received) == b"second"


async def test_uploads_are_not_held_back(coordinator: Coordinator) -> None:
    arrived = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        parts = []
        async for part in request.stream():
            parts.append(part)
            arrived.set()
        return PlainTextResponse(b"".join(parts))

    async def source() -> AsyncIterator[bytes]:
        yield b"first "
        await arrived.wait()
        yield b"second"

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)
    async with served(app) as client:
        assert (await client.post("/", content=source())).text == "first second"


async def test_stream_that_is_rejected_half_way_breaks_off(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        reject()

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    async with served(make_app(endpoint, coordinator)) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_background_tasks_run_after_the_response(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    go, ran = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        ran.set()
        reject()

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("accepted", 202, background=BackgroundTask(work))

    async with served(make_app(endpoint, coordinator)) as client:
        response = await client.get("/")
        assert (response.status_code, response.text) == (202, "accepted")
        assert not ran.is_set()
        go.set()
        await eventually(ran.is_set, within=PATIENCE)


async def test_app_hears_that_the_client_has_left(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    asked, heard = asyncio.Event(), asyncio.Event()

    async def endpoint(request: Request) -> Response:
        asked.set()
        await eventually(request.is_disconnected, within=PATIENCE)
        heard.set()
        return Response()

    async with served(make_app(endpoint, coordinator)) as client:
        request = asyncio.create_task(client.get("/"))
        await asked.wait()
        request.cancel()
        await eventually(heard.is_set, within=PATIENCE)


async def test_requests_at_once_do_not_share_their_state(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    """Half of them have started their response when the other half is rejected."""
    together = asyncio.Barrier(40)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"hello, "
        await together.wait()
        yield b"world"

    async def endpoint(request: Request) -> Response:
        if "stream" in request.query_params:
            return StreamingResponse(chunks())
        await together.wait()
        return reject()

    async with served(make_app(endpoint, coordinator)) as client:
        answers = await asyncio.gather(
            *(client.get("/", params={"stream": "1"} if n % 2 else {}) for n in range(40))
        )
    for number, answer in enumerate(answers):
        if number % 2:
            assert (answer.status_code, answer.text) == (200, "hello, world")
        else:
            assert_is_problem(answer)


def test_websockets_pass(coordinator: Coordinator) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)
    with TestClient(app) as client, client.websocket_connect("/") as websocket:
        for text in ("a", "b"):
            websocket.send_text(text)
            assert websocket.receive_text() == text.upper()


@pytest.mark.parametrize("accepted", [False, True])
async def test_rejection_refuses_a_websocket_unless_it_was_accepted(
    coordinator: Coordinator, accepted: bool
) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        if accepted:
            await websocket.accept()
        reject()

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, fallback=pytest.fail)
    played = await play(app, method="WEBSOCKET")
    denied = await play(app, method="WEBSOCKET", extensions=["websocket.http.response"])
    if accepted:
        for each in (played, denied):
            assert isinstance(each.error, CircuitOpenError)
            assert [message["type"] for message in each.sent] == ["websocket.accept"]
    else:
        refusal = {"type": "websocket.close", "code": 1013, "reason": "Service Unavailable"}
        assert played.sent == [refusal]
        assert (denied.error, denied.status) == (None, 503)
        assert denied.headers["retry-after"] in ("3", "4")
        assert b"internal" not in denied.body


async def test_rejection_after_a_websocket_was_refused_passes_on(coordinator: Coordinator) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.close()
        reject()

    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)
    played = await play(app, method="WEBSOCKET")
    assert isinstance(played.error, CircuitOpenError)
    assert len(played.sent) == 1
