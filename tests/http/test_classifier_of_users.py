"""The user's own word on what an exchange says about its upstream."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts
from tests.http.stub import Chunks, Stub
from zenvark_web import BreakerTransport, ClassifierError, Coordinator, Outcome, default_classify

URL = "https://api.example.com/charges"
NAME = "api.example.com"


async def send(coordinator: Coordinator, inner: Stub, classify: Any) -> None:
    transport = BreakerTransport(coordinator, inner, classify=classify)
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get(URL)


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [(Outcome.SUCCESS, (1, 0)), (Outcome.FAILURE, (0, 1)), (Outcome.IGNORED, (0, 0))],
)
@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("streamed", [False, True])
async def test_its_word_on_a_response_counts(
    coordinator: Coordinator,
    outcome: Outcome,
    counted: tuple[int, int],
    status: int,
    streamed: bool,
) -> None:
    seen: list[tuple[httpx.Request, httpx.Response | Exception]] = []

    def classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
        seen.append((request, ended))
        return outcome

    response = httpx.Response(status, stream=Chunks()) if streamed else httpx.Response(status)
    inner = Stub(response)
    await send(coordinator, inner, classify)
    assert seen == [(inner.requests[0], response)]
    assert counts(coordinator.breaker(NAME)) == counted


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [(Outcome.SUCCESS, (1, 0)), (Outcome.FAILURE, (0, 1)), (Outcome.IGNORED, (0, 0))],
)
async def test_its_word_on_an_error_counts(
    coordinator: Coordinator, outcome: Outcome, counted: tuple[int, int]
) -> None:
    inner = Stub()
    inner.error = httpx.ConnectError("gone")
    seen: list[httpx.Response | Exception] = []

    def classify(_: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
        seen.append(ended)
        return outcome

    with pytest.raises(httpx.ConnectError):
        await send(coordinator, inner, classify)
    assert seen == [inner.error]
    assert counts(coordinator.breaker(NAME)) == counted


async def test_it_is_asked_again_when_the_body_breaks(coordinator: Coordinator) -> None:
    body = Chunks(error=httpx.ReadError("broken"))
    inner = Stub(httpx.Response(200, stream=body))
    seen: list[httpx.Response | Exception] = []

    def classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
        seen.append(ended)
        return default_classify(request, ended)

    with pytest.raises(httpx.ReadError):
        await send(coordinator, inner, classify)
    assert seen == [inner.response, body.error]
    assert counts(coordinator.breaker(NAME)) == (0, 1)


async def test_it_may_look_at_the_headers(coordinator: Coordinator) -> None:
    def by_header(_: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
        degraded = isinstance(ended, httpx.Response) and "x-degraded" in ended.headers
        return Outcome.FAILURE if degraded else Outcome.SUCCESS

    await send(coordinator, Stub(httpx.Response(200, headers={"X-Degraded": "1"})), by_header)
    await send(coordinator, Stub(httpx.Response(200)), by_header)
    assert counts(coordinator.breaker(NAME)) == (1, 1)


async def test_it_is_not_asked_about_what_is_not_protected(coordinator: Coordinator) -> None:
    transport = BreakerTransport(coordinator, Stub(), classify=pytest.fail, circuits={})
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get(URL)


def fails(*_: object) -> Outcome:
    raise LookupError("no idea")


@pytest.mark.parametrize(
    ("classify", "message"),
    [
        (fails, "LookupError: no idea"),
        (lambda *_: None, "must return an Outcome, not None"),
        (lambda *_: True, "must return an Outcome, not True"),
        (lambda *_: "failure", "must return an Outcome, not 'failure'"),
    ],
)
@pytest.mark.parametrize("status", [200, 503])
async def test_when_it_fails_the_default_decides(
    coordinator: Coordinator,
    errors: list[Exception],
    classify: Callable[..., Any],
    message: str,
    status: int,
) -> None:
    await send(coordinator, Stub(httpx.Response(status)), classify)
    assert counts(coordinator.breaker(NAME)) == ((1, 0) if status == 200 else (0, 1))
    [error] = await eventually(lambda: errors, within=PATIENCE)
    assert isinstance(error, ClassifierError)
    assert message in str(error)


async def test_when_it_fails_at_an_error_the_caller_gets_that_error(
    coordinator: Coordinator, errors: list[Exception]
) -> None:
    inner = Stub()
    inner.error = httpx.ConnectError("gone")
    with pytest.raises(httpx.ConnectError) as caught:
        await send(coordinator, inner, fails)
    assert caught.value is inner.error
    assert counts(coordinator.breaker(NAME)) == (0, 1)
    assert len(await eventually(lambda: errors, within=PATIENCE)) == 1
