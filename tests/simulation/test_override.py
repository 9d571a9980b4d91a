"""An app with a coordinator of its own in a test: on a fleet in memory, or switched off."""

import asyncio
import logging
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.helpers.processes import ROOT
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    HttpHealthCheck,
    Outcome,
    State,
    StateChange,
)
from zenvark_web.testing import Fleet, override, set_active

UNREACHABLE = "redis://localhost:1"

coordinator = Coordinator(
    UNREACHABLE,
    namespace="shop",
    policy=BreakerPolicy(strategy=ConsecutiveFailures(2)),
    policies={"search": BreakerPolicy(health_check=HttpHealthCheck("https://{name}/health"))},
)
payments = coordinator.breaker("payments")


@payments
async def pay(amount: int) -> int:
    if amount < 0:
        raise ConnectionError
    return amount


async def price(_: object) -> JSONResponse:
    transport = BreakerTransport(
        coordinator, httpx.MockTransport(lambda _: httpx.Response(200, json=1))
    )
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("https://payments/price")
    return JSONResponse(None, response.status_code)


app = Starlette(routes=[Route("/price", price)])
app.add_middleware(BreakerMiddleware, coordinator=coordinator)


@pytest.fixture
def inactive() -> Iterator[None]:
    set_active(False)
    yield
    set_active(True)


def fail(breaker_of: Coordinator, name: str, times: int) -> None:
    for _ in range(times):
        breaker_of.breaker(name).acquire().record(Outcome.FAILURE)


class TestOverride:
    def test_an_app_meets_an_open_circuit_and_its_recovery(self) -> None:
        with override(coordinator) as fleet, TestClient(app) as client:
            assert client.get("/price").status_code == 200
            fleet.trip("payments")
            assert client.get("/price").status_code == 503
            fleet.recover("payments")
            assert client.get("/price").status_code == 200
        assert not coordinator.running

    def test_works_without_the_lifespan_of_an_app(self) -> None:
        with override(coordinator) as fleet:
            fleet.trip("payments")
            assert TestClient(app).get("/price").status_code == 503

    def test_breakers_made_before_and_inside_are_of_the_fleet_and_then_of_the_app(self) -> None:
        with override(coordinator) as fleet:
            inside = coordinator.breaker("made-inside")
            fleet.trip(payments)
            fleet.trip(inside)
            assert payments.state is inside.state is State.OPEN
            with pytest.raises(CircuitOpenError):
                asyncio.run(pay(1))
            assert coordinator.breaker("payments") is payments
        assert payments.state is inside.state is State.CLOSED
        assert asyncio.run(pay(1)) == 1
        assert coordinator.breaker("made-inside") is inside
        assert payments.generation == 0

    def test_each_override_begins_with_closed_circuits(self) -> None:
        for _ in range(2):
            with override(coordinator) as fleet:
                assert payments.state is State.CLOSED
                assert fleet.now < 1
                fleet.trip("payments")

    def test_policies_of_the_app_apply_to_it_and_to_further_instances(self) -> None:
        with override(coordinator) as fleet:
            other = fleet.coordinator()
            fail(coordinator, "payments", 1)
            fleet.advance()
            assert payments.state is State.CLOSED
            fail(other, "payments", 1)
            fleet.advance()
            assert payments.state is State.OPEN
            # the check of the app's policy, answered by the fleet
            fleet.trip("search")
            fleet.recover("search")

    def test_callbacks_of_the_app_are_called(self) -> None:
        changes: list[StateChange] = []
        own = Coordinator(UNREACHABLE, on_state_change=changes.append)
        with override(own) as fleet:
            fleet.trip("payments")
            fleet.advance()
        assert [change.state for change in changes] == [State.OPEN]

    def test_shards_of_the_app_are_one(self) -> None:
        own = Coordinator(UNREACHABLE, shards=4)
        with override(own) as fleet:
            fleet.trip("payments")
            assert len(own.shard_roles) == 1
        assert len(own.shard_roles) == 4

    async def test_async_use(self) -> None:
        async with override(coordinator) as fleet:
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await pay(-1)
            fleet.advance()
            with pytest.raises(CircuitOpenError):
                await pay(1)
            async with coordinator:
                assert await coordinator.flush()
            assert not coordinator.running

    def test_synchronous_start_stop_and_flush(self) -> None:
        with override(coordinator) as fleet:
            coordinator.start_sync()
            fail(coordinator, "payments", 2)
            assert coordinator.flush_sync()
            fleet.advance()
            assert payments.state is State.OPEN
            coordinator.stop_sync()
            assert not coordinator.running

    def test_blocks_left_open_are_ended(self) -> None:
        with override(coordinator):
            coordinator.__enter__()
            coordinator.__enter__()
        assert not coordinator.running

    def test_calls_of_threads(self) -> None:
        with override(coordinator) as fleet:
            threads = [
                threading.Thread(target=fail, args=(coordinator, "payments", 1)) for _ in range(5)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            fleet.advance()
            assert payments.state is State.OPEN

    def test_metrics_and_statistics_are_its_own(self) -> None:
        before = coordinator.statistics
        with override(coordinator) as fleet:
            fail(coordinator, "payments", 2)
            fleet.advance(10)
            assert coordinator.statistics.evaluated == 2
        assert coordinator.statistics is before

    def test_a_running_coordinator_is_refused(self) -> None:
        own = Coordinator()
        with own:
            with pytest.raises(RuntimeError, match="stop it first"), override(own):
                pass
            assert own.running
        with override(own), pytest.raises(RuntimeError, match="stop it first"), override(own):
            pass

    def test_one_is_entered_once_at_a_time(self) -> None:
        again = override(coordinator)
        with again, pytest.raises(RuntimeError, match="make another one"), again:
            pass
        with again as fleet:
            fleet.trip("payments")

    def test_something_else_is_refused(self) -> None:
        with pytest.raises(TypeError, match="must be a Coordinator"):
            override("payments")  # type: ignore[arg-type]


@pytest.mark.usefixtures("inactive")
class TestSetActive:
    def test_nothing_starts_and_every_call_passes_uncounted(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "zenvark_web")
        with TestClient(app) as client:
            for _ in range(10):
                with pytest.raises(ConnectionError):
                    asyncio.run(pay(-1))
                assert client.get("/price").status_code == 200
            assert not coordinator.running
        assert payments.state is State.CLOSED
        assert payments.failures.total == payments.successes.total == 0
        assert caplog.records == []

    def test_applies_to_coordinators_made_later(self) -> None:
        later = Coordinator(UNREACHABLE)
        later.start_sync()
        with later:
            fail(later, "payments", 10)
            assert not later.running
        later.stop_sync()
        assert later.breaker("payments").state is State.CLOSED

    async def test_awaited(self) -> None:
        async with coordinator:
            assert not coordinator.running
        await coordinator.start()
        await coordinator.stop()

    def test_a_fleet_works_all_the_same(self) -> None:
        with override(coordinator) as fleet, TestClient(app) as client:
            fleet.trip("payments")
            assert client.get("/price").status_code == 503
        with Fleet() as fleet:
            own = fleet.coordinator()
            set_active(False)
            fleet.trip("payments")
            assert own.breaker("payments").state is State.OPEN


def test_a_circuit_that_a_run_has_left_open_passes_as_well() -> None:
    own = Coordinator()
    with own:
        breaker = own.breaker("payments")
        fail(own, "payments", 5)
        assert own.flush_sync()
    assert breaker.state is State.OPEN
    try:
        set_active(False)
        breaker.acquire().record(Outcome.SUCCESS)
        assert own.breaker("payments") is breaker
    finally:
        set_active(True)
    with own:
        assert own.running


def test_switching_off_a_running_coordinator_is_refused() -> None:
    own = Coordinator()
    with own, pytest.raises(RuntimeError, match="stop it before"):
        set_active(False)
    with own:
        assert own.running


def test_something_else_than_a_bool_is_refused() -> None:
    with pytest.raises(TypeError, match="True or False"):
        set_active(0)  # type: ignore[arg-type]


class TestPlugin:
    [(NAME, MODULE)] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "entry-points"
    ]["pytest11"].items()

    def test_is_found_under_the_name_by_which_others_enable_it(self) -> None:
        plugin = EntryPoint(self.NAME, self.MODULE, "pytest11").load()
        assert plugin.__name__ == self.NAME

    def test_imports_next_to_nothing(self) -> None:
        code = (
            f"import sys, pytest; before = set(sys.modules); import {self.MODULE}\n"
            "print(*sorted(set(sys.modules) - before))"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout.split()
        assert {name for name in shown if not name.startswith("zenvark_web")} == set()
        assert set(shown) == {
            "zenvark_web",
            "zenvark_web._version",
            "zenvark_web.testing",
            "zenvark_web.testing.pytest",
        }
