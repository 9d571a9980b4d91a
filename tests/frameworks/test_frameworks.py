"""Frameworks that answer for exceptions themselves: an open circuit is a 503 all the same, and no
route is blamed for it; with the handlers that the page documents, and without."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import httpx
import litestar.exceptions
import pytest
from mangum import Mangum
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from tests.asgi.messages import Played, Script, play
from tests.frameworks.apps import (
    BLOCKS,
    MAKERS,
    WITH_WEBSOCKETS,
    Site,
    litestar_around,
    litestar_inside,
    ran,
)
from tests.helpers.servers import ServerHandle
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, half_opened, opened
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HttpClassifier,
    ProtectedRoute,
    State,
)

Make: TypeAlias = Callable[[Site], ASGIApp]
OWN = {"/": "own"}


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    """One whose circuits open at three failures; that of the upstream is open."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(60))
    upstream = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy, policies={"upstream": upstream}) as coordinator:
        await opened(coordinator.breaker("upstream"))
        yield coordinator


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    given: Make = request.param
    return given


def assert_answered(played: Played) -> None:
    assert played.error is None
    assert played.status == 503
    assert played.headers["content-type"] == "application/problem+json"
    assert 60 - PATIENCE <= int(played.headers["retry-after"]) <= 73
    assert b"urn:zenvark:problem:circuit-open" in played.body
    assert b"upstream" not in played.body


def calls_of(coordinator: Coordinator) -> dict[str, Callable[[], Any]]:
    """What escapes from the page."""

    async def by_breaker() -> None:
        await coordinator.breaker("upstream").execute(asyncio.sleep, 0)

    async def by_transport() -> None:
        transport = BreakerTransport(coordinator, when_open="raise")
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get("http://upstream")

    async def by_status() -> None:
        async with httpx.AsyncClient(transport=BreakerTransport(coordinator)) as client:
            (await client.get("http://upstream")).raise_for_status()

    async def in_a_group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(by_breaker())
            tasks.create_task(by_transport())

    return {call.__name__: call for call in (by_breaker, by_transport, by_status, in_a_group)}


@pytest.mark.parametrize("handled", [True, False], ids=["handled", "bare"])
@pytest.mark.parametrize(
    "how",
    spanning(["by_breaker", "by_transport", "by_status", "in_a_group"], {"in_a_group"}),
)
async def test_open_circuit_is_answered_and_blames_no_route(
    coordinator: Coordinator, make: Make, handled: bool, how: str
) -> None:
    site = Site(calls_of(coordinator)[how], handled, coordinator, OWN)
    app = make(site)
    for _ in range(4):
        assert_answered(await play(app, path="/page"))
    own = coordinator.breaker("own")
    assert (own.state, counts(own)) == (State.CLOSED, (0, 0))


@pytest.mark.parametrize("handled", [True, False], ids=["handled", "bare"])
async def test_without_routes(coordinator: Coordinator, make: Make, handled: bool) -> None:
    app = make(Site(calls_of(coordinator)["by_breaker"], handled, coordinator))
    assert_answered(await play(app, path="/page"))


async def test_other_errors_stay_what_they_are_and_count(
    coordinator: Coordinator, make: Make
) -> None:
    async def breaks() -> None:
        raise ValueError("own")

    app = make(Site(breaks, True, coordinator, OWN))
    for _ in range(3):
        played = await play(app, path="/page")
        assert played.status == 500
        assert "retry-after" not in played.headers
    own = coordinator.breaker("own")
    await eventually(lambda: own.state is State.OPEN, within=PATIENCE)
    assert (await play(app, path="/page")).status == 503


async def test_an_error_of_its_own_stays_one_where_the_app_answers_for_rejections(
    coordinator: Coordinator, make: Make
) -> None:
    """Having seen that, the middleware takes no 500 for a rejection's any more."""

    async def breaks() -> None:
        with suppress(CircuitOpenError):  # it can do without
            await by_breaker()
        raise ValueError("own")

    async def call() -> None:
        await (breaks() if broken else by_breaker())

    by_breaker = calls_of(coordinator)["by_breaker"]
    broken = False
    app = make(Site(call, True, coordinator, OWN))
    assert_answered(await play(app, path="/page"))
    broken = True
    played = await play(app, path="/page")
    assert played.status == 500
    assert "retry-after" not in played.headers
    broken = False
    assert_answered(await play(app, path="/page"))


@pytest.mark.parametrize("how", ["by_status", "in_a_group"])
async def test_the_handlers_serve_for_each_form_of_a_rejection(
    coordinator: Coordinator, make: Make, how: str
) -> None:
    forms = calls_of(coordinator)
    now = "by_breaker"

    async def call() -> None:
        await forms[now]()

    app = make(Site(call, True, coordinator, OWN))
    assert_answered(await play(app, path="/page"))
    now = how
    assert_answered(await play(app, path="/page"))
    assert counts(coordinator.breaker("own")) == (0, 0)


@pytest.mark.parametrize("make", [litestar_around, litestar_inside])
async def test_a_handler_of_litestars_that_finds_nothing_has_been_reached(make: Make) -> None:
    async def finds_nothing() -> None:
        raise litestar.exceptions.NotFoundException

    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))
    async with Coordinator(policy=policy) as coordinator:
        own = coordinator.breaker("own")
        app = make(Site(finds_nothing, True, coordinator, OWN))
        await half_opened(own)
        for _ in range(3):
            assert (await play(app, path="/wp-login.php")).status in (404, 503)
            assert own.state is not State.CLOSED

        async def closed() -> bool:
            await play(app, path="/page")
            return own.state is State.CLOSED

        await eventually(closed, within=PATIENCE)


async def test_elsewhere_a_404_says_nothing_unless_the_route_tells_what(make: Make) -> None:
    if make in (litestar_around, litestar_inside):
        pytest.skip("it tells whether it has found a handler")
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))

    async def fine() -> str:
        return "fine"

    async with Coordinator(policy=policy) as coordinator:
        own = coordinator.breaker("own")
        await half_opened(own)
        app = make(Site(fine, True, coordinator, OWN))
        for _ in range(3):
            await play(app, path="/missing")
            assert own.state is not State.CLOSED
        told = ProtectedRoute(circuit="own", classify=HttpClassifier(answered_statuses={404}))
        app = make(Site(fine, True, coordinator, {"/": told}))

        async def closed() -> bool:
            await play(app, path="/missing")
            return own.state is State.CLOSED

        await eventually(closed, within=PATIENCE)


async def test_pages_work_and_unknown_ones_say_nothing(
    coordinator: Coordinator, make: Make
) -> None:
    async def fine() -> str:
        return "fine"

    app = make(Site(fine, True, coordinator, OWN))
    assert (await play(app, path="/page")).body == b"fine"
    assert (await play(app, path="/wp-login.php")).status == 404
    assert counts(coordinator.breaker("own")) == (1, 0)


@pytest.mark.parametrize("make", WITH_WEBSOCKETS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("extension", [True, False])
async def test_websockets_are_refused(
    coordinator: Coordinator, make: Make, extension: bool
) -> None:
    app = make(Site(calls_of(coordinator)["by_breaker"], True, coordinator, OWN))
    extensions = ["websocket.http.response"] if extension else []
    for _ in range(3):
        played = await play(app, Script("WEBSOCKET", "/live", extensions=extensions))
        assert played.error is None
        assert played.sent[0]["type"] in ("websocket.close", "websocket.http.response.start")
    assert counts(coordinator.breaker("own")) == (0, 0)


async def test_the_handlers_keep_it_from_being_reported(
    coordinator: Coordinator, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(Site(calls_of(coordinator)["by_breaker"], True, coordinator, OWN))
    with caplog.at_level(logging.ERROR):
        assert_answered(await play(app, path="/page"))
    assert [record for record in caplog.records if record.exc_info] == []


def test_the_lifespan_runs_the_coordinator(make: Make) -> None:
    coordinator = Coordinator()

    async def fine() -> str:
        return "fine"

    with TestClient(make(Site(fine, True, coordinator))) as client:
        if make is litestar_inside:  # where none comes
            assert client.get("/page").text == "fine"
        assert coordinator.running
        assert client.get("/page").text == "fine"
    assert not coordinator.running


@pytest.mark.parametrize("module", ["typing", "quart", "flask"])
def test_the_pages_apps_run(module: str, redis_server: ServerHandle) -> None:
    names = ran(BLOCKS[module], **{"redis://localhost:6379": redis_server.url})
    coordinator: Coordinator = names["coordinator"]
    if module == "flask":
        with coordinator:
            assert names["app"].test_client().get("/balance").text == "12.50"
    else:
        with TestClient(names["app"]) as client:
            assert client.get("/balance").text == "12.50"
            assert coordinator.running
    assert not coordinator.running


def test_flask_by_itself() -> None:
    names = ran(BLOCKS["flask"], **{'"redis://localhost:6379", ': ""})

    @names["app"].get("/rejected")
    def rejected() -> str:
        raise CircuitOpenError("bank", 5)

    response = names["app"].test_client().get("/rejected")
    assert response.status_code == 503
    assert 5 <= int(response.headers["retry-after"]) <= 6


def test_mangum_without_lifespan_starts_it_once() -> None:
    coordinator = Coordinator()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(coordinator.instance_id if coordinator.running else "")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    seen: list[str] = []
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        handler = Mangum(BreakerMiddleware(app, coordinator), lifespan="off")
        for _ in range(3):
            assert handler(EVENT, LambdaContext())["statusCode"] == 200  # type: ignore[arg-type]
        asyncio.set_event_loop(None)
    assert seen == [coordinator.instance_id] * 3


class LambdaContext:
    """What the platform tells."""


EVENT: Any = {
    "version": "2.0",
    "rawPath": "/",
    "rawQueryString": "",
    "headers": {"host": "example.com"},
    "requestContext": {
        "http": {"method": "GET", "path": "/", "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}
    },
    "isBase64Encoded": False,
}
