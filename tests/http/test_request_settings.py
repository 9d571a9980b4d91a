"""What one route, or one request, says of itself."""

from typing import Any

import httpx
import pytest

import zenvark_web.httpx
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, opened
from tests.http.stub import Stub
from zenvark_web import (
    BreakerTransport,
    CircuitRoute,
    Coordinator,
    FixedResponse,
    HttpClassifier,
    Outcome,
)

URL = "https://api.example.com/charges"
NAME = "api.example.com"


def always(outcome: Outcome) -> Any:
    return lambda request, ended: outcome


async def get(transport: BreakerTransport, breaker: Any = ..., url: str = URL) -> httpx.Response:
    extensions = {} if breaker is ... else {"breaker": breaker}
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.get(url, extensions=extensions)


async def test_a_route_has_settings_of_its_own(brisk: Coordinator) -> None:
    await opened(brisk.breaker("strict"))
    await opened(brisk.breaker("plain"))
    await opened(brisk.breaker("kind"))
    transport = BreakerTransport(
        brisk,
        Stub(),
        circuits={
            "strict.example": CircuitRoute("strict", when_open="raise"),
            "plain.example": "plain",
            "kind.example": CircuitRoute("kind", fallback=FixedResponse("sorry")),
        },
    )
    with pytest.raises(zenvark_web.httpx.CircuitOpenError):
        await get(transport, url="https://strict.example")
    assert (await get(transport, url="https://plain.example")).status_code == 503
    assert (await get(transport, url="https://kind.example")).text == "sorry"


async def test_a_route_classifies_for_itself(coordinator: Coordinator) -> None:
    transport = BreakerTransport(
        coordinator,
        Stub(httpx.Response(501)),
        circuits={
            "a.example": CircuitRoute("a", classify=HttpClassifier(failure_statuses={501})),
            "b.example": "b",
        },
    )
    await get(transport, url="https://a.example")
    await get(transport, url="https://b.example")
    assert counts(coordinator.breaker("a")) == (0, 1)
    assert counts(coordinator.breaker("b")) == (1, 0)


async def test_a_function_may_return_a_route(coordinator: Coordinator) -> None:
    route = CircuitRoute("route", classify=always(Outcome.FAILURE))
    transport = BreakerTransport(coordinator, Stub(), circuits=lambda _: route)
    await get(transport)
    await get(transport)
    assert counts(coordinator.breaker("route")) == (0, 2)


async def test_one_request_says_how_it_is_classified(coordinator: Coordinator) -> None:
    transport = BreakerTransport(coordinator, Stub())
    await get(transport, {"classify": always(Outcome.FAILURE)})
    await get(transport, {"classify": always(Outcome.IGNORED)})
    await get(transport, CircuitRoute(NAME, classify=always(Outcome.FAILURE)))
    await get(transport)
    assert counts(coordinator.breaker(NAME)) == (1, 2)


async def test_one_request_says_what_it_wants_while_the_circuit_is_open(
    brisk: Coordinator,
) -> None:
    await opened(brisk.breaker(NAME))
    transport = BreakerTransport(brisk, Stub(), fallback=FixedResponse("sorry"))
    assert (await get(transport)).text == "sorry"
    assert (await get(transport, {"fallback": FixedResponse("other")})).text == "other"
    assert (await get(transport, {"fallback": None})).status_code == 503
    assert (await get(transport, {"fallback": {"other": FixedResponse("x")}})).status_code == 503
    with pytest.raises(zenvark_web.httpx.CircuitOpenError):
        await get(transport, {"fallback": None, "when_open": "raise"})


async def test_its_word_goes_before_the_routes(brisk: Coordinator) -> None:
    await opened(brisk.breaker("route"))
    transport = BreakerTransport(
        brisk, Stub(), circuits={"*": CircuitRoute("route", when_open="raise")}
    )
    assert (await get(transport, {"when_open": "respond"})).status_code == 503


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classify": 500}, "classify must be callable"),
        ({"fallback": 500}, "fallback must be callable"),
        ({"when_open": "return"}, "when_open must be"),
        (
            {"when": "raise"},
            "there is no 'when', only classify, fallback, judge_chunk, name, when_open",
        ),
        ({7: 8}, "there is no 7"),
    ],
)
async def test_odd_settings_surface_and_the_rest_holds(
    coordinator: Coordinator, errors: list[Exception], settings: Any, message: str
) -> None:
    transport = BreakerTransport(coordinator, Stub())
    response = await get(transport, {"name": "named", **settings})
    assert response.status_code == 200
    assert counts(coordinator.breaker("named")) == (1, 0)
    [error] = await eventually(lambda: errors, within=PATIENCE)
    assert message in str(error)


async def test_mapping_that_raises_costs_nothing(
    coordinator: Coordinator, errors: list[Exception]
) -> None:
    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise LookupError("broken")

    assert (await get(BreakerTransport(coordinator, Stub()), Broken())).status_code == 200
    assert await eventually(lambda: errors, within=PATIENCE)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": ""}, ValueError, "a route's name must not be empty"),
        ({"name": None}, TypeError, "a route's name must be a string"),
        ({"classify": 7}, TypeError, "classify must be callable"),
        ({"fallback": 7}, TypeError, "fallback must be callable"),
        ({"fallback": {"": lambda *_: None}}, ValueError, "a name in fallback must not be empty"),
        ({"fallback": {"a": 7}}, TypeError, r"fallback\['a'\] must be callable"),
        ({"when_open": "x"}, ValueError, "when_open must be"),
    ],
)
def test_bad_routes_are_refused(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CircuitRoute(**{"name": "name", **settings})
