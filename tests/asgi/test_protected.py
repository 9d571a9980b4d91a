"""A route's own circuit: what counts, when it is settled, and the answer while it is open."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.asgi.messages import Played, Script, play
from tests.asgi.scenarios import COUNTS, SCENARIOS, Scenario, body, raises, says, start
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, half_opened, let_through, opened, takes_a_call
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    Cause,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Outcome,
    ProtectedRoute,
    State,
    StateChange,
)

EVERYTHING = {"/": "own"}


@pytest.fixture(params=SCENARIOS, ids=str)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    given: Scenario = request.param
    return given


def check(played: Played, scenario: Scenario) -> None:
    if scenario.raises is None:
        assert played.error is None
    else:
        assert isinstance(played.error, scenario.raises)


async def test_each_call_counts_once(scenario: Scenario, patient: Coordinator) -> None:
    app = BreakerMiddleware(scenario.app, patient, routes=EVERYTHING)
    check(await play(app, scenario.script), scenario)
    assert counts(patient.breaker("own")) == COUNTS[scenario.outcome]


async def test_each_call_passes_as_without_it(scenario: Scenario, patient: Coordinator) -> None:
    if "rejected by another circuit" in scenario.name:
        return  # which the middleware answers
    bare = await play(scenario.app, scenario.script)
    app = BreakerMiddleware(scenario.app, patient, routes=EVERYTHING)
    protected = await play(app, scenario.script)
    if scenario.script.leaves_after is None:
        assert protected.comparable() == bare.comparable()
    else:  # when the client is seen to have left is a matter of chance
        assert type(protected.error) is type(bare.error)


async def test_each_trial_ends(scenario: Scenario) -> None:
    """A half-open circuit with one permit closes, opens, or has its permit back."""
    changes: list[StateChange] = []
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))

    def verdicts() -> list[Cause]:
        ends = {Cause.TRIAL_PASSED, Cause.TRIAL_FAILED}
        return [change.reason.cause for change in changes if change.reason.cause in ends]

    async with Coordinator(policy=policy, on_state_change=changes.append) as coordinator:
        breaker = coordinator.breaker("own")
        reached: list[bool] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            reached.append(True)
            await scenario.app(scope, receive, send)

        async def attempt() -> bool:
            await play(BreakerMiddleware(app, coordinator, routes=EVERYTHING), scenario.script)
            return bool(reached)

        await half_opened(breaker)
        await eventually(attempt, within=PATIENCE)
        outcome = scenario.on_trial or scenario.outcome
        if outcome is Outcome.IGNORED:
            await eventually(lambda: takes_a_call(breaker), within=PATIENCE)
            assert verdicts() == []
            await let_through(lambda: breaker.execute(asyncio.sleep, 0))
        await eventually(verdicts, within=PATIENCE)
    expected = Cause.TRIAL_FAILED if outcome is Outcome.FAILURE else Cause.TRIAL_PASSED
    assert verdicts()[0] is expected


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_cancelled_call_does_not_count(patient: Coordinator, kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.cancel()
        await anyio.sleep(PATIENCE)

    protected = BreakerMiddleware(app, patient, routes=EVERYTHING)
    with anyio.CancelScope() as scopes:
        await play(protected, Script("WEBSOCKET" if kind == "websocket" else "GET"))
        pytest.fail("it was not cancelled")
    assert counts(patient.breaker("own")) == (0, 0)


class TestWhenACallEnds:
    async def counts_after_each(
        self, coordinator: Coordinator, *messages: Message
    ) -> list[tuple[int, int]]:
        """The counts when the server is told each message."""
        told: list[tuple[int, int]] = []

        async def send(message: Message) -> None:
            told.append(counts(coordinator.breaker("own")))

        async def receive() -> Message:
            return await asyncio.Future()

        app = BreakerMiddleware(says(*messages), coordinator, routes=EVERYTHING)
        await app(Script().scope(), receive, send)
        return told

    async def test_success_with_the_last_part_of_the_body(self, patient: Coordinator) -> None:
        told = await self.counts_after_each(patient, start(), body(more=True), body())
        assert told == [(0, 0), (0, 0), (1, 0)]

    async def test_failure_with_its_status(self, patient: Coordinator) -> None:
        told = await self.counts_after_each(patient, start(500), body(more=True), body())
        assert told == [(0, 1)] * 3

    async def test_event_stream_with_its_start(self, patient: Coordinator) -> None:
        events = [(b"content-type", b"text/event-stream")]
        told = await self.counts_after_each(patient, start(headers=events), body(more=True))
        assert told == [(1, 0)] * 2

    async def test_websocket_with_its_acceptance(self, patient: Coordinator) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            assert counts(patient.breaker("own")) == (1, 0)
            await send({"type": "websocket.close", "code": 1011})

        protected = BreakerMiddleware(app, patient, routes=EVERYTHING)
        assert (await play(protected, Script("WEBSOCKET"))).error is None
        assert counts(patient.breaker("own")) == (1, 0)

    async def test_background_task_neither_delays_nor_counts(self, patient: Coordinator) -> None:
        seen: list[tuple[int, int]] = []

        async def work() -> None:
            seen.append(counts(patient.breaker("own")))

        response = PlainTextResponse("accepted", background=BackgroundTask(work))
        played = await play(BreakerMiddleware(response, patient, routes=EVERYTHING))
        assert played.body == b"accepted"
        assert seen == [(1, 0)]

    async def test_slow_client_makes_no_slow_call(self, patient: Coordinator) -> None:
        """The time that counts ends with the start of the response."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start())
            started.append(time.monotonic())
            await anyio.sleep(0.05)
            await send(body())

        started = [time.monotonic()]
        await play(BreakerMiddleware(app, patient, routes=EVERYTHING))
        assert patient.breaker("own").successes.total <= started[1] - started[0]


class TestWhileItIsOpen:
    async def test_handler_is_not_called_and_the_body_is_not_read(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker("own"))
        app = BreakerMiddleware(pytest.fail, brisk, routes=EVERYTHING)
        played = await play(app, method="POST", path="/orders", body=[b"a"])
        assert played.error is None
        assert played.received == []
        assert played.status == 503
        assert played.headers["content-type"] == "application/problem+json"
        assert 1 <= int(played.headers["retry-after"]) <= 72
        document = json.loads(played.body)
        assert document["type"] == "urn:zenvark:problem:route-unavailable"
        assert b"own" not in played.body
        assert brisk.breaker("own").blocked == 1

    async def test_head_gets_the_same_headers_and_no_body(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker("own"))
        app = BreakerMiddleware(pytest.fail, brisk, routes=EVERYTHING)
        get, head = await play(app), await play(app, method="HEAD")
        assert head.body == b""
        assert head.headers.keys() == get.headers.keys()
        length = int(head.headers["content-length"])
        assert abs(length - len(get.body)) <= 1  # the seconds may have one digit less
        assert get.headers["content-length"] == str(len(get.body))

    async def test_websocket_is_refused_with_the_document(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker("own"))
        app = BreakerMiddleware(pytest.fail, brisk, pytest.fail, EVERYTHING)
        played = await play(app, method="WEBSOCKET", extensions=["websocket.http.response"])
        kinds = [message["type"] for message in played.sent]
        assert kinds == ["websocket.http.response.start", "websocket.http.response.body"]
        assert played.received == []
        assert played.status == 503
        assert int(played.headers["retry-after"]) >= 1
        assert json.loads(played.body)["type"] == "urn:zenvark:problem:route-unavailable"

    async def test_else_it_is_closed_before_it_is_accepted(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker("own"))
        app = BreakerMiddleware(pytest.fail, brisk, pytest.fail, EVERYTHING)
        played = await play(app, method="WEBSOCKET")
        assert played.sent == [
            {"type": "websocket.close", "code": 1013, "reason": "Route Unavailable"}
        ]

    async def test_other_routes_pass(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker("own"))
        routes = {"/": "other", "/orders": "own", "/orders/health": None}
        app = BreakerMiddleware(PlainTextResponse("hello"), brisk, routes=routes)
        assert (await play(app, path="/orders/7")).status == 503
        for path in ("/", "/orders/health", "/metrics"):
            assert (await play(app, path=path)).body == b"hello"

    async def test_fallback_of_the_route_goes_before_the_middlewares(
        self, brisk: Coordinator
    ) -> None:
        await opened(brisk.breaker("own"))

        def fallback(request: Request, error: CircuitOpenError) -> Response:
            return PlainTextResponse(f"{request.url.path} without {error.name}")

        async def another(request: Request, error: CircuitOpenError) -> Response:
            return PlainTextResponse("another")

        routes = {"/": "own", "/b": ProtectedRoute(circuit="own", fallback=another)}
        app = BreakerMiddleware(pytest.fail, brisk, fallback, routes)
        assert (await play(app, path="/a")).body == b"/a without own"
        assert (await play(app, path="/b")).body == b"another"

    async def test_fallback_of_the_route_also_for_what_the_handler_ran_into(
        self, patient: Coordinator
    ) -> None:
        routes = {"/": ProtectedRoute(circuit="own", fallback=lambda *_: Response(status_code=299))}
        app = BreakerMiddleware(raises(CircuitOpenError("x", 1)), patient, pytest.fail, routes)
        assert (await play(app)).status == 299

    async def test_it_opens_and_recovers_by_its_own_traffic(self) -> None:
        policy = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(0.05))
        status = 500

        async def home(request: Request) -> Response:
            return PlainTextResponse("hello", status)

        async with Coordinator(policy=policy) as coordinator:
            app = Starlette(routes=[Route("/", home)])
            app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes=EVERYTHING)
            assert [(await play(app)).status for _ in range(2)] == [500, 500]
            breaker = coordinator.breaker("own")
            await eventually(lambda: breaker.state is State.OPEN, within=PATIENCE)
            status = 200

            async def answered() -> bool:
                return (await play(app)).status == 200

            await eventually(answered, within=PATIENCE)
            await eventually(lambda: breaker.state is State.CLOSED, within=PATIENCE)


Make: TypeAlias = Callable[..., Any]


class TestFrameworks:
    """The same through Starlette and FastAPI, whose layers handle exceptions."""

    @pytest.fixture(params=[Starlette, FastAPI])
    def make(self, request: pytest.FixtureRequest) -> Make:
        framework: type[Starlette] = request.param

        def make(endpoint: Callable[..., Any], coordinator: Coordinator) -> ASGIApp:
            app = framework(routes=[Route("/", endpoint)])
            app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes=EVERYTHING)
            return app

        return make

    async def test_unhandled_exception_fails_and_a_handled_one_counts_by_its_status(
        self, make: Make, patient: Coordinator
    ) -> None:
        async def endpoint(request: Request) -> Response:
            if status := request.query_params.get("status"):
                raise HTTPException(int(status))
            raise ValueError("not handled")

        app = make(endpoint, patient)
        breaker = patient.breaker("own")
        played = await play(app)
        assert (played.status, type(played.error)) == (500, ValueError)
        assert counts(breaker) == (0, 1)
        assert (await play(app, query="status=404")).status == 404
        assert counts(breaker) == (0, 1)
        assert (await play(app, query="status=503")).status == 503
        assert counts(breaker) == (0, 2)

    async def test_generator_that_fails_half_way(self, make: Make, patient: Coordinator) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            raise ValueError("half way")

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(chunks())

        played = await play(make(endpoint, patient))
        assert (played.status, played.body) == (200, b"first")
        assert counts(patient.breaker("own")) == (0, 1)

    async def test_mounted_app_knows_its_own_paths(self, patient: Coordinator, make: Make) -> None:
        async def endpoint(request: Request) -> Response:
            return PlainTextResponse(request.url.path)

        inner = Starlette(routes=[Route("/orders", endpoint)])
        inner.add_middleware(
            BreakerMiddleware, coordinator=patient, routes={"/orders": "inner", "/": "wrong"}
        )
        app = Starlette(routes=[Mount("/shop", inner)])
        app.add_middleware(
            BreakerMiddleware, coordinator=patient, routes={"/shop": "outer", "/orders": "wrong"}
        )
        assert (await play(app, path="/shop/orders")).body == b"/shop/orders"
        assert (await play(app, root_path="/v1", path="/shop/orders")).status == 200
        for name, expected in (("inner", (2, 0)), ("outer", (2, 0)), ("wrong", (0, 0))):
            assert counts(patient.breaker(name)) == expected, name


class TestNested:
    async def test_rejection_further_in_does_not_count_further_out(
        self, brisk: Coordinator
    ) -> None:
        """Else one open circuit would open those of all that is around it."""
        await opened(brisk.breaker("inner"))
        inner = BreakerMiddleware(pytest.fail, brisk, routes={"/": "inner"})
        middle = BreakerMiddleware(inner, brisk)
        app = BreakerMiddleware(middle, brisk, routes={"/": "outer"})
        assert (await play(app)).status == 503
        assert (await play(app, method="WEBSOCKET")).sent[0]["type"] == "websocket.close"
        assert counts(brisk.breaker("outer")) == (0, 0)

    async def test_nor_does_one_by_another_circuit(self, patient: Coordinator) -> None:
        inner = BreakerMiddleware(
            raises(CircuitOpenError("payments", 1)), patient, routes={"/": "inner"}
        )
        app = BreakerMiddleware(inner, patient, routes={"/": "outer"})
        played = await play(app)
        assert json.loads(played.body)["type"] == "urn:zenvark:problem:circuit-open"
        for name in ("inner", "outer"):
            assert counts(patient.breaker(name)) == (0, 0)

    async def test_what_fails_further_in_fails_further_out(self, patient: Coordinator) -> None:
        inner = BreakerMiddleware(raises(ValueError("x")), patient, routes={"/": "inner"})
        app = BreakerMiddleware(inner, patient, routes={"/": "outer"})
        assert isinstance((await play(app)).error, ValueError)
        for name in ("inner", "outer"):
            assert counts(patient.breaker(name)) == (0, 1)

    async def test_behind_a_middleware_with_tasks_of_its_own(self, patient: Coordinator) -> None:
        async def dispatch(request: Request, call_next: Any) -> Response:
            response: Response = await call_next(request)
            return response

        app = Starlette(routes=[Route("/", PlainTextResponse("hello"))])
        app.user_middleware = [
            Middleware(BreakerMiddleware, coordinator=patient, routes={"/": "outer"}),
            Middleware(BaseHTTPMiddleware, dispatch),
            Middleware(BreakerMiddleware, coordinator=patient, routes={"/": "inner"}),
        ]
        assert (await play(app)).body == b"hello"
        for name in ("inner", "outer"):
            assert counts(patient.breaker(name)) == (1, 0)


async def test_mistake_in_a_function_of_routes_does_not_cost_the_request() -> None:
    errors: list[Exception] = []
    async with Coordinator(on_error=errors.append) as coordinator:
        app = BreakerMiddleware(
            PlainTextResponse("hello"), coordinator, routes=lambda scope: scope["no such key"]
        )
        assert (await play(app)).body == b"hello"
        await eventually(lambda: errors, within=PATIENCE)
    assert "could not determine the route of GET /" in str(errors[0])


async def test_policys_classifier_judges_exceptions() -> None:
    def classify(ended: object) -> Outcome:
        return Outcome.IGNORED if isinstance(ended, LookupError) else Outcome.FAILURE

    async with Coordinator(policy=BreakerPolicy(classify=classify)) as coordinator:
        for error, expected in ((LookupError("x"), (0, 0)), (ValueError("x"), (0, 1))):
            app = BreakerMiddleware(raises(error), coordinator, routes=EVERYTHING)
            assert (await play(app)).error is error
            assert counts(coordinator.breaker("own")) == expected


async def test_handlers_that_hang_open_their_route_while_they_hang() -> None:
    """A stream that has begun in time may go on."""
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/streams":
            await send(start())
        await go.wait()
        if scope["path"] == "/hangs":
            await send(start())
        await send(body())

    strategy = CountWindow(10, 0.5, minimum_calls=3, slow_rate=0.5)
    policy = BreakerPolicy(strategy=strategy, slow_call=0.1, backoff=ConstantBackoff(60))
    async with Coordinator(policy=policy) as coordinator, asyncio.TaskGroup() as tasks:
        routes = {"/hangs": "hangs", "/streams": "streams"}
        protected = BreakerMiddleware(app, coordinator, routes=routes)
        for path in [*routes] * 5:
            tasks.create_task(play(protected, path=path))
        hangs, streams = map(coordinator.breaker, routes.values())
        await eventually(lambda: hangs.state is State.OPEN, within=PATIENCE)
        assert (await play(protected, path="/hangs")).status == 503
        assert streams.state is State.CLOSED
        go.set()
        await eventually(lambda: counts(streams) == (5, 0), within=PATIENCE)


async def test_cancellation_of_a_slow_handler_is_a_failure() -> None:
    policy = BreakerPolicy(slow_call=0.01)
    async with Coordinator(policy=policy) as coordinator:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await anyio.sleep(0.02)
            client.cancel()
            await anyio.sleep(PATIENCE)

        with anyio.CancelScope() as client:
            await play(BreakerMiddleware(app, coordinator, routes=EVERYTHING))
        assert counts(coordinator.breaker("own")) == (0, 1)


@pytest.mark.parametrize("requests", spanning([500, 4_000], {500}))
async def test_thousands_at_once_cancelled_at_random_moments(requests: int) -> None:
    """Counts add up, and every trial permit comes back."""
    chance = random.Random(7)
    answered = 0

    async def turns() -> None:
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal answered
        for message in (start(), body(more=True), body()):
            await turns()
            await send(message)
        answered += 1

    async def storm(protected: ASGIApp, number: int) -> int:
        """Make requests and cancel half of them; tells how many were cut short."""
        tasks = [asyncio.create_task(play(protected)) for _ in range(number)]
        for task in chance.sample(tasks, number // 2):
            if not chance.randrange(60):
                await asyncio.sleep(0)
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(each, asyncio.CancelledError) for each in ended)

    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01))
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("own")
        protected = BreakerMiddleware(app, coordinator, routes=EVERYTHING)
        cut_short = await storm(protected, requests)
        assert cut_short > requests / 20
        successes, failures = counts(breaker)
        # One that is cancelled while its last message is on its way has been counted.
        assert answered <= successes <= answered + cut_short
        assert answered + cut_short == requests
        assert failures == 0

        await half_opened(breaker)
        for _ in range(5):
            await storm(protected, 100)

        async def closed() -> bool:
            await play(protected)
            return breaker.state is State.CLOSED

        await eventually(closed, within=PATIENCE)
