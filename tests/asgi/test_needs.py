"""Routes that need circuits of upstreams: answered early, and still they recover."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.asgi.messages import play
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, opened, takes_a_call
from zenvark_web import (
    Breaker,
    BreakerMiddleware,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    ExponentialBackoff,
    HealthCheckType,
    Outcome,
    ProtectedRoute,
    State,
)

QUICK = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.1))
CHECKOUT = {"/checkout": ProtectedRoute(circuit="checkout", needs=["payments", "stock"])}


def shop(coordinator: Coordinator, **settings: Any) -> ASGIApp:
    app = PlainTextResponse("done")
    return BreakerMiddleware(app, coordinator, **{"routes": CHECKOUT, **settings})


@pytest.mark.parametrize("needed", ["payments", "stock"])
async def test_answered_early_while_one_of_them_is_open(brisk: Coordinator, needed: str) -> None:
    await opened(brisk.breaker(needed))
    app = BreakerMiddleware(pytest.fail, brisk, routes=CHECKOUT)
    played = await play(app, method="POST", path="/checkout/7", body=[b"order"])
    assert played.received == []
    assert played.status == 503
    assert json.loads(played.body)["type"] == "urn:zenvark:problem:route-unavailable"
    assert needed.encode() not in played.body
    assert counts(brisk.breaker("checkout")) == (0, 0)
    assert brisk.breaker(needed).blocked == 1


async def test_all_else_stays_reachable(brisk: Coordinator) -> None:
    await opened(brisk.breaker("payments"))
    routes = {"/": ProtectedRoute(needs=["payments"]), "/healthz": None, "/metrics": "metrics"}
    app = shop(brisk, routes=routes)
    assert (await play(app, path="/anything")).status == 503
    for path in ("/healthz", "/healthz/live", "/metrics"):
        assert (await play(app, path=path)).body == b"done"


async def test_it_passes_while_all_are_closed(patient: Coordinator) -> None:
    assert (await play(shop(patient), path="/checkout")).body == b"done"
    assert counts(patient.breaker("checkout")) == (1, 0)
    for name in ("payments", "stock"):  # which only their own calls tell of
        assert counts(patient.breaker(name)) == (0, 0)


async def test_retry_after_is_that_of_the_longest_wait() -> None:
    def waiting(delay: float) -> BreakerPolicy:
        return BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(delay))

    policies = {"payments": waiting(100), "stock": waiting(1000), "checkout": waiting(10_000)}
    async with Coordinator(policies=policies) as coordinator:
        told: list[str] = []

        def fallback(request: Request, error: CircuitOpenError) -> Response:
            told.append(error.name)
            return Response(status_code=299)

        app = shop(coordinator, fallback=fallback)
        for name, (least, most) in {
            "payments": (80, 120),
            "stock": (980, 1200),
            "checkout": (9980, 12_000),
        }.items():
            await opened(coordinator.breaker(name))
            played = await play(shop(coordinator), path="/checkout")
            assert least <= int(played.headers["retry-after"]) <= most
            assert (await play(app, path="/checkout")).status == 299
        assert told == ["payments", "stock", "checkout"]
        # Each that is open hears of each request.
        assert [coordinator.breaker(name).blocked for name in policies] == [6, 4, 2]


async def test_one_that_is_half_open_passes(patient: Coordinator) -> None:
    async with Coordinator(policy=QUICK) as coordinator:
        breaker = coordinator.breaker("payments")
        await opened(breaker)
        await eventually(lambda: takes_a_call(breaker), within=PATIENCE)
        permit = breaker.acquire()  # the only one
        assert breaker.state is State.HALF_OPEN
        assert (await play(shop(coordinator), path="/checkout")).body == b"done"
        permit.record(Outcome.SUCCESS)


async def test_own_trial_permit_is_not_spent_while_another_is_open() -> None:
    policies = {"payments": BreakerPolicy(strategy=ConsecutiveFailures(1))}
    async with Coordinator(policy=QUICK, policies=policies) as coordinator:
        own = coordinator.breaker("checkout")
        await opened(own)
        await eventually(lambda: takes_a_call(own), within=PATIENCE)
        await opened(coordinator.breaker("payments"))
        assert (await play(shop(coordinator), path="/checkout")).status == 503
        assert own.state is State.HALF_OPEN
        await eventually(lambda: takes_a_call(own), within=PATIENCE)


class Fleet:
    """Instances of one app, whose only traffic goes through a route that needs `payments`."""

    def __init__(self, coordinators: list[Coordinator]) -> None:
        self.healthy = False
        self.calls = 0
        self.coordinators = coordinators
        self.apps = [self._app(coordinator) for coordinator in coordinators]

    def _app(self, coordinator: Coordinator) -> ASGIApp:
        async def pay() -> None:
            self.calls += 1
            if not self.healthy:
                raise ConnectionError

        async def checkout(request: Request) -> Response:
            try:
                await coordinator.breaker("payments").execute(pay)
            except ConnectionError:
                return PlainTextResponse("failed", 502)
            return PlainTextResponse("paid")

        app = Starlette(routes=[Route("/checkout", checkout)])
        needs = {"/checkout": ProtectedRoute(needs=["payments"])}
        app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes=needs)
        return app

    @property
    def breakers(self) -> list[Breaker]:
        return [coordinator.breaker("payments") for coordinator in self.coordinators]

    async def visit(self) -> list[int | None]:
        return [(await play(app, path="/checkout")).status for app in self.apps]

    async def until(self, reached: Callable[[], bool]) -> None:
        async def look() -> bool:
            await self.visit()
            return reached()

        await eventually(look, within=PATIENCE)


async def recovers(coordinators: list[Coordinator]) -> None:
    fleet = Fleet(coordinators)
    await fleet.until(lambda: all(breaker.state is State.OPEN for breaker in fleet.breakers))
    # The attempts to recover go on, and fail.
    failed = fleet.calls
    await fleet.until(lambda: fleet.calls >= failed + 3)
    fleet.healthy = True
    await fleet.until(lambda: all(breaker.state is State.CLOSED for breaker in fleet.breakers))
    assert await fleet.visit() == [200] * len(coordinators)


async def test_fleet_recovers_by_such_routes_alone(server: ServerHandle, namespace: str) -> None:
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(2), backoff=ExponentialBackoff(initial=0.1, maximum=0.2)
    )
    async with AsyncExitStack() as stack:
        coordinators = [
            await stack.enter_async_context(
                Coordinator(server.url, namespace=namespace, policy=policy)
            )
            for _ in range(3)
        ]
        await recovers(coordinators)


async def test_one_process_alone_recovers_too() -> None:
    async with Coordinator(policy=QUICK) as coordinator:
        await recovers([coordinator])


async def test_recovers_by_its_health_check_as_well() -> None:
    async def check(_: HealthCheckType) -> None:
        """It is well."""

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.05), health_check=check
    )
    async with Coordinator(policy=policy) as coordinator:
        await opened(coordinator.breaker("payments"))

        async def answered() -> bool:
            return (await play(shop(coordinator), path="/checkout")).status == 200

        await eventually(answered, within=PATIENCE)


def test_require_by_itself() -> None:
    coordinator = Coordinator()
    coordinator.breaker("payments").require()


async def test_require_raises_while_open(brisk: Coordinator) -> None:
    breaker = brisk.breaker("payments")
    await opened(breaker)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.require()
    assert caught.value.name == "payments"
    assert 60 - PATIENCE < caught.value.retry_after <= 60
    assert breaker.blocked == 1


async def test_require_is_heard_from_any_thread(brisk: Coordinator) -> None:
    breaker = brisk.breaker("payments")
    await opened(breaker)

    def in_thread() -> None:
        with pytest.raises(CircuitOpenError):
            breaker.require()

    await asyncio.to_thread(in_thread)
    await eventually(lambda: breaker.blocked == 1, within=PATIENCE)
