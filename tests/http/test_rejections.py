"""What a caller gets while the circuit is open."""

import asyncio
import copy
import json
import math
import pickle
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import zenvark_web.httpx
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, opened, takes_a_call
from tests.http.clients import KINDS, Kind
from tests.http.conftest import StartCoordinator
from tests.http.either import over, use
from tests.http.stub import Stub
from zenvark_web import (
    BreakerPolicy,
    BreakerStatus,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    FixedResponse,
    State,
    ZenvarkError,
)
from zenvark_web.testing import Fleet

URL = "https://api.example.com/charges"
NAME = "api.example.com"


@pytest.fixture
async def open_circuit(brisk: Coordinator) -> Coordinator:
    """A coordinator with an open circuit for the URL."""
    await opened(brisk.breaker(NAME))
    return brisk


async def get(transport: BreakerTransport, **settings: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.get(URL, **settings)


async def test_answer_is_a_problem_document(open_circuit: Coordinator) -> None:
    inner = Stub()
    response = await get(BreakerTransport(open_circuit, inner))
    assert inner.requests == []
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    retry_after = int(response.headers["retry-after"])
    assert 1 <= retry_after <= 72
    assert response.json() == {
        "type": "urn:zenvark:problem:circuit-open",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "A service that this request needs is not available now.",
        "circuit": NAME,
        "retry_after": retry_after,
    }
    with pytest.raises(httpx.HTTPStatusError):
        response.raise_for_status()


async def test_answer_can_be_told_from_an_upstreams(open_circuit: Coordinator) -> None:
    response = await get(BreakerTransport(open_circuit, Stub()))
    status = response.extensions["breaker"]
    assert isinstance(status, BreakerStatus)
    assert (status.name, status.state) == (NAME, State.OPEN)
    assert 0 < status.retry_after <= 60
    assert int(response.headers["retry-after"]) >= math.ceil(status.retry_after)
    own = Stub(httpx.Response(503))
    assert "breaker" not in (await get(BreakerTransport(Coordinator(), own))).extensions


async def test_answer_can_be_streamed(open_circuit: Coordinator) -> None:
    async with (
        httpx.AsyncClient(transport=BreakerTransport(open_circuit, Stub())) as client,
        client.stream("GET", URL) as response,
    ):
        assert json.loads(await response.aread())["status"] == 503


async def test_rejections_are_blocked_calls_and_no_results(open_circuit: Coordinator) -> None:
    breaker = open_circuit.breaker(NAME)
    for when_open in ("respond", "raise"):
        transport = BreakerTransport(open_circuit, Stub(), when_open=when_open)
        try:
            await get(transport)
        except CircuitOpenError:
            assert when_open == "raise"
    assert breaker.blocked == 2
    assert counts(breaker) == (0, 1)


@pytest.mark.parametrize("when_open", ["respond", "raise"])
async def test_request_body_is_not_even_begun(open_circuit: Coordinator, when_open: Any) -> None:
    async def source() -> AsyncIterator[bytes]:
        pytest.fail("the body was asked for")
        yield b""

    async with httpx.AsyncClient(
        transport=BreakerTransport(open_circuit, Stub(), when_open=when_open)
    ) as client:
        try:
            await client.post(URL, content=source())
        except CircuitOpenError:
            assert when_open == "raise"


async def test_other_circuits_pass(open_circuit: Coordinator) -> None:
    inner = Stub()
    async with httpx.AsyncClient(transport=BreakerTransport(open_circuit, inner)) as client:
        assert (await client.get("https://www.example.com")).status_code == 200
        assert (await client.get(URL, extensions={"breaker": None})).status_code == 200
    assert len(inner.requests) == 2


async def test_retry_after_tells_the_time_left(start_coordinator: StartCoordinator) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(1000))
    coordinator = await start_coordinator(policy)
    await opened(coordinator.breaker(NAME))
    response = await get(BreakerTransport(coordinator, Stub()))
    assert 1000 - PATIENCE < int(response.headers["retry-after"]) <= 1200


async def test_state_tells_of_trials_under_way(start_coordinator: StartCoordinator) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))
    coordinator = await start_coordinator(policy)
    breaker = coordinator.breaker(NAME)
    await opened(breaker)
    await eventually(lambda: takes_a_call(breaker), within=PATIENCE)
    held = []

    async def all_permits_taken() -> Any:
        try:
            held.append(breaker.acquire())
        except CircuitOpenError:
            response = await get(BreakerTransport(coordinator, Stub()))
            return held and response.extensions.get("breaker")

    status = await eventually(all_permits_taken, within=PATIENCE)
    assert status.state is State.HALF_OPEN


class TestRaising:
    @pytest.fixture
    def transport(self, open_circuit: Coordinator) -> BreakerTransport:
        return BreakerTransport(open_circuit, Stub(), when_open="raise")

    @pytest.fixture
    async def error(self, transport: BreakerTransport) -> CircuitOpenError:
        with pytest.raises(CircuitOpenError) as caught:
            await get(transport)
        return caught.value

    async def test_error_belongs_to_both_libraries(self, error: CircuitOpenError) -> None:
        assert type(error) is zenvark_web.httpx.CircuitOpenError
        assert isinstance(error, ZenvarkError)
        assert isinstance(error, httpx.TransportError)
        assert isinstance(error, httpx.HTTPError)

    async def test_retry_rules_do_not_take_it_for_a_broken_connection(
        self, error: CircuitOpenError
    ) -> None:
        assert not isinstance(
            error,
            httpx.NetworkError
            | httpx.TimeoutException
            | httpx.ProtocolError
            | httpx.ProxyError
            | httpx.UnsupportedProtocol
            | OSError,
        )

    async def test_error_says_what_happened(self, error: CircuitOpenError) -> None:
        assert error.name == NAME
        assert 0 < error.retry_after <= 60
        assert str(error).startswith(f"circuit '{NAME}' is open, next attempt in ")

    async def test_error_knows_its_request(self, error: CircuitOpenError) -> None:
        assert isinstance(error, httpx.RequestError)
        assert error.request.url == URL

    async def test_error_without_a_client_has_no_request(self, transport: BreakerTransport) -> None:
        with pytest.raises(zenvark_web.httpx.CircuitOpenError) as caught:
            await transport.handle_async_request(httpx.Request("GET", URL))
        with pytest.raises(RuntimeError):
            _ = caught.value.request

    @pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
    async def test_error_can_be_pickled_and_copied(
        self, error: CircuitOpenError, copied: Any
    ) -> None:
        other = copied(error)
        assert type(other) is type(error)
        assert (other.name, other.retry_after) == (error.name, error.retry_after)
        assert str(other) == str(error)

    async def test_each_rejection_is_an_error_of_its_own(self, transport: BreakerTransport) -> None:
        """One that is raised again and again would grow a traceback without end."""
        errors = []
        for _ in range(2):
            with pytest.raises(CircuitOpenError) as caught:
                await get(transport)
            errors.append(caught.value)
        assert errors[0] is not errors[1]

    async def test_event_hook_for_responses_is_not_called(
        self, transport: BreakerTransport
    ) -> None:
        async with httpx.AsyncClient(
            transport=transport, event_hooks={"response": [pytest.fail]}
        ) as client:
            with pytest.raises(CircuitOpenError):
                await client.get(URL)


class TestFallback:
    @pytest.mark.parametrize("when_open", ["respond", "raise"])
    async def test_its_response_takes_the_place(
        self, open_circuit: Coordinator, when_open: Any
    ) -> None:
        made = httpx.Response(200, json={"cached": True})
        seen: list[tuple[httpx.Request, CircuitOpenError]] = []

        def fallback(request: httpx.Request, error: CircuitOpenError) -> httpx.Response:
            seen.append((request, error))
            return made

        transport = BreakerTransport(open_circuit, Stub(), fallback=fallback, when_open=when_open)
        assert await get(transport) is made
        [(request, error)] = seen
        assert request.url == URL
        assert error.name == NAME
        assert 0 < error.retry_after <= 60

    async def test_it_may_be_async(self, open_circuit: Coordinator) -> None:
        async def fallback(request: httpx.Request, error: CircuitOpenError) -> httpx.Response:
            await asyncio.sleep(0)
            return httpx.Response(203, text=error.name)

        response = await get(BreakerTransport(open_circuit, Stub(), fallback=fallback))
        assert (response.status_code, response.text) == (203, NAME)

    async def test_it_may_be_a_callable_object(self, open_circuit: Coordinator) -> None:
        class Fallback:
            async def __call__(self, *_: object) -> httpx.Response:
                return httpx.Response(203)

        assert (
            await get(BreakerTransport(open_circuit, Stub(), fallback=Fallback()))
        ).status_code == 203

    async def test_what_it_raises_the_caller_gets(self, open_circuit: Coordinator) -> None:
        error = LookupError("not in the cache")

        async def fallback(*_: object) -> httpx.Response:
            raise error

        with pytest.raises(LookupError) as caught:
            await get(BreakerTransport(open_circuit, Stub(), fallback=fallback))
        assert caught.value is error

    async def test_it_may_ask_another_upstream(
        self, open_circuit: Coordinator, errors: list[Exception]
    ) -> None:
        inner = Stub(httpx.Response(200, text="from the mirror"))

        async def fallback(request: httpx.Request, error: CircuitOpenError) -> httpx.Response:
            return await transport.handle_async_request(
                httpx.Request("GET", "https://mirror.example.com")
            )

        transport = BreakerTransport(open_circuit, inner, fallback=fallback)
        assert (await get(transport)).text == "from the mirror"
        assert counts(open_circuit.breaker("mirror.example.com")) == (1, 0)
        assert not errors

    async def test_it_is_not_asked_while_the_circuit_is_closed(self, brisk: Coordinator) -> None:
        transport = BreakerTransport(brisk, Stub(httpx.Response(500)), fallback=pytest.fail)
        assert (await get(transport)).status_code == 500


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    "settings",
    [{}, {"fallback": FixedResponse({"a": 1}, status=203)}, {"fallback": lambda *_: "text"}],
    ids=["own", "fixed", "function"],
)
def test_the_answer_to_head_has_the_headers_and_no_body(kind: Kind, settings: Any) -> None:
    """RFC 9110, section 9.3.2."""
    with Fleet() as fleet:
        coordinator = fleet.coordinator()
        fleet.trip(NAME)
        inner = kind.library.MockTransport(lambda _: kind.library.Response(200))
        transport = kind.guarded(coordinator, inner, **settings)

        async def work(client: Any) -> tuple[Any, Any]:
            url = f"https://{NAME}/"
            return await over(client.head(url)), await over(client.get(url))

        head, get = use(kind, transport, work)
    assert head.content == b""
    assert get.content != b""
    told = [dict(each.headers) for each in (head, get)]
    for headers in told:
        headers.pop("retry-after", None)
    assert told[0]["content-type"] == told[1]["content-type"]
    assert abs(int(told[0]["content-length"]) - len(get.content)) <= 1, "the wait has digits"
    assert head.extensions["breaker"].name == NAME


async def test_sdks_are_told_not_to_wait(open_circuit: Coordinator) -> None:
    """Those made by Stainless (OpenAI, Anthropic, Groq) sleep for as long as Retry-After says."""
    response = await get(BreakerTransport(open_circuit, Stub()))
    assert response.headers["x-should-retry"] == "false"
