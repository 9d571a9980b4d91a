"""The coordinator lives as long as the app."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeAlias

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.asgi.serving import StartupError, served
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.server import unused_port
from zenvark_web import BreakerMiddleware, Coordinator, MemoryBackend

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


def make_starlette(coordinator: Coordinator, lifespan: Lifespan | None = None) -> ASGIApp:
    async def home(request: Request) -> Response:
        return PlainTextResponse(f"running: {coordinator.running}")

    app = Starlette(routes=[Route("/", home)], lifespan=lifespan)
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)
    return app


def make_fastapi(coordinator: Coordinator, lifespan: Lifespan | None = None) -> ASGIApp:
    app = FastAPI(lifespan=lifespan)
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)

    @app.get("/", response_class=PlainTextResponse)
    async def home() -> str:
        return f"running: {coordinator.running}"

    return app


MakeApp: TypeAlias = Callable[..., ASGIApp]


@pytest.fixture(params=[make_starlette, make_fastapi], ids=["starlette", "fastapi"])
def make_app(request: pytest.FixtureRequest) -> MakeApp:
    made: MakeApp = request.param
    return made


async def test_coordinator_starts_before_the_app_and_stops_after_it(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    seen = [coordinator.running]

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        seen.append(coordinator.running)
        yield
        seen.append(coordinator.running)

    async with served(make_app(coordinator, lifespan)) as client:
        assert (await client.get("/")).text == "running: True"
    assert seen == [False, True, True]
    assert not coordinator.running


async def test_app_without_a_lifespan_of_its_own(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    async with served(make_app(coordinator)) as client:
        assert (await client.get("/")).text == "running: True"
    assert not coordinator.running


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that knows no lifespan, and says so as the specification has it."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await PlainTextResponse("hello")(scope, receive, send)


async def refuse_late(scope: Scope, receive: Receive, send: Send) -> None:
    """One that notices when it has received a message."""
    message = await receive()
    assert message["type"] == "http.request"
    await PlainTextResponse("hello")(scope, receive, send)


async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    """One that says nothing."""
    if scope["type"] == "http":
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.mark.parametrize("app", [refuse, refuse_late, leave])
@pytest.mark.parametrize("lifespan", ["on", "auto"])
async def test_app_that_knows_no_lifespan(
    coordinator: Coordinator, app: ASGIApp, lifespan: str
) -> None:
    async with served(BreakerMiddleware(app, coordinator), lifespan=lifespan) as client:
        assert (await client.get("/")).text == "hello"
        assert coordinator.running
    assert not coordinator.running


async def test_what_it_raised_is_logged(
    coordinator: Coordinator, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a mistake rather than a way to say so."""
    with caplog.at_level("INFO", "zenvark_web"):
        async with served(BreakerMiddleware(refuse, coordinator)):
            pass
    [record] = [record for record in caplog.records if "lifespan" in record.message]
    assert record.exc_info is not None
    assert record.exc_info[0] is NotImplementedError


async def test_app_that_fails_to_start(coordinator: Coordinator, make_app: MakeApp) -> None:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    with pytest.raises(StartupError):
        async with served(make_app(coordinator, lifespan)):
            pytest.fail("it started")
    assert not coordinator.running


async def test_app_that_fails_to_shut_down(coordinator: Coordinator, make_app: MakeApp) -> None:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        yield
        raise RuntimeError("it hurts")

    async with served(make_app(coordinator, lifespan)):
        assert coordinator.running
    assert not coordinator.running


async def test_state_of_the_lifespan_reaches_requests(coordinator: Coordinator) -> None:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[dict[str, str]]:
        yield {"greeting": "hello"}

    async def home(request: Request) -> Response:
        return PlainTextResponse(request.state.greeting)

    app = Starlette(
        routes=[Route("/", home)],
        lifespan=lifespan,
        middleware=[Middleware(BreakerMiddleware, coordinator=coordinator)],
    )
    async with served(app) as client:
        assert (await client.get("/")).text == "hello"


async def test_user_may_start_the_coordinator_as_well(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with coordinator:
            yield
        seen.append(coordinator.running)

    async with served(make_app(coordinator, lifespan)) as client:
        assert (await client.get("/")).text == "running: True"
    assert seen == [True]
    assert not coordinator.running


async def test_coordinator_that_runs_already(coordinator: Coordinator, make_app: MakeApp) -> None:
    """It belongs to somebody else, who stops it."""
    async with coordinator:
        async with served(make_app(coordinator)) as client:
            assert (await client.get("/")).text == "running: True"
        assert coordinator.running
    assert not coordinator.running


async def test_mounted_apps_share_the_coordinator(
    coordinator: Coordinator, make_app: MakeApp
) -> None:
    mounts = [Mount("/a", make_app(coordinator)), Mount("/b", make_app(coordinator))]
    app = Starlette(
        routes=mounts, middleware=[Middleware(BreakerMiddleware, coordinator=coordinator)]
    )
    async with served(app) as client:
        assert (await client.get("/a/")).text == "running: True"
        assert (await client.get("/b/")).text == "running: True"
    assert not coordinator.running


async def test_installed_twice(coordinator: Coordinator, make_app: MakeApp) -> None:
    app = BreakerMiddleware(BreakerMiddleware(make_app(coordinator), coordinator), coordinator)
    async with served(app) as client:
        assert (await client.get("/")).text == "running: True"
    assert not coordinator.running


async def test_two_coordinators_for_one_app(coordinator: Coordinator, make_app: MakeApp) -> None:
    other = Coordinator(namespace="other")
    async with served(BreakerMiddleware(make_app(coordinator), other)):
        assert coordinator.running
        assert other.running
    assert not coordinator.running
    assert not other.running


async def test_app_may_be_served_again(coordinator: Coordinator, make_app: MakeApp) -> None:
    app = make_app(coordinator)
    for _ in range(2):
        async with served(app) as client:
            assert (await client.get("/")).text == "running: True"
        assert not coordinator.running


async def test_app_starts_although_redis_is_down(make_app: MakeApp) -> None:
    errors: list[Exception] = []
    with unused_port() as port:
        coordinator = Coordinator(f"redis://127.0.0.1:{port}", on_error=errors.append)
        async with served(make_app(coordinator)) as client:
            assert (await client.get("/")).text == "running: True"
            await eventually(lambda: errors, within=PATIENCE)
    assert not coordinator.running


@pytest.mark.parametrize("make_owner", ["another loop", "a thread of its own"])
@pytest.mark.parametrize("app", [Starlette(), FastAPI(), refuse, refuse_late, leave])
async def test_coordinator_that_runs_elsewhere_is_used_and_left_alone(
    coordinator: Coordinator, app: ASGIApp, make_owner: str
) -> None:
    def serve_elsewhere() -> None:
        with TestClient(BreakerMiddleware(app, coordinator)):
            assert coordinator.running
        assert coordinator.running

    if make_owner == "another loop":
        async with coordinator:
            await asyncio.to_thread(serve_elsewhere)
    else:
        with coordinator:
            await asyncio.to_thread(serve_elsewhere)
    assert not coordinator.running


async def fail_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed"})
    raise RuntimeError("no database")


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    for stage in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{stage}"
        await send({"type": f"lifespan.{stage}.complete"})


async def live(app: ASGIApp, coordinator: Coordinator) -> list[tuple[str, bool]]:
    """What a server hears, and whether the coordinator runs at that moment: a server may end the
    process as soon as it has heard the last word."""
    stages = iter(["startup", "shutdown"])
    heard: list[tuple[str, bool]] = []

    async def receive() -> Message:
        return {"type": f"lifespan.{next(stages)}"}

    async def send(message: Message) -> None:
        heard.append((message["type"].removeprefix("lifespan."), coordinator.running))

    with suppress(RuntimeError):
        await BreakerMiddleware(app, coordinator)({"type": "lifespan"}, receive, send)
    return heard


@pytest.mark.parametrize("app", [serve, refuse, refuse_late, leave])
async def test_coordinator_has_stopped_when_the_server_hears_the_last_word(
    coordinator: Coordinator, app: ASGIApp
) -> None:
    heard = await live(app, coordinator)
    assert heard == [("startup.complete", True), ("shutdown.complete", False)]


async def test_coordinator_has_stopped_when_the_server_hears_of_the_failure(
    coordinator: Coordinator,
) -> None:
    assert await live(fail_to_start, coordinator) == [("startup.failed", False)]


async def test_server_hears_that_the_coordinator_did_not_start() -> None:
    class Broken(MemoryBackend):
        def open(self) -> None:
            raise RuntimeError("not today")

    assert await live(serve, Coordinator(Broken())) == [("startup.failed", False)]


async def test_two_apps_share_the_coordinator(coordinator: Coordinator, make_app: MakeApp) -> None:
    """The first to end stopped it under the other."""
    async with served(make_app(coordinator)) as one:
        async with served(make_app(coordinator)) as other:
            assert (await other.get("/")).text == "running: True"
        assert (await one.get("/")).text == "running: True"
    assert not coordinator.running


def test_starlettes_test_client_runs_it(coordinator: Coordinator, make_app: MakeApp) -> None:
    app = make_app(coordinator)
    with TestClient(app) as client:
        assert client.get("/").text == "running: True"
    assert TestClient(app).get("/").text == "running: False"
