"""A route may say itself what its responses say of it."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from tests.asgi.messages import Script, play
from tests.asgi.scenarios import raises, says, start
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts
from zenvark_web import BreakerMiddleware, Coordinator, HttpClassifier, Outcome, ProtectedRoute
from zenvark_web.asgi import RouteAnswer

SUCCESS, FAILURE, NOTHING = (1, 0), (0, 1), (0, 0)


async def counted(coordinator: Coordinator, app: ASGIApp, **settings: Any) -> tuple[int, int]:
    """What one call of a route with these settings counts."""
    own = coordinator.breaker("own")
    before = counts(own)
    routes = {"/": ProtectedRoute(circuit="own", **settings)}
    await play(BreakerMiddleware(app, coordinator, routes=routes))
    successes, failures = counts(own)
    return successes - before[0], failures - before[1]


def answers(status: int, **headers: str) -> ASGIApp:
    return PlainTextResponse("x", status, headers)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {200: SUCCESS, 404: NOTHING, 429: NOTHING, 500: FAILURE, 501: NOTHING, 503: FAILURE}),
        ({"ignored_statuses": {503}}, {503: NOTHING, 500: FAILURE, 200: SUCCESS, 404: NOTHING}),
        ({"ignored_statuses": [200]}, {200: NOTHING, 500: FAILURE}),
        ({"failure_statuses": {429, 500}}, {429: FAILURE, 500: FAILURE, 503: NOTHING}),
        ({"failure_statuses": range(400, 600)}, {404: FAILURE, 405: FAILURE, 200: SUCCESS}),
        ({"failure_statuses": ()}, {500: NOTHING, 200: SUCCESS}),
        (
            {"failure_statuses": range(500, 600), "ignored_statuses": {501, 503}},
            {503: NOTHING, 501: NOTHING, 505: FAILURE},
        ),
        (
            {"classify": HttpClassifier(failure_statuses={418}, ignored_statuses={503})},
            {418: FAILURE, 503: NOTHING},
        ),
    ],
)
async def test_statuses(
    patient: Coordinator, settings: dict[str, Any], expected: dict[int, tuple[int, int]]
) -> None:
    told = {status: await counted(patient, answers(status), **settings) for status in expected}
    assert told == expected


async def test_classifier_sees_request_and_headers_and_may_leave_it_to_the_statuses(
    patient: Coordinator,
) -> None:
    seen: list[str] = []

    def sheds(request: HTTPConnection, answer: RouteAnswer) -> Outcome | None:
        seen.append(f"{request.url.path} {answer.status_code}")
        return Outcome.IGNORED if "x-shed" in answer.headers else None

    for app, expected in (
        (answers(503), FAILURE),
        (answers(503, **{"X-Shed": "1"}), NOTHING),
        (answers(200), SUCCESS),
    ):
        assert await counted(patient, app, classify=sheds) == expected
    assert seen == ["/ 503", "/ 503", "/ 200"]


async def test_classifier_is_asked_once_and_not_of_exceptions(patient: Coordinator) -> None:
    def classify(request: HTTPConnection, answer: RouteAnswer) -> Outcome:
        seen.append(answer.status_code)
        return Outcome.SUCCESS

    seen: list[int] = []
    assert await counted(patient, raises(ValueError("x")), classify=classify) == FAILURE
    assert seen == []
    assert await counted(patient, answers(500), classify=classify) == SUCCESS
    assert seen == [500]


async def test_websockets_have_statuses_too(patient: Coordinator) -> None:
    def classify(request: HTTPConnection, answer: RouteAnswer) -> None:
        seen.append((request.scope["type"], answer.status_code))

    seen: list[tuple[str, int]] = []
    routes = {"/": ProtectedRoute(circuit="own", classify=classify)}
    for message in (
        start(403, "websocket"),
        {"type": "websocket.close", "code": 1008},
        {"type": "websocket.close", "code": 1011, "reason": ""},
    ):
        app = BreakerMiddleware(says(message), patient, routes=routes)
        await play(app, Script("WEBSOCKET", extensions=["websocket.http.response"]))
    assert seen == [("websocket", status) for status in (403, 403, 500)]


@pytest.mark.parametrize(
    "classify",
    [lambda *_: 1 / 0, lambda *_: "success", lambda: None],
    ids=["raises", "gives no outcome", "takes no arguments"],
)
async def test_mistakes_of_a_classifier_surface_and_the_status_decides(
    classify: Callable[..., Any],
) -> None:
    errors: list[Exception] = []
    async with Coordinator(on_error=errors.append) as coordinator:
        for status, expected in ((200, SUCCESS), (500, FAILURE)):
            assert await counted(coordinator, answers(status), classify=classify) == expected
        await eventually(lambda: errors, within=PATIENCE)
    assert "classify of the route of GET /" in str(errors[0])


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"ignored_statuses": 503}, TypeError, "ignored_statuses must be statuses"),
        ({"ignored_statuses": "503"}, TypeError, "ignored_statuses must be statuses"),
        ({"failure_statuses": {"503"}}, TypeError, "failure_statuses must hold whole numbers"),
        ({"failure_statuses": {True}}, TypeError, "failure_statuses must hold whole numbers"),
        ({"failure_statuses": {99}}, ValueError, "statuses from 100 to 999"),
        ({"classify": "no"}, TypeError, "classify must be a function of request and RouteAnswer"),
        ({"classify": HttpClassifier}, TypeError, "HttpClassifier()"),
        ({"circuit": None, "needs": ["x"], "ignored_statuses": {503}}, ValueError, "pass circuit"),
        ({"circuit": None, "needs": ["x"], "failure_statuses": ()}, ValueError, "pass circuit"),
    ],
)
def test_unusable_settings_are_refused(
    settings: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error) as caught:
        ProtectedRoute(**{"circuit": "own", **settings})
    assert told in str(caught.value)
